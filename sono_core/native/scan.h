/* What a text of JSON would cost, found before it is parsed; see scan.py. */

#ifndef SONO_SCAN_H
#define SONO_SCAN_H

#include <stddef.h>

/* As in scan.py. */
enum { SONO_TOO_DEEP = -1, SONO_TOO_MANY = -2, SONO_TOO_BIG = -3 };
enum { SONO_PART = 16, SONO_CONTAINER = 64 }; /* bytes */

/* The cost in bytes, or why the text is refused; too many brackets end the scan. */
long long sono_scan_json(const unsigned char *text, size_t size, long long max_depth,
                         long long max_containers);

#endif
