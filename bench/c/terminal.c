/*
 * Workloads for a terminal, and the floor: the same workload on a terminal that C alone reads and writes.
 *
 *     terminal write BYTES          writes so many bytes, none of them a line feed
 *     terminal read BYTES           reads so many bytes in raw mode; says "ready" before and "done" after
 *     terminal echo                 writes back what it reads, in raw mode, after it said "ready"; ^D ends it
 *     terminal floor-write BYTES    prints how long the bytes took to come out of the terminal, in ns
 *     terminal floor-read BYTES     prints how long they took into it
 *     terminal floor-echo COUNT     prints how long a byte took there and back, in ns, each time
 */
#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { BLOCK = 64 * 1024 };
static char block[BLOCK];

static void raw(void)
{
    struct termios terminal;
    if (tcgetattr(0, &terminal) == 0) {
        cfmakeraw(&terminal);
        tcsetattr(0, TCSANOW, &terminal);
    }
}

static void write_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t done = write(fd, bytes, size);
        if (done < 0)
            exit(1);
        bytes += done;
        size -= done;
    }
}

static void workload_write(long long bytes)
{
    memset(block, 'x', sizeof block);
    while (bytes > 0) {
        size_t size = bytes < BLOCK ? (size_t)bytes : BLOCK;
        write_all(1, block, size);
        bytes -= size;
    }
}

static void workload_read(long long bytes)
{
    raw();
    write_all(1, "ready", 5);
    while (bytes > 0) {
        ssize_t size = read(0, block, sizeof block);
        if (size <= 0)
            exit(1);
        bytes -= size;
    }
    write_all(1, "done", 4);
}

static void workload_echo(void)
{
    ssize_t size;
    raw();
    write_all(1, "ready", 5);
    while ((size = read(0, block, sizeof block)) > 0 && block[0] != 4)
        write_all(1, block, size);
}

/* The master of a terminal on which `self HOW ARG` runs. */
static int start(const char *self, const char *how, const char *arg, pid_t *pid)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0)
        die("posix_openpt");

    *pid = fork();
    if (*pid < 0)
        die("fork");
    if (*pid == 0) {
        setsid();
        int slave = open(ptsname(master), O_RDWR);
        close(master);
        for (int fd = 0; fd < 3; fd++)
            dup2(slave, fd);
        execl(self, self, how, arg, NULL);
        _exit(127);
    }
    return master;
}

static void expect(int master, const char *word)
{
    char seen[16] = "";
    size_t size = 0;
    while (size < strlen(word)) {
        ssize_t more = read(master, seen + size, strlen(word) - size);
        if (more <= 0)
            die(word);
        size += more;
    }
}

static void floor_write(const char *self, const char *bytes)
{
    pid_t pid;
    int master = start(self, "write", bytes, &pid);
    long long left = atoll(bytes);
    int64_t began = 0;

    while (left > 0) {
        ssize_t size = read(master, block, sizeof block);
        if (size <= 0)
            die("read");
        if (!began)
            began = now_ns();
        left -= size;
    }
    printf("%lld\n", (long long)(now_ns() - began));
    waitpid(pid, NULL, 0);
}

static void floor_read(const char *self, const char *bytes)
{
    pid_t pid;
    int master = start(self, "read", bytes, &pid);
    long long left = atoll(bytes);

    memset(block, 'x', sizeof block);
    expect(master, "ready");
    int64_t began = now_ns();
    while (left > 0) {
        size_t size = left < BLOCK ? (size_t)left : BLOCK;
        write_all(master, block, size);
        left -= size;
    }
    expect(master, "done");
    printf("%lld\n", (long long)(now_ns() - began));
    waitpid(pid, NULL, 0);
}

static void floor_echo(const char *self, int count)
{
    pid_t pid;
    char byte;
    int master = start(self, "echo", NULL, &pid);

    expect(master, "ready");
    for (int i = -1; i < count; i++) {
        int64_t began = now_ns();
        if (write(master, "x", 1) != 1 || read(master, &byte, 1) != 1)
            die("echo");
        if (i >= 0)
            printf("%lld\n", (long long)(now_ns() - began));
    }
    close(master);
    waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "", *arg = argc > 2 ? argv[2] : "0";

    if (strcmp(how, "write") == 0)
        workload_write(atoll(arg));
    else if (strcmp(how, "read") == 0)
        workload_read(atoll(arg));
    else if (strcmp(how, "echo") == 0)
        workload_echo();
    else if (strcmp(how, "floor-write") == 0)
        floor_write(argv[0], arg);
    else if (strcmp(how, "floor-read") == 0)
        floor_read(argv[0], arg);
    else if (strcmp(how, "floor-echo") == 0)
        floor_echo(argv[0], atoi(arg));
    else
        return 2;
    return 0;
}
