#include "events.h"

#include "line.h"
#include "term.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONG_OUTPUT = 4096 };

struct session *session_of(struct sessions *sessions, long id)
{
    for (int i = 0; i < sessions->count; i++)
        if (sessions->all[i].id == id)
            return &sessions->all[i];
    if (sessions->count == MAX_SESSIONS)
        die("more than %d sessions", MAX_SESSIONS);
    sessions->all[sessions->count] = (struct session){.id = id};
    return &sessions->all[sessions->count++];
}

/* Whether these are all the numbers that a usage has, and nothing else. */
static bool is_usage(const char *text)
{
    static const char *const NUMBERS[] = {"utime",   "stime",   "maxrss", "minflt", "majflt",
                                          "inblock", "oublock", "nvcsw",  "nivcsw"};
    int separators = 0;
    if (!starts_with(text, "{:usage, %{"))
        return false;
    for (size_t i = 0; i < sizeof NUMBERS / sizeof *NUMBERS; i++) {
        char key[16];
        int length = snprintf(key, sizeof key, "%s: ", NUMBERS[i]);
        const char *found = strstr(text, key);
        if (!found || !strchr("{ ", found[-1]) || strspn(found + length, "0123456789") == 0)
            return false;
    }
    for (const char *c = text; *c; c++)
        separators += *c == ',';
    return separators == sizeof NUMBERS / sizeof *NUMBERS;
}

/* Numbers that are different each time. */
static void normalise(struct text *line, pid_t child)
{
    struct text out = {0};
    char pid[24];
    snprintf(pid, sizeof pid, ", %d}", child);
    const char *text = text_string(line), *found;
    if (starts_with(text, "{:status, ") && child > 1 && (found = strstr(text, pid))) {
        text_print(&out, "%.*s, <pid>}", (int)(found - text), text);
    } else if ((found = strstr(text, "%{fd: "))) {
        text_print(&out, "%.*s%%{fd: <fd>, os_pid: <pid>, slave: \"/dev/pts/<n>\"}}}",
                   (int)(found - text), text);
    } else if (is_usage(text)) {
        text_print(&out, "{:usage, <usage>}");
    } else {
        return;
    }
    text_free(line);
    *line = out;
}

static void add_event(struct session *session, const struct event *event)
{
    session->events =
        reallocarray(session->events, (size_t)session->event_count + 1, sizeof *session->events);
    if (!session->events)
        die("no memory for events");
    session->events[session->event_count++] = *event;
}

static struct event *last_event(const struct session *session)
{
    return session->event_count > 0 ? &session->events[session->event_count - 1] : NULL;
}

/* The line has the address if those of the scenario have; what has none is marked where they have not. */
static void address_line(const struct sessions *sessions, const struct session *session,
                         struct text *line)
{
    struct text out = {0};
    if (sessions->have_addresses && session->id != NOBODY)
        text_print(&out, "{%ld, %s}", session->id, text_string(line));
    else if (!sessions->have_addresses && session->id == NOBODY)
        text_print(&out, "of the host: %s", text_string(line));
    else
        return;
    text_free(line);
    *line = out;
}

/* Into how many pieces output falls is nobody's promise. */
static void heard_output(const struct sessions *sessions, struct session *session,
                         struct event *event)
{
    struct event *last = last_event(session);
    if (last && last->output == event->output) {
        text_add(&last->bytes, event->bytes.bytes, event->bytes.length);
        text_free(&event->bytes);
        text_free(&last->line);
    } else {
        add_event(session, event);
        last = last_event(session);
    }
    text_print(&last->line, "{:%s, ", last->output);
    if (last->bytes.length > LONG_OUTPUT)
        text_print(&last->line, "… %zu bytes", last->bytes.length);
    else
        text_quote(&last->line, last->bytes.bytes, last->bytes.length);
    text_print(&last->line, "}");
    address_line(sessions, session, &last->line);
}

void session_hear(struct sessions *sessions, struct session *session, const char *frame,
                  size_t length)
{
    struct event event = {.count = 1};
    long pid;
    event.output = term_output(frame, length, &event.bytes);
    if (event.output) {
        heard_output(sessions, session, &event);
        return;
    }
    if (!term_print(&event.line, frame, length))
        text_print(&event.line, "what libei cannot decode");
    if (term_is_status(frame, length, "spawned", &pid))
        session->child = (pid_t)pid;
    session->is_over = session->id != NOBODY && is_terminal(text_string(&event.line));
    sessions->ended_count += session->is_over;
    normalise(&event.line, session->child);
    address_line(sessions, session, &event.line);
    struct event *last = last_event(session);
    if (last && strcmp(text_string(&last->line), text_string(&event.line)) == 0) {
        last->count++;
        text_free(&event.line);
    } else {
        add_event(session, &event);
    }
}

bool session_has_said(const struct session *session, const char *last_expected)
{
    if (session->event_count != session->expected_count)
        return session->event_count > session->expected_count;
    const struct event *last = last_event(session);
    return last->output ? last->line.length >= strlen(last_expected)
                            : last->count >= line_count(last_expected);
}

static void print_event(struct text *answer, const struct event *event)
{
    if (event->count > 1)
        text_print(answer, "< %d of %s\n", event->count, text_string(&event->line));
    else
        text_print(answer, "< %s\n", text_string(&event->line));
}

static int by_id(const void *one, const void *other)
{
    unsigned long a = (unsigned long)((const struct session *)one)->id;
    unsigned long b = (unsigned long)((const struct session *)other)->id;
    return a < b ? -1 : a > b;
}

void sessions_print(struct sessions *sessions, struct text *answer)
{
    qsort(sessions->all, (size_t)sessions->count, sizeof *sessions->all, by_id);
    for (int i = 0; i < sessions->count; i++)
        for (int j = 0; j < sessions->all[i].event_count; j++)
            print_event(answer, &sessions->all[i].events[j]);
}
