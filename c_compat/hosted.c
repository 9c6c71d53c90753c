#include "hosted.h"

#include "line.h"

#include <stdlib.h>
#include <string.h>

static bool closes(const struct scenario *scenario)
{
    for (int i = 0; i < scenario->step_count; i++)
        if (scenario->steps[i].kind == '!' && strcmp(scenario->steps[i].text, "close") == 0)
            return true;
    return false;
}

/* How a session ends is in its events alone: the host ends with 0. One that has been hung up says so
   where an agent of its own ends without a word. */
static void as_a_rule(const struct scenario *scenario, struct text *answer)
{
    struct text line = {0};
    bool ends = false;
    for (const char *at = text_string(&scenario->answer); next_line(&at, &line);) {
        long id;
        const char *text = text_string(&line);
        ends |= *text == '<' && is_terminal(line_event(text, &id));
        if (starts_with(text, "= exit ") || starts_with(text, "= killed ")) {
            if (!ends && closes(scenario))
                text_print(answer, "< {:status, :hangup}\n");
            text_print(answer, "= exit 0\n");
        } else {
            text_print(answer, "%s\n", text);
        }
    }
    text_free(&line);
}

static const struct difference *listed(const struct differences *differences, const char *scenario)
{
    for (int i = 0; i < differences->count; i++)
        if (strcmp(differences->all[i].scenario, scenario) == 0)
            return &differences->all[i];
    return NULL;
}

struct scenarios hosted(const struct scenarios *scenarios, const struct differences *differences)
{
    struct scenarios others = {calloc((size_t)scenarios->count, sizeof *others.all),
                               scenarios->count};
    if (!others.all)
        die("no memory for scenarios");
    for (int i = 0; i < differences->count; i++)
        if (scenario_named(scenarios, differences->all[i].scenario) < 0)
            die("HOST.md speaks of %s, which there is not", differences->all[i].scenario);
    for (int i = 0; i < others.count; i++) {
        struct scenario *other = &others.all[i];
        const struct difference *difference = listed(differences, scenarios->all[i].name);
        *other = scenarios->all[i];
        if (other->is_for_a_host)
            continue;
        other->answer = (struct text){0};
        as_a_rule(&scenarios->all[i], &other->answer);
        if (!difference)
            continue;
        if (strcmp(text_string(&other->answer), text_string(&difference->answer)) == 0)
            die("the difference of %s in a host is none", other->name);
        text_free(&other->answer);
        text_add(&other->answer, difference->answer.bytes, difference->answer.length);
    }
    return others;
}
