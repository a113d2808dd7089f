#include "utf8.h"

#include <stdint.h>
#include <string.h>

static const uint64_t HIGH_BITS = 0x8080808080808080u;

int
sono_utf8_feed(sono_utf8 *state, const unsigned char *data, size_t size)
{
    unsigned char missing = state->missing, low = state->low, high = state->high;
    size_t i = 0;
    while (i < size) {
        unsigned char byte = data[i];
        if (missing) {
            if (byte < low || byte > high)
                return 0;
            low = 0x80;
            high = 0xBF;
            missing--;
            i++;
            continue;
        }
        if (byte < 0x80) {
            uint64_t word;
            while (i + 8 <= size && (memcpy(&word, data + i, 8), !(word & HIGH_BITS)))
                i += 8;
            while (i < size && data[i] < 0x80)
                i++;
            continue;
        }
        /* RFC 3629, section 4: the lead byte says how many follow, and limits the first of them. */
        low = 0x80;
        high = 0xBF;
        if (byte >= 0xC2 && byte <= 0xDF) {
            missing = 1;
        } else if (byte >= 0xE0 && byte <= 0xEF) {
            missing = 2;
            if (byte == 0xE0)
                low = 0xA0; /* no overlong forms */
            else if (byte == 0xED)
                high = 0x9F; /* no surrogates */
        } else if (byte >= 0xF0 && byte <= 0xF4) {
            missing = 3;
            if (byte == 0xF0)
                low = 0x90;
            else if (byte == 0xF4)
                high = 0x8F; /* nothing above U+10FFFF */
        } else {
            return 0;
        }
        i++;
    }
    state->missing = missing;
    state->low = low;
    state->high = high;
    return 1;
}
