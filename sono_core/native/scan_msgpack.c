#include "scan_msgpack.h"

#include <stdint.h>

/* What the first byte of a value says: that its low bits are the number, or of how many bytes, in
   big-endian order, the number is that follows. It is a length, an integer or a float. */
typedef enum { VALUE, STR, BIN, ARRAY, MAP, EXT, UINT64, FLOAT32, FLOAT64, NEVER } Kind;

typedef struct {
    unsigned char kind;
    unsigned char width;
} Header;

/* Of the bytes from 0xc0 to 0xdf. */
static const Header headers[32] = {
    {VALUE, 0}, {NEVER, 0},  {VALUE, 0}, {VALUE, 0},   {BIN, 1},     {BIN, 2},   {BIN, 4},
    {EXT, 0},   {EXT, 0},    {EXT, 0},   {FLOAT32, 4}, {FLOAT64, 8}, {VALUE, 1}, {VALUE, 2},
    {VALUE, 4}, {UINT64, 8}, {VALUE, 1}, {VALUE, 2},   {VALUE, 4},   {VALUE, 8}, {EXT, 0},
    {EXT, 0},   {EXT, 0},    {EXT, 0},   {EXT, 0},     {STR, 1},     {STR, 2},   {STR, 4},
    {ARRAY, 2}, {ARRAY, 4},  {MAP, 2},   {MAP, 4},
};

#define FLOAT32_ODD 0x7f800000u /* the bits that are all set in NaN and in infinities */
#define FLOAT64_ODD 0x7ff0000000000000u

/* A container that is open: how many values are to come, and whether it is a map. */
typedef struct {
    uint64_t left;
    int is_map;
} Level;

static int
is_string(unsigned char first)
{
    return (first >= 0xa0 && first <= 0xbf) || (first >= 0xd9 && first <= 0xdb);
}

long long
sono_scan_msgpack(const unsigned char *data, size_t size, long long max_depth,
                  long long max_containers, int binary)
{
    Level outer[SONO_DEEPEST];
    Level open = {1, 0};
    long long parts = 0, containers = 0, depth = 0;
    uint64_t waiting = 0; /* values to come in `outer`: each has a byte at least */
    size_t i = 0;
    if (max_depth > SONO_DEEPEST)
        max_depth = SONO_DEEPEST;
    for (;;) {
        while (!open.left) {
            if (!depth) {
                if (i != size)
                    return SONO_MALFORMED;
                return (long long)size + SONO_PART * parts + SONO_CONTAINER * containers;
            }
            open = outer[--depth];
            waiting -= open.left;
        }
        if (i >= size)
            return SONO_MALFORMED;
        unsigned char first = data[i++];
        if (open.is_map && !(open.left & 1) && !is_string(first))
            return SONO_NOT_A_KEY;
        open.left--;
        if (first < 0x80 || first >= 0xe0) /* small integers */
            continue;
        Kind kind;
        uint64_t number;
        if (first < 0xc0) {
            kind = first < 0x90 ? MAP : first < 0xa0 ? ARRAY : STR;
            number = first & (kind == STR ? 0x1f : 0x0f);
        } else {
            kind = (Kind)headers[first - 0xc0].kind;
            size_t width = headers[first - 0xc0].width;
            if (width > size - i)
                return SONO_MALFORMED;
            number = 0;
            while (width--)
                number = number << 8 | data[i++];
        }
        switch (kind) {
        case VALUE:
            break;
        case BIN:
            if (!binary)
                return SONO_HAS_BINARY;
            /* fall through */
        case STR:
            if (number > size - i)
                return SONO_MALFORMED;
            i += (size_t)number;
            break;
        case ARRAY:
        case MAP:
            if (++containers > max_containers)
                return SONO_TOO_MANY;
            if (depth >= max_depth)
                return SONO_TOO_DEEP;
            waiting += open.left;
            outer[depth++] = open;
            open.is_map = kind == MAP;
            open.left = number << open.is_map;
            if (open.left + waiting > size - i)
                return SONO_MALFORMED;
            parts += open.left ? (long long)open.left - 1 : 0;
            break;
        case UINT64:
            if (number >> 63)
                return SONO_TOO_BIG;
            break;
        case FLOAT32:
            if ((number & FLOAT32_ODD) == FLOAT32_ODD)
                return SONO_NOT_FINITE;
            break;
        case FLOAT64:
            if ((number & FLOAT64_ODD) == FLOAT64_ODD)
                return SONO_NOT_FINITE;
            break;
        case EXT:
            return SONO_EXTENSION;
        case NEVER:
            return SONO_MALFORMED;
        }
    }
}
