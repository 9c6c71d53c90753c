/* Talks to an agent as a BEAM may, and compares what it answers with what is expected.

   See README.md; the scenarios are in scenarios/. */
#include "differences.h"
#include "hosted.h"
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
    "       conformance show-hosted DIRECTORY AGENT [...]   print what it answers as a host\n"
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

static struct differences read_differences(const char *directory, const char *file)
{
    struct differences differences = {0};
    struct text path = {0};
    text_print(&path, "%s/%s", directory, file);
    differences_read(&differences, text_string(&path));
    text_free(&path);
    return differences;
}

static void print_indented(const char *title, const char *lines)
{
    struct text line = {0};
    printf("    %s\n", title);
    while (next_line(&lines, &line))
        printf("      %s\n", text_string(&line));
    text_free(&line);
}

static int show(const char *directory, const char *agent, enum way way, char **names)
{
    struct scenarios scenarios = read_all(directory), chosen = {0};
    struct differences differences = read_differences(directory, "HOST.md");
    if (way != ALONE)
        scenarios = hosted(&scenarios, &differences);
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
    struct answer *answers = run_all(&scenarios, agent, way);
    for (int i = 0; i < scenarios.count; i++)
        printf("== %s\n%s", scenarios.all[i].name,
               answers[i].skipped ? "skipped\n" : text_string(&answers[i].text));
    return 0;
}

struct hosted_counts {
    int same, listed, for_a_host, wrong, skipped;
};

struct counts {
    int skipped, wrong, for_a_host;        /* of ours */
    int same, listed, unlisted, other_way, not_asked; /* of the other agent's */
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

/* A host that goes on has no exit code. */
static bool is_answer(const struct text *expected, const struct text *answer, enum way way)
{
    struct text wanted = {0}, line = {0};
    for (const char *at = text_string(expected); next_line(&at, &line);)
        if (way != WARM || !starts_with(text_string(&line), "= exit "))
            text_print(&wanted, "%s\n", text_string(&line));
    bool is = strcmp(text_string(&wanted), text_string(answer)) == 0;
    text_free(&line);
    text_free(&wanted);
    return is;
}

/* What stands in the columns of a host. */
static const char *judge(const struct scenario *expected, const struct answer *answer, enum way way,
                         const struct differences *differences, struct hosted_counts *counts)
{
    if (answer->skipped) {
        counts->skipped++;
        return "-";
    }
    const struct difference *listed = NULL;
    bool is_right = is_answer(&expected->answer, &answer->text, way);
    for (int i = 0; i < differences->count; i++) {
        if (strcmp(differences->all[i].scenario, expected->name) == 0) {
            listed = &differences->all[i];
            is_right |= is_answer(&listed->answer, &answer->text, way);
        }
    }
    if (!is_right) {
        counts->wrong++;
        return "WRONG";
    }
    if (expected->is_for_a_host)
        counts->for_a_host++;
    else if (listed)
        counts->listed++;
    else
        counts->same++;
    return listed ? "as listed" : expected->is_for_a_host ? "as expected" : "as alone";
}

static int run(const char *directory, const char *agent, const char *other)
{
    struct scenarios scenarios = read_all(directory);
    struct differences differences = read_differences(directory, "DIFFERENCES.md");
    struct differences in_a_host = read_differences(directory, "HOST.md");
    struct scenarios for_hosts = hosted(&scenarios, &in_a_host);
    struct counts counts = {0};
    struct hosted_counts cold = {0}, warm = {0};
    check_differences(&differences, &scenarios);

    struct answer *ours = run_all(&scenarios, agent, ALONE);
    struct answer *fresh = run_all(&for_hosts, agent, HOSTED);
    struct answer *shared = run_all(&for_hosts, agent, WARM);
    struct answer *theirs = other ? run_other(&scenarios, other) : NULL;
    printf("%-44s %-12s %-12s %-12s %s\n", "SCENARIO", "OURS", "IN A HOST", "IN ONE HOST",
           other ? "THE OTHER" : "");
    for (int i = 0; i < scenarios.count; i++) {
        const struct scenario *scenario = &scenarios.all[i];
        const char *expected = text_string(&scenario->answer);
        const char *answer = text_string(&ours[i].text);
        if (ours[i].skipped && fresh[i].skipped) {
            printf("%-44s %s\n", scenario->name, ours[i].skipped);
            counts.skipped += !scenario->is_for_a_host;
            counts.for_a_host += scenario->is_for_a_host;
            cold.skipped++;
            warm.skipped++;
            continue;
        }
        bool is_right = ours[i].skipped || strcmp(expected, answer) == 0;
        const char *column = "";
        const char *in_fresh = judge(&for_hosts.all[i], &fresh[i], HOSTED, &in_a_host, &cold);
        const char *in_shared = judge(&for_hosts.all[i], &shared[i], WARM, &in_a_host, &warm);
        if (theirs && theirs[i].skipped) {
            column = scenario->is_ours ? theirs[i].skipped : "-";
            counts.not_asked += scenario->is_ours;
        } else if (theirs) {
            column = compare(scenario, text_string(&theirs[i].text), &differences, &counts);
        }
        printf("%-44s %-12s %-12s %-12s %s\n", scenario->name,
               ours[i].skipped ? "-" : is_right ? "as expected" : "WRONG", in_fresh, in_shared,
               column);
        counts.for_a_host += ours[i].skipped != NULL;
        if (!is_right) {
            counts.wrong++;
            print_indented("expected", expected);
            print_indented("ours", answer);
        }
        if (strcmp(in_fresh, "WRONG") == 0 || strcmp(in_shared, "WRONG") == 0)
            print_indented("expected of a host", text_string(&for_hosts.all[i].answer));
        if (strcmp(in_fresh, "WRONG") == 0)
            print_indented("in a host", text_string(&fresh[i].text));
        if (strcmp(in_shared, "WRONG") == 0)
            print_indented("in one host", text_string(&shared[i].text));
        if (theirs && strstr(column, "DIFFERENT") == column)
            print_indented("the other", text_string(&theirs[i].text));
    }
    bool stages_good = stages_report(&scenarios, directory);
    int played = scenarios.count - counts.for_a_host;
    printf("ours: %d scenarios, %d as expected, %d wrong, %d skipped\n", played,
           played - counts.wrong - counts.skipped, counts.wrong, counts.skipped);
    printf("in a host each: %d as alone, %d different as listed (in %d entries), %d for a host, "
           "%d wrong, %d skipped\n",
           cold.same, cold.listed, in_a_host.section_count, cold.for_a_host, cold.wrong,
           cold.skipped);
    printf("one after the other in a few hosts: %d as alone, %d different as listed, %d wrong\n",
           warm.same, warm.listed, warm.wrong);
    if (theirs)
        printf("the other: %d the same, %d different as listed (in %d entries), "
               "%d different and not listed, %d not as listed, %d not asked\n",
               counts.same, counts.listed, differences.section_count, counts.unlisted,
               counts.other_way, counts.not_asked);
    return counts.wrong + cold.wrong + warm.wrong + counts.unlisted + counts.other_way > 0 ||
           !stages_good;
}

int main(int argc, char **argv)
{
    if (argc >= 4 && strcmp(argv[1], "show") == 0)
        return show(argv[2], argv[3], ALONE, argv + 4);
    if (argc >= 4 && strcmp(argv[1], "show-hosted") == 0)
        return show(argv[2], argv[3], HOSTED, argv + 4);
    if ((argc == 4 || argc == 5) && strcmp(argv[1], "run") == 0)
        return run(argv[2], argv[3], argv[4]);
    if (argc == 4 && strcmp(argv[1], "vectors") == 0)
        return !vectors_check(argv[2], argv[3]);
    fputs(USAGE, stderr);
    return 2;
}
