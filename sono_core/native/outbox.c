#include "outbox.h"

#include "frames.h"
#include "mask.h"

#include <string.h>

enum {
    COPIED = 4096,      /* bytes up to which a payload is copied behind its header */
    JOINED = 64 * 1024, /* bytes that peek() joins, unless a larger chunk is first */
    /* Capacities of the tail. The first and its object fill the largest block of Python's own
     * allocator; the last is as much as one write is likely to take. */
    SMALL_TAIL = 512 - sizeof(PyBytesObject),
    LARGE_TAIL = 32 * 1024,
    SLOP = 32, /* bytes of a tail that may stay unused: SONO_ITEM covers them */
};

/* -- chunks -------------------------------------------------------------------------------- */

static sono_slice
chunk_bytes(const Outbox *self, PyObject *chunk)
{
    if (PyUnicode_Check(chunk))
        return (sono_slice){PyUnicode_DATA(chunk), (size_t)PyUnicode_GET_LENGTH(chunk)};
    size_t size = chunk == self->tail ? self->filled : (size_t)PyBytes_GET_SIZE(chunk);
    return (sono_slice){(unsigned char *)PyBytes_AS_STRING(chunk), size};
}

/* The unwritten part of the first chunk. */
static sono_slice
front(const Outbox *self)
{
    sono_slice slice = chunk_bytes(self, self->chunks[self->head]);
    return (sono_slice){slice.data + self->written, slice.size - self->written};
}

/* The part of the tail that nothing was written into. */
static size_t
unused(const Outbox *self)
{
    return self->tail ? (size_t)PyBytes_GET_SIZE(self->tail) - self->filled : 0;
}

/* Makes the tail an ordinary bytes object, which never grows again. If much of it is unused, a copy
 * takes its place, so that the queue holds what it counts. */
static void
seal(Outbox *self)
{
    if (!self->tail)
        return;
    size_t capacity = (size_t)PyBytes_GET_SIZE(self->tail);
    if (unused(self) > SLOP && unused(self) > capacity / 8) {
        PyObject *exact = PyBytes_FromStringAndSize(PyBytes_AS_STRING(self->tail),
                                                    (Py_ssize_t)self->filled);
        if (exact) {
            Py_SETREF(self->chunks[self->head + self->count - 1], exact);
            self->tail = NULL;
            return;
        }
        PyErr_Clear(); /* it stays as large as it is */
    }
    Py_SET_SIZE(self->tail, (Py_ssize_t)self->filled);
    PyBytes_AS_STRING(self->tail)[self->filled] = 0;
    self->tail = NULL;
}

static int
grow(Outbox *self)
{
    uint32_t capacity = self->count < 8 ? 16 : 2 * self->count;
    PyObject **chunks = PyMem_Malloc(capacity * sizeof *chunks);
    if (!chunks) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(chunks, self->chunks + self->head, self->count * sizeof *chunks);
    if (self->chunks != self->few)
        PyMem_Free(self->chunks);
    self->chunks = chunks;
    self->capacity = capacity;
    self->head = 0;
    return 0;
}

/* Adds a chunk at the end, and takes over the reference to it. */
static int
push(Outbox *self, PyObject *chunk)
{
    if (self->head + self->count == self->capacity) {
        if (self->head >= self->count && self->head) {
            memcpy(self->chunks, self->chunks + self->head, self->count * sizeof *self->chunks);
            self->head = 0;
        } else if (grow(self) < 0) {
            Py_DECREF(chunk);
            return -1;
        }
    }
    self->chunks[self->head + self->count++] = chunk;
    return 0;
}

static void
pop(Outbox *self)
{
    PyObject *chunk = self->chunks[self->head++];
    self->count--;
    self->written = 0;
    if (chunk == self->tail)
        self->tail = NULL;
    Py_DECREF(chunk);
    if (self->count)
        return;
    self->head = 0;
    if (self->chunks != self->few) { /* an idle connection keeps nothing */
        PyMem_Free(self->chunks);
        self->chunks = self->few;
        self->capacity = SONO_FEW_CHUNKS;
    }
}

static void
clear(Outbox *self)
{
    while (self->count)
        pop(self);
    self->size = 0;
}

/* The capacity of a new tail: the more waits already, the larger. */
static size_t
roomy(const Outbox *self)
{
    size_t capacity = self->size < SMALL_TAIL / 2 ? SMALL_TAIL : 4 * self->size;
    return capacity < LARGE_TAIL ? capacity : LARGE_TAIL;
}

/* Where `size` bytes may be written at the end; the caller then adds them to `filled`. If that
 * takes a new chunk, the chunk has at least `capacity`. */
static unsigned char *
tail_for(Outbox *self, size_t size, size_t capacity)
{
    if (!self->tail || self->filled + size > (size_t)PyBytes_GET_SIZE(self->tail)) {
        PyObject *tail = PyBytes_FromStringAndSize(NULL,
                                                   (Py_ssize_t)(size > capacity ? size : capacity));
        if (!tail)
            return NULL;
        seal(self);
        if (push(self, tail) < 0)
            return NULL;
        self->tail = tail;
        self->filled = 0;
    }
    return (unsigned char *)PyBytes_AS_STRING(self->tail) + self->filled;
}

/* -- for C --------------------------------------------------------------------------------- */

int
sono_outbox_append(Outbox *self, PyObject *chunk)
{
    size_t size = chunk_bytes(self, chunk).size;
    if (!size)
        return 0;
    seal(self);
    if (push(self, Py_NewRef(chunk)) < 0)
        return -1;
    self->size += size;
    return 0;
}

int
sono_outbox_append_frame(Outbox *self, unsigned char first, PyObject *owner,
                         const unsigned char *data, size_t size, int masked, uint32_t key)
{
    size_t copied = masked || size <= COPIED ? size : 0;
    unsigned char *out = tail_for(self, SONO_MAX_HEADER + copied, copied ? roomy(self) : 0);
    if (!out)
        return -1;
    size_t header = sono_write_header(out, first, size, masked, key);
    if (masked)
        sono_mask(out + header, data, size, key);
    else if (copied)
        memcpy(out + header, data, size);
    self->filled += header + copied;
    self->size += header + copied;
    if (copied == size || sono_outbox_append(self, owner) == 0)
        return 0;
    self->filled -= header;
    self->size -= header;
    return -1;
}

int
sono_outbox_slices(Outbox *self, sono_slice *slices, int most)
{
    int count = self->count < (uint32_t)most ? (int)self->count : most;
    if (!count)
        return 0;
    slices[0] = front(self);
    for (int i = 1; i < count; i++)
        slices[i] = chunk_bytes(self, self->chunks[self->head + (uint32_t)i]);
    return count;
}

void
sono_outbox_advance(Outbox *self, size_t size)
{
    self->size -= size;
    while (size) {
        size_t there = front(self).size;
        if (size < there) {
            self->written += size;
            return;
        }
        size -= there;
        pop(self);
    }
}

/* -- for Python ---------------------------------------------------------------------------- */

static PyObject *
outbox_append(PyObject *object, PyObject *data)
{
    if (!PyBytes_CheckExact(data)) {
        PyErr_SetString(PyExc_TypeError, "data must be bytes");
        return NULL;
    }
    if (sono_outbox_append((Outbox *)object, data) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
outbox_append_frame(PyObject *object, PyObject *args)
{
    PyObject *payload;
    int opcode, rsv1;
    const char *mask;
    Py_ssize_t mask_size;
    if (!PyArg_ParseTuple(args, "iSpy#", &opcode, &payload, &rsv1, &mask, &mask_size))
        return NULL;
    if (mask_size != 0 && mask_size != 4) {
        PyErr_SetString(PyExc_ValueError, "mask must be 0 or 4 bytes");
        return NULL;
    }
    uint32_t key = 0;
    if (mask_size)
        memcpy(&key, mask, 4);
    if (sono_outbox_append_frame((Outbox *)object,
                                 (unsigned char)(SONO_FIN | (rsv1 ? SONO_RSV1 : 0) | opcode),
                                 payload, (unsigned char *)PyBytes_AS_STRING(payload),
                                 (size_t)PyBytes_GET_SIZE(payload), mask_size != 0, key) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* The first `size` bytes, copied. */
static PyObject *
copy(Outbox *self, size_t size)
{
    PyObject *result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (!result)
        return NULL;
    char *out = PyBytes_AS_STRING(result);
    sono_slice slice = self->count ? front(self) : (sono_slice){NULL, 0};
    for (uint32_t i = 1; size; i++) {
        size_t part = slice.size < size ? slice.size : size;
        memcpy(out, slice.data, part);
        out += part;
        size -= part;
        if (size)
            slice = chunk_bytes(self, self->chunks[self->head + i]);
    }
    return result;
}

static PyObject *
outbox_peek(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    Outbox *self = (Outbox *)object;
    if (!self->count)
        return PyBytes_FromStringAndSize(NULL, 0);
    PyObject *first = self->chunks[self->head];
    size_t size = front(self).size;
    if (PyBytes_Check(first) && !self->written && (self->count == 1 || size >= JOINED)) {
        if (first == self->tail)
            seal(self);
        return Py_NewRef(self->chunks[self->head]);
    }
    if (size >= JOINED)
        return copy(self, JOINED);
    for (uint32_t i = 1; i < self->count && size < JOINED; i++)
        size += chunk_bytes(self, self->chunks[self->head + i]).size;
    return copy(self, size < JOINED ? size : JOINED);
}

static PyObject *
outbox_advance(PyObject *object, PyObject *number)
{
    Outbox *self = (Outbox *)object;
    size_t size = PyLong_AsSize_t(number);
    if (size == (size_t)-1 && PyErr_Occurred())
        return NULL;
    if (size > self->size) {
        PyErr_SetString(PyExc_ValueError, "less than that was waiting");
        return NULL;
    }
    sono_outbox_advance(self, size);
    Py_RETURN_NONE;
}

static PyObject *
outbox_take(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    Outbox *self = (Outbox *)object;
    PyObject *result = copy(self, self->size);
    if (result)
        clear(self);
    return result;
}

/* `kept`, without the large chunks in the set `seen`, to which those found are added. */
static PyObject *
outbox_distinct(PyObject *object, PyObject *seen)
{
    Outbox *self = (Outbox *)object;
    size_t kept = sono_outbox_weight(self) + self->written + unused(self);
    if (!PyAnySet_CheckExact(seen)) {
        PyErr_SetString(PyExc_TypeError, "seen must be a set");
        return NULL;
    }
    for (uint32_t i = 0; i < self->count; i++) {
        PyObject *chunk = self->chunks[self->head + i];
        size_t size = chunk_bytes(self, chunk).size;
        if (size <= COPIED || chunk == self->tail)
            continue;
        PyObject *id = PyLong_FromVoidPtr(chunk);
        int known = id ? PySet_Contains(seen, id) : -1;
        if (known == 0 && PySet_Add(seen, id) < 0)
            known = -1;
        Py_XDECREF(id);
        if (known < 0)
            return NULL;
        if (known)
            kept -= size;
    }
    return PyLong_FromSize_t(kept);
}

static PyObject *
outbox_clear(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    clear((Outbox *)object);
    Py_RETURN_NONE;
}

/* -- the type ------------------------------------------------------------------------------ */

static PyObject *
outbox_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) || (kwargs && PyDict_GET_SIZE(kwargs))) {
        PyErr_SetString(PyExc_TypeError, "Outbox takes no arguments");
        return NULL;
    }
    Outbox *self = (Outbox *)type->tp_alloc(type, 0);
    if (self) {
        self->chunks = self->few;
        self->capacity = SONO_FEW_CHUNKS;
    }
    return (PyObject *)self;
}

static void
outbox_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    clear((Outbox *)object);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *
get_size(PyObject *object, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(((Outbox *)object)->size);
}

static PyObject *
get_held(PyObject *object, void *Py_UNUSED(closure))
{
    Outbox *self = (Outbox *)object;
    return PyLong_FromSize_t(sono_outbox_weight(self) + unused(self));
}

static PyObject *
get_kept(PyObject *object, void *Py_UNUSED(closure))
{
    Outbox *self = (Outbox *)object;
    return PyLong_FromSize_t(sono_outbox_weight(self) + self->written + unused(self));
}

static PyObject *
get_room(PyObject *object, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(((Outbox *)object)->room);
}

static int
set_room(PyObject *object, PyObject *value, void *Py_UNUSED(closure))
{
    size_t room = value ? PyLong_AsSize_t(value) : 0;
    if (room == (size_t)-1 && PyErr_Occurred())
        return -1;
    ((Outbox *)object)->room = room;
    return 0;
}

static PyGetSetDef outbox_fields[] = {
    {"size", get_size, NULL, "Bytes waiting.", NULL},
    {"held", get_held, NULL, "See sono_core.websocket.outbox.Outbox.", NULL},
    {"kept", get_kept, NULL, "See sono_core.websocket.outbox.Outbox.", NULL},
    {"room", get_room, set_room, "See sono_core.websocket.outbox.Outbox.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(append_doc, "append(data, /)\n--\n\nSee sono_core.websocket.outbox.Outbox.");
PyDoc_STRVAR(
    append_frame_doc,
    "append_frame(opcode, payload, rsv1, mask, /)\n--\n\nSee sono_core.websocket.outbox.Outbox.");
PyDoc_STRVAR(peek_doc, "peek()\n--\n\nSee sono_core.websocket.outbox.Outbox.");
PyDoc_STRVAR(advance_doc, "advance(size, /)\n--\n\nSee sono_core.websocket.outbox.Outbox.");
PyDoc_STRVAR(take_doc, "take()\n--\n\nSee sono_core.websocket.outbox.Outbox.");
PyDoc_STRVAR(distinct_doc, "distinct(seen, /)\n--\n\nSee sono_core.websocket.outbox.Outbox.");
PyDoc_STRVAR(clear_doc, "clear()\n--\n\nSee sono_core.websocket.outbox.Outbox.");

static PyMethodDef outbox_methods[] = {
    {"append", outbox_append, METH_O, append_doc},
    {"append_frame", outbox_append_frame, METH_VARARGS, append_frame_doc},
    {"peek", outbox_peek, METH_NOARGS, peek_doc},
    {"advance", outbox_advance, METH_O, advance_doc},
    {"take", outbox_take, METH_NOARGS, take_doc},
    {"distinct", outbox_distinct, METH_O, distinct_doc},
    {"clear", outbox_clear, METH_NOARGS, clear_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot outbox_slots[] = {
    {Py_tp_new, outbox_new},
    {Py_tp_dealloc, outbox_dealloc},
    {Py_tp_getset, outbox_fields},
    {Py_tp_methods, outbox_methods},
    {0, NULL},
};

PyType_Spec sono_outbox_spec = {
    .name = "sono_core.native._native.Outbox",
    .basicsize = sizeof(Outbox),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = outbox_slots,
};
