/* An agent as the BEAM starts it: a process of its own session with its channel on descriptors 3
   and 4. It is started in /, reads /dev/zero, and has CONFORMANCE=inherited in its environment. */
#ifndef AGENT_H
#define AGENT_H

#include "text.h"

#include <sys/types.h>

struct agent {
    pid_t pid;
    int to, from;     /* the ends of its channel; -1 when closed */
    struct text said; /* what has come and is no whole frame yet */
    size_t taken;     /* how much of that is behind us */
};

/* How it is started, other than usual. */
struct circumstances {
    bool as_nobody;
    bool without_proc;
    bool without_processes; /* of its own; root is not held to that */
    bool as_host;
};

/* `path` is the absolute one of a binary or a script, `output` what the workload inherits as its
   standard output, and `errors` as its standard error. */
void agent_start(struct agent *, const char *path, const struct circumstances *, int output, int errors);

/* Writes as much as the channel takes; the count, or -1 when nobody is there to read it. */
ssize_t agent_write(struct agent *, const char *bytes, size_t length);
/* Waits so many milliseconds at most for something to read, or, if asked for, room to write. */
void agent_wait(struct agent *, int milliseconds, bool for_room);
/* Reads what there is. */
void agent_read(struct agent *);
/* The next whole frame's body, good until agent_read is called again. */
bool agent_frame(struct agent *, const char **body, size_t *length);

/* Whether it has read all that was written to it. */
bool agent_has_taken_all(const struct agent *);
/* Whether it has ended; it can then be waited for. */
bool agent_has_ended(const struct agent *);

void agent_close_to(struct agent *);
void agent_close_from(struct agent *);

#endif
