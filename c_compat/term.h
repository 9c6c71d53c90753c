/* Terms: from Elixir notation to bytes and back, both with libei. */
#ifndef TERM_H
#define TERM_H

#include "text.h"

#include <ei.h>

/* What $name stands for in a term: an integer, or the bytes of a binary. */
struct name {
    char name[24];
    bool is_integer;
    long long integer;
    struct text bytes;
};

/* Which of the external term format's tags are written; 0: as libei does it. */
struct encoding {
    int atoms, strings, tuples, integers;
};

/* Appends the term in `notation` to `out`, which has its version byte already.

   The notation is Elixir's, with some more words for what is long or not a literal:

     "x"*1000        a binary of a thousand bytes      $name      a value of the scenario's
     [1000 of "x"]   a list of a thousand elements     2**64      an integer, also -2**64
     nested(60)      a list in a list in a list …      #pid #ref #port #fun #bits
 */
void term_write(ei_x_buff *out, const char *notation, const struct encoding *encoding,
                const struct name *names, int name_count);

/* Prints a frame's term. False when libei cannot decode it, or not to its last byte. */
bool term_print(struct text *out, const char *frame, size_t length);

/* The bytes in {:pty_out, bytes}, {:stdout, bytes} or {:stderr, bytes}, and which of these it is: always the same
   pointer for the same name, NULL for any other frame. */
const char *term_output(const char *frame, size_t length, struct text *bytes);

/* The integer in {:status, :kind, integer}. */
bool term_is_status(const char *frame, size_t length, const char *kind, long *value);

#endif
