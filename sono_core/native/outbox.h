/* Outbox: bytes on their way out, by reference. Specification: sono_core/websocket/outbox.py. */

#ifndef SONO_OUTBOX_H
#define SONO_OUTBOX_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>

enum { SONO_FEW_CHUNKS = 2 };

/* Bytes that a chunk takes beside its own; sono_core.websocket.outbox.ITEM. */
enum { SONO_ITEM = 64 };

/* A chunk is a bytes object, or an ASCII str, which is written as it lies in memory. */
typedef struct {
    PyObject_HEAD
    size_t size; /* bytes waiting */
    size_t room; /* weight up to which messages may be exchanged without asking the session */
    PyObject **chunks;
    PyObject *few[SONO_FEW_CHUNKS]; /* holds the chunks while they are few */
    uint32_t capacity, head, count;
    size_t written; /* bytes of the first chunk that have been written */
    PyObject *tail; /* the last chunk, if this outbox made it and it may grow; its bytes so far: */
    size_t filled;
} Outbox;

typedef struct {
    const unsigned char *data;
    size_t size;
} sono_slice;

/* What waits, and what each chunk takes beside it. */
static inline size_t
sono_outbox_weight(const Outbox *self)
{
    return self->size + (size_t)self->count * SONO_ITEM;
}

/* All return -1 with an exception set if memory runs out; nothing has changed then. */

/* Adds an object's bytes, by reference. */
int sono_outbox_append(Outbox *self, PyObject *chunk);

/* Adds a frame. `owner` is the bytes object or ASCII str that `data` lies in. */
int sono_outbox_append_frame(Outbox *self, unsigned char first, PyObject *owner,
                             const unsigned char *data, size_t size, int masked, uint32_t key);

/* What waits at the front, in at most `most` slices; returns their number. */
int sono_outbox_slices(Outbox *self, sono_slice *slices, int most);

/* Drops the first bytes, which were written. */
void sono_outbox_advance(Outbox *self, size_t size);

extern PyType_Spec sono_outbox_spec;

#endif
