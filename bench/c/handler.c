/*
 * How long a signal takes.
 *
 *     handler stamp         the workload: writes "ready", then at each SIGUSR1 the time in its handler, a line in ns
 *     handler floor COUNT   the floor: kill() from a parent that has just started `handler stamp`; prints each in ns
 */
#include "clock.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t came;
static volatile int64_t at;

static void on_signal(int number)
{
    (void)number;
    at = now_ns();
    came = 1;
}

static void stamp(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t usr1, none;

    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigemptyset(&none);
    sigprocmask(SIG_BLOCK, &usr1, NULL);
    sigaction(SIGUSR1, &action, NULL);

    printf("ready\n");
    fflush(stdout);
    for (;;) {
        sigsuspend(&none);
        if (!came)
            continue;
        came = 0;
        printf("%lld\n", (long long)at);
        if (fflush(stdout) != 0)
            exit(0);
    }
}

static void floor_of(const char *self, int count)
{
    int out[2];
    char line[64];
    if (pipe(out) != 0)
        die("pipe");

    pid_t pid = fork();
    if (pid == 0) {
        dup2(out[1], 1);
        execl(self, self, "stamp", NULL);
        _exit(127);
    }
    close(out[1]);
    FILE *in = fdopen(out[0], "r");
    if (!in || !fgets(line, sizeof line, in))
        die("the child");

    for (int i = -1; i < count; i++) {
        sleep_ms(1);
        int64_t began = now_ns();
        kill(pid, SIGUSR1);
        if (!fgets(line, sizeof line, in))
            die("the child");
        if (i >= 0)
            printf("%lld\n", (long long)(atoll(line) - began));
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "stamp") == 0)
        stamp();
    else if (argc == 3 && strcmp(argv[1], "floor") == 0)
        floor_of(argv[0], atoi(argv[2]));
    else
        return 2;
    return 0;
}
