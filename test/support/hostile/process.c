/* Attacks on other processes: those of the host, of other sessions, and those that watch over us. */
#include "hostile.h"
#include <dirent.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>

static char path[1024];

static const char *proc(const char *pid, const char *entry)
{
	snprintf(path, sizeof path, "/proc/%ld/%s", number(pid), entry);
	return path;
}

/* Seized and not attached: it is not stopped, and let go when we end. */
static int trace(char **argument)
{
	return verdict(ptrace(PTRACE_SEIZE, (pid_t)number(argument[0]), 0, 0), "ptrace");
}

/* The first bytes of its stack. */
static int read_memory(char **argument)
{
	unsigned long from = 0;
	char line[512], bytes[16];
	FILE *maps = fopen(proc(argument[0], "maps"), "re");

	if (maps == NULL)
		return stopped(path);
	while (fgets(line, sizeof line, maps))
		if (strstr(line, "[stack]") || from == 0)
			sscanf(line, "%lx-", &from);
	if (from == 0)
		return stopped(path);

	struct iovec here = {bytes, sizeof bytes}, there = {(void *)from, sizeof bytes};
	return verdict(process_vm_readv((pid_t)number(argument[0]), &here, 1, &there, 1, 0),
		       "process_vm_readv");
}

/* The kernel asks at open whether we may. */
static int memory_file(char **argument)
{
	return verdict(open(proc(argument[0], "mem"), O_RDWR), path);
}

/* Its end of a pipe, which is as good as having it. */
static int open_descriptor(char **argument)
{
	char entry[32];

	snprintf(entry, sizeof entry, "fd/%ld", number(argument[1]));
	return verdict(open(proc(argument[0], entry), O_WRONLY | O_NONBLOCK), path);
}

static int list_descriptors(char **argument)
{
	DIR *dir = opendir(proc(argument[0], "fd"));

	return verdict(dir ? 0 : -1, path);
}

static int steal_descriptor(char **argument)
{
	int pidfd = syscall(SYS_pidfd_open, (pid_t)number(argument[0]), 0);

	if (pidfd < 0)
		return stopped("pidfd_open");
	return verdict(syscall(SYS_pidfd_getfd, pidfd, (int)number(argument[1]), 0), "pidfd_getfd");
}

static int read_environ(char **argument)
{
	static char bytes[1 << 17];
	ssize_t length = slurp(proc(argument[0], "environ"), bytes, sizeof bytes);

	if (length < 0)
		return stopped(path);
	errno = ENOENT;
	return verdict(memmem(bytes, length, argument[1], strlen(argument[1])) ? 0 : -1, argument[1]);
}

/* What we were given without having asked for it. */
static int own_environ(char **argument)
{
	for (char **variable = environ; *variable; variable++)
		if (strstr(*variable, argument[0]))
			return WON;
	errno = ENOENT;
	return stopped(argument[0]);
}

/* Through the root or the directory of another. */
static int through(char **argument)
{
	char entry[512];

	snprintf(entry, sizeof entry, "%s/%s", argument[1], argument[2]);
	return verdict(open(proc(argument[0], entry), O_RDONLY), path);
}

/*
 * A file that is being executed cannot be written, but one who has opened it can wait until it is not:
 * so it is enough that it can be reached, on a mount and with a mode that would let us write.
 */
static int overwrite_program(char **argument)
{
	char again[64];
	int fd = open(proc(argument[0], "exe"), O_RDONLY);

	if (fd < 0)
		return stopped(path);
	snprintf(again, sizeof again, "/proc/self/fd/%d", fd);
	return verdict(faccessat(AT_FDCWD, again, W_OK, AT_EACCESS), path);
}

/* A process, a group (-N), or everybody (-1), who is not hit but only aimed at. */
static int send_signal(char **argument)
{
	long pid = number(argument[0]);

	return verdict(kill(pid, pid == -1 ? 0 : SIGCONT), "kill");
}

static int renice(char **argument)
{
	id_t pid = number(argument[0]);

	errno = 0;
	int nice = getpriority(PRIO_PROCESS, pid);
	if (errno != 0)
		return stopped("getpriority");
	return verdict(setpriority(PRIO_PROCESS, pid, nice), "setpriority");
}

static int read_limit(char **argument)
{
	struct rlimit limit;

	return verdict(prlimit((pid_t)number(argument[0]), RLIMIT_CORE, NULL, &limit), "prlimit");
}

/* A process whose command line has both words as one: ours and our parents' have them as two. */
static int find(char **argument)
{
	static char cmdline[4096], word[256];
	struct dirent *entry;
	DIR *dir = opendir("/proc");

	if (dir == NULL)
		return stopped("/proc");
	snprintf(word, sizeof word, "%s%s", argument[0], argument[1]);
	while ((entry = readdir(dir))) {
		snprintf(path, sizeof path, "/proc/%.20s/cmdline", entry->d_name);
		ssize_t length = slurp(path, cmdline, sizeof cmdline);
		if (length > 0 && memmem(cmdline, length, word, strlen(word)))
			return WON;
	}
	errno = ESRCH;
	return stopped(word);
}

/* Leaves a daemon behind, with this in its command line. */
static int orphan(char **argument)
{
	if (fork() == 0) {
		setsid();
		if (fork() == 0) {
			signal(SIGTERM, SIG_IGN);
			signal(SIGHUP, SIG_IGN);
			for (int fd = 0; fd < 3; fd++)
				close(fd);
			execl("/proc/self/exe", "hostile", "sleep", argument[0], NULL);
		}
		_exit(0);
	}
	wait(NULL);
	return WON;
}

static int sleep_for_a_while(char **argument)
{
	(void)argument;
	sleep(20);
	return WON;
}

const struct attack process_attacks[] = {
	{"trace", 1, trace},
	{"read_memory", 1, read_memory},
	{"memory_file", 1, memory_file},
	{"open_descriptor", 2, open_descriptor},
	{"list_descriptors", 1, list_descriptors},
	{"steal_descriptor", 2, steal_descriptor},
	{"read_environ", 2, read_environ},
	{"own_environ", 1, own_environ},
	{"through", 3, through},
	{"overwrite_program", 1, overwrite_program},
	{"signal", 1, send_signal},
	{"renice", 1, renice},
	{"read_limit", 1, read_limit},
	{"find", 2, find},
	{"orphan", 1, orphan},
	{"sleep", 1, sleep_for_a_while},
	{0},
};
