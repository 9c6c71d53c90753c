/* Plays many scenarios, a few at a time, each in a process of its own. */
#ifndef RUN_H
#define RUN_H

#include "scenario.h"

struct answer {
    const char *skipped; /* why, or NULL */
    struct text text;
};

/* One answer a scenario, in their order; to be freed. `agent` is the path of a binary or a script. */
struct answer *run_all(const struct scenarios *, const char *agent);

#endif
