/*
 * The floor of many live processes: `sleep`, started by C, its standard descriptors on /dev/null.
 *
 *     live COUNT PROGRAM [ARG]...
 *
 * Prints what each took to start, in ns, and "live". At a byte, or the end, of its standard input it kills them all,
 * and prints how long it took until all were reaped.
 */
#include "clock.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;

    int count = atoi(argv[1]);
    pid_t *pids = calloc(count, sizeof *pids);
    posix_spawn_file_actions_t actions;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&actions, 0, 1);
    posix_spawn_file_actions_adddup2(&actions, 0, 2);

    for (int i = 0; i < count; i++) {
        int64_t began = now_ns();
        if (posix_spawn(&pids[i], argv[2], &actions, NULL, argv + 2, environ) != 0)
            die("posix_spawn");
        printf("%lld\n", (long long)(now_ns() - began));
    }
    printf("live\n");
    fflush(stdout);

    getchar();

    int64_t began = now_ns();
    for (int i = 0; i < count; i++)
        kill(pids[i], SIGKILL);
    for (int i = 0; i < count; i++)
        waitpid(pids[i], NULL, 0);
    printf("%lld\n", (long long)(now_ns() - began));
    return 0;
}
