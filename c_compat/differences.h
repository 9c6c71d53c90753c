/* DIFFERENCES.md: where another agent may answer otherwise than ours.

     ## What the difference is

     Prose.

     ```answers one-scenario another-scenario
     < {:error, 90, :request_too_big}
     = exit 1
     ```

   A scenario may stand over several blocks of its section; then each is allowed. */
#ifndef DIFFERENCES_H
#define DIFFERENCES_H

#include "text.h"

struct difference {
    char *title, *scenario;
    struct text answer;
};

struct differences {
    struct difference *all;
    int count, section_count;
};

void differences_read(struct differences *, const char *path);
/* The difference that allows this answer; or else any of this scenario, with *allows false; or NULL. */
const struct difference *difference_of(const struct differences *, const char *scenario,
                                       const char *answer, bool *allows);

#endif
