/* A growing buffer, masking keys, and allocation that never fails. */

#ifndef LOAD_BYTES_H
#define LOAD_BYTES_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    unsigned char *data;
    size_t size;     /* bytes in use */
    size_t capacity; /* bytes allocated */
} bytes;

/* realloc(memory, count * size), which never returns NULL. */
void *more_memory(void *memory, size_t count, size_t size);

/* Room for `size` further bytes at the end, which do not count as used yet. */
unsigned char *bytes_room(bytes *buffer, size_t size);
void bytes_add(bytes *buffer, const void *data, size_t size);

/* Forgets the first `size` bytes. */
void bytes_drop(bytes *buffer, size_t size);
void bytes_free(bytes *buffer);

/* 32 bits of a xorshift generator, seeded once for each process; good enough for masking keys,
 * which hide nothing from a server on the same machine. */
uint32_t random_bits(void);

/* Ends the program with status 1 and one line on stderr. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
