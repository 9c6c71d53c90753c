/*
 * The floor of starting a program and waiting for its end: nothing but the system calls for it.
 *
 *     spawn one COUNT PAUSE_MS NAMESPACES PROGRAM [ARG]...     one after another; prints each in ns
 *     spawn crowd COUNT AT_ONCE NAMESPACES PROGRAM [ARG]...    prints what all of them took, in ns
 *
 * NAMESPACES is "none", which is posix_spawn, or letters of unshare(1): muicpnUT.
 */
#include "clock.h"

#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static char stack[64 * 1024] __attribute__((aligned(16)));

static int clone_flags(const char *letters)
{
    static const struct { char letter; int flag; } known[] = {
        {'m', CLONE_NEWNS}, {'u', CLONE_NEWUTS}, {'i', CLONE_NEWIPC}, {'C', CLONE_NEWCGROUP},
        {'p', CLONE_NEWPID}, {'n', CLONE_NEWNET}, {'U', CLONE_NEWUSER},
    };
    int flags = 0;

    if (strcmp(letters, "none") == 0)
        return 0;
    for (const char *letter = letters; *letter; letter++)
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (known[i].letter == *letter)
                flags |= known[i].flag;
    return flags;
}

static int run(void *argv)
{
    execv(*(char **)argv, argv);
    _exit(127);
}

static pid_t start(int flags, char **argv)
{
    pid_t pid;

    /* What posix_spawn does, with flags. */
    if (flags)
        pid = clone(run, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD | flags, argv);
    else if (posix_spawn(&pid, argv[0], NULL, NULL, argv, environ) != 0)
        pid = -1;
    if (pid < 0)
        die("spawn");
    return pid;
}

static void finish(idtype_t type, pid_t pid)
{
    siginfo_t info;
    if (waitid(type, pid, &info, WEXITED) != 0)
        die("waitid");
    if (info.si_code != CLD_EXITED || info.si_status != 0) {
        fprintf(stderr, "spawn: the program failed\n");
        exit(1);
    }
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "usage: spawn one|crowd COUNT PAUSE_MS|AT_ONCE NAMESPACES PROGRAM [ARG]...\n");
        return 2;
    }

    int count = atoi(argv[2]), number = atoi(argv[3]), flags = clone_flags(argv[4]);
    char **program = argv + 5;

    finish(P_PID, start(flags, program)); /* pages come in */

    if (strcmp(argv[1], "one") == 0) {
        for (int i = 0; i < count; i++) {
            if (number)
                sleep_ms(number);
            int64_t began = now_ns();
            finish(P_PID, start(flags, program));
            printf("%lld\n", (long long)(now_ns() - began));
        }
    } else {
        int64_t began = now_ns();
        for (int i = 0; i < count; i++) {
            if (i >= number)
                finish(P_ALL, 0);
            start(flags, program);
        }
        for (int i = 0; i < number && i < count; i++)
            finish(P_ALL, 0);
        printf("%lld\n", (long long)(now_ns() - began));
    }
    return 0;
}
