/*
 * The floor of a sandbox: nothing but the system calls for its walls, in C, one sandbox after another.
 *
 *     walls COUNT UID GID FILTER STEP... -- PROGRAM [ARG]...     prints what each took, in ns
 *
 * Seven namespaces, UID and GID in the place of the user and the group 1000, loopback up, a root directory that the
 * STEPs make, no capability, the seccomp FILTER, which is a file. Nobody is pid 1 but the program, and there are no
 * limits.
 *
 *     bind FROM TO    read-only       device FROM TO    as it is          tmpfs TO    proc TO    devpts TO
 *     link CONTENT TO                 text CONTENT TO   a file            directory TO
 */
#include "clock.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAMESPACES \
    (CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWNET)

extern char **environ;

static char stack[64 * 1024] __attribute__((aligned(16)));
static struct sock_filter instructions[4096];
static struct sock_fprog filter = {.filter = instructions};
static char **steps, **program;
static int mapped[2];

static int succeeds(const char *what, long result)
{
    if (result < 0) {
        perror(what);
        _exit(127);
    }
    return (int)result;
}

static int is(const char *step, const char *name)
{
    return strcmp(step, name) == 0;
}

/* Mounts what is nowhere yet. All targets begin with a slash, and are taken from the root that is to be. */
static void attach(int tree, const char *to, int attributes, int recursive)
{
    struct mount_attr change = {.attr_set = (unsigned)attributes};

    succeeds("mount_setattr", syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | recursive, &change, sizeof change));
    succeeds(to, syscall(SYS_move_mount, tree, "", AT_FDCWD, to, MOVE_MOUNT_F_EMPTY_PATH));
    close(tree);
}

static int file_system(const char *type)
{
    int context = succeeds(type, syscall(SYS_fsopen, type, FSOPEN_CLOEXEC));
    succeeds(type, syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
    int tree = succeeds(type, syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0));
    close(context);
    return tree;
}

static void make_directories(const char *path)
{
    char part[4096];

    snprintf(part, sizeof part, "%s", path);
    for (char *slash = strchr(part, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(part, 0755);
        *slash = '/';
    }
}

static void make_file(const char *path, const char *text)
{
    int file = succeeds(path, open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    succeeds(path, write(file, text, strlen(text)));
    close(file);
}

static char **take(char **step)
{
    const char *what = step[0], *from = step[1];
    int alone = is(what, "tmpfs") || is(what, "proc") || is(what, "devpts") || is(what, "directory");
    const char *to = (alone ? step[1] : step[2]) + 1;

    make_directories(to);
    if (is(what, "bind") || is(what, "device")) {
        int recursive = is(what, "bind") ? AT_RECURSIVE : 0;
        int attributes = recursive ? MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV : MOUNT_ATTR_NOSUID;
        int tree = succeeds(from, syscall(SYS_open_tree, AT_FDCWD, from, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive));
        struct stat is_a;

        succeeds(from, fstat(tree, &is_a));
        if (S_ISDIR(is_a.st_mode))
            mkdir(to, 0755);
        else
            make_file(to, "");
        attach(tree, to, attributes, recursive);
    } else if (is(what, "link")) {
        succeeds(to, symlink(from, to));
    } else if (is(what, "text")) {
        make_file(to, from);
    } else {
        mkdir(to, 0755);
        if (!is(what, "directory"))
            attach(file_system(what), to, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, 0);
    }
    return step + (alone ? 2 : 3);
}

static void make_root(void)
{
    struct mount_attr apart = {.propagation = MS_PRIVATE}, read_only = {.attr_set = MOUNT_ATTR_RDONLY};

    succeeds("private", syscall(SYS_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &apart, sizeof apart));
    attach(file_system("tmpfs"), "/tmp", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0);
    succeeds("/tmp", chdir("/tmp"));
    for (char **step = steps; !is(*step, "--");)
        step = take(step);
    succeeds("read-only", syscall(SYS_mount_setattr, AT_FDCWD, ".", 0, &read_only, sizeof read_only));
    succeeds("pivot_root", syscall(SYS_pivot_root, ".", "."));
    succeeds("umount2", umount2(".", MNT_DETACH));
}

static void bring_loopback_up(void)
{
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int socket_ = succeeds("socket", socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));

    succeeds("loopback", ioctl(socket_, SIOCSIFFLAGS, &loopback));
    close(socket_);
}

static void drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {0};

    for (unsigned long capability = 0; prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0;)
        capability++;
    succeeds("capset", syscall(SYS_capset, &header, none));
}

static int child(void *unused)
{
    char go;

    (void)unused;
    if (read(mapped[0], &go, 1) != 1)
        _exit(127);
    /* Becomes the mapped user, and keeps its capabilities until it has done with them. */
    prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
    prctl(PR_SET_SECUREBITS, 1 << 2, 0, 0, 0);
    succeeds("setresgid", syscall(SYS_setresgid, 1000, 1000, 1000));
    succeeds("setresuid", syscall(SYS_setresuid, 1000, 1000, 1000));
    succeeds("sethostname", sethostname("sandbox", 7));
    bring_loopback_up();
    make_root();
    drop_capabilities();
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    succeeds("seccomp", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter));
    execve(program[0], program, environ);
    _exit(127);
}

static void put(pid_t pid, const char *file, const char *text)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    int opened = open(path, O_WRONLY | O_CLOEXEC);
    if (opened < 0 || write(opened, text, strlen(text)) < 0)
        die(path);
    close(opened);
}

static void map(pid_t pid, const char *file, const char *outside)
{
    char line[64];

    snprintf(line, sizeof line, "1000 %s 1", outside);
    put(pid, file, line);
}

static void run(const char *uid, const char *gid)
{
    siginfo_t info;

    if (pipe2(mapped, O_CLOEXEC) != 0)
        die("pipe2");
    pid_t pid = clone(child, stack + sizeof stack, CLONE_VM | SIGCHLD | NAMESPACES, NULL);
    if (pid < 0)
        die("clone");
    put(pid, "setgroups", "deny");
    map(pid, "uid_map", uid);
    map(pid, "gid_map", gid);
    if (write(mapped[1], "", 1) != 1)
        die("write");
    if (waitid(P_PID, (id_t)pid, &info, WEXITED) != 0)
        die("waitid");
    if (info.si_code != CLD_EXITED || info.si_status != 0) {
        fprintf(stderr, "walls: the program failed\n");
        exit(1);
    }
    close(mapped[0]);
    close(mapped[1]);
}

int main(int argc, char **argv)
{
    if (argc < 8) {
        fprintf(stderr, "usage: walls COUNT UID GID FILTER STEP... -- PROGRAM [ARG]...\n");
        return 2;
    }
    int file = open(argv[4], O_RDONLY);
    ssize_t size = read(file, instructions, sizeof instructions);
    if (size <= 0)
        die(argv[4]);
    close(file);
    filter.len = (unsigned short)((size_t)size / sizeof *instructions);
    steps = argv + 5;
    for (program = steps; !is(*program, "--");)
        program++;
    program++;

    run(argv[2], argv[3]); /* pages come in */
    for (int i = 0, count = atoi(argv[1]); i < count; i++) {
        int64_t began = now_ns();
        run(argv[2], argv[3]);
        printf("%lld\n", (long long)(now_ns() - began));
    }
    return 0;
}
