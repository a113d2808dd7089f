/* FastTransport: receives, decodes, delivers each message and sends the answers, in one call for
 * each socket that is ready.
 *
 * It handles the ordinary case alone: an open connection whose peer keeps up. For everything else
 * it calls the methods of the Python subclass, which decide.
 */

#include "loop.h"

#include <errno.h>
#include <string.h>
#include <structmember.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
    MOST_SLICES = 64,
    JOINED = 8 * 1024, /* bytes up to which one copy is cheaper than a write from several places */
};

/* -- out ----------------------------------------------------------------------------------- */

static bool
full(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* Writes once from what waits, at most `*wanted` bytes. Returns what send does. */
static ssize_t
write_some(FastTransport *self, size_t *wanted)
{
    sono_slice slices[MOST_SLICES];
    int count = self->context->api->slices(self->outbox, slices, MOST_SLICES);
    if (count == 1) {
        *wanted = slices[0].size;
        return send(self->fd, slices[0].data, slices[0].size, 0);
    }
    *wanted = 0;
    for (int i = 0; i < count; i++)
        *wanted += slices[i].size;
    if (*wanted <= JOINED) {
        char joined[JOINED], *end = joined;
        for (int i = 0; i < count; end += slices[i++].size)
            memcpy(end, slices[i].data, slices[i].size);
        return send(self->fd, joined, *wanted, 0);
    }
    struct iovec vectors[MOST_SLICES];
    for (int i = 0; i < count; i++)
        vectors[i] = (struct iovec){(void *)slices[i].data, slices[i].size};
    return writev(self->fd, vectors, count);
}

int
sono_transport_write(FastTransport *self)
{
    while (self->outbox->size) {
        size_t wanted;
        ssize_t size = write_some(self, &wanted);
        if (size < 0)
            return full() ? 0 : -1;
        self->context->api->advance(self->outbox, (size_t)size);
        if ((size_t)size < wanted)
            return 0;
    }
    return 0;
}

static PyObject *
transport_write_some(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    FastTransport *self = (FastTransport *)object;
    size_t wanted;
    if (!self->layer) {
        PyErr_SetString(PyExc_RuntimeError, "there is no layer");
        return NULL;
    }
    ssize_t size = self->outbox->size ? write_some(self, &wanted) : 0;
    if (size < 0 && !full())
        return PyErr_SetFromErrno(PyExc_OSError);
    return PyLong_FromSsize_t(size < 0 ? 0 : size);
}

int
sono_transport_write_soon(FastTransport *self)
{
    if (self->flush_scheduled)
        return 0;
    self->flush_scheduled = true;
    LoopContext *context = self->context;
    if (PyList_Append(context->to_flush, (PyObject *)self) < 0)
        return -1;
    if (context->wake == Py_None || PyList_GET_SIZE(context->to_flush) > 1)
        return 0;
    PyObject *woken = PyObject_CallNoArgs(context->wake);
    Py_XDECREF(woken);
    return woken ? 0 : -1;
}

PyObject *
sono_transport_flush(FastTransport *self, PyObject *now)
{
    return PyObject_CallMethod((PyObject *)self, "flush", "O", now);
}

static PyObject *
transport_write_soon(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    if (!sono_initialised(((FastTransport *)object)->context) ||
        sono_transport_write_soon((FastTransport *)object) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* -- in ------------------------------------------------------------------------------------ */

/* Receives into the message under way if it is large, otherwise into the shared buffer, and gives
 * the bytes to the reader. Returns what recv does, or -2 with an exception. */
static ssize_t
receive(FastTransport *self, Reader *reader)
{
    LoopContext *context = self->context;
    unsigned char *place;
    size_t room = context->api->place(reader, &place);
    if (room > (size_t)context->share.size)
        room = (size_t)context->share.size;
    ssize_t size;
    if (room) {
        struct iovec vectors[] = {{place, room},
                                  {context->buffer.buf, (size_t)context->buffer.len}};
        size = readv(self->fd, vectors, 2);
    } else {
        size = recv(self->fd, context->buffer.buf, (size_t)context->buffer.len, 0);
    }
    if (size <= 0)
        return size;
    size_t placed = (size_t)size < room ? (size_t)size : room;
    if (placed)
        context->api->placed(reader, placed);
    if ((size_t)size > placed &&
        context->api->borrow(reader, context->buffer.buf, (size_t)size - placed) < 0)
        return -2;
    return size;
}

/* Delivers the messages as sono_deliver does, and tells the layer what the handler raised. */
static int
deliver(FastTransport *self, Reader *reader, PyObject *now, sono_share *share)
{
    LoopContext *context = self->context;
    PyObject *on_message = Py_NewRef(self->on_message);
    Py_ssize_t before = share->messages;
    bool scheduled = self->flush_scheduled;
    self->flush_scheduled = true; /* answers are written when this is over */
    int done = context->api->deliver(reader, on_message, self->outbox, context->pause, share);
    self->flush_scheduled = scheduled;
    context->messages += (unsigned long long)(before - share->messages);
    Py_DECREF(on_message);
    if (done < 0 && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyObject *type, *error, *traceback;
        PyErr_Fetch(&type, &error, &traceback);
        PyErr_NormalizeException(&type, &error, &traceback);
        if (traceback)
            PyException_SetTraceback(error, traceback);
        PyObject *told = PyObject_CallMethod(self->layer, "failed", "OO", error, now);
        Py_XDECREF(type);
        Py_XDECREF(error);
        Py_XDECREF(traceback);
        Py_XDECREF(told);
        done = told ? 0 : -1;
    }
    return done;
}

/* Delivers what was received and sends the answers. Unless that ends in the ordinary way, Python
 * continues, with what is left of the share. */
static PyObject *
take_turn(FastTransport *self, Reader *reader, PyObject *now)
{
    LoopContext *context = self->context;
    sono_share share = context->share;
    if (PyObject_SetAttr(self->layer, context->last_received, now) < 0)
        return NULL;
    int done = deliver(self, reader, now, &share);
    if (context->api->give_back(reader) < 0 || done < 0)
        return NULL;
    if (!done || self->reader != reader || !self->outbox->room) {
        context->detours++;
        return PyObject_CallMethod((PyObject *)self, "resume", "Onn", now,
                                   context->share.messages - share.messages,
                                   context->share.size - share.size);
    }
    if (sono_transport_write(self) < 0 || self->outbox->size) {
        context->detours++;
        return sono_transport_flush(self, now);
    }
    context->turns++;
    Py_RETURN_NONE;
}

PyObject *
sono_transport_ready(FastTransport *self, int events, PyObject *now)
{
    LoopContext *context = self->context;
    if (!self->reader || !self->outbox->room || self->outbox->size > context->pause ||
        events != READABLE) {
        context->detours++;
        return PyObject_CallMethod((PyObject *)self, "ready_fallback", "iO", events, now);
    }
    Reader *reader = (Reader *)Py_NewRef(self->reader);
    ssize_t size = receive(self, reader);
    PyObject *result = NULL;
    if (size > 0)
        result = take_turn(self, reader, now);
    else if (size == 0)
        result = PyObject_CallMethod((PyObject *)self, "receive", "yO", "", now);
    else if (size == -1)
        result = full() ? Py_NewRef(Py_None) : PyObject_CallMethod(self->layer, "lost", NULL);
    Py_DECREF(reader);
    return result;
}

static PyObject *
transport_ready(PyObject *object, PyObject *args)
{
    int events;
    PyObject *now;
    if (!sono_initialised(((FastTransport *)object)->context) ||
        !PyArg_ParseTuple(args, "iO", &events, &now))
        return NULL;
    return sono_transport_ready((FastTransport *)object, events, now);
}

/* -- for asyncio: others receive, into the shared buffer --------------------------------------- */

static PyObject *
transport_get_buffer(PyObject *object, PyObject *Py_UNUSED(size))
{
    FastTransport *self = (FastTransport *)object;
    return sono_initialised(self->context) ? Py_NewRef(self->context->source) : NULL;
}

static PyObject *
updated(FastTransport *self, Py_ssize_t size, PyObject *now)
{
    LoopContext *context = self->context;
    if (!self->reader || !self->outbox->room || self->outbox->size > context->pause) {
        context->detours++;
        return PyObject_CallMethod((PyObject *)self, "updated_fallback", "nO", size, now);
    }
    Reader *reader = (Reader *)Py_NewRef(self->reader);
    PyObject *result = NULL;
    if (context->api->borrow(reader, context->buffer.buf, (size_t)size) == 0)
        result = take_turn(self, reader, now);
    Py_DECREF(reader);
    return result;
}

static PyObject *
transport_buffer_updated(PyObject *object, PyObject *number)
{
    FastTransport *self = (FastTransport *)object;
    Py_ssize_t size = PyLong_AsSsize_t(number);
    if (!sono_initialised(self->context) || (size == -1 && PyErr_Occurred()))
        return NULL;
    if (size < 1 || size > self->context->buffer.len) {
        PyErr_SetString(PyExc_ValueError, "size is not that of a part of the buffer");
        return NULL;
    }
    PyObject *now = PyObject_CallNoArgs(self->context->time);
    PyObject *result = now ? updated(self, size, now) : NULL;
    Py_XDECREF(now);
    return result;
}

/* -- the type ------------------------------------------------------------------------------ */

/* Enters the transport into the table by file descriptor. */
static int
enter(FastTransport *self, int fd)
{
    LoopContext *context = self->context;
    if (fd >= context->transports_size) {
        int size = fd < 64 ? 128 : 2 * fd;
        FastTransport **transports = PyMem_Realloc(context->transports,
                                                   (size_t)size * sizeof *transports);
        if (!transports) {
            PyErr_NoMemory();
            return -1;
        }
        for (int i = context->transports_size; i < size; i++)
            transports[i] = NULL;
        context->transports = transports;
        context->transports_size = size;
    }
    self->fd = fd;
    if (fd >= 0)
        context->transports[fd] = self;
    return 0;
}

static void
leave(FastTransport *self)
{
    LoopContext *context = self->context;
    if (context && self->fd >= 0 && self->fd < context->transports_size &&
        context->transports[self->fd] == self)
        context->transports[self->fd] = NULL;
    self->fd = -1;
}

static int
transport_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"context", "fd", NULL};
    FastTransport *self = (FastTransport *)object;
    PyObject *context;
    int fd;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Oi", names, &context, &fd))
        return -1;
    if (!sono_is_context(context)) {
        PyErr_SetString(PyExc_TypeError, "context must be a LoopContext");
        return -1;
    }
    leave(self);
    Py_XSETREF(self->context, (LoopContext *)Py_NewRef(context));
    return enter(self, fd);
}

static PyObject *
transport_closed(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    FastTransport *self = (FastTransport *)object;
    leave(self);
    Py_CLEAR(self->reader);
    Py_CLEAR(self->on_message);
    Py_RETURN_NONE;
}

static PyObject *
get_layer(PyObject *object, void *Py_UNUSED(closure))
{
    FastTransport *self = (FastTransport *)object;
    if (!self->layer) {
        PyErr_SetString(PyExc_AttributeError, "layer");
        return NULL;
    }
    return Py_NewRef(self->layer);
}

static int
set_layer(PyObject *object, PyObject *layer, void *Py_UNUSED(closure))
{
    FastTransport *self = (FastTransport *)object;
    if (!layer)
        PyErr_SetString(PyExc_AttributeError, "layer cannot be deleted");
    if (!layer || !sono_initialised(self->context))
        return -1;
    PyObject *outbox = PyObject_GetAttrString(layer, "outbox");
    if (!outbox)
        return -1;
    if (Py_TYPE(outbox) != self->context->api->outbox_type) {
        PyErr_SetString(PyExc_TypeError, "the layer's outbox is not native");
        Py_DECREF(outbox);
        return -1;
    }
    Py_XSETREF(self->outbox, (Outbox *)outbox);
    Py_XSETREF(self->layer, Py_NewRef(layer));
    return 0;
}

static PyObject *
get_reader(PyObject *object, void *Py_UNUSED(closure))
{
    Reader *reader = ((FastTransport *)object)->reader;
    return Py_NewRef(reader ? (PyObject *)reader : Py_None);
}

static int
set_reader(PyObject *object, PyObject *reader, void *Py_UNUSED(closure))
{
    FastTransport *self = (FastTransport *)object;
    if (!reader || reader == Py_None) {
        Py_CLEAR(self->reader);
        Py_CLEAR(self->on_message);
        return 0;
    }
    if (!self->layer || Py_TYPE(reader) != self->context->api->reader_type) {
        PyErr_SetString(PyExc_TypeError, "there is no layer, or the reader is not native");
        return -1;
    }
    PyObject *handler = PyObject_GetAttrString(self->layer, "handler");
    PyObject *on_message = handler ? PyObject_GetAttrString(handler, "on_message") : NULL;
    Py_XDECREF(handler);
    if (!on_message)
        return -1;
    Py_XSETREF(self->on_message, on_message);
    Py_XSETREF(self->reader, (Reader *)Py_NewRef(reader));
    return 0;
}

static int
transport_traverse(PyObject *object, visitproc visit, void *arg)
{
    FastTransport *self = (FastTransport *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->context);
    Py_VISIT(self->layer);
    Py_VISIT(self->reader);
    Py_VISIT(self->on_message);
    return 0;
}

static int
transport_clear(PyObject *object)
{
    FastTransport *self = (FastTransport *)object;
    Py_CLEAR(self->reader);
    Py_CLEAR(self->on_message);
    Py_CLEAR(self->layer);
    return 0;
}

static void
transport_dealloc(PyObject *object)
{
    FastTransport *self = (FastTransport *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    transport_clear(object);
    leave(self);
    Py_CLEAR(self->context);
    Py_CLEAR(self->outbox);
    type->tp_free(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(ready_doc, "ready(events, now, /)\n--\n\nSee sono_io.reference.FastTransport.");
PyDoc_STRVAR(get_buffer_doc, "get_buffer(size, /)\n--\n\nSee sono_io.reference.FastTransport.");
PyDoc_STRVAR(updated_doc, "buffer_updated(size, /)\n--\n\nSee sono_io.reference.FastTransport.");
PyDoc_STRVAR(closed_doc, "closed()\n--\n\nSee sono_io.reference.FastTransport.");
PyDoc_STRVAR(write_some_doc, "write_some()\n--\n\nSee sono_io.reference.FastTransport.");
PyDoc_STRVAR(write_soon_doc, "write_soon()\n--\n\nSee sono_core.lifecycle.Transport.");

static PyMethodDef transport_methods[] = {
    {"ready", transport_ready, METH_VARARGS, ready_doc},
    {"get_buffer", transport_get_buffer, METH_O, get_buffer_doc},
    {"buffer_updated", transport_buffer_updated, METH_O, updated_doc},
    {"closed", transport_closed, METH_NOARGS, closed_doc},
    {"write_some", transport_write_some, METH_NOARGS, write_some_doc},
    {"write_soon", transport_write_soon, METH_NOARGS, write_soon_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef transport_fields[] = {
    {"layer", get_layer, set_layer, "What it drives.", NULL},
    {"reader", get_reader, set_reader, "See sono_io.reference.FastTransport.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef transport_members[] = {
    {"flush_scheduled", T_BOOL, offsetof(FastTransport, flush_scheduled), 0,
     "Whether a flush is coming anyway."},
    {"watched", T_INT, offsetof(FastTransport, watched), 0, "What the selector watches it for."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot transport_slots[] = {
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, transport_init},
    {Py_tp_dealloc, transport_dealloc},
    {Py_tp_traverse, transport_traverse},
    {Py_tp_clear, transport_clear},
    {Py_tp_methods, transport_methods},
    {Py_tp_getset, transport_fields},
    {Py_tp_members, transport_members},
    {0, NULL},
};

PyType_Spec sono_transport_spec = {
    .name = "sono_io._loop.FastTransport",
    .basicsize = sizeof(FastTransport),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = transport_slots,
};
