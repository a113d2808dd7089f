/* Carrier: receive, decode, hand each message over, send what was answered. One call a readiness.
 *
 * This is the ordinary case alone: an open connection whose peer keeps up. For everything else the
 * methods of sono_server.selector.transport.Peer are called, and what they decide stands.
 */

#include "loop.h"

#include <errno.h>
#include <string.h>
#include <structmember.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
    MOST_SLICES = 64,
    JOINED = 8 * 1024, /* bytes that are cheaper copied into one place than written from several */
};

/* -- out ----------------------------------------------------------------------------------- */

static bool
full(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* One write of what waits: how much went out, at most `*wanted`; -1 as send does. */
static ssize_t
write_some(Carrier *self, size_t *wanted)
{
    sono_slice slices[MOST_SLICES];
    int count = self->turn->api->slices(self->outbox, slices, MOST_SLICES);
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
sono_carrier_write(Carrier *self)
{
    while (self->outbox->size) {
        size_t wanted;
        ssize_t size = write_some(self, &wanted);
        if (size < 0)
            return full() ? 0 : -1;
        self->turn->api->advance(self->outbox, (size_t)size);
        if ((size_t)size < wanted)
            return 0;
    }
    return 0;
}

static PyObject *
carrier_write_some(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    Carrier *self = (Carrier *)object;
    size_t wanted;
    if (!self->session) {
        PyErr_SetString(PyExc_RuntimeError, "there is no session");
        return NULL;
    }
    ssize_t size = self->outbox->size ? write_some(self, &wanted) : 0;
    if (size < 0 && !full())
        return PyErr_SetFromErrno(PyExc_OSError);
    return PyLong_FromSsize_t(size < 0 ? 0 : size);
}

int
sono_carrier_write_soon(Carrier *self)
{
    if (self->dirty)
        return 0;
    self->dirty = true;
    Turn *turn = self->turn;
    if (PyList_Append(turn->dirty, (PyObject *)self) < 0)
        return -1;
    if (turn->wake == Py_None || PyList_GET_SIZE(turn->dirty) > 1)
        return 0;
    PyObject *woken = PyObject_CallNoArgs(turn->wake);
    Py_XDECREF(woken);
    return woken ? 0 : -1;
}

PyObject *
sono_carrier_flush(Carrier *self, PyObject *now)
{
    return PyObject_CallMethod((PyObject *)self, "flush", "O", now);
}

static PyObject *
carrier_write_soon(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    if (!sono_initialised(((Carrier *)object)->turn) ||
        sono_carrier_write_soon((Carrier *)object) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* -- in ------------------------------------------------------------------------------------ */

/* Receives into the message under way if that is large, and else into the shared buffer. Returns
 * what recv does; the reader has the bytes then. */
static ssize_t
receive(Carrier *self, Reader *reader)
{
    Turn *turn = self->turn;
    unsigned char *place;
    size_t room = turn->api->place(reader, &place);
    if (room > (size_t)turn->share.size)
        room = (size_t)turn->share.size;
    ssize_t size;
    if (room) {
        struct iovec vectors[] = {{place, room}, {turn->buffer.buf, (size_t)turn->buffer.len}};
        size = readv(self->fd, vectors, 2);
    } else {
        size = recv(self->fd, turn->buffer.buf, (size_t)turn->buffer.len, 0);
    }
    if (size <= 0)
        return size;
    size_t placed = (size_t)size < room ? (size_t)size : room;
    if (placed)
        turn->api->placed(reader, placed);
    if ((size_t)size > placed && turn->api->borrow(reader, turn->buffer.buf, (size_t)size - placed) < 0)
        return -2;
    return size;
}

/* Hands the messages over; like sono_deliver, but what the handler raised is dealt with. */
static int
deliver(Carrier *self, Reader *reader, PyObject *now, sono_share *share)
{
    Turn *turn = self->turn;
    PyObject *on_message = Py_NewRef(self->on_message);
    Py_ssize_t before = share->messages;
    bool dirty = self->dirty;
    self->dirty = true; /* what is answered is written when this is over */
    int done = turn->api->deliver(reader, on_message, self->outbox, turn->pause, share);
    self->dirty = dirty;
    turn->messages += (unsigned long long)(before - share->messages);
    Py_DECREF(on_message);
    if (done < 0 && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyObject *type, *error, *traceback;
        PyErr_Fetch(&type, &error, &traceback);
        PyErr_NormalizeException(&type, &error, &traceback);
        if (traceback)
            PyException_SetTraceback(error, traceback);
        PyObject *told = PyObject_CallMethod(self->session, "failed", "OO", error, now);
        Py_XDECREF(type);
        Py_XDECREF(error);
        Py_XDECREF(traceback);
        Py_XDECREF(told);
        done = told ? 0 : -1;
    }
    return done;
}

/* Hands over what was received and sends what was answered. What is no ordinary end of that is
 * left to Python, with what is left of the share. */
static PyObject *
take_turn(Carrier *self, Reader *reader, PyObject *now)
{
    Turn *turn = self->turn;
    sono_share share = turn->share;
    if (PyObject_SetAttr(self->session, turn->heard, now) < 0)
        return NULL;
    int done = deliver(self, reader, now, &share);
    if (turn->api->give_back(reader) < 0 || done < 0)
        return NULL;
    if (!done || self->reader != reader || !self->outbox->room) {
        turn->detours++;
        return PyObject_CallMethod((PyObject *)self, "go_on", "Onn", now,
                                   turn->share.messages - share.messages,
                                   turn->share.size - share.size);
    }
    if (sono_carrier_write(self) < 0 || self->outbox->size) {
        turn->detours++;
        return sono_carrier_flush(self, now);
    }
    turn->turns++;
    Py_RETURN_NONE;
}

PyObject *
sono_carrier_ready(Carrier *self, int events, PyObject *now)
{
    Turn *turn = self->turn;
    if (!self->reader || !self->outbox->room || self->outbox->size > turn->pause ||
        events != READABLE) {
        turn->detours++;
        return PyObject_CallMethod((PyObject *)self, "ready_slowly", "iO", events, now);
    }
    Reader *reader = (Reader *)Py_NewRef(self->reader);
    ssize_t size = receive(self, reader);
    PyObject *result = NULL;
    if (size > 0)
        result = take_turn(self, reader, now);
    else if (size == 0)
        result = PyObject_CallMethod((PyObject *)self, "receive", "yO", "", now);
    else if (size == -1)
        result = full() ? Py_NewRef(Py_None) : PyObject_CallMethod(self->session, "lost", NULL);
    Py_DECREF(reader);
    return result;
}

static PyObject *
carrier_ready(PyObject *object, PyObject *args)
{
    int events;
    PyObject *now;
    if (!sono_initialised(((Carrier *)object)->turn) ||
        !PyArg_ParseTuple(args, "iO", &events, &now))
        return NULL;
    return sono_carrier_ready((Carrier *)object, events, now);
}

/* -- for asyncio: others receive, into the shared buffer --------------------------------------- */

static PyObject *
carrier_get_buffer(PyObject *object, PyObject *Py_UNUSED(size))
{
    Carrier *self = (Carrier *)object;
    return sono_initialised(self->turn) ? Py_NewRef(self->turn->source) : NULL;
}

static PyObject *
updated(Carrier *self, Py_ssize_t size, PyObject *now)
{
    Turn *turn = self->turn;
    if (!self->reader || !self->outbox->room || self->outbox->size > turn->pause) {
        turn->detours++;
        return PyObject_CallMethod((PyObject *)self, "updated_slowly", "nO", size, now);
    }
    Reader *reader = (Reader *)Py_NewRef(self->reader);
    PyObject *result = NULL;
    if (turn->api->borrow(reader, turn->buffer.buf, (size_t)size) == 0)
        result = take_turn(self, reader, now);
    Py_DECREF(reader);
    return result;
}

static PyObject *
carrier_buffer_updated(PyObject *object, PyObject *number)
{
    Carrier *self = (Carrier *)object;
    Py_ssize_t size = PyLong_AsSsize_t(number);
    if (!sono_initialised(self->turn) || (size == -1 && PyErr_Occurred()))
        return NULL;
    if (size < 1 || size > self->turn->buffer.len) {
        PyErr_SetString(PyExc_ValueError, "size is not that of a part of the buffer");
        return NULL;
    }
    PyObject *now = PyObject_CallNoArgs(self->turn->time);
    PyObject *result = now ? updated(self, size, now) : NULL;
    Py_XDECREF(now);
    return result;
}

/* -- the type ------------------------------------------------------------------------------ */

/* Takes its place among those that are found by their file descriptor. */
static int
enter(Carrier *self, int fd)
{
    Turn *turn = self->turn;
    if (fd >= turn->carriers_size) {
        int size = fd < 64 ? 128 : 2 * fd;
        Carrier **carriers = PyMem_Realloc(turn->carriers, (size_t)size * sizeof *carriers);
        if (!carriers) {
            PyErr_NoMemory();
            return -1;
        }
        for (int i = turn->carriers_size; i < size; i++)
            carriers[i] = NULL;
        turn->carriers = carriers;
        turn->carriers_size = size;
    }
    self->fd = fd;
    if (fd >= 0)
        turn->carriers[fd] = self;
    return 0;
}

static void
leave(Carrier *self)
{
    Turn *turn = self->turn;
    if (turn && self->fd >= 0 && self->fd < turn->carriers_size &&
        turn->carriers[self->fd] == self)
        turn->carriers[self->fd] = NULL;
    self->fd = -1;
}

static int
carrier_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"turn", "fd", NULL};
    Carrier *self = (Carrier *)object;
    PyObject *turn;
    int fd;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Oi", names, &turn, &fd))
        return -1;
    if (!sono_is_turn(turn)) {
        PyErr_SetString(PyExc_TypeError, "turn must be a Turn");
        return -1;
    }
    leave(self);
    Py_XSETREF(self->turn, (Turn *)Py_NewRef(turn));
    return enter(self, fd);
}

static PyObject *
carrier_closed(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    Carrier *self = (Carrier *)object;
    leave(self);
    Py_CLEAR(self->reader);
    Py_CLEAR(self->on_message);
    Py_RETURN_NONE;
}

static PyObject *
get_session(PyObject *object, void *Py_UNUSED(closure))
{
    Carrier *self = (Carrier *)object;
    if (!self->session) {
        PyErr_SetString(PyExc_AttributeError, "session");
        return NULL;
    }
    return Py_NewRef(self->session);
}

static int
set_session(PyObject *object, PyObject *session, void *Py_UNUSED(closure))
{
    Carrier *self = (Carrier *)object;
    if (!session)
        PyErr_SetString(PyExc_AttributeError, "session cannot be deleted");
    if (!session || !sono_initialised(self->turn))
        return -1;
    PyObject *outbox = PyObject_GetAttrString(session, "outbox");
    if (!outbox)
        return -1;
    if (Py_TYPE(outbox) != self->turn->api->outbox_type) {
        PyErr_SetString(PyExc_TypeError, "the session's outbox is not native");
        Py_DECREF(outbox);
        return -1;
    }
    Py_XSETREF(self->outbox, (Outbox *)outbox);
    Py_XSETREF(self->session, Py_NewRef(session));
    return 0;
}

static PyObject *
get_reader(PyObject *object, void *Py_UNUSED(closure))
{
    Reader *reader = ((Carrier *)object)->reader;
    return Py_NewRef(reader ? (PyObject *)reader : Py_None);
}

static int
set_reader(PyObject *object, PyObject *reader, void *Py_UNUSED(closure))
{
    Carrier *self = (Carrier *)object;
    if (!reader || reader == Py_None) {
        Py_CLEAR(self->reader);
        Py_CLEAR(self->on_message);
        return 0;
    }
    if (!self->session || Py_TYPE(reader) != self->turn->api->reader_type) {
        PyErr_SetString(PyExc_TypeError, "there is no session, or the reader is not native");
        return -1;
    }
    PyObject *handler = PyObject_GetAttrString(self->session, "handler");
    PyObject *on_message = handler ? PyObject_GetAttrString(handler, "on_message") : NULL;
    Py_XDECREF(handler);
    if (!on_message)
        return -1;
    Py_XSETREF(self->on_message, on_message);
    Py_XSETREF(self->reader, (Reader *)Py_NewRef(reader));
    return 0;
}

static int
carrier_traverse(PyObject *object, visitproc visit, void *arg)
{
    Carrier *self = (Carrier *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->turn);
    Py_VISIT(self->session);
    Py_VISIT(self->reader);
    Py_VISIT(self->on_message);
    return 0;
}

static int
carrier_clear(PyObject *object)
{
    Carrier *self = (Carrier *)object;
    Py_CLEAR(self->reader);
    Py_CLEAR(self->on_message);
    Py_CLEAR(self->session);
    return 0;
}

static void
carrier_dealloc(PyObject *object)
{
    Carrier *self = (Carrier *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    carrier_clear(object);
    leave(self);
    Py_CLEAR(self->turn);
    Py_CLEAR(self->outbox);
    type->tp_free(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(ready_doc, "ready(events, now, /)\n--\n\nSee sono_io.reference.Carrier.");
PyDoc_STRVAR(get_buffer_doc, "get_buffer(size, /)\n--\n\nSee sono_io.reference.Carrier.");
PyDoc_STRVAR(updated_doc, "buffer_updated(size, /)\n--\n\nSee sono_io.reference.Carrier.");
PyDoc_STRVAR(closed_doc, "closed()\n--\n\nSee sono_io.reference.Carrier.");
PyDoc_STRVAR(write_some_doc, "write_some()\n--\n\nSee sono_io.reference.Carrier.");
PyDoc_STRVAR(write_soon_doc, "write_soon()\n--\n\nSee sono_core.lifecycle.Transport.");

static PyMethodDef carrier_methods[] = {
    {"ready", carrier_ready, METH_VARARGS, ready_doc},
    {"get_buffer", carrier_get_buffer, METH_O, get_buffer_doc},
    {"buffer_updated", carrier_buffer_updated, METH_O, updated_doc},
    {"closed", carrier_closed, METH_NOARGS, closed_doc},
    {"write_some", carrier_write_some, METH_NOARGS, write_some_doc},
    {"write_soon", carrier_write_soon, METH_NOARGS, write_soon_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef carrier_fields[] = {
    {"session", get_session, set_session, "The session that it carries.", NULL},
    {"reader", get_reader, set_reader, "See sono_io.reference.Carrier.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef carrier_members[] = {
    {"dirty", T_BOOL, offsetof(Carrier, dirty), 0, "Whether a flush is coming anyway."},
    {"watched", T_INT, offsetof(Carrier, watched), 0, "What the selector watches it for."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot carrier_slots[] = {
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, carrier_init},
    {Py_tp_dealloc, carrier_dealloc},
    {Py_tp_traverse, carrier_traverse},
    {Py_tp_clear, carrier_clear},
    {Py_tp_methods, carrier_methods},
    {Py_tp_getset, carrier_fields},
    {Py_tp_members, carrier_members},
    {0, NULL},
};

PyType_Spec sono_carrier_spec = {
    .name = "sono_io._loop.Carrier",
    .basicsize = sizeof(Carrier),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = carrier_slots,
};
