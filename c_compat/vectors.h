/* The vectors of the specification: fenced blocks

     ```vector KIND
     the term in Elixir notation, or a # comment
     83 68 02 …
     ```

   where KIND is request, command, event, malformed-request or malformed-command. */
#ifndef VECTORS_H
#define VECTORS_H

#include <stdbool.h>

/* Decodes them with libei, sends them to the agent, and prints them. Whether all is well. */
bool vectors_check(const char *document, const char *agent);

#endif
