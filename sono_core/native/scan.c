#include "scan.h"

#include <stdint.h>
#include <string.h>

enum { PLAIN, STRING, ESCAPE, OPEN, CLOSE, PART, NUMBER };

static const unsigned char kinds[256] = {
    ['"'] = STRING, ['\\'] = ESCAPE, ['['] = OPEN,   ['{'] = OPEN,   [']'] = CLOSE,  ['}'] = CLOSE,
    [','] = PART,   [':'] = PART,    ['-'] = NUMBER, ['+'] = NUMBER, ['.'] = NUMBER, ['E'] = NUMBER,
    ['e'] = NUMBER, ['0'] = NUMBER,  ['1'] = NUMBER, ['2'] = NUMBER, ['3'] = NUMBER, ['4'] = NUMBER,
    ['5'] = NUMBER, ['6'] = NUMBER,  ['7'] = NUMBER, ['8'] = NUMBER, ['9'] = NUMBER,
};

enum { DIGITS = 19 }; /* of the largest integers */

/* Whether a run of the characters of numbers is an integer of more than 64 bits. */
static int
is_too_big(const unsigned char *run, size_t size)
{
    int negative = run[0] == '-';
    run += negative;
    size -= (size_t)negative;
    if (size < DIGITS)
        return 0;
    for (size_t i = 0; i < size; i++)
        if (run[i] < '0' || run[i] > '9')
            return 0;
    return size > DIGITS ||
           memcmp(run, negative ? "9223372036854775808" : "9223372036854775807", DIGITS) > 0;
}

/* The high bit of each byte that is 0, and of none below the first such byte. */
static uint64_t
zeros(uint64_t word)
{
    return (word - 0x0101010101010101u) & ~word & 0x8080808080808080u;
}

/* Where a string that begins before `i` has ended. */
static size_t
after_string(const unsigned char *text, size_t size, size_t i)
{
    for (;;) {
        uint64_t word;
        for (; i + 8 <= size; i += 8) {
            memcpy(&word, text + i, 8);
            if (zeros(word ^ 0x2222222222222222u) | zeros(word ^ 0x5c5c5c5c5c5c5c5cu))
                break;
        }
        while (i < size && text[i] != '"' && text[i] != '\\')
            i++;
        if (i >= size || text[i] == '"')
            return i + 1;
        i += 2;
    }
}

long long
sono_scan_json(const unsigned char *text, size_t size, long long max_depth,
               long long max_containers)
{
    long long parts = 0, containers = 0, depth = 0;
    int too_big = 0;
    for (size_t i = 0; i < size;) {
        size_t begin = i++;
        switch (kinds[text[begin]]) {
        case STRING:
            i = after_string(text, size, i);
            break;
        case ESCAPE: /* no JSON; but it must not matter where strings begin */
            i += i < size && (text[i] == '"' || text[i] == '\\');
            break;
        case OPEN:
            if (++containers > max_containers)
                return SONO_TOO_MANY;
            if (++depth > max_depth)
                return SONO_TOO_DEEP;
            break;
        case CLOSE:
            depth--;
            break;
        case PART:
            parts++;
            break;
        case NUMBER:
            while (i < size && kinds[text[i]] == NUMBER)
                i++;
            too_big |= i - begin >= DIGITS && is_too_big(text + begin, i - begin);
            break;
        }
    }
    if (too_big)
        return SONO_TOO_BIG;
    return (long long)size + SONO_PART * parts + SONO_CONTAINER * containers;
}
