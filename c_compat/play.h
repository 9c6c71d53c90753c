/* Plays a scenario with an agent and writes down what comes of it. */
#ifndef PLAY_H
#define PLAY_H

#include "agent.h"
#include "scenario.h"

/* What the agent is to a scenario. */
enum way {
    ALONE, /* an agent that serves this session and no other */
    HOSTED, /* a host that is there for this scenario */
    WARM, /* a host that has served other scenarios before */
};

/* Where scenarios are played one after the other. */
struct place {
    enum way way;
    const char *path; /* of the agent, absolute */
    bool is_started;  /* a warm host still is from one scenario to the next */
    struct agent agent;
    int output, errors;
};

void place_open(struct place *, enum way, const char *path);
void place_close(struct place *);

/* The answer has the form of the scenario's, and ends when as many sessions have as there. The calling
   process becomes a child subreaper, and afterwards has no child but a warm host. */
void play(const struct scenario *, struct place *, struct text *answer);

/* Whether this scenario leaves a host as it was, so that others can be played with it. */
bool is_for_a_warm_host(const struct scenario *);

#endif
