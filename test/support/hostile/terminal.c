/* Attacks on terminals, ours and others'. Ours is the standard input. */
#include "hostile.h"
#include <linux/tiocl.h>
#include <sys/ioctl.h>

static int need_terminal(void)
{
	if (!isatty(0))
		mistake("a terminal");
	return 0;
}

/* Input for whoever reads the terminal after us: a shell. */
static int push_input(char **argument)
{
	(void)argument;
	return verdict(ioctl(need_terminal(), TIOCSTI, "x"), "TIOCSTI");
}

/* The kernel looks at 32 bits of the request, a filter perhaps at 64. */
static int push_input_high(char **argument)
{
	(void)argument;
	return verdict(syscall(SYS_ioctl, need_terminal(), TIOCSTI | 1UL << 32, "x"), "TIOCSTI");
}

/* By pasting a selection, on a console; asked is only for the state of the keys. */
static int console_selection(char **argument)
{
	char subcode = TIOCL_GETSHIFTSTATE;
	int fd = open(argument[0], O_RDWR | O_NOCTTY);

	if (fd < 0)
		return stopped(argument[0]);
	return verdict(ioctl(fd, TIOCLINUX, &subcode), "TIOCLINUX");
}

static int write_terminal(char **argument)
{
	int fd = open(argument[0], O_WRONLY | O_NOCTTY);

	if (fd < 0)
		return stopped(argument[0]);
	return verdict(write(fd, "hostile\n", 8), argument[0]);
}

const struct attack terminal_attacks[] = {
	{"push_input", 0, push_input},
	{"push_input_high", 0, push_input_high},
	{"console_selection", 1, console_selection},
	{"write_terminal", 1, write_terminal},
	{0},
};
