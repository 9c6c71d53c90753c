/* Plays a scenario with an agent and writes down what comes of it. */
#ifndef PLAY_H
#define PLAY_H

#include "scenario.h"

/* `agent` is its absolute path; the answer has the form of the scenario's. The calling process
   becomes a child subreaper, and afterwards has no child. */
void play(const struct scenario *, const char *agent, struct text *answer);

#endif
