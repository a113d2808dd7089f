/* Frame headers (RFC 6455, section 5.2) and the key of the opening handshake (section 4.2.2).
 *
 * Independent of the library's own code, which must not check itself. */

#ifndef LOAD_WIRE_H
#define LOAD_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };
enum { OPCODE = 0x0F, CONTROL = 0x08, RSV1 = 0x40, RSV2_3 = 0x30, FIN = 0x80, MASKED = 0x80 };
enum { MAX_HEADER = 14, MAX_CONTROL = 125, ACCEPT_SIZE = 28 };

typedef struct {
    unsigned char first;  /* FIN, RSV1 to RSV3, opcode */
    unsigned char masked; /* MASKED or 0 */
    unsigned char size;   /* bytes of the header */
    uint32_t key;         /* in the order of memory; 0 if not masked */
    uint64_t length;      /* bytes of the payload */
} header;

/* Reads a header; returns 0 if it is incomplete. */
static inline int
read_header(header *out, const unsigned char *data, size_t size)
{
    if (size < 2)
        return 0;
    unsigned form = data[1] & 0x7F;
    unsigned extended = form < 126 ? 0 : form == 126 ? 2 : 8;
    out->first = data[0];
    out->masked = data[1] & MASKED;
    out->size = (unsigned char)(2 + extended + (out->masked ? 4 : 0));
    if (size < out->size)
        return 0;
    out->length = form;
    if (extended) {
        out->length = 0;
        for (unsigned i = 0; i < extended; i++)
            out->length = out->length << 8 | data[2 + i];
    }
    out->key = 0;
    if (out->masked)
        memcpy(&out->key, data + 2 + extended, 4);
    return 1;
}

/* Writes a header without a masking key: `masked` is MASKED or 0. Returns its size. */
static inline size_t
write_header(unsigned char *out, unsigned first, unsigned masked, uint64_t length)
{
    out[0] = (unsigned char)first;
    if (length < 126) {
        out[1] = (unsigned char)(masked | length);
        return 2;
    }
    unsigned extended = length <= 0xFFFF ? 2 : 8;
    out[1] = (unsigned char)(masked | (extended == 2 ? 126 : 127));
    for (unsigned i = 0; i < extended; i++)
        out[2 + i] = (unsigned char)(length >> 8 * (extended - 1 - i));
    return 2 + extended;
}

/* Base64 with padding; `out` gets 4 characters for every 3 bytes begun, and a zero. */
void base64(char *out, const unsigned char *data, size_t size);

/* The Sec-WebSocket-Accept for a Sec-WebSocket-Key of `size` characters. */
void accept_key(char out[ACCEPT_SIZE + 1], const char *key, size_t size);

/* The value of a field in a head of HTTP/1.1, without white space around it, and its size;
 * NULL if there is none. `name` is in lower case and ends with a colon. */
const char *header_field(const char *head, const char *name, size_t *size);

#endif
