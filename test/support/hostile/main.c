/*
 * Programs that try to get out of a sandbox, or to do harm. Usage:
 *
 *   hostile ATTACK [ARGUMENT...]
 *
 * It exits with 0 when it got what it wanted, and with 1 when something stopped it, which it tells on
 * standard error; with 2 when it was called wrongly. None does any harm to a machine where it succeeds:
 * what it writes is what was there before, and what it creates it removes.
 */
#include "hostile.h"
#include <sched.h>
#include <sys/mount.h>

int stopped(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	return STOPPED;
}

void mistake(const char *what)
{
	fprintf(stderr, "hostile: %s: %s\n", what, strerror(errno));
	exit(MISTAKE);
}

int verdict(long result, const char *what)
{
	return result < 0 ? stopped(what) : WON;
}

long number(const char *argument)
{
	char *end;
	long value = strtol(argument, &end, 10);

	if (strcmp(argument, "parent") == 0)
		return getppid();
	if (*argument == 0 || *end != 0)
		mistake(argument);
	return value;
}

ssize_t slurp(const char *path, char *bytes, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t had = 0;
	ssize_t got;

	if (fd < 0)
		return -1;
	while (had < size - 1 && (got = read(fd, bytes + had, size - 1 - had)) > 0)
		had += got;
	close(fd);
	bytes[had] = 0;
	return had;
}

int rewrite(const char *path)
{
	char bytes[4096];
	ssize_t length = slurp(path, bytes, sizeof bytes);
	int fd;

	if (length < 0 || (fd = open(path, O_WRONLY)) < 0)
		return stopped(path);
	return verdict(write(fd, bytes, length), path);
}

bool own_mounts(void)
{
	if (unshare(CLONE_NEWNS) != 0)
		return false;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		mistake("MS_PRIVATE");
	return true;
}

int main(int argc, char **argv)
{
	const struct attack *themes[] = {process_attacks, file_attacks, namespace_attacks,
					 kernel_attacks, terminal_attacks, network_attacks,
					 resource_attacks, plants};

	for (size_t theme = 0; argc > 1 && theme < sizeof themes / sizeof *themes; theme++)
		for (const struct attack *attack = themes[theme]; attack->name; attack++)
			if (strcmp(attack->name, argv[1]) == 0 && attack->arguments == argc - 2)
				return attack->attempt(argv + 2);

	fprintf(stderr, "hostile: there is no such attack, or it takes other arguments\n");
	return MISTAKE;
}
