/* seccomp programs that scenarios name. */
#ifndef FILTER_H
#define FILTER_H

#include <stddef.h>

struct filter {
    const char *name;
    const void *program;
    size_t length;
};

extern const struct filter FILTERS[];
extern const int FILTER_COUNT;

#endif
