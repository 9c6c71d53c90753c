/* Attacks on the walls themselves: namespaces, mounts, users and capabilities. */
#include "hostile.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/* Whether the child that `attempt` ran in got what it wanted. */
static int in_child(pid_t child)
{
	int status;

	if (child < 0 || waitpid(child, &status, 0) < 0)
		return stopped("clone");
	return WIFEXITED(status) ? WEXITSTATUS(status) : STOPPED;
}

/* A new user namespace has all capabilities, and with them all of the kernel that needs them. */
static int user_namespace(char **argument)
{
	(void)argument;
	return verdict(unshare(CLONE_NEWUSER), "unshare");
}

static int user_namespace_by_clone(char **argument)
{
	pid_t child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);

	(void)argument;
	if (child == 0)
		_exit(WON);
	return in_child(child);
}

/* The same by a call whose flags no filter can see. */
static int user_namespace_by_clone3(char **argument)
{
	struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
	pid_t child = syscall(SYS_clone3, &args, sizeof args);

	(void)argument;
	if (child == 0)
		_exit(WON);
	return in_child(child);
}

static int mount_namespace(char **argument)
{
	(void)argument;
	return verdict(own_mounts() ? 0 : -1, "unshare");
}

static int pid_namespace(char **argument)
{
	(void)argument;
	return verdict(unshare(CLONE_NEWPID), "unshare");
}

/* Those of another process: argument[1] is the name of a file in /proc/PID/ns. */
static int join(char **argument)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%ld/ns/%s", number(argument[0]), argument[1]);
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return stopped(path);
	return verdict(setns(fd, 0), "setns");
}

static int join_by_pidfd(char **argument)
{
	int pidfd = syscall(SYS_pidfd_open, (pid_t)number(argument[0]), 0);

	if (pidfd < 0)
		return stopped("pidfd_open");
	return verdict(setns(pidfd, CLONE_NEWNS | CLONE_NEWNET), "setns");
}

/* Root of the host as root of ours. */
static int rewrite_maps(char **argument)
{
	char path[64];
	int told[2];

	(void)argument;
	if (pipe(told) != 0)
		mistake("pipe");
	pid_t child = fork();
	if (child == 0) {
		char done = unshare(CLONE_NEWUSER) == 0;
		write(told[1], &done, 1);
		pause();
	}
	char done = 0;
	read(told[0], &done, 1);
	/* Without a fresh namespace there is still the map of our own. */
	snprintf(path, sizeof path, "/proc/%d/uid_map", done ? child : getpid());
	int fd = open(path, O_WRONLY);
	int result = fd < 0 ? -1 : write(fd, "0 0 1", 5), why = errno;
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	errno = why;
	return verdict(result, path);
}

static int mount_over_proc(char **argument)
{
	(void)argument;
	own_mounts();
	return verdict(mount("none", "/proc", "tmpfs", 0, NULL), "mount");
}

/* A new one shows what has been hidden in the old. */
static int mount_proc(char **argument)
{
	(void)argument;
	own_mounts();
	return verdict(mount("proc", "/proc", "proc", 0, NULL), "mount");
}

static int bind(char **argument)
{
	(void)argument;
	own_mounts();
	return verdict(mount("/usr", "/tmp", NULL, MS_BIND, NULL), "mount");
}

/* What we have been given to read. */
static int remount_writable(char **argument)
{
	(void)argument;
	if (own_mounts() && (mount("/usr", "/usr", NULL, MS_BIND, NULL) != 0 ||
			     mount(NULL, "/usr", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) != 0))
		mistake("/usr");
	return verdict(mount(NULL, "/usr", NULL, MS_BIND | MS_REMOUNT, NULL), "mount");
}

static int unmount_proc(char **argument)
{
	(void)argument;
	own_mounts();
	return verdict(umount2("/proc", MNT_DETACH), "umount");
}

static int move_root(char **argument)
{
	(void)argument;
	if (own_mounts() && mount("/tmp", "/tmp", NULL, MS_BIND, NULL) != 0)
		mistake("/tmp");
	return verdict(syscall(SYS_pivot_root, "/tmp", "/tmp"), "pivot_root");
}

/* The mounts without those above them: what was masked can be seen in a copy. */
static int copy_mounts(char **argument)
{
	(void)argument;
	return verdict(syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE), "open_tree");
}

static int new_file_system(char **argument)
{
	(void)argument;
	return verdict(syscall(SYS_fsopen, "tmpfs", 0), "fsopen");
}

static int change_mounts(char **argument)
{
	struct mount_attr attr = {.attr_clr = MOUNT_ATTR_RDONLY};

	(void)argument;
	if (own_mounts() && mount("/usr", "/usr", NULL, MS_BIND, NULL) != 0)
		mistake("/usr");
	return verdict(syscall(SYS_mount_setattr, AT_FDCWD, "/usr", 0, &attr, sizeof attr),
		       "mount_setattr");
}

static int switch_user(char **argument)
{
	(void)argument;
	return verdict(setresuid(12345, 12345, 12345), "setresuid");
}

/* Who leaves a group may do what was forbidden to its members. */
static int leave_groups(char **argument)
{
	(void)argument;
	return verdict(setgroups(0, NULL), "setgroups");
}

static int ambient_capability(char **argument)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];

	(void)argument;
	if (syscall(SYS_capget, &header, data) != 0)
		return stopped("capget");
	data[0].permitted |= 1 << CAP_NET_RAW;
	data[0].effective |= 1 << CAP_NET_RAW;
	data[0].inheritable |= 1 << CAP_NET_RAW;
	if (syscall(SYS_capset, &header, data) != 0)
		return stopped("capset");
	return verdict(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0), "ambient");
}

const struct attack namespace_attacks[] = {
	{"user_namespace", 0, user_namespace},
	{"user_namespace_by_clone", 0, user_namespace_by_clone},
	{"user_namespace_by_clone3", 0, user_namespace_by_clone3},
	{"mount_namespace", 0, mount_namespace},
	{"pid_namespace", 0, pid_namespace},
	{"join", 2, join},
	{"join_by_pidfd", 1, join_by_pidfd},
	{"rewrite_maps", 0, rewrite_maps},
	{"mount_over_proc", 0, mount_over_proc},
	{"mount_proc", 0, mount_proc},
	{"bind", 0, bind},
	{"remount_writable", 0, remount_writable},
	{"unmount_proc", 0, unmount_proc},
	{"move_root", 0, move_root},
	{"copy_mounts", 0, copy_mounts},
	{"new_file_system", 0, new_file_system},
	{"change_mounts", 0, change_mounts},
	{"switch_user", 0, switch_user},
	{"leave_groups", 0, leave_groups},
	{"ambient_capability", 0, ambient_capability},
	{0},
};
