#include "run.h"

#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AT_ONCE_PER_CPU = 4, MOST_AT_ONCE = 16 };

/* Plays every so manyth scenario, from one on. */
struct worker {
    pid_t pid;
    int first, step;
};

struct run {
    const struct scenarios *scenarios;
    struct answer *answers;
    const char *agent;
    enum way way;
};

static void work(const struct run *run, const struct worker *worker)
{
    struct place place;
    signal(SIGPIPE, SIG_IGN);
    place_open(&place, run->way, run->agent);
    for (int i = worker->first; i < run->scenarios->count; i += worker->step) {
        struct text answer = {0};
        if (run->answers[i].skipped)
            continue;
        play(&run->scenarios->all[i], &place, &answer);
        if (write(run->answers[i].file, answer.bytes, answer.length) != (ssize_t)answer.length)
            die("an answer: %s", strerror(errno));
        text_free(&answer);
    }
    place_close(&place);
}

static void begin(const struct run *run, struct worker *worker)
{
    for (int i = worker->first; i < run->scenarios->count; i += worker->step) {
        run->answers[i].file = memfd_create("answer", MFD_CLOEXEC);
        if (run->answers[i].file < 0)
            die("an answer: %s", strerror(errno));
    }
    fflush(NULL);
    worker->pid = fork();
    if (worker->pid < 0)
        die("a worker: %s", strerror(errno));
    if (worker->pid == 0) {
        work(run, worker);
        exit(0);
    }
}

/* Waits for a worker, takes its answers, and returns its place. */
static int finish_one(const struct run *run, struct worker *workers, int count)
{
    int status, at = 0;
    pid_t pid = waitpid(-1, &status, 0);
    while (at < count && workers[at].pid != pid)
        at++;
    if (pid < 0 || at == count)
        die("a child that nobody knows");
    const struct worker *worker = &workers[at];
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        die("%s could not be played, or one after it", run->scenarios->all[worker->first].name);
    for (int i = worker->first; i < run->scenarios->count; i += worker->step) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", run->answers[i].file);
        if (!file_read(path, &run->answers[i].text))
            die("%s: its answer cannot be read", run->scenarios->all[i].name);
        close(run->answers[i].file);
    }
    return at;
}

static const char *what_lacks(const struct scenario *scenario)
{
    static int has_root = -1, has_user_namespaces = -1;
    const char *left_out = getenv("LEAVE_OUT");
    if (has_root < 0) {
        has_root = is_whole_root();
        has_user_namespaces = user_namespaces_are_free();
    }
    if (left_out && strstr(left_out, scenario->name))
        return "is left out";
    if (scenario->needs_root && !has_root)
        return "needs root with CAP_SYS_ADMIN";
    if (scenario->needs_user_namespaces && !has_user_namespaces)
        return "needs user namespaces for everybody";
    return NULL;
}

static const char *why_not(const struct scenario *scenario, enum way way)
{
    const char *lacking = what_lacks(scenario);
    if (lacking)
        return lacking;
    if (way == ALONE && scenario->is_for_a_host)
        return "is for a host";
    if (way == WARM && !is_for_a_warm_host(scenario))
        return "is not for a warm host";
    return NULL;
}

static struct answer *run_some(const struct scenarios *scenarios, const char *agent, enum way way,
                               bool is_ours)
{
    struct worker workers[MOST_AT_ONCE];
    struct answer *answers = calloc((size_t)scenarios->count, sizeof *answers);
    char *path = realpath(agent, NULL);
    int at_once = AT_ONCE_PER_CPU * (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (at_once < 1 || at_once > MOST_AT_ONCE)
        at_once = MOST_AT_ONCE;
    if (!answers || !path || access(path, X_OK) < 0)
        die("%s: %s", agent, strerror(errno));
    struct run run = {scenarios, answers, path, way};
    for (int i = 0; i < scenarios->count; i++)
        answers[i].skipped = scenarios->all[i].is_ours && !is_ours
                                 ? "not asked"
                                 : why_not(&scenarios->all[i], way);
    int busy = 0, last = way == WARM ? at_once : scenarios->count;
    for (int i = 0; i < last && i < scenarios->count; i++) {
        if (way != WARM && answers[i].skipped)
            continue;
        if (busy == at_once) {
            int place = finish_one(&run, workers, busy);
            workers[place] = workers[--busy];
        }
        workers[busy] = (struct worker){.first = i, .step = last};
        begin(&run, &workers[busy++]);
    }
    while (busy > 0) {
        int place = finish_one(&run, workers, busy);
        workers[place] = workers[--busy];
    }
    free(path);
    return answers;
}

struct answer *run_all(const struct scenarios *scenarios, const char *agent, enum way way)
{
    return run_some(scenarios, agent, way, true);
}

struct answer *run_other(const struct scenarios *scenarios, const char *agent)
{
    return run_some(scenarios, agent, ALONE, false);
}
