#include "scenario.h"

#include "line.h"

#include <stdlib.h>
#include <string.h>

static void *more(void *array, int count, size_t size)
{
    array = reallocarray(array, (size_t)count + 1, size);
    if (!array)
        die("no memory for scenarios");
    return array;
}

static void begin(struct scenarios *scenarios, const char *title)
{
    size_t length = strcspn(title, " ");
    struct scenario scenario = {.name = strndup(title, length)};
    const char *mark = title + length + strspn(title + length, " ");
    while (*mark) {
        size_t end = strcspn(mark, "]");
        if (starts_with(mark, "[root]"))
            scenario.needs_root = true;
        else if (starts_with(mark, "[user-namespaces]"))
            scenario.needs_user_namespaces = true;
        else if (starts_with(mark, "[host]"))
            scenario.is_for_a_host = true;
        else if (starts_with(mark, "[ours]"))
            scenario.is_ours = true;
        else
            die("%s: there is no mark %s", scenario.name, mark);
        mark += end + 1 + strspn(mark + end + 1, " ");
    }
    if (scenario_named(scenarios, scenario.name) >= 0)
        die("there are two scenarios %s", scenario.name);
    scenarios->all = more(scenarios->all, scenarios->count, sizeof *scenarios->all);
    scenarios->all[scenarios->count++] = scenario;
}

static void add_line(struct scenario *scenario, const char *line)
{
    char kind = line[0];
    const char *text = line + 1 + strspn(line + 1, " ");
    if (kind == '<' || kind == '=')
        text_print(&scenario->answer, "%c %s\n", kind, text);
    if (kind == '=')
        return;
    scenario->steps = more(scenario->steps, scenario->step_count, sizeof *scenario->steps);
    scenario->steps[scenario->step_count++] = (struct step){kind, strdup(text)};
}

/* Takes in the lines that continue this one. */
static void join(const char **at, struct text *line)
{
    struct text next = {0};
    while (**at == ' ' && next_line(at, &next)) {
        const char *text = next.bytes + strspn(next.bytes, " ");
        text_print(line, " %s", text);
    }
    text_free(&next);
}

void scenarios_read(struct scenarios *scenarios, const char *path)
{
    struct text file = {0};
    if (!file_read(path, &file))
        die("%s cannot be read", path);
    scenarios_parse(scenarios, path, text_string(&file));
    text_free(&file);
}

void scenarios_parse(struct scenarios *scenarios, const char *path, const char *at)
{
    struct text line = {0};
    bool in_one = false;
    while (next_line(&at, &line)) {
        join(&at, &line);
        const char *text = text_string(&line);
        if (*text == '\0' || *text == '#')
            continue;
        if (starts_with(text, "== ")) {
            begin(scenarios, text + 3);
            in_one = true;
        } else if (in_one && strchr("><!=", *text)) {
            add_line(&scenarios->all[scenarios->count - 1], text);
        } else {
            die("%s: this belongs to no scenario: %s", path, text);
        }
    }
    for (int i = 0; i < scenarios->count; i++)
        if (scenarios->all[i].is_for_a_host)
            lines_order(&scenarios->all[i].answer);
    text_free(&line);
}

int scenario_named(const struct scenarios *scenarios, const char *name)
{
    for (int i = 0; i < scenarios->count; i++)
        if (strcmp(scenarios->all[i].name, name) == 0)
            return i;
    return -1;
}
