#include "filter.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define KILL BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
#define LOAD_NUMBER BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)
#define IF(number, then)                                                                           \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, then)

/* One instruction each, to be repeated. */
static const struct sock_filter allow[] = {ALLOW};
static const struct sock_filter kill_all[] = {KILL};
/* It ends without having returned. */
static const struct sock_filter endless[] = {LOAD_NUMBER};
static const struct sock_filter no_execve[] = {
    LOAD_NUMBER, IF(SYS_execve, SECCOMP_RET_ERRNO | EPERM), ALLOW};
/* execve "succeeds" without having been done. */
static const struct sock_filter lying_execve[] = {LOAD_NUMBER, IF(SYS_execve, SECCOMP_RET_ERRNO | 0),
                                                  ALLOW};
static const struct sock_filter deadly_execve[] = {
    LOAD_NUMBER, IF(SYS_execve, SECCOMP_RET_KILL_PROCESS), ALLOW};
static const struct sock_filter no_rename[] = {
    LOAD_NUMBER, IF(SYS_renameat2, SECCOMP_RET_ERRNO | EPERM), ALLOW};

const struct filter FILTERS[] = {
    {"allow", allow, sizeof allow},
    {"kill", kill_all, sizeof kill_all},
    {"endless", endless, sizeof endless},
    {"no_execve", no_execve, sizeof no_execve},
    {"lying_execve", lying_execve, sizeof lying_execve},
    {"deadly_execve", deadly_execve, sizeof deadly_execve},
    {"no_rename", no_rename, sizeof no_rename},
};
const int FILTER_COUNT = sizeof FILTERS / sizeof *FILTERS;
