#include "bytes.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void *
more_memory(void *memory, size_t count, size_t size)
{
    memory = reallocarray(memory, count ? count : 1, size);
    if (!memory)
        fail("out of memory");
    return memory;
}

unsigned char *
bytes_room(bytes *buffer, size_t size)
{
    size_t needed = buffer->size + size;
    if (needed > buffer->capacity) {
        size_t twice = 2 * buffer->capacity;
        buffer->capacity = needed > twice ? needed : twice;
        buffer->data = more_memory(buffer->data, buffer->capacity, 1);
    }
    return buffer->data + buffer->size;
}

void
bytes_add(bytes *buffer, const void *data, size_t size)
{
    if (!size)
        return;
    memcpy(bytes_room(buffer, size), data, size);
    buffer->size += size;
}

void
bytes_drop(bytes *buffer, size_t size)
{
    buffer->size -= size;
    if (buffer->size)
        memmove(buffer->data, buffer->data + size, buffer->size);
}

void
bytes_free(bytes *buffer)
{
    free(buffer->data);
    *buffer = (bytes){0};
}

uint32_t
random_bits(void)
{
    static uint64_t state;
    if (!state) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        state = ((uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec ^ (uint64_t)getpid() << 16) | 1;
    }
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 16);
}

void
fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}
