/*
 * Asks the kernel what filters do to system calls, without making these. Usage:
 *
 *   seccomp_probe PROGRAM... < CALLS
 *
 * Each line of CALLS is "syscall" or "int80", a number and six arguments. The answer to each is a line: "allow",
 * "errno N", "trace N", "trap N", "killed", or "signal N" for an instruction that this machine does not have.
 *
 * The first filter of the prober's child hands everything to its tracer. That is the least restrictive answer but
 * "log" and "allow", so it is what comes of these two, and the tracer has the call skipped.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the first filter tells the tracer. */
#define PASSED 0xffff

#define PROGRAMS 8

static struct sock_filter code[PROGRAMS][4096];
static struct sock_fprog programs[PROGRAMS];
static int count;

/* Where the child is put, and where it stops again. */
extern char by_syscall[], by_int80[];
__asm__(".globl by_syscall, by_int80\n"
	"stop: int3\n"
	"by_syscall: syscall\n int3\n"
	"by_int80: int $0x80\n int3\n");
extern void stop(void);

static void check(long result, const char *what)
{
	if (result < 0)
		err(1, "%s", what);
}

static void child(void)
{
	struct sock_filter all = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | PASSED);
	struct sock_fprog first = {1, &all};
	check(ptrace(PTRACE_TRACEME, 0, 0, 0), "PTRACE_TRACEME");
	check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
	raise(SIGSTOP);
	check(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &first), "the first filter");
	for (int i = 0; i < count; i++)
		check(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, programs + i), "a filter");
	stop();
}

static pid_t pid;
static struct user_regs_struct registers;

static int next_stop(void)
{
	int status;
	check(waitpid(pid, &status, __WALL), "waitpid");
	return status;
}

static int is_event(int status)
{
	return status >> 8 == (SIGTRAP | PTRACE_EVENT_SECCOMP << 8);
}

/* A child under all filters, stopped. */
static void start(void)
{
	int status;
	pid = fork();
	check(pid, "fork");
	if (pid == 0) {
		child();
		_exit(1);
	}
	next_stop();
	check(ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL), "PTRACE_SETOPTIONS");
	do {
		check(ptrace(PTRACE_CONT, pid, 0, 0), "PTRACE_CONT");
		status = next_stop();
	} while (is_event(status));
	if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
		errx(1, "the filters could not be installed: %#x", status);
	check(ptrace(PTRACE_GETREGS, pid, 0, &registers), "PTRACE_GETREGS");
}

static int proceed(void)
{
	check(ptrace(PTRACE_CONT, pid, 0, 0), "PTRACE_CONT");
	return next_stop();
}

static void skip(void)
{
	struct user_regs_struct now;
	check(ptrace(PTRACE_GETREGS, pid, 0, &now), "PTRACE_GETREGS");
	now.orig_rax = -1;
	check(ptrace(PTRACE_SETREGS, pid, 0, &now), "PTRACE_SETREGS");
}

static void ask(const char *how, long number, unsigned long *argument)
{
	struct user_regs_struct call = registers;
	int native = strcmp(how, "syscall") == 0;
	call.rip = (unsigned long)(native ? by_syscall : by_int80);
	call.orig_rax = -1;
	call.rax = number;
	if (native) {
		call.rdi = argument[0], call.rsi = argument[1], call.rdx = argument[2];
		call.r10 = argument[3], call.r8 = argument[4], call.r9 = argument[5];
	} else {
		call.rbx = argument[0], call.rcx = argument[1], call.rdx = argument[2];
		call.rsi = argument[3], call.rdi = argument[4], call.rbp = argument[5];
	}
	check(ptrace(PTRACE_SETREGS, pid, 0, &call), "PTRACE_SETREGS");
	int status = proceed();

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) {
		printf("killed\n");
		start();
		return;
	}
	if (!WIFSTOPPED(status))
		errx(1, "the child has ended: %#x", status);
	if (is_event(status)) {
		unsigned long data;
		check(ptrace(PTRACE_GETEVENTMSG, pid, 0, &data), "PTRACE_GETEVENTMSG");
		if (data == PASSED)
			printf("allow\n");
		else
			printf("trace %lu\n", data);
		skip();
	} else if (WSTOPSIG(status) == SIGSYS) {
		siginfo_t info;
		check(ptrace(PTRACE_GETSIGINFO, pid, 0, &info), "PTRACE_GETSIGINFO");
		printf("trap %d\n", info.si_errno);
	} else if (WSTOPSIG(status) == SIGTRAP) {
		check(ptrace(PTRACE_GETREGS, pid, 0, &call), "PTRACE_GETREGS");
		printf("errno %d\n", -(int)call.rax);
		return;
	} else {
		printf("signal %d\n", WSTOPSIG(status));
		return;
	}
	/* On to the breakpoint. */
	status = proceed();
	if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
		errx(1, "the call was not skipped: %#x", status);
}

int main(int argc, char **argv)
{
	char how[16];
	long number;
	unsigned long a[6];

	for (count = 0; count < argc - 1 && count < PROGRAMS; count++) {
		int fd = open(argv[count + 1], O_RDONLY);
		check(fd, argv[count + 1]);
		long length = read(fd, code[count], sizeof code[count]);
		check(length, "read");
		programs[count] = (struct sock_fprog){length / sizeof **code, code[count]};
	}
	start();
	while (scanf("%15s %ld %lu %lu %lu %lu %lu %lu", how, &number, a, a + 1, a + 2, a + 3, a + 4, a + 5) == 8)
		ask(how, number, a);
	return 0;
}
