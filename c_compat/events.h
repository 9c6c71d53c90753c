/* What sessions have said, one session after the other. */
#ifndef EVENTS_H
#define EVENTS_H

#include "text.h"

#include <sys/types.h>

enum { MAX_SESSIONS = 16 };

struct event {
    struct text line;
    int count; /* so many of them */
    const char *output; /* the name of what has given the bytes, or NULL */
    struct text bytes;
};

struct session {
    long id; /* or NOBODY, for what has no address */
    pid_t child;
    struct event *events;
    int event_count, expected_count;
    bool is_over;
};

struct sessions {
    struct session all[MAX_SESSIONS];
    int count;
    int ended_count;     /* one that has begun again may end again */
    bool have_addresses; /* in the lines that are printed */
};

/* The session with this id, which has said nothing yet when it is a new one. */
struct session *session_of(struct sessions *, long id);
/* Takes in a frame of it, without its address. */
void session_hear(struct sessions *, struct session *, const char *frame, size_t length);
/* Whether it has said as much as is expected of it, the last of it being this line. */
bool session_has_said(const struct session *, const char *last_expected);
/* Its events as lines of an answer. */
void sessions_print(struct sessions *, struct text *answer);

#endif
