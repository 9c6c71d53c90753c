/* The address of a frame in the channel of a host: {Id, Term}. */
#ifndef ADDRESS_H
#define ADDRESS_H

#include "term.h"

/* Appends what stands before the term: the head of a pair, and the id, both in that encoding. */
void address_write(ei_x_buff *out, unsigned long id, const struct encoding *encoding);

/* Takes the address off a frame; `body` is then the frame of an agent that has one session.
   False when there is none. */
bool address_take(const char *frame, size_t length, unsigned long *id, struct text *body);

#endif
