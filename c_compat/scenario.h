/* A scenario: what is said to an agent, what is done to it, and what it is to answer.

     == name [root]            what it cannot be played without: `root`, or `user-namespaces`, which
                               some machines give to root only; `host`: it is for a host, and
                               its frames have addresses; `ours`: it sets what the C agent
                               skips, and would wait for what never comes
     # a comment
     > {:spawn, %{…}}          a term, sent as a frame; lines next to each other are one write
     < {:status, :running}     an event that is expected; nothing more is sent before it is there
     ! until taken             something that is done, see play.c
     = exit 0                  what is to be seen when all is over

   A line that begins with blanks continues the one before. */
#ifndef SCENARIO_H
#define SCENARIO_H

#include "text.h"

struct step {
    char kind; /* one of > < ! */
    char *text;
};

struct scenario {
    char *name;
    bool needs_root, needs_user_namespaces, is_for_a_host, is_ours;
    struct step *steps;
    int step_count;
    struct text answer; /* its lines that begin with < or =; see line.h for their order */
};

struct scenarios {
    struct scenario *all;
    int count;
};

/* Reads a file of them. */
void scenarios_read(struct scenarios *, const char *path);
/* Likewise what stands in `content`, under that path. */
void scenarios_parse(struct scenarios *, const char *path, const char *content);
/* Its place in the table, or -1. */
int scenario_named(const struct scenarios *, const char *name);

#endif
