/* What a value in MessagePack would cost, found before it is parsed; see scan_msgpack.py. */

#ifndef SONO_SCAN_MSGPACK_H
#define SONO_SCAN_MSGPACK_H

#include "scan.h"

/* As in scan_msgpack.py. */
enum {
    SONO_NOT_FINITE = -4,
    SONO_NOT_A_KEY = -5,
    SONO_EXTENSION = -6,
    SONO_HAS_BINARY = -7,
    SONO_MALFORMED = -8
};
enum { SONO_DEEPEST = 256 }; /* levels */

/* The cost in bytes, or the first thing that is too much or not allowed. */
long long sono_scan_msgpack(const unsigned char *data, size_t size, long long max_depth,
                            long long max_containers, int binary);

#endif
