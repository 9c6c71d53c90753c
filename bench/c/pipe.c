/*
 * The floor of a program behind pipes: C that reads or writes them, and nothing else.
 *
 *     pipe output COUNT SIZE PROGRAM [ARG]...     reads all the program writes, through a pipe of SIZE bytes (0: as it comes)
 *     pipe input COUNT BYTES PROGRAM [ARG]...     writes so many bytes, and closes
 *     pipe echo COUNT 0 PROGRAM [ARG]...          writes a line to a program that writes it back
 *
 * Output and input take from the start of the program to its end, an echo from the write to the answer.
 * Each is printed in ns.
 */
#include "clock.h"

#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCK = 64 * 1024 };
static char block[BLOCK];

static const char line[] = "one line, as somebody may well type it\n";

extern char **environ;

struct program {
    pid_t pid;
    int in, out;
};

static struct program start(char **argv, int with_input, int with_output, int size)
{
    struct program program = {.in = -1, .out = -1};
    posix_spawn_file_actions_t actions;
    int in[2], out[2];

    posix_spawn_file_actions_init(&actions);
    if (with_input) {
        if (pipe2(in, O_CLOEXEC) != 0)
            die("pipe2");
        posix_spawn_file_actions_adddup2(&actions, in[0], 0);
        program.in = in[1];
    }
    if (with_output) {
        if (pipe2(out, O_CLOEXEC) != 0)
            die("pipe2");
        if (size)
            fcntl(out[0], F_SETPIPE_SZ, size);
        posix_spawn_file_actions_adddup2(&actions, out[1], 1);
        program.out = out[0];
    }
    if (posix_spawn(&program.pid, argv[0], &actions, NULL, argv, environ) != 0)
        die("spawn");
    if (with_input)
        close(in[0]);
    if (with_output)
        close(out[1]);
    posix_spawn_file_actions_destroy(&actions);
    return program;
}

static void finish(struct program program)
{
    int status;

    if (program.in >= 0)
        close(program.in);
    if (waitpid(program.pid, &status, 0) < 0)
        die("waitpid");
    if (program.out >= 0)
        close(program.out);
    if (status != 0) {
        fprintf(stderr, "pipe: the program failed\n");
        exit(1);
    }
}

static void write_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t done = write(fd, bytes, size);
        if (done < 0)
            die("write");
        bytes += done;
        size -= done;
    }
}

static void output(char **argv, long long size)
{
    struct program program = start(argv, 0, 1, size);

    while (read(program.out, block, sizeof block) > 0) {
    }
    finish(program);
}

static void input(char **argv, long long left)
{
    struct program program = start(argv, 1, 0, 0);

    while (left > 0) {
        size_t size = left < BLOCK ? (size_t)left : BLOCK;
        write_all(program.in, block, size);
        left -= size;
    }
    finish(program);
}

static void echo(struct program program)
{
    size_t size = sizeof line - 1;

    write_all(program.in, line, size);
    while (size > 0) {
        ssize_t more = read(program.out, block, size);
        if (more <= 0)
            die("read");
        size -= more;
    }
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: pipe output|input|echo COUNT SIZE|BYTES|0 PROGRAM [ARG]...\n");
        return 2;
    }

    const char *how = argv[1];
    int count = atoi(argv[2]);
    long long number = atoll(argv[3]);
    char **program = argv + 4;
    struct program talker = {0};

    memset(block, 'x', sizeof block);
    if (strcmp(how, "echo") == 0) {
        talker = start(program, 1, 1, 0);
        echo(talker);
    }

    for (int i = 0; i < count; i++) {
        int64_t began = now_ns();
        if (strcmp(how, "output") == 0)
            output(program, number);
        else if (strcmp(how, "input") == 0)
            input(program, number);
        else
            echo(talker);
        printf("%lld\n", (long long)(now_ns() - began));
    }

    if (strcmp(how, "echo") == 0)
        finish(talker);
    return 0;
}
