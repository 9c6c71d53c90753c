#include "term.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* From notation to bytes. */

struct reader {
    const char *notation, *at;
    const struct encoding *encoding;
    const struct name *names;
    int name_count;
};

static void write_term(struct reader *, ei_x_buff *);

_Noreturn static void cannot_read(const struct reader *r, const char *what)
{
    die("%s at \"%.40s\" in %.200s", what, r->at, r->notation);
}

static void skip_blanks(struct reader *r)
{
    while (isspace((unsigned char)*r->at))
        r->at++;
}

static bool take(struct reader *r, const char *word)
{
    skip_blanks(r);
    if (!starts_with(r->at, word))
        return false;
    r->at += strlen(word);
    return true;
}

static void expect(struct reader *r, const char *word)
{
    if (!take(r, word))
        cannot_read(r, word);
}

static unsigned long count(struct reader *r)
{
    skip_blanks(r);
    if (!isdigit((unsigned char)*r->at))
        cannot_read(r, "no number");
    return strtoul(r->at, (char **)&r->at, 10);
}

/* As ei_x_append_buf, which grows a buffer by a hundred bytes each time. */
static void add_bytes(ei_x_buff *x, const void *bytes, size_t length)
{
    if ((size_t)x->index + length > (size_t)x->buffsz) {
        x->buffsz = 2 * (x->index + (int)length);
        x->buff = realloc(x->buff, (size_t)x->buffsz);
        if (!x->buff)
            die("no memory for a term");
    }
    memcpy(x->buff + x->index, bytes, length);
    x->index += (int)length;
}

/* A tag, and a length behind it in so many bytes. */
static void add_header(ei_x_buff *x, int tag, int width, size_t length)
{
    uint8_t header[5] = {(uint8_t)tag};
    for (int i = 0; i < width; i++)
        header[width - i] = (uint8_t)(length >> 8 * i);
    add_bytes(x, header, 1 + (size_t)width);
}

static void write_atom(struct reader *r, ei_x_buff *x, const char *name, size_t length)
{
    int tag = r->encoding->atoms;
    if (tag == 0) {
        ei_x_encode_atom_len(x, name, (int)length);
    } else {
        bool is_long = tag == ERL_ATOM_EXT || tag == ERL_ATOM_UTF8_EXT;
        add_header(x, tag, is_long ? 2 : 1, length);
        add_bytes(x, name, length);
    }
}

static size_t word_length(const char *at)
{
    size_t length = 0;
    while (isalnum((unsigned char)at[length]) || at[length] == '_')
        length++;
    return length;
}

static void write_named_atom(struct reader *r, ei_x_buff *x)
{
    struct text name = {0};
    if (*r->at == '"') {
        r->at++;
        if (!text_unquote(&name, &r->at, '"'))
            cannot_read(r, "no end of the atom");
    } else {
        text_add(&name, r->at, word_length(r->at));
        r->at += name.length;
    }
    write_atom(r, x, text_string(&name), name.length);
    text_free(&name);
}

static void write_string(struct reader *r, ei_x_buff *x, const char *bytes, size_t length)
{
    switch (r->encoding->strings) {
    case 0:
    case ERL_BINARY_EXT:
        ei_x_encode_binary(x, bytes, (int)length);
        break;
    case ERL_STRING_EXT:
        ei_x_encode_string_len(x, bytes, (int)length);
        break;
    case ERL_LIST_EXT:
        if (length > 0)
            ei_x_encode_list_header(x, (long)length);
        for (size_t i = 0; i < length; i++)
            ei_x_encode_ulong(x, (unsigned char)bytes[i]);
        ei_x_encode_empty_list(x);
        break;
    default:
        die("there is no encoding %d of strings", r->encoding->strings);
    }
}

/* What is in `unit`, as often as the notation says behind it. */
static void write_repeated(struct reader *r, ei_x_buff *x, const struct text *unit)
{
    unsigned long times = take(r, "*") ? count(r) : 1;
    struct text all = {0};
    while (times-- > 0)
        text_add(&all, unit->bytes, unit->length);
    write_string(r, x, text_string(&all), all.length);
    text_free(&all);
}

static void write_power_of_two(ei_x_buff *x, bool negative, unsigned long exponent)
{
    uint8_t digits[256] = {0};
    size_t length = exponent / 8 + 1;
    if (length >= sizeof digits)
        die("2**%lu is too large", exponent);
    digits[length - 1] = (uint8_t)(1 << exponent % 8);
    add_header(x, ERL_SMALL_BIG_EXT, 1, length);
    uint8_t sign = negative;
    add_bytes(x, &sign, 1);
    add_bytes(x, digits, length);
}

static void write_integer(struct reader *r, ei_x_buff *x, bool negative, unsigned long long value)
{
    if (r->encoding->integers == ERL_SMALL_BIG_EXT) {
        uint8_t big[11] = {ERL_SMALL_BIG_EXT, 8, negative};
        for (int i = 0; i < 8; i++)
            big[3 + i] = (uint8_t)(value >> 8 * i);
        add_bytes(x, big, sizeof big);
    } else if (negative) {
        ei_x_encode_longlong(x, -(long long)value);
    } else {
        ei_x_encode_ulonglong(x, value);
    }
}

static void write_number(struct reader *r, ei_x_buff *x)
{
    bool negative = take(r, "-");
    if (take(r, "2**")) {
        write_power_of_two(x, negative, count(r));
        return;
    }
    const char *start = r->at;
    unsigned long long value = strtoull(start, (char **)&r->at, 10);
    if (*r->at == '.' && isdigit((unsigned char)r->at[1])) {
        double number = strtod(start, (char **)&r->at);
        ei_x_encode_double(x, negative ? -number : number);
    } else {
        write_integer(r, x, negative, value);
    }
}

static void write_variable(struct reader *r, ei_x_buff *x)
{
    size_t length = word_length(r->at);
    for (int i = 0; i < r->name_count; i++) {
        const struct name *name = &r->names[i];
        if (strlen(name->name) != length || strncmp(name->name, r->at, length) != 0)
            continue;
        r->at += length;
        if (name->is_integer)
            write_integer(r, x, name->integer < 0, (unsigned long long)llabs(name->integer));
        else
            write_repeated(r, x, &name->bytes);
        return;
    }
    cannot_read(r, "no such name");
}

/* Terms that mean nothing to an agent. */
static void write_opaque(struct reader *r, ei_x_buff *x)
{
    if (take(r, "pid")) {
        erlang_pid pid = {.node = "n@h", .num = 1, .serial = 2, .creation = 3};
        ei_x_encode_pid(x, &pid);
    } else if (take(r, "ref")) {
        erlang_ref ref = {.node = "n@h", .len = 3, .n = {1, 2, 3}, .creation = 4};
        ei_x_encode_ref(x, &ref);
    } else if (take(r, "port")) {
        erlang_port port = {.node = "n@h", .id = 5, .creation = 6};
        ei_x_encode_port(x, &port);
    } else if (take(r, "fun")) {
        erlang_fun fun = {.arity = -1, .type = EI_FUN_EXPORT};
        strcpy(fun.module, "lists");
        fun.u.exprt.func = "map";
        fun.u.exprt.func_allocated = 0;
        fun.arity = 2;
        ei_x_encode_fun(x, &fun);
    } else if (take(r, "bits")) {
        ei_x_encode_bitstring(x, "\xa0", 0, 3);
    } else {
        cannot_read(r, "no such thing");
    }
}

/* The terms up to `end`, and how many of them. In a list a term may have its number before it, and
   be a pair of a keyword list. */
static unsigned long write_elements(struct reader *r, ei_x_buff *x, const char *end)
{
    bool is_list = *end == ']';
    unsigned long total = 0;
    while (!take(r, end)) {
        if (total > 0 && is_list && take(r, "|")) {
            write_term(r, x);
            expect(r, end);
            return total;
        }
        if (total > 0)
            expect(r, ",");
        skip_blanks(r);
        const char *start = r->at;
        unsigned long times = 1;
        if (is_list && isdigit((unsigned char)*start)) {
            times = count(r);
            if (!take(r, "of ")) {
                times = 1;
                r->at = start;
            }
        }
        size_t key = word_length(r->at);
        ei_x_buff one;
        ei_x_new(&one);
        if (is_list && key > 0 && r->at[key] == ':') {
            ei_x_encode_tuple_header(&one, 2);
            write_atom(r, &one, r->at, key);
            r->at += key + 1;
        }
        write_term(r, &one);
        for (unsigned long i = 0; i < times; i++)
            add_bytes(x, one.buff, (size_t)one.index);
        ei_x_free(&one);
        total += times;
    }
    if (is_list)
        ei_x_encode_empty_list(x);
    return total;
}

static void write_pairs(struct reader *r, ei_x_buff *x)
{
    ei_x_buff all;
    ei_x_new(&all);
    int pairs = 0;
    while (!take(r, "}")) {
        if (pairs > 0)
            expect(r, ",");
        skip_blanks(r);
        size_t key = word_length(r->at);
        if (key > 0 && r->at[key] == ':') {
            write_atom(r, &all, r->at, key);
            r->at += key + 1;
        } else {
            write_term(r, &all);
            expect(r, "=>");
        }
        write_term(r, &all);
        pairs++;
    }
    ei_x_encode_map_header(x, pairs);
    add_bytes(x, all.buff, (size_t)all.index);
    ei_x_free(&all);
}

static void write_sequence(struct reader *r, ei_x_buff *x, const char *end)
{
    ei_x_buff all;
    ei_x_new(&all);
    unsigned long arity = write_elements(r, &all, end);
    if (*end == ']' && arity > 0)
        ei_x_encode_list_header(x, (long)arity);
    else if (*end == '}' && r->encoding->tuples == ERL_LARGE_TUPLE_EXT)
        add_header(x, ERL_LARGE_TUPLE_EXT, 4, arity);
    else if (*end == '}')
        ei_x_encode_tuple_header(x, (long)arity);
    add_bytes(x, all.buff, (size_t)all.index);
    ei_x_free(&all);
}

static void write_nested(struct reader *r, ei_x_buff *x)
{
    unsigned long depth = count(r);
    expect(r, ")");
    for (unsigned long i = 1; i < depth; i++)
        ei_x_encode_list_header(x, 1);
    for (unsigned long i = 0; i < depth; i++)
        ei_x_encode_empty_list(x);
}

static void write_term(struct reader *r, ei_x_buff *x)
{
    struct text bytes = {0};
    if (take(r, "%{")) {
        write_pairs(r, x);
    } else if (take(r, "{")) {
        write_sequence(r, x, "}");
    } else if (take(r, "[")) {
        write_sequence(r, x, "]");
    } else if (take(r, "nested(")) {
        write_nested(r, x);
    } else if (take(r, "\"")) {
        if (!text_unquote(&bytes, &r->at, '"'))
            cannot_read(r, "no end of the string");
        write_repeated(r, x, &bytes);
    } else if (take(r, "'")) {
        if (!text_unquote(&bytes, &r->at, '\''))
            cannot_read(r, "no end of the charlist");
        ei_x_encode_string_len(x, text_string(&bytes), (int)bytes.length);
    } else if (take(r, "$")) {
        write_variable(r, x);
    } else if (take(r, "#")) {
        write_opaque(r, x);
    } else if (take(r, ":")) {
        write_named_atom(r, x);
    } else if (*r->at == '-' || isdigit((unsigned char)*r->at)) {
        write_number(r, x);
    } else if (starts_with(r->at, "true") || starts_with(r->at, "false") ||
               starts_with(r->at, "nil")) {
        write_named_atom(r, x);
    } else {
        cannot_read(r, "no term");
    }
    text_free(&bytes);
}

void term_write(ei_x_buff *out, const char *notation, const struct encoding *encoding,
                const struct name *names, int name_count)
{
    struct reader reader = {notation, notation, encoding, names, name_count};
    write_term(&reader, out);
    skip_blanks(&reader);
    if (*reader.at)
        cannot_read(&reader, "more than a term");
}

/* From bytes to notation. libei does not look whether it reads beyond the end of a frame, so a frame
   gets a margin larger than any fixed part of a term, and longer parts are checked here. */

enum { MARGIN = 2048, LONG_STRING = 256, DEEPEST = 512 };

struct printer {
    const char *frame;
    int length, at, depth;
    struct text *out;
};

static bool print_term(struct printer *);

static int next_type(struct printer *p, int *size)
{
    int type;
    if (p->at >= p->length || ei_get_type(p->frame, &p->at, &type, size) < 0)
        return -1;
    return type;
}

static bool is_plain(const char *name)
{
    return islower((unsigned char)*name) && name[word_length(name)] == '\0';
}

static bool read_atom(struct printer *p, char *name)
{
    return ei_decode_atom_as(p->frame, &p->at, name, MAXATOMLEN_UTF8, ERLANG_UTF8, NULL, NULL) == 0;
}

static bool print_atom(struct printer *p, bool as_key)
{
    char name[MAXATOMLEN_UTF8];
    if (!read_atom(p, name))
        return false;
    bool is_word = !strcmp(name, "true") || !strcmp(name, "false") || !strcmp(name, "nil");
    if (!as_key && !is_word)
        text_add(p->out, ":", 1);
    if (is_plain(name))
        text_print(p->out, "%s", name);
    else
        text_quote(p->out, name, strlen(name));
    if (as_key)
        text_add(p->out, ": ", 2);
    return true;
}

static bool print_binary(struct printer *p, int size)
{
    if (size < 0 || size > p->length - p->at - 5)
        return false;
    const char *bytes = p->frame + p->at + 5;
    text_quote(p->out, bytes, (size_t)(size > LONG_STRING ? 16 : size));
    if (size > LONG_STRING)
        text_print(p->out, "… %d bytes", size);
    p->at += 5 + size;
    return true;
}

static bool print_charlist(struct printer *p, int size)
{
    if (size > p->length - p->at - 3)
        return false;
    text_print(p->out, "'%.*s'", size, p->frame + p->at + 3);
    p->at += 3 + size;
    return true;
}

static bool print_big(struct printer *p, int size)
{
    unsigned long long value;
    long long negative;
    if (ei_decode_ulonglong(p->frame, &p->at, &value) == 0) {
        text_print(p->out, "%llu", value);
        return true;
    }
    if (ei_decode_longlong(p->frame, &p->at, &negative) == 0) {
        text_print(p->out, "%lld", negative);
        return true;
    }
    int header = p->frame[p->at] == ERL_SMALL_BIG_EXT ? 3 : 6;
    if (size < 0 || size > p->length - p->at - header)
        return false;
    const unsigned char *digits = (const unsigned char *)p->frame + p->at + header;
    text_print(p->out, "%s0x", digits[-1] ? "-" : "");
    for (int i = size; i-- > 0;)
        text_print(p->out, "%02x", digits[i]);
    p->at += header + size;
    return true;
}

static bool print_elements(struct printer *p, int arity)
{
    for (int i = 0; i < arity; i++) {
        if (i > 0)
            text_add(p->out, ", ", 2);
        if (!print_term(p))
            return false;
    }
    return true;
}

static bool print_list(struct printer *p)
{
    int arity, size;
    if (ei_decode_list_header(p->frame, &p->at, &arity) < 0)
        return false;
    text_add(p->out, "[", 1);
    if (!print_elements(p, arity))
        return false;
    if (arity > 0 && next_type(p, &size) != ERL_NIL_EXT) {
        text_add(p->out, " | ", 3);
        if (!print_term(p))
            return false;
    } else if (arity > 0) {
        ei_decode_list_header(p->frame, &p->at, &arity);
    }
    text_add(p->out, "]", 1);
    return true;
}

static int by_text(const void *one, const void *other)
{
    return strcmp(text_string(one), text_string(other));
}

/* Sorted: a map has no order. */
static bool print_map(struct printer *p)
{
    int arity, size;
    if (ei_decode_map_header(p->frame, &p->at, &arity) < 0 || arity < 0 || arity > p->length)
        return false;
    struct text *pairs = calloc((size_t)arity + 1, sizeof *pairs);
    struct text *out = p->out;
    bool good = pairs != NULL;
    for (int i = 0; i < arity && good; i++) {
        p->out = &pairs[i];
        int type = next_type(p, &size);
        bool is_atom = type == ERL_ATOM_EXT || type == ERL_SMALL_ATOM_EXT ||
                       type == ERL_ATOM_UTF8_EXT || type == ERL_SMALL_ATOM_UTF8_EXT;
        good = is_atom ? print_atom(p, true) : print_term(p);
        if (good && !is_atom)
            text_add(p->out, " => ", 4);
        good = good && print_term(p);
    }
    p->out = out;
    if (good) {
        qsort(pairs, (size_t)arity, sizeof *pairs, by_text);
        text_add(out, "%{", 2);
        for (int i = 0; i < arity; i++)
            text_print(out, "%s%s", i > 0 ? ", " : "", text_string(&pairs[i]));
        text_add(out, "}", 1);
    }
    for (int i = 0; pairs && i < arity; i++)
        text_free(&pairs[i]);
    free(pairs);
    return good;
}

static bool print_opaque(struct printer *p, const char *name)
{
    text_print(p->out, "%s", name);
    return ei_skip_term(p->frame, &p->at) == 0;
}

static bool print_any(struct printer *p)
{
    int size, arity;
    double number;
    long long integer;
    switch (next_type(p, &size)) {
    case ERL_SMALL_INTEGER_EXT:
    case ERL_INTEGER_EXT:
        if (ei_decode_longlong(p->frame, &p->at, &integer) < 0)
            return false;
        text_print(p->out, "%lld", integer);
        return true;
    case ERL_SMALL_BIG_EXT:
    case ERL_LARGE_BIG_EXT:
        return print_big(p, size);
    case ERL_FLOAT_EXT:
    case NEW_FLOAT_EXT:
        if (ei_decode_double(p->frame, &p->at, &number) < 0)
            return false;
        text_print(p->out, "%g", number);
        return true;
    case ERL_ATOM_EXT:
    case ERL_SMALL_ATOM_EXT:
    case ERL_ATOM_UTF8_EXT:
    case ERL_SMALL_ATOM_UTF8_EXT:
        return print_atom(p, false);
    case ERL_BINARY_EXT:
        return print_binary(p, size);
    case ERL_STRING_EXT:
        return print_charlist(p, size);
    case ERL_NIL_EXT:
    case ERL_LIST_EXT:
        return print_list(p);
    case ERL_SMALL_TUPLE_EXT:
    case ERL_LARGE_TUPLE_EXT:
        if (ei_decode_tuple_header(p->frame, &p->at, &arity) < 0)
            return false;
        text_add(p->out, "{", 1);
        if (!print_elements(p, arity))
            return false;
        text_add(p->out, "}", 1);
        return true;
    case ERL_MAP_EXT:
        return print_map(p);
    case ERL_BIT_BINARY_EXT:
        return print_opaque(p, "#bits");
    case ERL_PID_EXT:
    case ERL_NEW_PID_EXT:
        return print_opaque(p, "#pid");
    case ERL_PORT_EXT:
    case ERL_NEW_PORT_EXT:
    case ERL_V4_PORT_EXT:
        return print_opaque(p, "#port");
    case ERL_REFERENCE_EXT:
    case ERL_NEW_REFERENCE_EXT:
    case ERL_NEWER_REFERENCE_EXT:
        return print_opaque(p, "#ref");
    case ERL_EXPORT_EXT:
    case ERL_FUN_EXT:
    case ERL_NEW_FUN_EXT:
        return print_opaque(p, "#fun");
    default:
        return false;
    }
}

static bool print_term(struct printer *p)
{
    if (++p->depth > DEEPEST)
        return false;
    bool good = print_any(p) && p->at <= p->length;
    p->depth--;
    return good;
}

/* Calls `read` with the term behind the version byte. */
static bool decode(const char *frame, size_t length, struct text *out,
                   bool (*read)(struct printer *))
{
    struct text padded = {0};
    text_add(&padded, frame, length);
    text_add(&padded, (char[MARGIN]){0}, MARGIN);
    struct printer printer = {padded.bytes, (int)length, 0, 0, out};
    int version;
    bool good = length > 0 && ei_decode_version(padded.bytes, &printer.at, &version) == 0 &&
                read(&printer) && printer.at == printer.length;
    text_free(&padded);
    return good;
}

bool term_print(struct text *out, const char *frame, size_t length)
{
    return decode(frame, length, out, print_term);
}

static bool read_output(struct printer *p)
{
    int arity, size;
    char name[MAXATOMLEN_UTF8];
    if (ei_decode_tuple_header(p->frame, &p->at, &arity) < 0 || arity != 2 || !read_atom(p, name) ||
        next_type(p, &size) != ERL_BINARY_EXT || size > p->length - p->at - 5)
        return false;
    text_add(p->out, name, strlen(name) + 1);
    text_add(p->out, p->frame + p->at + 5, (size_t)size);
    p->at += 5 + size;
    return true;
}

const char *term_output(const char *frame, size_t length, struct text *bytes)
{
    static const char *const NAMES[] = {"pty_out", "stdout", "stderr"};
    struct text out = {0};
    const char *name = NULL;
    if (decode(frame, length, &out, read_output))
        for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
            if (strcmp(NAMES[i], out.bytes) == 0)
                name = NAMES[i];
    if (name)
        text_add(bytes, out.bytes + strlen(name) + 1, out.length - strlen(name) - 1);
    text_free(&out);
    return name;
}

static bool read_status(struct printer *p)
{
    int arity;
    long value;
    char name[MAXATOMLEN_UTF8];
    if (ei_decode_tuple_header(p->frame, &p->at, &arity) < 0 || arity != 3 || !read_atom(p, name) ||
        strcmp(name, "status") != 0 || !read_atom(p, name) ||
        ei_decode_long(p->frame, &p->at, &value) < 0)
        return false;
    text_print(p->out, "%s %ld", name, value);
    return true;
}

bool term_is_status(const char *frame, size_t length, const char *kind, long *value)
{
    struct text said = {0};
    bool good = decode(frame, length, &said, read_status) &&
                starts_with(text_string(&said), kind) && said.bytes[strlen(kind)] == ' ';
    if (good)
        *value = atol(said.bytes + strlen(kind));
    text_free(&said);
    return good;
}
