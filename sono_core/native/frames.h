/* Reads and writes frame headers (RFC 6455, section 5.2), without judging them. */

#ifndef SONO_FRAMES_H
#define SONO_FRAMES_H

#include <stddef.h>
#include <stdint.h>

enum { SONO_CONTINUATION = 0, SONO_TEXT = 1, SONO_BINARY = 2, SONO_CLOSE = 8 };
enum { SONO_FIN = 0x80, SONO_RSV1 = 0x40, SONO_CONTROL = 0x08, SONO_MASKED = 0x80 };
enum { SONO_MAX_HEADER = 14, SONO_MAX_CONTROL = 125 };

typedef struct {
    unsigned char first;  /* FIN, RSV1 to RSV3, opcode */
    unsigned char masked; /* the MASK bit, moved to the lowest */
    unsigned char form;   /* the 7-bit length: 126 and 127 announce a longer one */
    unsigned char size;   /* bytes of this header */
    uint32_t key;         /* the masking key in the order of memory, or 0 */
    uint64_t length;      /* bytes of the payload */
} sono_header;

/* Reads a header. Returns 0 if `size` bytes do not hold it all; then only `first`, `masked` and
 * `form` are set, if there are 2. */
int sono_read_header(sono_header *header, const unsigned char *data, size_t size);

/* Writes a header; `key` is written if `masked`. Returns its size, at most SONO_MAX_HEADER. */
size_t sono_write_header(unsigned char *out, unsigned char first, uint64_t length, int masked,
                         uint32_t key);

#endif
