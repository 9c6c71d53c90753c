/* What a line of an answer says: "< 3 of {1, {:reply, 7, :ok}}", or the same of an agent of its own. */
#ifndef LINE_H
#define LINE_H

#include "text.h"

enum { NOBODY = -1 };

/* The event, behind a count and an address, and whose it is: NOBODY's without an address. */
const char *line_event(const char *line, long *id);
/* The count. */
int line_count(const char *line);

/* Whether this event is the last of its session. */
bool is_terminal(const char *event);

/* Puts the lines of one session before those of the next, for sessions do not wait for each other;
   then what has no address; then what is no event. */
void lines_order(struct text *lines);

#endif
