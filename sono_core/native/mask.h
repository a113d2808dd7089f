/* Masking (RFC 6455, section 5.3): XOR with 4 bytes, repeated. */

#ifndef SONO_MASK_H
#define SONO_MASK_H

#include <stddef.h>
#include <stdint.h>

/* Copies `size` bytes from `in` to `out`, masked; the two may be the same, but may not overlap
 * otherwise. `key` holds the masking key's bytes in the order of memory, for in[0] first.
 * Returns the OR of all bytes written, of which only 0x80 is of use: if it is set, the output is
 * not ASCII. */
unsigned char sono_mask(unsigned char *out, const unsigned char *in, size_t size, uint32_t key);

/* The key for the byte that follows the first `size` ones. */
uint32_t sono_mask_turn(uint32_t key, size_t size);

#endif
