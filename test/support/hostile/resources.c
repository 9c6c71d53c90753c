/* Attacks that want more than their share. All have what they have taken taken back. */
#include "hostile.h"
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/wait.h>

/* So many children at a time. */
static int fork_bomb(char **argument)
{
	long wanted = number(argument[0]), had = 0;
	pid_t children[wanted];

	while (had < wanted && (children[had] = fork()) >= 0) {
		if (children[had] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			sleep(10);
			_exit(0);
		}
		had++;
	}
	int why = errno;
	for (long child = 0; child < had; child++)
		kill(children[child], SIGKILL);
	while (wait(NULL) > 0)
		;
	errno = why;
	return verdict(had == wanted ? 0 : -1, "fork");
}

/* So many MiB, each page touched. */
static int take_memory(const char *argument)
{
	size_t size = number(argument) << 20;
	char *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (bytes == MAP_FAILED)
		return stopped("mmap");
	for (size_t at = 0; at < size; at += 4096)
		bytes[at] = 1;
	munmap(bytes, size);
	return WON;
}

static int memory_bomb(char **argument)
{
	return take_memory(argument[0]);
}

/* argument[0] children have argument[1] MiB each, all at the same time. */
static int memory_of_many(char **argument)
{
	int ready[2], go[2], result = WON, status;
	long wanted = number(argument[0]);

	if (pipe(ready) != 0 || pipe(go) != 0)
		mistake("pipe");
	for (long child = 0; child < wanted; child++)
		if (fork() == 0) {
			char byte;
			size_t size = number(argument[1]) << 20;
			char *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
			if (bytes == MAP_FAILED)
				_exit(stopped("mmap"));
			memset(bytes, 1, size);
			close(go[1]);
			close(ready[0]);
			close(ready[1]);
			_exit(read(go[0], &byte, 1) == 0 ? WON : STOPPED);
		}
	close(ready[1]);
	/* Ends when every child has closed it, or is dead. */
	while (read(ready[0], &status, 1) > 0)
		;
	close(go[1]);
	while (wait(&status) > 0)
		if (status != 0)
			result = STOPPED;
	return result;
}

/* So many MiB in a file without a name, which is memory of nobody's address space. */
static int hidden_memory(char **argument)
{
	int fd = memfd_create("hostile", 0);

	errno = posix_fallocate(fd, 0, number(argument[0]) << 20);
	return verdict(errno == 0 ? 0 : -1, "fallocate");
}

/* So many MiB that are never swapped. */
static int lock_memory(char **argument)
{
	size_t size = number(argument[0]) << 20;
	char *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (bytes == MAP_FAILED)
		return stopped("mmap");
	return verdict(mlock(bytes, size), "mlock");
}

/* Allowed to be dumped; who gets the dump is a program of the host, perhaps, and root's. */
static int dump_core(char **argument)
{
	struct rlimit limit = {4096, 4096};

	(void)argument;
	return verdict(setrlimit(RLIMIT_CORE, &limit), "setrlimit");
}

/* A file of so many MiB in a directory. */
static int fill(char **argument)
{
	char path[1024];

	snprintf(path, sizeof path, "%s/fill-%d", argument[0], getpid());
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return stopped(path);
	unlink(path);
	errno = posix_fallocate(fd, 0, number(argument[1]) << 20);
	return verdict(errno == 0 ? 0 : -1, "fallocate");
}

/* So many descriptors, with all that we may allow ourselves. */
static int descriptors(char **argument)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	for (long wanted = number(argument[0]); wanted > 0; wanted--)
		if (dup(0) < 0)
			return stopped("dup");
	return WON;
}

/* The memory and the queue of somebody who has chosen this key. */
static int shared_memory(char **argument)
{
	int id = shmget((key_t)number(argument[0]), 0, 0);

	if (id < 0)
		return stopped("shmget");
	return verdict(shmat(id, NULL, 0) == (void *)-1 ? -1 : 0, "shmat");
}

static int message_queue(char **argument)
{
	char name[64];

	snprintf(name, sizeof name, "/hostile-%s", argument[0]);
	return verdict(mq_open(name, O_RDWR), "mq_open");
}

const struct attack resource_attacks[] = {
	{"fork_bomb", 1, fork_bomb},
	{"memory_bomb", 1, memory_bomb},
	{"memory_of_many", 2, memory_of_many},
	{"hidden_memory", 1, hidden_memory},
	{"lock_memory", 1, lock_memory},
	{"dump_core", 0, dump_core},
	{"fill", 2, fill},
	{"descriptors", 1, descriptors},
	{"shared_memory", 1, shared_memory},
	{"message_queue", 1, message_queue},
	{0},
};
