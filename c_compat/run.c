#include "run.h"

#include "play.h"
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

struct worker {
    pid_t pid;
    int scenario;
    int answer; /* a descriptor */
};

static void begin(struct worker *worker, const struct scenario *scenario, const char *agent)
{
    worker->answer = memfd_create("answer", MFD_CLOEXEC);
    fflush(NULL);
    worker->pid = fork();
    if (worker->answer < 0 || worker->pid < 0)
        die("a worker: %s", strerror(errno));
    if (worker->pid > 0)
        return;
    struct text answer = {0};
    signal(SIGPIPE, SIG_IGN);
    play(scenario, agent, &answer);
    if (write(worker->answer, answer.bytes, answer.length) != (ssize_t)answer.length)
        die("an answer: %s", strerror(errno));
    exit(0);
}

/* Waits for a worker, takes its answer, and returns its place. */
static int finish_one(struct worker *workers, int count, const struct scenarios *scenarios,
                      struct answer *answers)
{
    int status, i = 0;
    pid_t pid = waitpid(-1, &status, 0);
    while (i < count && workers[i].pid != pid)
        i++;
    if (pid < 0 || i == count)
        die("a child that nobody knows");
    const char *name = scenarios->all[workers[i].scenario].name;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        die("%s could not be played", name);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", workers[i].answer);
    if (!file_read(path, &answers[workers[i].scenario].text))
        die("%s: its answer cannot be read", name);
    close(workers[i].answer);
    return i;
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

struct answer *run_all(const struct scenarios *scenarios, const char *agent)
{
    struct worker workers[MOST_AT_ONCE];
    struct answer *answers = calloc((size_t)scenarios->count, sizeof *answers);
    char *path = realpath(agent, NULL);
    long at_once = AT_ONCE_PER_CPU * sysconf(_SC_NPROCESSORS_ONLN);
    if (at_once < 1 || at_once > MOST_AT_ONCE)
        at_once = MOST_AT_ONCE;
    if (!answers || !path || access(path, X_OK) < 0)
        die("%s: %s", agent, strerror(errno));
    int busy = 0;
    for (int i = 0; i < scenarios->count; i++) {
        answers[i].skipped = what_lacks(&scenarios->all[i]);
        if (answers[i].skipped)
            continue;
        if (busy == at_once) {
            int place = finish_one(workers, busy, scenarios, answers);
            workers[place] = workers[--busy];
        }
        workers[busy].scenario = i;
        begin(&workers[busy++], &scenarios->all[i], path);
    }
    while (busy > 0) {
        int place = finish_one(workers, busy, scenarios, answers);
        workers[place] = workers[--busy];
    }
    free(path);
    return answers;
}
