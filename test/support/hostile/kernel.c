/*
 * Attacks on the kernel: what it lets only root do, and what it offers everybody of which a sandbox
 * should not have more than it needs.
 *
 * Where a call would do harm it gets an argument that the kernel finds wrong after it has found that
 * we may: EPERM is what stops it, any other error says that nothing has.
 */
#include "hostile.h"
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/acct.h>
#include <sys/klog.h>
#include <sys/personality.h>
#include <sys/swap.h>
#include <sys/timex.h>
#if defined(__x86_64__)
#include <asm/ldt.h>
#include <sys/io.h>
#endif

static int permitted(long result, int harmless, const char *what)
{
	return result < 0 && errno != harmless ? stopped(what) : WON;
}

static int read_log(char **argument)
{
	char bytes[4096];

	(void)argument;
	return verdict(klogctl(3, bytes, sizeof bytes), "syslog");
}

static int bpf(char **argument)
{
	union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4,
			       .max_entries = 1};

	(void)argument;
	return verdict(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr), "bpf");
}

static int perf(char **argument)
{
	struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE, .size = sizeof attr,
				       .config = PERF_COUNT_SW_TASK_CLOCK, .exclude_kernel = 1,
				       .exclude_hv = 1};

	(void)argument;
	return verdict(syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0), "perf_event_open");
}

static int userfaultfd(char **argument)
{
	(void)argument;
	return verdict(syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY), "userfaultfd");
}

static int io_uring(char **argument)
{
	struct io_uring_params params = {0};

	(void)argument;
	return verdict(syscall(SYS_io_uring_setup, 1, &params), "io_uring_setup");
}

/* In the keyring that we have from who has started us, who would find it there. */
static int add_key(char **argument)
{
	long key = syscall(SYS_add_key, "user", "hostile", "x", 1, KEY_SPEC_SESSION_KEYRING);

	(void)argument;
	if (key < 0)
		return stopped("add_key");
	syscall(SYS_keyctl, KEYCTL_UNLINK, key, KEY_SPEC_SESSION_KEYRING);
	return WON;
}

static int read_keyring(char **argument)
{
	char keys[64];

	(void)argument;
	if (syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 1) < 0)
		return stopped("keyctl");
	return verdict(syscall(SYS_keyctl, KEYCTL_READ, KEY_SPEC_SESSION_KEYRING, keys, sizeof keys),
		       "keyctl");
}

static int join_keyring(char **argument)
{
	(void)argument;
	return verdict(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL), "keyctl");
}

static int reboot_machine(char **argument)
{
	(void)argument;
	return permitted(syscall(SYS_reboot, 0, 0, 0, 0), EINVAL, "reboot");
}

static int swap(char **argument)
{
	(void)argument;
	return permitted(swapon("/does/not/exist", 0), ENOENT, "swapon");
}

static int account(char **argument)
{
	(void)argument;
	return permitted(acct("/does/not/exist"), ENOENT, "acct");
}

/* The frequency of the clock, as it is. */
static int set_clock(char **argument)
{
	struct timex timex = {.modes = 0};

	(void)argument;
	if (adjtimex(&timex) < 0)
		return stopped("adjtimex");
	timex.modes = ADJ_FREQUENCY;
	return verdict(adjtimex(&timex), "adjtimex");
}

static int set_hostname(char **argument)
{
	char name[256];

	(void)argument;
	if (gethostname(name, sizeof name) != 0)
		mistake("gethostname");
	return verdict(sethostname(name, strlen(name)), "sethostname");
}

static int load_module(char **argument)
{
	(void)argument;
	return permitted(syscall(SYS_init_module, NULL, 0, ""), ENOEXEC, "init_module");
}

static int load_kernel(char **argument)
{
	(void)argument;
	return permitted(syscall(SYS_kexec_load, 0, 0, NULL, ~0UL), EINVAL, "kexec_load");
}

/* As those do who count on addresses that they know, and on data that can be executed. */
static int weaken_memory(char **argument)
{
	(void)argument;
	return verdict(personality(ADDR_NO_RANDOMIZE | READ_IMPLIES_EXEC), "personality");
}

static int fifo_scheduling(char **argument)
{
	struct sched_param param = {.sched_priority = 1};

	(void)argument;
	return verdict(sched_setscheduler(0, SCHED_FIFO, &param), "sched_setscheduler");
}

static int negative_nice(char **argument)
{
	(void)argument;
	errno = 0;
	return verdict(nice(-1) == -1 && errno != 0 ? -1 : 0, "nice");
}

/* IOPRIO_CLASS_RT, which starves everybody else of the disk. */
static int real_time_io(char **argument)
{
	(void)argument;
	return verdict(syscall(SYS_ioprio_set, 1, 0, 1 << 13), "ioprio_set");
}

#if defined(__x86_64__)
static int own_segments(char **argument)
{
	struct user_desc segment = {.base_addr = 0, .limit = 0xfffff, .seg_32bit = 1,
				    .limit_in_pages = 1, .useable = 1};

	(void)argument;
	return verdict(syscall(SYS_modify_ldt, 1, &segment, sizeof segment), "modify_ldt");
}

static int io_ports(char **argument)
{
	(void)argument;
	return verdict(iopl(3), "iopl");
}

/* getpid(2) by the numbers of i386, which mean something else to a filter that does not look. */
static int i386_call(char **argument)
{
	long result;

	(void)argument;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
	errno = result < 0 ? -result : 0;
	return verdict(result == getpid() ? 0 : -1, "int 0x80");
}

/* And by that of x32. */
static int x32_call(char **argument)
{
	(void)argument;
	return verdict(syscall(0x40000000 + SYS_getpid), "x32");
}
#else
static int of_x86(char **argument)
{
	(void)argument;
	errno = ENOSYS;
	return stopped("x86");
}

#define own_segments of_x86
#define io_ports of_x86
#define i386_call of_x86
#define x32_call of_x86
#endif

const struct attack kernel_attacks[] = {
	{"read_log", 0, read_log},
	{"bpf", 0, bpf},
	{"perf", 0, perf},
	{"userfaultfd", 0, userfaultfd},
	{"io_uring", 0, io_uring},
	{"add_key", 0, add_key},
	{"read_keyring", 0, read_keyring},
	{"join_keyring", 0, join_keyring},
	{"reboot", 0, reboot_machine},
	{"swap", 0, swap},
	{"account", 0, account},
	{"set_clock", 0, set_clock},
	{"set_hostname", 0, set_hostname},
	{"load_module", 0, load_module},
	{"load_kernel", 0, load_kernel},
	{"weaken_memory", 0, weaken_memory},
	{"fifo_scheduling", 0, fifo_scheduling},
	{"negative_nice", 0, negative_nice},
	{"real_time_io", 0, real_time_io},
	{"own_segments", 0, own_segments},
	{"io_ports", 0, io_ports},
	{"i386_call", 0, i386_call},
	{"x32_call", 0, x32_call},
	{0},
};
