/* Bytes that grow. They are followed by a NUL that does not count. */
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct text {
    char *bytes;
    size_t length, room;
};

void text_add(struct text *, const void *bytes, size_t length);
void text_print(struct text *, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Its bytes as a string: "" when nothing was added. */
const char *text_string(const struct text *);
void text_free(struct text *);

/* A double-quoted string in Elixir notation. */
void text_quote(struct text *, const char *bytes, size_t length);
/* Reads what text_quote writes: *at stands behind the opening quote, and then behind the closing
   one. False when there is none. */
bool text_unquote(struct text *, const char **at, char quote);
/* Hexadecimal pairs and "strings", with blanks between them. */
bool text_unhex(struct text *, const char *at);

bool file_read(const char *path, struct text *);
/* The line at *at, without its newline; moves *at behind it. False at the end. */
bool next_line(const char **at, struct text *line);
bool starts_with(const char *string, const char *prefix);

/* Something that is wrong with this program's input or this machine. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
