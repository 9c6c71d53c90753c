#include "agent.h"

#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CONTROL_IN = 3, CONTROL_OUT = 4, ABOVE = 10, STACK = 8 << 20 };

static void become(const struct circumstances *how)
{
    if (how->without_proc) {
        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            umount2("/proc", MNT_DETACH) < 0)
            die("an agent without /proc: %s", strerror(errno));
    }
    if (how->as_nobody)
        become_nobody();
    if (how->without_processes && setrlimit(RLIMIT_NPROC, &(struct rlimit){0, 0}) < 0)
        die("an agent without processes: %s", strerror(errno));
}

/* What a terminal, make or a service manager have made of us is not to be seen in a scenario. */
static void be_ordinary(void)
{
    sigset_t none;
    long by_default[4] = {0}; /* the kernel's sigaction: libc has none for 32 and 33 */
    for (int number = 1; number < NSIG; number++)
        syscall(SYS_rt_sigaction, number, by_default, NULL, (NSIG - 1) / 8);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    struct rlimit stack;
    getrlimit(RLIMIT_STACK, &stack);
    stack.rlim_cur = STACK;
    setrlimit(RLIMIT_STACK, &stack);
    umask(022);
    if (setsid() < 0 || chdir("/") < 0 || setenv("CONFORMANCE", "inherited", 1) < 0)
        die("the place of an agent: %s", strerror(errno));
}

static void execute(const char *path, int binary, bool as_host, int in, int out, int output,
                    int errors)
{
    int zero = open("/dev/zero", O_RDONLY);
    int from[] = {zero, output, errors, in, out, binary};
    int own_errors = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, ABOVE);
    for (int i = 0; i < 6; i++) {
        from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, ABOVE);
        if (from[i] < 0)
            die("descriptors for an agent: %s", strerror(errno));
    }
    for (int i = 0; i < 5; i++)
        dup2(from[i], i);
    for (int i = CONTROL_OUT + 1; i < ABOVE; i++)
        close(i);
    be_ordinary();
    char *argv[] = {"linx_process", as_host ? "--host" : NULL, NULL};
    fexecve(from[5], argv, environ);
    /* The interpreter of a script could not open a descriptor that is closed by then. */
    if (errno == ENOENT)
        execv(path, argv);
    int error = errno;
    dup2(own_errors, STDERR_FILENO);
    die("%s cannot be executed: %s", path, strerror(error));
}

void agent_start(struct agent *agent, const char *path, const struct circumstances *how, int output,
                 int errors)
{
    int in[2], out[2];
    /* Whom it becomes may not be able to search the path. */
    int binary = open(path, O_RDONLY | O_CLOEXEC);
    if (binary < 0)
        die("%s: %s", path, strerror(errno));
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
        die("a channel: %s", strerror(errno));
    *agent = (struct agent){.to = in[1], .from = out[0]};
    agent->pid = fork();
    if (agent->pid < 0)
        die("fork: %s", strerror(errno));
    if (agent->pid == 0) {
        become(how);
        execute(path, binary, how->as_host, in[0], out[1], output, errors);
    }
    close(binary);
    close(in[0]);
    close(out[1]);
    fcntl(agent->to, F_SETFL, O_NONBLOCK);
    fcntl(agent->from, F_SETFL, O_NONBLOCK);
}

ssize_t agent_write(struct agent *agent, const char *bytes, size_t length)
{
    ssize_t written = agent->to < 0 ? -1 : write(agent->to, bytes, length);
    if (written < 0 && agent->to >= 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return written;
}

void agent_wait(struct agent *agent, int milliseconds, bool for_room)
{
    struct pollfd fds[2] = {{.fd = agent->from, .events = POLLIN},
                            {.fd = for_room ? agent->to : -1, .events = POLLOUT}};
    poll(fds, 2, milliseconds);
}

void agent_read(struct agent *agent)
{
    char buffer[65536];
    ssize_t length;
    while (agent->from >= 0 && (length = read(agent->from, buffer, sizeof buffer)) >= 0) {
        if (length == 0)
            agent_close_from(agent);
        else
            text_add(&agent->said, buffer, (size_t)length);
    }
}

bool agent_frame(struct agent *agent, const char **body, size_t *length)
{
    const uint8_t *at = (const uint8_t *)agent->said.bytes + agent->taken;
    size_t there = agent->said.length - agent->taken;
    if (there < 4)
        return false;
    *length = (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
    if (there - 4 < *length)
        return false;
    *body = (const char *)at + 4;
    agent->taken += 4 + *length;
    return true;
}

bool agent_has_taken_all(const struct agent *agent)
{
    int unread = 0;
    return agent->to < 0 || ioctl(agent->to, FIONREAD, &unread) < 0 || unread == 0;
}

bool agent_has_ended(const struct agent *agent)
{
    siginfo_t info = {0};
    int result = waitid(P_PID, (id_t)agent->pid, &info, WEXITED | WNOHANG | WNOWAIT);
    return result < 0 || info.si_pid != 0;
}

void agent_close_to(struct agent *agent)
{
    if (agent->to >= 0)
        close(agent->to);
    agent->to = -1;
}

void agent_close_from(struct agent *agent)
{
    if (agent->from >= 0)
        close(agent->from);
    agent->from = -1;
}
