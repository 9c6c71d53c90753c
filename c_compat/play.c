#include "play.h"

#include "address.h"
#include "events.h"
#include "filter.h"
#include "line.h"
#include "process.h"
#include "term.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    PATIENCE = 10000,      /* for a scenario, in milliseconds */
    SHORT_PATIENCE = 2000, /* when it is not to end */
    LEFT_BEHIND = 2000,    /* when some are to be left, in milliseconds, until they are counted */
    MAX_NAMES = 32,
    HOST_AND_GUARDIAN = 2,
    VERSION = 131, /* of a term's encoding */
};

/* Whose number a scenario's session has when it is written for an agent of its own. */
static const long ITS_OWN = 1;
/* What a call to a session that there is not is for: when it is answered, all before it has been read. */
static const long BARRIER = 4294967295;

struct play {
    struct place *place;
    bool has_addresses; /* the scenario itself knows of them */
    struct circumstances circumstances;
    struct encoding encoding;
    struct name names[MAX_NAMES];
    int name_count;
    const char *directory;
    int listener, connection;
    pid_t child, target; /* the last child there was */
    struct sessions sessions;
    bool is_read;        /* the barrier has been answered */
    bool by_hand;        /* a frame has been made of bytes */
    struct text outgoing;
    size_t head_start; /* bytes of the next frame that have been sent already */
    bool is_slow, is_late;
    struct timespec start;
    int patience;
};

static long elapsed(const struct timespec *since)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - since->tv_sec) * 1000 + (now.tv_nsec - since->tv_nsec) / 1000000;
}

static struct name *name(struct play *p, const char *name)
{
    for (int i = 0; i < p->name_count; i++)
        if (strcmp(p->names[i].name, name) == 0)
            return &p->names[i];
    if (p->name_count == MAX_NAMES)
        die("more than %d names", MAX_NAMES);
    struct name *new = &p->names[p->name_count++];
    *new = (struct name){0};
    snprintf(new->name, sizeof new->name, "%s", name);
    return new;
}

static void name_integer(struct play *p, const char *what, long long integer)
{
    struct name *new = name(p, what);
    new->is_integer = true;
    new->integer = integer;
}

static void name_bytes(struct play *p, const char *what, const void *bytes, size_t length)
{
    struct name *new = name(p, what);
    new->bytes.length = 0;
    text_add(&new->bytes, bytes, length);
}

static void name_path(struct play *p, const char *what, const char *file)
{
    char path[128];
    int length = snprintf(path, sizeof path, "%s/%s", p->directory, file);
    name_bytes(p, what, path, (size_t)length);
}

static void path_of(const struct play *p, const char *file, char path[128])
{
    snprintf(path, 128, "%s/%s", p->directory, file);
}

/* $ns_uts is what a process reads from /proc/self/ns/uts when its namespace is not a new one. */
static void name_namespaces(struct play *p)
{
    static const char *const FILES[] = {"user", "mnt", "uts", "ipc", "cgroup", "net", "time", "pid"};
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        char path[32], link[64], what[24];
        snprintf(path, sizeof path, "/proc/self/ns/%s", FILES[i]);
        snprintf(what, sizeof what, "ns_%s", FILES[i]);
        ssize_t length = readlink(path, link, sizeof link);
        name_bytes(p, what, link, length > 0 ? (size_t)length : 0);
    }
}

static bool is_hosted(const struct play *p)
{
    return p->place->way != ALONE;
}

/* Hearing. */

static void heard_from(struct play *p, long id, const char *frame, size_t length)
{
    struct session *session = session_of(&p->sessions, id);
    pid_t before = session->child;
    session_hear(&p->sessions, session, frame, length);
    if (session->child != before) {
        p->child = session->child;
        name_integer(p, "child", p->child);
    }
}

static void heard(struct play *p, const char *frame, size_t length)
{
    struct text body = {0};
    unsigned long id;
    if (!is_hosted(p))
        heard_from(p, ITS_OWN, frame, length);
    else if (!address_take(frame, length, &id, &body))
        heard_from(p, NOBODY, frame, length);
    else if ((long)id == BARRIER)
        p->is_read = true;
    else
        heard_from(p, (long)id, body.bytes, body.length);
    text_free(&body);
}

/* Waits a moment, and hears what is said. */
static void listen_for(struct play *p, int milliseconds, bool for_room)
{
    const char *frame;
    size_t length;
    agent_wait(&p->place->agent, milliseconds, for_room);
    agent_read(&p->place->agent);
    while (agent_frame(&p->place->agent, &frame, &length))
        heard(p, frame, length);
}

static bool is_patient(struct play *p)
{
    if (elapsed(&p->start) > p->patience)
        p->is_late = true;
    return !p->is_late;
}

static struct session *whose(struct play *p, const char *line)
{
    long id;
    line_event(line, &id);
    return session_of(&p->sessions, p->has_addresses ? id : ITS_OWN);
}

/* Speaking. */

static void start(struct play *p)
{
    struct place *place = p->place;
    if (place->is_started)
        return;
    place->is_started = true;
    p->circumstances.as_host = is_hosted(p);
    agent_start(&place->agent, place->path, &p->circumstances, place->output, place->errors);
}

static void take_time(struct play *p, bool (*done)(struct play *, const char *), const char *what)
{
    while (!done(p, what) && is_patient(p))
        listen_for(p, 1, false);
}

static bool is_taken(struct play *p, const char *unused)
{
    (void)unused;
    return agent_has_taken_all(&p->place->agent) || agent_has_ended(&p->place->agent);
}

static void flush(struct play *p)
{
    size_t sent = p->head_start;
    p->head_start = 0;
    if (p->outgoing.length == 0)
        return;
    start(p);
    while (sent < p->outgoing.length && is_patient(p)) {
        size_t length = p->is_slow ? 1 : p->outgoing.length - sent;
        ssize_t written = agent_write(&p->place->agent, p->outgoing.bytes + sent, length);
        if (written < 0)
            break; /* Nobody is there any more. */
        sent += (size_t)written;
        if (p->is_slow)
            take_time(p, is_taken, NULL);
        else if (written == 0)
            listen_for(p, 1000, true);
    }
    text_free(&p->outgoing);
}

static void add_header(struct play *p, size_t length)
{
    char header[4] = {(char)(length >> 24), (char)(length >> 16), (char)(length >> 8), (char)length};
    text_add(&p->outgoing, header, sizeof header);
}

static void add_frame(struct play *p, const ei_x_buff *body)
{
    add_header(p, (size_t)body->index);
    text_add(&p->outgoing, body->buff, (size_t)body->index);
}

/* The version byte, and the address where the host gives one that the scenario does not. */
static void begin_body(struct play *p, ei_x_buff *body)
{
    ei_x_new_with_version(body);
    if (is_hosted(p) && !p->has_addresses)
        address_write(body, (unsigned long)ITS_OWN, &p->encoding);
}

/* A body as it is. That of a term has its version byte before the address, not behind it. */
static void say_raw(struct play *p, const struct text *bytes)
{
    ei_x_buff x;
    bool has_version = bytes->length > 0 && (unsigned char)bytes->bytes[0] == VERSION;
    begin_body(p, &x);
    if (!is_hosted(p) || p->has_addresses)
        x.index = 0;
    else if (has_version)
        ei_x_append_buf(&x, bytes->bytes + 1, (int)bytes->length - 1);
    if (x.index == 0 || !has_version)
        ei_x_append_buf(&x, text_string(bytes), (int)bytes->length);
    add_frame(p, &x);
    ei_x_free(&x);
}

/* Sends a term; with a length, one in which $fill makes the frame so long. */
static void say_term(struct play *p, const char *notation, size_t length)
{
    ei_x_buff x;
    if (length > 0) {
        name_bytes(p, "fill", "", 0);
        begin_body(p, &x);
        term_write(&x, notation, &p->encoding, p->names, p->name_count);
        size_t rest = length - (size_t)x.index;
        char *fill = calloc(1, rest);
        if ((size_t)x.index > length || !fill)
            die("%zu bytes are too few for %s", length, notation);
        name_bytes(p, "fill", fill, rest);
        free(fill);
        ei_x_free(&x);
    }
    begin_body(p, &x);
    term_write(&x, notation, &p->encoding, p->names, p->name_count);
    add_frame(p, &x);
    ei_x_free(&x);
}

static void say(struct play *p, const char *text)
{
    char *command;
    unsigned long times = strtoul(text, &command, 10);
    if (command > text && starts_with(command, " of ")) {
        while (times-- > 0)
            say(p, command + strlen(" of "));
        return;
    }
    if (starts_with(text, "raw")) {
        struct text body = {0};
        if (!text_unhex(&body, text + 3))
            die("no bytes: %s", text);
        say_raw(p, &body);
        text_free(&body);
    } else if (starts_with(text, "fill ")) {
        char *notation;
        size_t length = strtoul(text + 5, &notation, 10);
        say_term(p, notation, length);
    } else {
        say_term(p, text, 0);
    }
}

/* Doing. */

static void tag_named(int *tag, const char *name)
{
    static const struct {
        const char *name;
        int tag;
    } TAGS[] = {{"ATOM_EXT", ERL_ATOM_EXT},
                {"SMALL_ATOM_EXT", ERL_SMALL_ATOM_EXT},
                {"ATOM_UTF8_EXT", ERL_ATOM_UTF8_EXT},
                {"SMALL_ATOM_UTF8_EXT", ERL_SMALL_ATOM_UTF8_EXT},
                {"BINARY_EXT", ERL_BINARY_EXT},
                {"STRING_EXT", ERL_STRING_EXT},
                {"LIST_EXT", ERL_LIST_EXT},
                {"LARGE_TUPLE_EXT", ERL_LARGE_TUPLE_EXT},
                {"SMALL_BIG_EXT", ERL_SMALL_BIG_EXT}};
    for (size_t i = 0; i < sizeof TAGS / sizeof *TAGS; i++) {
        if (strcmp(TAGS[i].name, name) == 0) {
            *tag = TAGS[i].tag;
            return;
        }
    }
    die("there is no tag %s", name);
}

/* "atoms ATOM_EXT" */
static void do_encode(struct play *p, const char *what)
{
    struct {
        const char *name;
        int *tag;
    } kinds[] = {{"atoms ", &p->encoding.atoms},
                 {"strings ", &p->encoding.strings},
                 {"tuples ", &p->encoding.tuples},
                 {"integers ", &p->encoding.integers}};
    for (int i = 0; i < 4; i++) {
        if (starts_with(what, kinds[i].name)) {
            tag_named(kinds[i].tag, what + strlen(kinds[i].name));
            return;
        }
    }
    die("nothing is encoded as %s", what);
}

static void do_target(struct play *p, const char *namespaces)
{
    p->target = target_start(namespaces, p->circumstances.as_nobody);
    name_integer(p, "target", p->target);
    /* The same to whoever keeps only half of a number. */
    name_integer(p, "target_and_2_32", p->target + (1LL << 32));
}

static void do_zombie(struct play *p, const char *unused)
{
    (void)unused;
    p->target = zombie_start();
    name_integer(p, "target", p->target);
}

static void do_as_nobody(struct play *p, const char *unused)
{
    (void)unused;
    p->circumstances.as_nobody = true;
}

static void do_without_processes(struct play *p, const char *unused)
{
    (void)unused;
    p->circumstances.without_processes = true;
}

static void do_without_proc(struct play *p, const char *unused)
{
    (void)unused;
    p->circumstances.without_proc = true;
}

static void do_listen(struct play *p, const char *unused)
{
    (void)unused;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", p->directory);
    p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (p->listener < 0 || bind(p->listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(p->listener, 8) < 0 || chmod(address.sun_path, 0777) < 0)
        die("a socket to listen on: %s", strerror(errno));
}

static bool is_connected(struct play *p, const char *unused)
{
    (void)unused;
    p->connection = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
    return p->connection >= 0 || agent_has_ended(&p->place->agent);
}

/* Takes a connection, says something on it, and ends speaking. */
static void do_accept(struct play *p, const char *string)
{
    struct text bytes = {0};
    if (!text_unhex(&bytes, string))
        die("no string: %s", string);
    take_time(p, is_connected, NULL);
    if (p->connection >= 0) {
        send(p->connection, text_string(&bytes), bytes.length, MSG_NOSIGNAL);
        shutdown(p->connection, SHUT_WR);
    }
    text_free(&bytes);
}

/* "NAME MODE CONTENT" */
static void do_file(struct play *p, const char *what)
{
    char file[32], path[128];
    unsigned mode;
    int end;
    if (sscanf(what, "%31s %o %n", file, &mode, &end) != 2)
        die("no file: %s", what);
    struct text content = {0};
    if (!text_unhex(&content, what + end))
        die("no content: %s", what);
    path_of(p, file, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
    if (fd < 0 || write(fd, text_string(&content), content.length) < 0 || fchmod(fd, mode) < 0)
        die("%s: %s", path, strerror(errno));
    close(fd);
    text_free(&content);
    name_path(p, file, file);
}

static void do_bytes(struct play *p, const char *what)
{
    if (!text_unhex(&p->outgoing, what))
        die("no bytes: %s", what);
    p->by_hand = true;
    flush(p);
}

/* Announces a frame so long, and sends nothing of it. */
static void do_announce(struct play *p, const char *length)
{
    add_header(p, strtoul(length, NULL, 10));
    p->by_hand = true;
    flush(p);
}

static void do_slowly(struct play *p, const char *unused)
{
    (void)unused;
    p->is_slow = true;
}

/* Only when the agent waits for its request is everything open that its start takes. */
static void do_limit_descriptors(struct play *p, const char *limit)
{
    struct rlimit both = {strtoul(limit, NULL, 10), strtoul(limit, NULL, 10)};
    start(p);
    agent_write(&p->place->agent, "", 1);
    p->head_start = 1;
    take_time(p, is_taken, NULL);
    pid_t pid = is_hosted(p) ? process_first_child(p->place->agent.pid) : p->place->agent.pid;
    if (prlimit(pid, RLIMIT_NOFILE, &both, NULL) < 0)
        die("a limit of descriptors: %s", strerror(errno));
}

static void do_close(struct play *p, const char *unused)
{
    (void)unused;
    start(p);
    /* What the end of file is to an agent is :hangup to a session, if the host can still read that. */
    if (!is_hosted(p) || p->has_addresses || p->by_hand) {
        agent_close_to(&p->place->agent);
    } else {
        say(p, ":hangup");
        flush(p);
    }
}

static void do_hangup(struct play *p, const char *unused)
{
    (void)unused;
    start(p);
    agent_close_to(&p->place->agent);
    agent_close_from(&p->place->agent);
}

static pid_t who(struct play *p, const char *what)
{
    start(p);
    if (starts_with(what, "child "))
        return p->child;
    if (starts_with(what, "child"))
        return session_of(&p->sessions, atol(what + strlen("child")))->child;
    if (starts_with(what, "target"))
        return p->target;
    if (starts_with(what, "agent"))
        return p->place->agent.pid;
    if (starts_with(what, "ward")) /* whom the agent guards */
        return process_first_child(p->place->agent.pid);
    die("who is %s?", what);
}

/* "child 9", or in a host "child2 9" for that of session 2 */
static void do_kill(struct play *p, const char *what)
{
    pid_t pid = who(p, what);
    if (pid > 1)
        kill(pid, atoi(strchr(what, ' ')));
}

static bool is_so(struct play *p, const char *what)
{
    char path[128];
    if (strcmp(what, "taken") == 0)
        return is_taken(p, NULL);
    if (strcmp(what, "ended") == 0)
        return agent_has_ended(&p->place->agent) ||
               (is_hosted(p) && session_of(&p->sessions, ITS_OWN)->is_over);
    if (starts_with(what, "file ")) {
        path_of(p, what + 5, path);
        return access(path, F_OK) == 0;
    }
    pid_t pid = who(p, what);
    char state = pid > 0 ? process_state(pid) : '\0';
    const char *wanted = strchr(what, ' ') + 1;
    if (state == '\0' || state == 'Z')
        return true; /* It is gone, and nothing else will be so any more. */
    if (strcmp(wanted, "gone") == 0)
        return false;
    if (starts_with(wanted, "runs "))
        return process_runs(pid, wanted + 5);
    if (strcmp(wanted, "asleep") == 0)
        return state == 'S';
    if (strcmp(wanted, "stopped") == 0)
        return state == 'T';
    die("until what? %s", what);
}

static void do_until(struct play *p, const char *what)
{
    start(p);
    take_time(p, is_so, what);
}

static const struct {
    const char *verb;
    void (*run)(struct play *, const char *);
} VERBS[] = {
    /* before the agent is started */
    {"as nobody", do_as_nobody},
    {"without /proc", do_without_proc},
    {"without processes", do_without_processes},
    {"target", do_target},
    {"zombie target", do_zombie},
    {"listen", do_listen},
    {"file ", do_file},
    /* how frames are written */
    {"encode ", do_encode},
    {"slowly", do_slowly},
    {"bytes ", do_bytes},
    {"announce ", do_announce},
    /* what else may happen */
    {"limit descriptors to ", do_limit_descriptors},
    {"accept ", do_accept},
    {"close", do_close},
    {"hang up", do_hangup},
    {"kill ", do_kill},
    {"until ", do_until},
};

static void act(struct play *p, const char *text)
{
    for (size_t i = 0; i < sizeof VERBS / sizeof *VERBS; i++) {
        if (starts_with(text, VERBS[i].verb)) {
            VERBS[i].run(p, text + strlen(VERBS[i].verb));
            return;
        }
    }
    die("nobody knows how to %s", text);
}

static void perform(struct play *p, const struct scenario *scenario)
{
    for (int i = 0; i < scenario->step_count && !p->is_late; i++) {
        const struct step *step = &scenario->steps[i];
        bool is_last = i + 1 == scenario->step_count;
        if (step->kind != '>')
            flush(p);
        if (step->kind == '>') {
            say(p, step->text);
        } else if (step->kind == '!') {
            act(p, step->text);
        } else {
            struct session *from = whose(p, step->text);
            from->expected_count++;
            /* What the last events are shows at the end. */
            while (!is_last && !session_has_said(from, step->text) && is_patient(p)) {
                bool has_ended = agent_has_ended(&p->place->agent) ||
                                 (!p->has_addresses && from->is_over);
                listen_for(p, has_ended ? 0 : 5, false);
                if (has_ended)
                    break;
            }
        }
    }
    flush(p);
    start(p);
}

/* The end. */

/* How many sessions are expected to end. */
static int ends(const struct play *p, const struct scenario *scenario)
{
    struct text line = {0};
    int count = 0;
    for (const char *at = text_string(&scenario->answer); next_line(&at, &line);) {
        long id;
        const char *event = line_event(text_string(&line), &id);
        if (is_terminal(event) && (id != NOBODY || !p->has_addresses))
            count += line_count(text_string(&line));
    }
    text_free(&line);
    return count;
}

/* Waits for the ends of sessions, and until the host has read all that was said. Whatever it is going
   to answer to that has been answered then. */
static void await_sessions(struct play *p, const struct scenario *scenario)
{
    int expected = ends(p, scenario);
    if (p->place->agent.to < 0)
        return;
    while (p->sessions.ended_count < expected && !agent_has_ended(&p->place->agent) && is_patient(p))
        listen_for(p, 5, false);
    ei_x_buff x;
    ei_x_new_with_version(&x);
    address_write(&x, (unsigned long)BARRIER, &(struct encoding){0});
    term_write(&x, "{:call, 0, :abort}", &(struct encoding){0}, NULL, 0);
    if (!p->by_hand)
        add_frame(p, &x);
    ei_x_free(&x);
    flush(p);
    while (!p->by_hand && !p->is_read && !agent_has_ended(&p->place->agent) && is_patient(p))
        listen_for(p, 5, false);
}

static void await_end(struct play *p, const struct scenario *scenario, struct text *end)
{
    struct agent *agent = &p->place->agent;
    if (is_hosted(p))
        await_sessions(p, scenario);
    if (p->place->way == WARM && !agent_has_ended(agent) && !p->is_late)
        return;
    if (is_hosted(p) && !p->is_late)
        agent_close_to(agent);
    while (!agent_has_ended(agent) && is_patient(p))
        listen_for(p, 5, false);
    int status;
    if (p->is_late) {
        text_print(end, "= no end\n");
        kill(agent->pid, SIGKILL);
    }
    waitpid(agent->pid, &status, 0);
    p->place->is_started = false;
    listen_for(p, 0, false);
    agent_close_to(agent);
    agent_close_from(agent);
    if (p->is_late)
        return;
    if (WIFEXITED(status))
        text_print(end, "= exit %d\n", WEXITSTATUS(status));
    else
        text_print(end, "= killed %d\n", WTERMSIG(status));
}

static void report_output(struct play *p, struct text *end)
{
    char buffer[65536];
    ssize_t length = pread(p->place->output, buffer, sizeof buffer, 0);
    if (length > 0) {
        text_print(end, "= stdout ");
        text_quote(end, buffer, (size_t)length);
        text_print(end, "\n");
    }
}

/* What has come in at the socket, connection by connection. */
static void report_socket(struct play *p, struct text *end)
{
    char buffer[65536];
    if (p->listener < 0)
        return;
    if (p->connection < 0)
        p->connection = accept(p->listener, NULL, NULL);
    while (p->connection >= 0) {
        ssize_t length, total = 0;
        while ((length = recv(p->connection, buffer + total, sizeof buffer - (size_t)total,
                              MSG_DONTWAIT)) > 0)
            total += length;
        text_print(end, "= socket ");
        text_quote(end, buffer, (size_t)total);
        text_print(end, "\n");
        close(p->connection);
        p->connection = accept(p->listener, NULL, NULL);
    }
}

static void report_left(struct play *p, const struct scenario *scenario, struct text *end)
{
    struct timespec since;
    clock_gettime(CLOCK_MONOTONIC, &since);
    int left, patience = strstr(text_string(&scenario->answer), "= left ") ? LEFT_BEHIND : PATIENCE;
    int own = p->place->is_started ? HOST_AND_GUARDIAN : 0;
    while ((left = descendants_count(p->target) - own) > 0 && elapsed(&since) < patience)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    if (left > 0)
        text_print(end, "= left %d\n", left);
    if (left > 0 || own == 0) {
        descendants_end();
        p->place->is_started = false;
    } else if (p->target > 0) {
        kill(p->target, SIGKILL);
        waitpid(p->target, NULL, __WALL);
    }
}

/* The directory of this worker, and the only process that removes it: those it forks end, too. */
static char directory[96]; /* short enough for a socket in it */
static pid_t owner;

static int remove_entry(const char *path, const struct stat *stat, int type, struct FTW *where)
{
    (void)stat, (void)type, (void)where;
    return remove(path);
}

static void make_directory(void)
{
    const char *parent = getenv("TMPDIR");
    if (!parent || !*parent)
        parent = "/tmp";
    int length = snprintf(directory, sizeof directory, "%s/linx-conformance-XXXXXX", parent);
    if (length >= (int)sizeof directory)
        die("%s is too long a path", parent);
    if (!mkdtemp(directory) || chmod(directory, 0777) < 0)
        die("%s: %s", directory, strerror(errno));
}

static void remove_directory(void)
{
    nftw(directory, remove_entry, 4, FTW_DEPTH | FTW_PHYS);
    *directory = '\0';
}

static void clean_up(void)
{
    if (getpid() != owner)
        return;
    descendants_end();
    if (*directory)
        remove_directory();
}

void place_open(struct place *place, enum way way, const char *path)
{
    *place = (struct place){.way = way, .path = path};
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    owner = getpid();
    atexit(clean_up);
    place->output = memfd_create("stdout", MFD_CLOEXEC);
    place->errors = memfd_create("stderr", MFD_CLOEXEC);
    if (place->output < 0 || place->errors < 0)
        die("output of an agent: %s", strerror(errno));
    fcntl(place->output, F_SETFL, O_APPEND);
}

void place_close(struct place *place)
{
    if (place->is_started) {
        agent_close_to(&place->agent);
        agent_close_from(&place->agent);
    }
    descendants_end();
}

bool is_for_a_warm_host(const struct scenario *scenario)
{
    static const char *const OTHERS[] = {"as nobody",    "without ",    "bytes ",     "announce ",
                                         "limit ",       "hang up",     "kill agent", "kill ward",
                                         "until agent ", "until ended", "until ward "};
    const char *answer = text_string(&scenario->answer);
    for (int i = 0; i < scenario->step_count; i++)
        for (size_t j = 0; j < sizeof OTHERS / sizeof *OTHERS; j++)
            if (scenario->steps[i].kind == '!' && starts_with(scenario->steps[i].text, OTHERS[j]))
                return false;
    return !scenario->is_for_a_host && !strstr(answer, "= left ") && !strstr(answer, "of the host: ");
}

void play(const struct scenario *scenario, struct place *place, struct text *answer)
{
    struct play p = {.place = place, .listener = -1, .connection = -1};
    struct text end = {0};
    clock_gettime(CLOCK_MONOTONIC, &p.start);
    make_directory();
    p.directory = directory;
    p.has_addresses = p.sessions.have_addresses = scenario->is_for_a_host;
    p.patience = strstr(text_string(&scenario->answer), "= no end") ? SHORT_PATIENCE : PATIENCE;
    if (ftruncate(place->output, 0) < 0)
        die("output of an agent: %s", strerror(errno));
    name_bytes(&p, "dir", p.directory, strlen(p.directory));
    name_path(&p, "socket", "socket");
    name_namespaces(&p);
    for (int i = 0; i < FILTER_COUNT; i++)
        name_bytes(&p, FILTERS[i].name, FILTERS[i].program, FILTERS[i].length);

    perform(&p, scenario);
    await_end(&p, scenario, &end);
    report_output(&p, &end);
    report_socket(&p, &end);
    report_left(&p, scenario, &end);
    sessions_print(&p.sessions, answer);
    text_add(answer, end.bytes, end.length);
    if (p.listener >= 0)
        close(p.listener);
    remove_directory();
}
