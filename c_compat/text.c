#include "text.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_add(struct text *text, const void *bytes, size_t length)
{
    if (text->length + length + 1 > text->room) {
        text->room = 2 * (text->length + length) + 64;
        text->bytes = realloc(text->bytes, text->room);
        if (!text->bytes)
            die("no memory for %zu bytes", text->room);
    }
    if (length > 0)
        memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
}

void text_print(struct text *text, const char *format, ...)
{
    char *line;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&line, format, arguments);
    va_end(arguments);
    if (length < 0)
        die("no memory for a line");
    text_add(text, line, (size_t)length);
    free(line);
}

const char *text_string(const struct text *text)
{
    return text->bytes ? text->bytes : "";
}

void text_free(struct text *text)
{
    free(text->bytes);
    *text = (struct text){0};
}

static const char ESCAPES[][2] = {{'n', '\n'},   {'r', '\r'}, {'t', '\t'}, {'e', '\033'},
                                  {'0', '\0'},   {'"', '"'},  {'\'', '\''}, {'\\', '\\'}};
enum { ESCAPE_COUNT = sizeof ESCAPES / sizeof *ESCAPES };

void text_quote(struct text *text, const char *bytes, size_t length)
{
    text_add(text, "\"", 1);
    for (size_t i = 0; i < length; i++) {
        const char *escape = NULL;
        for (int e = 0; e < ESCAPE_COUNT && !escape; e++)
            if (bytes[i] == ESCAPES[e][1] && bytes[i] != '\'')
                escape = ESCAPES[e];
        if (escape)
            text_print(text, "\\%c", escape[0]);
        else if (isprint((unsigned char)bytes[i]))
            text_add(text, bytes + i, 1);
        else
            text_print(text, "\\x%02x", (unsigned char)bytes[i]);
    }
    text_add(text, "\"", 1);
}

static int hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    return -1;
}

/* The byte that a pair of hexadecimal digits stands for, or -1. */
static int hex_pair(const char *at)
{
    int high = hex_digit(at[0]);
    int low = high < 0 ? -1 : hex_digit(at[1]);
    return low < 0 ? -1 : high * 16 + low;
}

bool text_unquote(struct text *text, const char **at, char quote)
{
    while (**at != quote) {
        char byte = *(*at)++;
        if (byte == '\0')
            return false;
        if (byte == '\\' && **at == 'x') {
            int value = hex_pair(*at + 1);
            if (value < 0)
                return false;
            byte = (char)value;
            *at += 3;
        } else if (byte == '\\') {
            int e = 0;
            while (e < ESCAPE_COUNT && ESCAPES[e][0] != **at)
                e++;
            if (e == ESCAPE_COUNT)
                return false;
            byte = ESCAPES[e][1];
            (*at)++;
        }
        text_add(text, &byte, 1);
    }
    (*at)++;
    return true;
}

bool text_unhex(struct text *text, const char *at)
{
    for (;;) {
        while (isspace((unsigned char)*at))
            at++;
        if (*at == '\0')
            return true;
        if (*at == '"') {
            at++;
            if (!text_unquote(text, &at, '"'))
                return false;
            continue;
        }
        int value = hex_pair(at);
        if (value < 0)
            return false;
        char byte = (char)value;
        text_add(text, &byte, 1);
        at += 2;
    }
}

bool file_read(const char *path, struct text *text)
{
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    char buffer[65536];
    size_t length;
    while ((length = fread(buffer, 1, sizeof buffer, file)) > 0)
        text_add(text, buffer, length);
    bool good = !ferror(file);
    fclose(file);
    return good;
}

bool next_line(const char **at, struct text *line)
{
    if (**at == '\0')
        return false;
    size_t length = strcspn(*at, "\n");
    line->length = 0;
    text_add(line, *at, length);
    *at += length + ((*at)[length] == '\n');
    return true;
}

bool starts_with(const char *string, const char *prefix)
{
    return strncmp(string, prefix, strlen(prefix)) == 0;
}

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "conformance: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(2);
}
