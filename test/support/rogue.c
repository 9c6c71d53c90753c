/*
 * What a shell cannot do to itself, or to others. Usage:
 *
 *   rogue DEED... -- PATH ARGV0 [ARG...]   does these, and then becomes the program PATH
 *   rogue threads NUMBER MARK              leaves a process with so many threads behind
 *   rogue children NUMBER MARK             leaves one with so many children, who die with it
 *   rogue bomb NUMBER UID MARK             leaves processes of UID that fork and fork, up to NUMBER
 *   rogue lease FILE                       makes everybody who opens FILE wait
 *   rogue hold PID                         stops the next workload of the agent PID before its first instruction
 *   rogue packets SIZE NUMBER              writes so many packets of SIZE bytes
 *
 * MARK is for those who look for it in the command line.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A bomb that nobody ends is over after this many seconds. */
#define FUSE 20

static void check(int result, const char *what)
{
	if (result < 0)
		err(1, "%s", what);
}

/* Ignores every signal that can be ignored. */
static void deaf(void)
{
	for (int number = 1; number <= SIGRTMAX; number++)
		signal(number, SIG_IGN);
}

/* Blocks every signal that can be blocked. */
static void blocking(void)
{
	sigset_t all;
	sigfillset(&all);
	check(sigprocmask(SIG_SETMASK, &all, NULL), "sigprocmask");
}

/* Its orphans come to it, and no parent's death ends it. */
static void independent(void)
{
	check(prctl(PR_SET_CHILD_SUBREAPER, 1), "PR_SET_CHILD_SUBREAPER");
	check(prctl(PR_SET_PDEATHSIG, 0), "PR_SET_PDEATHSIG");
}

/* Starts what stands behind the deeds, too, and traces it: stopped at its first instruction. */
static void tracing(char **program)
{
	pid_t pid = fork();
	check(pid, "fork");
	if (pid == 0) {
		check(ptrace(PTRACE_TRACEME, 0, 0, 0), "PTRACE_TRACEME");
		execv(program[0], program + 1);
		err(1, "%s", program[0]);
	}
}

static int perform(char **argument)
{
	char **program = argument;
	while (strcmp(*program, "--") != 0)
		if (*++program == NULL)
			errx(1, "there is no --");
	program++;
	for (; strcmp(*argument, "--") != 0; argument++) {
		if (strcmp(*argument, "deaf") == 0)
			deaf();
		else if (strcmp(*argument, "blocking") == 0)
			blocking();
		else if (strcmp(*argument, "independent") == 0)
			independent();
		else if (strcmp(*argument, "tracing") == 0)
			tracing(program);
		else
			errx(1, "%s is no deed", *argument);
	}
	execv(program[0], program + 1);
	err(1, "%s", program[0]);
}

/* Goes on in the child. The parent ends when the child calls ready, which others may do for it. */
static int signpost;

static void leave_behind(void)
{
	int ends[2];
	check(pipe(ends), "pipe");
	pid_t pid = fork();
	check(pid, "fork");
	if (pid > 0) {
		char byte;
		close(ends[1]);
		_exit(read(ends[0], &byte, 1) == 1 ? 0 : 1);
	}
	close(ends[0]);
	signpost = ends[1];
	signal(SIGPIPE, SIG_IGN);
}

static void ready(void)
{
	if (write(signpost, "", 1) < 0)
		return; /* somebody else was */
}

static void *thread(void *nothing)
{
	for (;;)
		pause();
	return nothing;
}

static void threads(int number)
{
	pthread_attr_t attributes;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 64 << 10);
	for (int i = 0; i < number; i++) {
		pthread_t id;
		if ((errno = pthread_create(&id, &attributes, thread, NULL)) != 0)
			err(1, "pthread_create");
	}
	ready();
	thread(NULL);
}

static void children(int number)
{
	int ends[2];
	char byte;
	check(pipe(ends), "pipe");
	for (int i = 0; i < number; i++) {
		pid_t pid = fork();
		check(pid, "fork");
		if (pid == 0) {
			close(ends[1]);
			close(signpost);
			/* The end of the pipe is the parent's. */
			_exit(read(ends[0], &byte, 1));
		}
	}
	close(ends[0]);
	ready();
	thread(NULL);
}

/*
 * RLIMIT_NPROC is nothing to root, and counts all threads of others, wherever they are: the user is one
 * who has no threads but these.
 */
static void bomb(int number, int uid)
{
	struct rlimit limit = {number, number};
	time_t end = time(NULL) + FUSE;
	check(setgroups(0, NULL), "setgroups");
	check(setgid(uid), "setgid");
	check(setuid(uid), "setuid");
	check(setrlimit(RLIMIT_NPROC, &limit), "RLIMIT_NPROC");
	/* One process is no bomb. */
	check(fork(), "fork");
	while (time(NULL) < end)
		if (fork() < 0)
			ready();
	_exit(0);
}

static void asked(int signal)
{
	(void)signal;
	if (write(STDOUT_FILENO, "asked\n", 6) < 0)
		_exit(1);
}

static void lease(const char *path)
{
	char byte;
	int fd = open(path, O_RDONLY);
	check(fd, path);
	signal(SIGIO, asked);
	check(fcntl(fd, F_SETLEASE, F_WRLCK), "F_SETLEASE");
	check(write(STDOUT_FILENO, "held\n", 5), "write");
	while (read(STDIN_FILENO, &byte, 1) < 0 && errno == EINTR)
		;
}

/*
 * The next child of somebody who is traced with these options. It is traced, too, in the same way, and stops at
 * once: see ptrace(2). The parent is let go.
 */
static pid_t born_of(pid_t parent)
{
	int status;
	unsigned long child;
	do {
		check(waitpid(parent, &status, __WALL), "waitpid");
		if (!WIFSTOPPED(status))
			errx(1, "it has no child");
		if (status >> 16 == 0 || status >> 16 == PTRACE_EVENT_STOP)
			ptrace(PTRACE_CONT, parent, 0, status >> 16 == 0 ? WSTOPSIG(status) : 0);
	} while (status >> 16 == 0 || status >> 16 == PTRACE_EVENT_STOP);
	check(ptrace(PTRACE_GETEVENTMSG, parent, 0, &child), "PTRACE_GETEVENTMSG");
	check(ptrace(PTRACE_DETACH, parent, 0, 0), "PTRACE_DETACH");
	return child;
}

/* Between an agent and its workload is the subreaper. */
static void hold(pid_t agent)
{
	int status;
	long births = PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK;
	setvbuf(stdout, NULL, _IONBF, 0);
	check(ptrace(PTRACE_SEIZE, agent, 0, births), "PTRACE_SEIZE");
	printf("seized\n");
	pid_t workload = born_of(born_of(agent));
	check(waitpid(workload, &status, __WALL), "waitpid");
	/* It stays stopped, though nobody traces it any more. */
	check(kill(workload, SIGSTOP), "SIGSTOP");
	check(ptrace(PTRACE_DETACH, workload, 0, 0), "PTRACE_DETACH");
	printf("held\n");
}

/* With O_DIRECT a pipe keeps apart what was written apart: see pipe(2). The bytes tell where they were. */
static void packets(long size, long number)
{
	char bytes[4096];
	check(fcntl(STDOUT_FILENO, F_SETFL, O_WRONLY | O_DIRECT), "O_DIRECT");
	for (long position = 0; number > 0; number--, position += size) {
		for (long i = 0; i < size; i++)
			bytes[i] = (position + i) % 251;
		if (write(STDOUT_FILENO, bytes, size) != size)
			err(1, "write");
	}
}

int main(int count, char **argument)
{
	const char *what = count > 2 ? argument[1] : "";
	if (strcmp(what, "lease") == 0) {
		lease(argument[2]);
	} else if (strcmp(what, "hold") == 0) {
		hold(atoi(argument[2]));
	} else if (strcmp(what, "packets") == 0 && count > 3) {
		packets(atol(argument[2]), atol(argument[3]));
	} else if (strcmp(what, "threads") == 0) {
		leave_behind();
		threads(atoi(argument[2]));
	} else if (strcmp(what, "children") == 0) {
		leave_behind();
		children(atoi(argument[2]));
	} else if (strcmp(what, "bomb") == 0 && count > 3) {
		leave_behind();
		bomb(atoi(argument[2]), atoi(argument[3]));
	} else if (count > 1) {
		return perform(argument + 1);
	} else {
		errx(1, "what is to be done?");
	}
	return 0;
}
