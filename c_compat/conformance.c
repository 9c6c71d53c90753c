/* Talks to an agent as a BEAM may, and compares what it answers with what is expected.

   See README.md; the scenarios are in scenarios/. */
#include "differences.h"
#include "run.h"
#include "stages.h"
#include "vectors.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char USAGE[] =
    "usage: conformance run DIRECTORY AGENT [OTHER_AGENT]   compare what they answer\n"
    "       conformance show DIRECTORY AGENT [SCENARIO...]  print what it answers\n"
    "       conformance vectors DOCUMENT AGENT              decode and try a document's vectors\n";

static struct scenarios read_all(const char *directory)
{
    struct scenarios scenarios = {0};
    struct text pattern = {0};
    glob_t found;
    text_print(&pattern, "%s/scenarios/*.txt", directory);
    if (glob(text_string(&pattern), 0, NULL, &found) != 0)
        die("there is no %s", text_string(&pattern));
    for (size_t i = 0; i < found.gl_pathc; i++)
        scenarios_read(&scenarios, found.gl_pathv[i]);
    globfree(&found);
    text_free(&pattern);
    return scenarios;
}

static void print_indented(const char *title, const char *lines)
{
    struct text line = {0};
    printf("    %s\n", title);
    while (next_line(&lines, &line))
        printf("      %s\n", text_string(&line));
    text_free(&line);
}

static int show(const char *directory, const char *agent, char **names)
{
    struct scenarios scenarios = read_all(directory), chosen = {0};
    if (*names) {
        chosen.all = calloc((size_t)scenarios.count, sizeof *chosen.all);
        for (; *names; names++) {
            int i = scenario_named(&scenarios, *names);
            if (i < 0)
                die("there is no scenario %s", *names);
            chosen.all[chosen.count++] = scenarios.all[i];
        }
        scenarios = chosen;
    }
    struct answer *answers = run_all(&scenarios, agent);
    for (int i = 0; i < scenarios.count; i++)
        printf("== %s\n%s", scenarios.all[i].name,
               answers[i].skipped ? "skipped\n" : text_string(&answers[i].text));
    return 0;
}

struct counts {
    int skipped, wrong;                    /* of ours */
    int same, listed, unlisted, other_way; /* of the other agent's */
};

/* What stands in the other agent's column. */
static const char *compare(const struct scenario *scenario, const char *answer,
                           const struct differences *differences, struct counts *counts)
{
    bool is_allowed = false;
    bool is_same = strcmp(text_string(&scenario->answer), answer) == 0;
    const struct difference *listed =
        difference_of(differences, scenario->name, answer, &is_allowed);
    if (is_same && (!listed || is_allowed)) {
        counts->same++;
        return "the same";
    }
    if (is_same) {
        counts->other_way++;
        return "THE SAME, BUT LISTED";
    }
    if (!listed) {
        counts->unlisted++;
        return "DIFFERENT, NOT LISTED";
    }
    if (!is_allowed) {
        counts->other_way++;
        return "DIFFERENT, NOT AS LISTED";
    }
    counts->listed++;
    return listed->title;
}

/* A difference is between two answers to a scenario that there is. */
static void check_differences(const struct differences *differences,
                              const struct scenarios *scenarios)
{
    for (int i = 0; i < differences->count; i++) {
        const struct difference *one = &differences->all[i];
        int named = scenario_named(scenarios, one->scenario);
        if (named < 0)
            die("the differences speak of %s, which there is not", one->scenario);
        const char *ours = text_string(&scenarios->all[named].answer);
        bool is_one = false;
        for (int other = 0; other < differences->count && !is_one; other++)
            is_one = strcmp(differences->all[other].scenario, one->scenario) == 0 &&
                     strcmp(text_string(&differences->all[other].answer), ours) != 0;
        if (!is_one)
            die("the difference of %s is none", one->scenario);
    }
}

static int run(const char *directory, const char *agent, const char *other)
{
    struct scenarios scenarios = read_all(directory);
    struct differences differences = {0};
    struct text path = {0};
    struct counts counts = {0};
    text_print(&path, "%s/DIFFERENCES.md", directory);
    differences_read(&differences, text_string(&path));
    check_differences(&differences, &scenarios);

    struct answer *ours = run_all(&scenarios, agent);
    struct answer *theirs = other ? run_all(&scenarios, other) : NULL;
    printf("%-44s %-12s %s\n", "SCENARIO", "OURS", other ? "THE OTHER" : "");
    for (int i = 0; i < scenarios.count; i++) {
        const struct scenario *scenario = &scenarios.all[i];
        const char *expected = text_string(&scenario->answer);
        const char *answer = text_string(&ours[i].text);
        if (ours[i].skipped) {
            printf("%-44s %s\n", scenario->name, ours[i].skipped);
            counts.skipped++;
            continue;
        }
        bool is_right = strcmp(expected, answer) == 0;
        const char *column = "";
        if (theirs)
            column = compare(scenario, text_string(&theirs[i].text), &differences, &counts);
        printf("%-44s %-12s %s\n", scenario->name, is_right ? "as expected" : "WRONG", column);
        if (!is_right) {
            counts.wrong++;
            print_indented("expected", expected);
            print_indented("ours", answer);
        }
        if (theirs && strstr(column, "DIFFERENT") == column)
            print_indented("the other", text_string(&theirs[i].text));
    }
    bool stages_good = stages_report(&scenarios, directory);
    printf("ours: %d scenarios, %d as expected, %d wrong, %d skipped\n",
           scenarios.count, scenarios.count - counts.wrong - counts.skipped, counts.wrong,
           counts.skipped);
    if (theirs)
        printf("the other: %d the same, %d different as listed (in %d entries), "
               "%d different and not listed, %d not as listed\n",
               counts.same, counts.listed, differences.section_count, counts.unlisted,
               counts.other_way);
    return counts.wrong + counts.unlisted + counts.other_way > 0 || !stages_good;
}

int main(int argc, char **argv)
{
    if (argc >= 4 && strcmp(argv[1], "show") == 0)
        return show(argv[2], argv[3], argv + 4);
    if ((argc == 4 || argc == 5) && strcmp(argv[1], "run") == 0)
        return run(argv[2], argv[3], argv[4]);
    if (argc == 4 && strcmp(argv[1], "vectors") == 0)
        return !vectors_check(argv[2], argv[3]);
    fputs(USAGE, stderr);
    return 2;
}
