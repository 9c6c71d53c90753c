/*
 * The floor of a checkpoint: a forked child waits for a byte, then becomes PROGRAM, which writes the time to PATH.
 *
 *     park COUNT PROGRAM PATH     prints from the byte to the program's first instruction, in ns
 */
#include "clock.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: park COUNT PROGRAM PATH\n");
        return 2;
    }

    for (int i = -1; i < atoi(argv[1]); i++) {
        int gate[2];
        if (pipe2(gate, O_CLOEXEC) != 0)
            die("pipe2");

        pid_t pid = fork();
        if (pid < 0)
            die("fork");
        if (pid == 0) {
            char byte;
            if (read(gate[0], &byte, 1) == 1)
                execv(argv[2], argv + 2);
            _exit(127);
        }

        sleep_ms(2); /* it is parked by then */
        int64_t began = now_ns();
        if (write(gate[1], "", 1) != 1)
            die("write");
        waitpid(pid, NULL, 0);
        close(gate[0]);
        close(gate[1]);

        int64_t first;
        int fd = open(argv[3], O_RDONLY | O_CLOEXEC);
        if (fd < 0 || read(fd, &first, sizeof first) != sizeof first)
            die(argv[3]);
        close(fd);
        if (i >= 0)
            printf("%lld\n", (long long)(first - began));
    }
    return 0;
}
