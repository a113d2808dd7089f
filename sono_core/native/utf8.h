/* Incremental UTF-8 validation (RFC 3629), which fails at the first wrong byte. */

#ifndef SONO_UTF8_H
#define SONO_UTF8_H

#include <stddef.h>

/* The state between two characters of a text, or within one. All zero at the start. */
typedef struct {
    unsigned char missing;   /* continuation bytes that the character under way lacks */
    unsigned char low, high; /* the range of the next of them */
} sono_utf8;

/* Whether the bytes can follow those that came before. After a 0 the state may not be used. */
int sono_utf8_feed(sono_utf8 *state, const unsigned char *data, size_t size);

#endif
