#include "vectors.h"

#include "run.h"
#include "term.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct vector {
    char kind[32];
    struct text title, hex;
    bool is_good;
};

static bool is_hex(const char *line)
{
    return *line && line[strspn(line, "0123456789abcdef ")] == '\0';
}

static void read_vectors(const char *document, struct vector **all, int *count)
{
    struct text file = {0}, line = {0};
    if (!file_read(document, &file))
        die("%s cannot be read", document);
    const char *at = text_string(&file);
    struct vector *vector = NULL;
    while (next_line(&at, &line)) {
        const char *text = text_string(&line);
        if (vector && starts_with(text, "```")) {
            vector = NULL;
        } else if (vector && is_hex(text)) {
            text_print(&vector->hex, "%s ", text);
        } else if (vector) {
            text_print(&vector->title, "%s%s", vector->title.length ? " " : "", text);
        } else if (starts_with(text, "```vector ")) {
            *all = realloc(*all, (size_t)(*count + 1) * sizeof **all);
            if (!*all)
                die("no memory for vectors");
            vector = &(*all)[(*count)++];
            *vector = (struct vector){0};
            snprintf(vector->kind, sizeof vector->kind, "%s", text + strlen("```vector "));
        }
    }
    text_free(&file);
    text_free(&line);
}

static bool is_for_a_host(const struct vector *vector)
{
    return strstr(vector->kind, "to-host") != NULL;
}

static bool is_event(const struct vector *vector)
{
    return strcmp(vector->kind, "event") == 0 || strcmp(vector->kind, "from-host") == 0;
}

/* What is said to the agent around the vector: one that is no event. */
static const char *scenario_before(const char *kind)
{
    if (strcmp(kind, "request") == 0 || strcmp(kind, "malformed-request") == 0)
        return "";
    if (strcmp(kind, "command") == 0 || strcmp(kind, "malformed-command") == 0)
        return "> {:spawn, %{argv: [\"/bin/true\"], stdio: :pty, causes: true}}\n"
               "< {:status, :spawned, <pid>}\n< {:status, :ready, <pid>}\n";
    if (strcmp(kind, "to-host") == 0 || strcmp(kind, "malformed-to-host") == 0)
        return "";
    return NULL;
}

static void add_scenario(struct text *file, int number, const struct vector *vector)
{
    const char *before = scenario_before(vector->kind);
    if (before)
        text_print(file, "== %d%s\n%s> raw %s\n! until taken\n! close\n", number,
                   is_for_a_host(vector) ? " [host]" : "", before, text_string(&vector->hex));
}

static bool decode(const struct vector *vector, struct text *term)
{
    struct text bytes = {0};
    bool good = text_unhex(&bytes, text_string(&vector->hex)) &&
                term_print(term, text_string(&bytes), bytes.length);
    text_free(&bytes);
    return good;
}

/* Whether the agent's answer is as its kind demands. */
static bool suits(const struct vector *vector, const char *answer)
{
    bool is_refused = strstr(answer, "\n< {:error, 22, :malformed_request}\n= exit 2\n") ||
                      strcmp(answer, "< {:error, 22, :malformed_request}\n= exit 2\n") == 0;
    /* It may have been a request, and the host goes on. */
    if (strcmp(vector->kind, "malformed-to-host") == 0 &&
        starts_with(text_string(&vector->title), "# no term"))
        return strcmp(answer, "< {7, {:error, 22, :malformed_request}}\n= exit 0\n") == 0;
    return is_refused == starts_with(vector->kind, "malformed-");
}

bool vectors_check(const char *document, const char *agent)
{
    struct vector *vectors = NULL;
    struct text files[2] = {0};
    int count = 0, bad = 0;
    read_vectors(document, &vectors, &count);
    for (int i = 0; i < count; i++)
        add_scenario(&files[is_for_a_host(&vectors[i])], i, &vectors[i]);
    struct scenarios scenarios[2] = {0};
    struct answer *answers[2];
    for (int hosted = 0; hosted < 2; hosted++) {
        scenarios_parse(&scenarios[hosted], document, text_string(&files[hosted]));
        answers[hosted] = run_all(&scenarios[hosted], agent, hosted ? HOSTED : ALONE);
    }

    for (int i = 0; i < count; i++) {
        struct vector *vector = &vectors[i];
        char number[16];
        struct text term = {0};
        snprintf(number, sizeof number, "%d", i);
        bool hosted = is_for_a_host(vector);
        int played = scenario_named(&scenarios[hosted], number);
        bool is_malformed = starts_with(vector->kind, "malformed-");
        bool good = is_malformed || decode(vector, &term);
        if (!good)
            printf("%s: libei cannot decode: %s\n", vector->kind, text_string(&vector->title));
        else
            printf("%s: %s\n", vector->kind,
                   text_string(is_malformed ? &vector->title : &term));
        if (played < 0 && !is_event(vector)) {
            printf("  there is no such kind\n");
            good = false;
        } else if (played >= 0 && !suits(vector, text_string(&answers[hosted][played].text))) {
            printf("  the agent answers\n%s", text_string(&answers[hosted][played].text));
            good = false;
        }
        bad += !good;
        text_free(&term);
    }
    printf("%d vectors, %d of them wrong\n", count, bad);
    return bad == 0 && count > 0;
}
