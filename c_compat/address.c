#include "address.h"

void address_write(ei_x_buff *out, unsigned long id, const struct encoding *encoding)
{
    static const char LARGE_PAIR[] = {ERL_LARGE_TUPLE_EXT, 0, 0, 0, 2};
    const char digits[] = {ERL_SMALL_BIG_EXT, 4, 0, (char)id, (char)(id >> 8), (char)(id >> 16),
                           (char)(id >> 24)};
    if (encoding->tuples == ERL_LARGE_TUPLE_EXT)
        ei_x_append_buf(out, LARGE_PAIR, sizeof LARGE_PAIR);
    else
        ei_x_encode_tuple_header(out, 2);
    if (encoding->integers == ERL_SMALL_BIG_EXT)
        ei_x_append_buf(out, digits, sizeof digits);
    else
        ei_x_encode_ulong(out, id);
}

bool address_take(const char *frame, size_t length, unsigned long *id, struct text *body)
{
    int index = 0, version, arity;
    if (ei_decode_version(frame, &index, &version) < 0 ||
        ei_decode_tuple_header(frame, &index, &arity) < 0 || arity != 2 ||
        ei_decode_ulong(frame, &index, id) < 0 || (size_t)index > length)
        return false;
    text_add(body, frame, 1);
    text_add(body, frame + index, length - (size_t)index);
    return true;
}
