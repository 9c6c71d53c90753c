/* What the files of this directory share. */
#ifndef HOSTILE_H
#define HOSTILE_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* How an attack ends. */
enum { WON = 0, STOPPED = 1, MISTAKE = 2 };

struct attack {
	const char *name;
	int arguments;
	int (*attempt)(char **arguments);
};

/* Each ends with one that has no name. */
extern const struct attack process_attacks[], file_attacks[], namespace_attacks[], kernel_attacks[],
	terminal_attacks[], network_attacks[], resource_attacks[], plants[];

/* What stopped it, on standard error. */
int stopped(const char *what);

/* Ends the program: the harness has asked for something that makes no sense. */
_Noreturn void mistake(const char *what);

/* Whether a system call succeeded. */
int verdict(long result, const char *what);

/* A number, of a process perhaps: "parent" is who has started us. */
long number(const char *argument);

/* What is in a file, up to size - 1 bytes, and a NUL behind it; -1 if it cannot be read. */
ssize_t slurp(const char *path, char *bytes, size_t size);

/* Opens a file and writes back into it what it has said. */
int rewrite(const char *path);

/* A mount namespace of our own if we may have one, so that no attack does anything to the host's. */
bool own_mounts(void);

#endif
