#include "frames.h"

#include <string.h>

int
sono_read_header(sono_header *header, const unsigned char *data, size_t size)
{
    if (size < 2)
        return 0;
    header->first = data[0];
    header->masked = data[1] >> 7;
    header->form = data[1] & 0x7F;
    size_t extended = header->form == 127 ? 8 : header->form == 126 ? 2 : 0;
    header->size = (unsigned char)(2 + extended + 4 * header->masked);
    if (size < header->size)
        return 0;
    header->length = header->form;
    if (extended) {
        header->length = 0;
        for (size_t i = 0; i < extended; i++)
            header->length = header->length << 8 | data[2 + i];
    }
    header->key = 0;
    if (header->masked)
        memcpy(&header->key, data + 2 + extended, 4);
    return 1;
}

size_t
sono_write_header(unsigned char *out, unsigned char first, uint64_t length, int masked,
                  uint32_t key)
{
    size_t extended = length <= SONO_MAX_CONTROL ? 0 : length <= 0xFFFF ? 2 : 8;
    unsigned char form = extended == 0 ? (unsigned char)length : extended == 2 ? 126 : 127;
    out[0] = first;
    out[1] = (unsigned char)(form | (masked ? SONO_MASKED : 0));
    for (size_t i = 0; i < extended; i++)
        out[2 + i] = (unsigned char)(length >> (8 * (extended - 1 - i)));
    if (masked)
        memcpy(out + 2 + extended, &key, 4);
    return 2 + extended + (masked ? 4 : 0);
}
