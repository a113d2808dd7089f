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
    FREE = 4096, /* bytes held of which no budget is told; sono_core.lifecycle.memory.FREE */
    MOST_SLICES = 64,
    JOINED = 8 * 1024, /* bytes up to which one copy is cheaper than a write from several places */
    MUCH_EXTRA = 64,   /* small fragments after which the session charges the peer for them */
    NOTHING = -3,      /* something was received, but there is nothing to deliver */
};

/* -- out ----------------------------------------------------------------------------------- */

bool
sono_full(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* Writes once from what waits, at most `*wanted` bytes. Returns what send does. */
static ssize_t
write_some(FastTransport *self, size_t *wanted)
{
    sono_slice slices[MOST_SLICES];
    int count = self->context->api->slices(self->wire, slices, MOST_SLICES);
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
    if (self->take)
        return sono_secure_write(self);
    if (self->wire != self->outbox) /* closed: nothing leaves in the clear */
        return -1;
    while (self->outbox->size) {
        size_t wanted;
        ssize_t size = write_some(self, &wanted);
        if (size < 0)
            return sono_full() ? 0 : -1;
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
    ssize_t size = self->wire->size ? write_some(self, &wanted) : 0;
    if (size < 0 && !sono_full())
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

/* Receives into the message under way if it is large and not encrypted, otherwise into the shared
 * buffer, and gives the bytes to the reader. Returns what recv does, or -2 with an exception, or
 * NOTHING. */
static ssize_t
receive(FastTransport *self, Reader *reader)
{
    LoopContext *context = self->context;
    unsigned char *place;
    size_t room = self->take ? 0 : context->api->place(reader, &place);
    if (room > (size_t)context->share.size)
        room = (size_t)context->share.size;
    ssize_t size;
    size_t most = (size_t)context->buffer.len;
    if (context->spent && most > LITTLE * 1024) /* what would not be handled stays in the kernel */
        most = LITTLE * 1024;
    if (room) {
        struct iovec vectors[] = {{place, room}, {context->buffer.buf, most}};
        size = readv(self->fd, vectors, 2);
    } else {
        size = recv(self->fd, context->buffer.buf, most, 0);
    }
    if (size <= 0)
        return size;
    if (self->take) {
        int there = sono_secure_take(self, reader, context->buffer.buf, (size_t)size);
        return there > 0 ? size : there < 0 ? -2 : NOTHING;
    }
    size_t placed = (size_t)size < room ? (size_t)size : room;
    if (placed)
        context->api->placed(reader, placed);
    if ((size_t)size > placed &&
        context->api->borrow(reader, context->buffer.buf, (size_t)size - placed) < 0)
        return -2;
    return size;
}

/* Takes the exception that was raised, with its traceback. */
PyObject *
sono_caught(void)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    if (traceback)
        PyException_SetTraceback(error, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return error;
}

/* Delivers the messages as sono_deliver does, and looks at the clock now and then. */
static int
deliver_share(LoopContext *context, Reader *reader, PyObject *on_message, Outbox *outbox,
              sono_share *share)
{
    for (;;) {
        Py_ssize_t most = share->messages < MESSAGES_A_LOOK ? share->messages : MESSAGES_A_LOOK;
        sono_share part = {most, share->size};
        int done = context->api->deliver(reader, on_message, outbox, context->pause, &part);
        share->messages -= most - part.messages;
        share->size = part.size;
        if (done || part.messages > 0 || share->messages <= 0 || share->size <= 0)
            return done;
        int spent = sono_context_look(context);
        if (spent)
            return spent < 0 ? -1 : 0;
    }
}

/* The share of a connection in this turn. */
static sono_share
share_now(const LoopContext *context)
{
    sono_share share = context->share;
    if (context->spent) {
        share.messages = share.messages < LITTLE ? share.messages : LITTLE;
        share.size = share.size < LITTLE * 1024 ? share.size : LITTLE * 1024;
    }
    return share;
}

/* Delivers the messages as sono_deliver does, and tells the layer what the handler raised. */
static int
deliver(FastTransport *self, Reader *reader, PyObject *now, sono_share *share)
{
    LoopContext *context = self->context;
    PyObject *on_message = Py_NewRef(self->on_message);
    Py_ssize_t before = share->messages;
    unsigned long long extra = reader->extra;
    bool scheduled = self->flush_scheduled;
    self->flush_scheduled = true; /* answers are written when this is over */
    int done = deliver_share(context, reader, on_message, self->outbox, share);
    self->flush_scheduled = scheduled;
    context->messages += (unsigned long long)(before - share->messages) - (reader->extra - extra);
    Py_DECREF(on_message);
    if (done < 0 && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyObject *error = sono_caught();
        PyObject *told = PyObject_CallMethod(self->session, "failed", "OO", error, now);
        Py_XDECREF(error);
        Py_XDECREF(told);
        done = told ? 0 : -1;
    }
    return done;
}

/* Lets the session tell its budget what is held for the peer. */
static PyObject *
settle(FastTransport *self)
{
    PyObject *held = PyObject_CallMethod(self->session, "settle", NULL);
    if (!held)
        return NULL;
    self->settled = held == Py_True;
    return held;
}

/* Delivers what was received and sends the answers. Unless that ends in the ordinary way, Python
 * continues, with what is left of the share. */
static PyObject *
take_turn(FastTransport *self, Reader *reader, PyObject *now)
{
    LoopContext *context = self->context;
    const sono_share given = share_now(context);
    sono_share share = given;
    if (PyObject_SetAttr(self->session, context->last_received, now) < 0) {
        context->api->give_back(reader);
        return NULL;
    }
    int done = deliver(self, reader, now, &share);
    int given_back = context->api->give_back(reader);
    if (context->plain_size > PLAIN_KEPT)
        sono_drop_plain(context);
    if (given_back < 0 || done < 0)
        return NULL;
    if (!done || self->reader != reader || !self->outbox->room || reader->extra >= MUCH_EXTRA) {
        context->detours++;
        return PyObject_CallMethod((PyObject *)self, "resume", "Onn", now,
                                   given.messages - share.messages, given.size - share.size);
    }
    if (self->take) { /* slow answers leave together: see Layer.answers_together */
        if (self->outbox->size && sono_transport_write_soon(self) < 0)
            return NULL;
    } else if (sono_transport_write(self) < 0 || self->outbox->size) {
        context->detours++;
        return sono_transport_flush(self, now);
    }
    context->turns++;
    if (context->api->rest(reader, now) > FREE || self->settled)
        return settle(self);
    Py_RETURN_NONE;
}

/* Something was received over TLS that brought nothing to deliver; the layer may have to go on. */
static PyObject *
brought_nothing(FastTransport *self, PyObject *now)
{
    if (self->reader || !self->take)
        Py_RETURN_NONE;
    self->context->detours++;
    return PyObject_CallMethod((PyObject *)self, "resume", "O", now);
}

/* Tells the driver of an exception, which then ends this connection, and no other. */
static PyObject *
tell_driver(FastTransport *self, PyObject *result)
{
    if (result || !PyErr_ExceptionMatches(PyExc_Exception) || !self->layer)
        return result;
    PyObject *error = sono_caught();
    result = PyObject_CallMethod((PyObject *)self, "call_failed", "O", error);
    Py_XDECREF(error);
    return result;
}

static PyObject *
ready(FastTransport *self, int events, PyObject *now)
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
    else if (size == NOTHING)
        result = brought_nothing(self, now);
    else if (size == 0)
        result = PyObject_CallMethod((PyObject *)self, "receive", "yO", "", now);
    else if (size == -1)
        result = sono_full() ? Py_NewRef(Py_None) : PyObject_CallMethod(self->layer, "lost", NULL);
    Py_DECREF(reader);
    return result;
}

PyObject *
sono_transport_ready(FastTransport *self, int events, PyObject *now)
{
    return tell_driver(self, ready(self, events, now));
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
    LoopContext *context = self->context;
    if (!sono_initialised(context))
        return NULL;
    return Py_NewRef(context->spent ? context->little : context->source);
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
    int there = self->take ? sono_secure_take(self, reader, context->buffer.buf, (size_t)size)
                           : context->api->borrow(reader, context->buffer.buf, (size_t)size) + 1;
    if (there >= 0)
        result = there ? take_turn(self, reader, now) : brought_nothing(self, now);
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
    if (now && sono_context_read_at(self->context, PyFloat_AsDouble(now)) < 0)
        Py_CLEAR(now);
    PyObject *result = tell_driver(self, now ? updated(self, size, now) : NULL);
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
    sono_clear_engine(self);
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
    Py_XSETREF(self->outbox, (Outbox *)Py_NewRef(outbox));
    Py_XSETREF(self->wire, (Outbox *)outbox);
    Py_XSETREF(self->layer, Py_NewRef(layer));
    Py_XSETREF(self->session, Py_NewRef(layer));
    sono_clear_engine(self);
    PyObject *engine = PyObject_GetAttrString(layer, "engine");
    int failed = !engine || (engine != Py_None && sono_set_engine(self, engine) < 0);
    Py_XDECREF(engine);
    return failed ? -1 : 0;
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
    PyObject *handler = PyObject_GetAttrString(self->session, "handler");
    PyObject *on_message = handler ? PyObject_GetAttrString(handler, "on_message") : NULL;
    Py_XDECREF(handler);
    if (!on_message)
        return -1;
    Py_XSETREF(self->on_message, on_message);
    self->settled = true; /* the session may have told its budget */
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
    Py_VISIT(self->session);
    Py_VISIT(self->reader);
    Py_VISIT(self->on_message);
    Py_VISIT(self->coder);
    Py_VISIT(self->take);
    Py_VISIT(self->read);
    Py_VISIT(self->write);
    Py_VISIT(self->pending);
    Py_VISIT(self->give);
    return 0;
}

static int
transport_clear(PyObject *object)
{
    FastTransport *self = (FastTransport *)object;
    sono_clear_engine(self);
    Py_CLEAR(self->reader);
    Py_CLEAR(self->on_message);
    Py_CLEAR(self->layer);
    Py_CLEAR(self->session);
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
    Py_CLEAR(self->wire);
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
