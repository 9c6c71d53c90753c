/* What a host is expected to answer to the scenarios of an agent of its own. */
#ifndef HOSTED_H
#define HOSTED_H

#include "differences.h"
#include "scenario.h"

/* The same scenarios with other answers: those that HOST.md lists, or else the same, with the end
   that is a host's. */
struct scenarios hosted(const struct scenarios *, const struct differences *);

#endif
