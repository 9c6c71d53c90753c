#include "line.h"

#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

const char *line_event(const char *line, long *id)
{
    char *end;
    *id = NOBODY;
    if (starts_with(line, "< "))
        line += 2;
    unsigned long number = strtoul(line, &end, 10);
    if (end > line && starts_with(end, " of "))
        line = end + strlen(" of ");
    if (line[0] != '{' || !isdigit(line[1]))
        return line;
    number = strtoul(line + 1, &end, 10);
    if (!starts_with(end, ", "))
        return line;
    *id = (long)number;
    return end + 2;
}

bool is_terminal(const char *event)
{
    static const char *const LAST[] = {"{:status, :exited, ", "{:status, :signaled, ",
                                       "{:status, :aborted, ", "{:status, :hangup}", "{:error, "};
    for (size_t i = 0; i < sizeof LAST / sizeof *LAST; i++)
        if (starts_with(event, LAST[i]))
            return true;
    return false;
}

int line_count(const char *line)
{
    char *end;
    if (starts_with(line, "< "))
        line += 2;
    unsigned long count = strtoul(line, &end, 10);
    return end > line && starts_with(end, " of ") ? (int)count : 1;
}

static long key(const char *line)
{
    long id;
    if (line[0] != '<')
        return LONG_MAX;
    line_event(line, &id);
    return id == NOBODY ? LONG_MAX - 1 : id;
}

void lines_order(struct text *lines)
{
    struct text ordered = {0}, line = {0};
    long done = -1, next;
    do {
        next = LONG_MAX;
        for (const char *at = text_string(lines); next_line(&at, &line);)
            if (key(text_string(&line)) > done && key(text_string(&line)) < next)
                next = key(text_string(&line));
        for (const char *at = text_string(lines); next_line(&at, &line);)
            if (key(text_string(&line)) == next)
                text_print(&ordered, "%s\n", text_string(&line));
        done = next;
    } while (next < LONG_MAX);
    text_free(&line);
    text_free(lines);
    *lines = ordered;
}
