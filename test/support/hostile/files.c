/* Attacks on files, and by files. */
#include "hostile.h"
#include <dirent.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>

static char path[1024];

static const char *in(const char *dir, const char *name)
{
	snprintf(path, sizeof path, "%s/%s-%d", dir, name, getpid());
	return path;
}

static int read_file(char **argument)
{
	char byte;
	int fd = open(argument[0], O_RDONLY);

	return verdict(fd < 0 || read(fd, &byte, 1) != 1 ? -1 : 0, argument[0]);
}

/* A directory with something in it. */
static int list(char **argument)
{
	struct dirent *entry;
	DIR *dir = opendir(argument[0]);

	if (dir == NULL)
		return stopped(argument[0]);
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			return WON;
	errno = ENOENT;
	return stopped(argument[0]);
}

static int create(char **argument)
{
	int fd = open(in(argument[0], "hostile"), O_WRONLY | O_CREAT | O_EXCL, 0600);

	if (fd < 0)
		return stopped(path);
	unlink(path);
	return WON;
}

static int append(char **argument)
{
	return verdict(open(argument[0], O_WRONLY | O_APPEND), argument[0]);
}

/* As a member of another cgroup we are not bound by the limits of ours. */
static int leave_cgroup(char **argument)
{
	int fd = open(argument[0], O_WRONLY);

	return verdict(fd < 0 ? -1 : write(fd, "0", 1), argument[0]);
}

static int take_away(char **argument)
{
	snprintf(path, sizeof path, "%s-away", argument[0]);
	if (rename(argument[0], path) != 0)
		return stopped(argument[0]);
	if (rename(path, argument[0]) != 0)
		mistake("the way back");
	return WON;
}

static int overwrite(char **argument)
{
	return rewrite(argument[0]);
}

/* A way out of a directory that we share, to a file that we do not. */
static int follow_link(char **argument)
{
	if (symlink(argument[1], in(argument[0], "link")) != 0)
		mistake(path);
	int fd = open(path, O_RDONLY), why = errno;
	unlink(path);
	errno = why;
	return verdict(fd, argument[1]);
}

/* Up from the directory in which we were started, whatever that was. */
static int working_directory(char **argument)
{
	snprintf(path, sizeof path, "/proc/self/cwd/../../../../../../../..%s", argument[0]);
	return verdict(open(path, O_RDONLY), path);
}

/* Anything but our standard descriptors, and above all directories, lead out. */
static int leaked_descriptors(char **argument)
{
	(void)argument;
	for (int fd = 3; fd < 4096; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			return WON;
	return stopped("F_GETFD");
}

/* The classic: who leaves a directory by another chroot is beneath no root any more. */
static int chroot_escape(char **argument)
{
	int root = open("/", O_RDONLY | O_DIRECTORY);

	if (mkdir(in("/tmp", "jail"), 0700) != 0)
		mistake(path);
	int result = chroot(path), why = errno;
	fchdir(root);
	rmdir(path + 1);
	errno = why;
	if (result != 0)
		return stopped("chroot");
	for (int up = 0; up < 64; up++)
		chdir("..");
	if (chroot(".") != 0)
		return stopped("chroot");
	return verdict(open(argument[0], O_RDONLY), argument[0]);
}

/* Without a path: who may use handles can guess those of all other files of the file system. */
static int open_by_handle(char **argument)
{
	struct {
		struct file_handle handle;
		char bytes[MAX_HANDLE_SZ];
	} usr = {.handle.handle_bytes = MAX_HANDLE_SZ};
	int mount;

	(void)argument;
	if (name_to_handle_at(AT_FDCWD, "/usr", &usr.handle, &mount, 0) != 0)
		return stopped("name_to_handle_at");
	return verdict(open_by_handle_at(open("/usr", O_RDONLY), &usr.handle, O_RDONLY),
		       "open_by_handle_at");
}

/* That of the kernel's log, which is not as bad as that of the disk would be. */
static int make_device(char **argument)
{
	if (mknod(in(argument[0], "kmsg"), S_IFCHR | 0600, makedev(1, 11)) != 0)
		return stopped("mknod");
	int fd = open(path, O_WRONLY), why = errno;
	unlink(path);
	errno = why;
	return verdict(fd, path);
}

/* What is left for the next one who executes it: with all the rights of the file's owner. */
static int make_set_uid(char **argument)
{
	int fd = open(in(argument[0], "suid"), O_WRONLY | O_CREAT | O_EXCL, 0700);
	struct stat stat;

	if (fd < 0)
		mistake(path);
	int result = chmod(path, 04755), why = errno;
	fstat(fd, &stat);
	unlink(path);
	errno = why;
	if (result != 0)
		return stopped("chmod");
	errno = EPERM;
	return verdict(stat.st_mode & S_ISUID ? 0 : -1, "S_ISUID");
}

static int give_away(char **argument)
{
	int fd = open(in(argument[0], "gift"), O_WRONLY | O_CREAT | O_EXCL, 0600);

	if (fd < 0)
		mistake(path);
	unlink(path);
	return verdict(fchown(fd, 12345, 12345), "chown");
}

/* A file that its owner can neither change nor remove. */
static int make_immutable(char **argument)
{
	int fd = open(in(argument[0], "stone"), O_RDWR | O_CREAT | O_EXCL, 0600), flags = 0;

	if (fd < 0)
		mistake(path);
	ioctl(fd, FS_IOC_GETFLAGS, &flags);
	int hard = flags | FS_IMMUTABLE_FL;
	int result = ioctl(fd, FS_IOC_SETFLAGS, &hard), why = errno;
	if (result == 0)
		ioctl(fd, FS_IOC_SETFLAGS, &flags);
	unlink(path);
	errno = why;
	return verdict(result, "FS_IOC_SETFLAGS");
}

static int trusted_attribute(char **argument)
{
	int fd = open(in(argument[0], "trusted"), O_WRONLY | O_CREAT | O_EXCL, 0600);

	if (fd < 0)
		mistake(path);
	unlink(path);
	return verdict(fsetxattr(fd, "trusted.hostile", "1", 1, 0), "trusted.hostile");
}

/* argument[0] is this program, and root's, with the bit set. */
static int set_uid_program(char **argument)
{
	execl(argument[0], "hostile", "am_root", NULL);
	return stopped(argument[0]);
}

static int am_root(char **argument)
{
	(void)argument;
	return verdict(faccessat(AT_FDCWD, "/etc/shadow", R_OK, AT_EACCESS), "/etc/shadow");
}

/* argument[0] is this program, with CAP_NET_RAW in the file. */
static int file_capability(char **argument)
{
	execl(argument[0], "hostile", "have_capability", NULL);
	return stopped(argument[0]);
}

static int have_capability(char **argument)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];

	(void)argument;
	if (syscall(SYS_capget, &header, data) != 0)
		return stopped("capget");
	errno = EPERM;
	return verdict(data[0].effective & 1 << CAP_NET_RAW ? 0 : -1, "CAP_NET_RAW");
}

/*
 * Makes a directory and a link to argument[1] change places, over and over for so many seconds, for
 * those who look at a path and then use it.
 */
static int exchange(char **argument)
{
	struct timespec now, end;

	snprintf(path, sizeof path, "%s-link", argument[0]);
	if (symlink(argument[1], path) != 0)
		return stopped(path);
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += number(argument[2]);
	do {
		for (int there_and_back = 0; there_and_back < 2; there_and_back++)
			if (renameat2(AT_FDCWD, argument[0], AT_FDCWD, path, RENAME_EXCHANGE) != 0)
				mistake("renameat2");
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec < end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec < end.tv_nsec));
	return verdict(unlink(path), path);
}

static int watch(char **argument)
{
	return verdict(inotify_add_watch(inotify_init1(0), argument[0], IN_ALL_EVENTS), "inotify");
}

/* All that happens to a whole mount. */
static int watch_mount(char **argument)
{
	int fd = fanotify_init(FAN_CLASS_NOTIF, O_RDONLY);

	(void)argument;
	if (fd < 0)
		return stopped("fanotify_init");
	return verdict(fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_MOUNT, FAN_OPEN, AT_FDCWD, "/"),
		       "fanotify_mark");
}

const struct attack file_attacks[] = {
	{"read", 1, read_file},
	{"list", 1, list},
	{"create", 1, create},
	{"append", 1, append},
	{"leave_cgroup", 1, leave_cgroup},
	{"take_away", 1, take_away},
	{"overwrite", 1, overwrite},
	{"follow_link", 2, follow_link},
	{"working_directory", 1, working_directory},
	{"leaked_descriptors", 0, leaked_descriptors},
	{"chroot_escape", 1, chroot_escape},
	{"open_by_handle", 0, open_by_handle},
	{"make_device", 1, make_device},
	{"make_set_uid", 1, make_set_uid},
	{"give_away", 1, give_away},
	{"make_immutable", 1, make_immutable},
	{"trusted_attribute", 1, trusted_attribute},
	{"set_uid_program", 1, set_uid_program},
	{"am_root", 0, am_root},
	{"file_capability", 1, file_capability},
	{"have_capability", 0, have_capability},
	{"exchange", 3, exchange},
	{"watch", 1, watch},
	{"watch_mount", 0, watch_mount},
	{0},
};
