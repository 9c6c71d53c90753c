/* Plays many scenarios, a few at a time, each in a process of its own; or many on each of a few hosts. */
#ifndef RUN_H
#define RUN_H

#include "play.h"

struct answer {
    const char *skipped; /* why, or NULL */
    struct text text;
    int file; /* on the way here */
};

/* One answer a scenario, in their order; to be freed. `agent` is the path of a binary or a script. */
struct answer *run_all(const struct scenarios *, const char *agent, enum way);
/* Likewise, of another agent, which is not told what only ours knows. */
struct answer *run_other(const struct scenarios *, const char *agent);

#endif
