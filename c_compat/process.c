#include "process.h"

#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { NOBODY = 65534 };

static bool stat_read(pid_t pid, struct text *stat)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    return file_read(path, stat) && stat->length > 0;
}

/* The name is in parentheses, and may hold some. */
char process_state(pid_t pid)
{
    struct text stat = {0};
    const char *end = stat_read(pid, &stat) ? strrchr(stat.bytes, ')') : NULL;
    char state = '\0';
    if (end)
        state = end[2];
    text_free(&stat);
    return state == 'X' ? '\0' : state;
}

bool process_runs(pid_t pid, const char *program)
{
    struct text stat = {0};
    bool runs = false;
    if (stat_read(pid, &stat)) {
        const char *start = strchr(stat.bytes, '('), *end = strrchr(stat.bytes, ')');
        size_t length = strlen(program);
        runs = start && end && (size_t)(end - start - 1) == length &&
               strncmp(start + 1, program, length) == 0;
    }
    text_free(&stat);
    return runs;
}

static void children_read(pid_t pid, struct text *children)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
    file_read(path, children);
}

pid_t process_first_child(pid_t pid)
{
    struct text children = {0};
    children_read(pid, &children);
    pid_t first = atoi(text_string(&children));
    text_free(&children);
    return first;
}

static int below(pid_t pid, pid_t except, int signal)
{
    struct text children = {0};
    children_read(pid, &children);
    int count = 0;
    for (char *at = children.bytes; at && *at && *at != '\n';) {
        pid_t child = (pid_t)strtol(at, &at, 10);
        at += strspn(at, " ");
        if (child <= 0 || child == except)
            continue;
        count += 1 + below(child, except, signal);
        if (signal > 0)
            kill(child, signal);
    }
    text_free(&children);
    return count;
}

static void reap(pid_t except)
{
    siginfo_t info = {0};
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0 && info.si_pid != 0 &&
           info.si_pid != except) {
        waitpid(info.si_pid, NULL, __WALL);
        info.si_pid = 0;
    }
}

int descendants_count(pid_t except)
{
    reap(except);
    return below(getpid(), except, 0);
}

void descendants_end(void)
{
    for (int tries = 0; tries < 10000; tries++) {
        reap(0);
        if (below(getpid(), 0, SIGKILL) == 0)
            return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    die("processes that do not die of SIGKILL");
}

static const struct {
    const char *name;
    unsigned long long flag;
} NAMESPACES[] = {{"user", CLONE_NEWUSER},     {"mount", CLONE_NEWNS}, {"uts", CLONE_NEWUTS},
                  {"ipc", CLONE_NEWIPC},       {"net", CLONE_NEWNET},  {"pid", CLONE_NEWPID},
                  {"cgroup", CLONE_NEWCGROUP}, {"time", CLONE_NEWTIME}};

static unsigned long long flags_of(const char *namespaces)
{
    unsigned long long flags = 0;
    for (size_t i = 0; i < sizeof NAMESPACES / sizeof *NAMESPACES; i++) {
        const char *at = strstr(namespaces, NAMESPACES[i].name);
        if (at)
            flags |= NAMESPACES[i].flag;
    }
    return flags;
}

void become_nobody(void)
{
    if (geteuid() == 0 &&
        (setgroups(0, NULL) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0))
        die("to become nobody: %s", strerror(errno));
}

/* Whether a process can make such a namespace. One of its own tries. */
static bool can_unshare(int flag, bool as_nobody)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        if (as_nobody)
            become_nobody();
        _exit(unshare(flag) < 0);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

bool is_whole_root(void)
{
    return geteuid() == 0 && can_unshare(CLONE_NEWNET, false);
}

bool user_namespaces_are_free(void)
{
    return can_unshare(CLONE_NEWUSER, true);
}

static pid_t clone_target(unsigned long long flags)
{
    struct clone_args arguments = {.flags = flags, .exit_signal = SIGCHLD};
    pid_t pid = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid < 0)
        die("clone3 of a target: %s", strerror(errno));
    if (pid > 0)
        return pid;
    for (;;)
        pause();
}

pid_t target_start(const char *namespaces, bool as_nobody)
{
    unsigned long long flags = flags_of(namespaces);
    if (!as_nobody)
        return clone_target(flags);
    /* Whoever becomes nobody cannot go back. What it clones and leaves comes to us. */
    int channel[2];
    pid_t target, helper = pipe2(channel, O_CLOEXEC) < 0 ? -1 : fork();
    if (helper == 0) {
        become_nobody();
        /* Else its namespaces would be root's to open. */
        prctl(PR_SET_DUMPABLE, 1);
        target = clone_target(flags);
        _exit(write(channel[1], &target, sizeof target) < 0);
    }
    close(channel[1]); /* Else a helper that fails is waited for without end. */
    if (helper < 0 || read(channel[0], &target, sizeof target) != sizeof target)
        die("a target of nobody's: %s", strerror(errno));
    close(channel[0]);
    waitpid(helper, NULL, 0);
    return target;
}

pid_t zombie_start(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    siginfo_t info;
    if (pid < 0 || waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0)
        die("a zombie: %s", strerror(errno));
    return pid;
}
