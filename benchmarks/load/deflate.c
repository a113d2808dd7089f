/* permessage-deflate of one message by itself; built with WITH_ZLIB where zlib is at hand. */

#include "payload.h"

#ifdef WITH_ZLIB

#include <zlib.h>

enum { WINDOW_BITS = 15, MEMORY_LEVEL = 8 };

static const unsigned char TAIL[] = {0x00, 0x00, 0xFF, 0xFF}; /* stands for itself on the wire */

bool
deflate_available(void)
{
    return true;
}

bool
compress_message(bytes *out, const unsigned char *data, size_t size)
{
    z_stream stream = {0};
    if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -WINDOW_BITS, MEMORY_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    size_t room = deflateBound(&stream, size) + 64;
    stream.next_in = (unsigned char *)data;
    stream.avail_in = (unsigned)size;
    stream.next_out = bytes_room(out, room);
    stream.avail_out = (unsigned)room;
    bool good = deflate(&stream, Z_SYNC_FLUSH) == Z_OK && stream.avail_out;
    out->size += stream.total_out - sizeof TAIL;
    deflateEnd(&stream);
    return good;
}

static bool
inflate_part(z_stream *stream, bytes *out, const unsigned char *data, size_t size)
{
    stream->next_in = (unsigned char *)data;
    stream->avail_in = (unsigned)size;
    while (stream->avail_in) {
        size_t room = 64 * 1024;
        stream->next_out = bytes_room(out, room);
        stream->avail_out = (unsigned)room;
        int status = inflate(stream, Z_SYNC_FLUSH);
        out->size += room - stream->avail_out;
        if (status != Z_OK)
            return status == Z_STREAM_END;
    }
    return true;
}

bool
inflate_message(bytes *out, const unsigned char *data, size_t size)
{
    z_stream stream = {0};
    if (inflateInit2(&stream, -WINDOW_BITS) != Z_OK)
        return false;
    bool good = inflate_part(&stream, out, data, size) &&
                inflate_part(&stream, out, TAIL, sizeof TAIL);
    inflateEnd(&stream);
    return good;
}

#else

bool
deflate_available(void)
{
    return false;
}

bool
compress_message(bytes *out, const unsigned char *data, size_t size)
{
    (void)out, (void)data, (void)size;
    return false;
}

bool
inflate_message(bytes *out, const unsigned char *data, size_t size)
{
    (void)out, (void)data, (void)size;
    return false;
}

#endif
