/* TLS between a socket and a session: records to OpenSSL and plaintext to the reader, the session's
 * outbox to OpenSSL and records to the socket. RFC 8446, section 5.
 *
 * It handles the ordinary case alone: whole records of data, and a socket that takes what OpenSSL
 * gives. The layer, sono_core/tls/layer.py, decides about everything else: it gets the rest and the
 * exception. OpenSSL is Python's own, called through the methods of an `Engine`.
 */

#include "loop.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

enum {
    /* See sono_core/tls/layer.py. */
    CHUNK = 64 * 1024, /* bytes encrypted ahead; _CHUNK there */
    HEADER = 5,        /* bytes of a record's header; _HEADER there */
    MANY = 512,        /* records of one read, before others have their turn; _MAX_RECORDS there */
    FEW = 16,          /* the same if the time of the turn is over; _FEW_RECORDS there */
    MOST_SLICES = 64,
    LITTLE_COPY = 4 * 1024, /* bytes of which a copy is cheaper than a view */
};

/* -- calls ---------------------------------------------------------------------------------- */

/* Calls with an argument, and perhaps one before it; returns a new reference. */
static PyObject *
call(PyObject *function, PyObject *first, PyObject *argument)
{
    if (!argument)
        return NULL;
    if (!function) { /* a finaliser or a signal's handler has closed it between two calls */
        PyErr_SetString(PyExc_ConnectionAbortedError, "the transport was closed meanwhile");
        return NULL;
    }
    PyObject *arguments[] = {NULL, first ? first : argument, argument};
    Py_INCREF(function); /* the transport may be closed meanwhile */
    PyObject *result = PyObject_Vectorcall(function, arguments + 1,
                                           (first ? 2 : 1) | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(function);
    return result;
}

/* Calls without arguments. */
static PyObject *
call_alone(PyObject *function)
{
    Py_XINCREF(function);
    PyObject *result = function ? PyObject_CallNoArgs(function) : NULL;
    Py_XDECREF(function);
    return result;
}

/* Calls with memory that is read. A copy of a little takes less time than a view. */
static PyObject *
call_with(PyObject *function, const void *data, size_t size)
{
    PyObject *bytes = size <= LITTLE_COPY
                          ? PyBytes_FromStringAndSize(data, (Py_ssize_t)size)
                          : PyMemoryView_FromMemory((char *)data, (Py_ssize_t)size, PyBUF_READ);
    PyObject *result = call(function, NULL, bytes);
    Py_XDECREF(bytes);
    return result;
}

/* The number that such a call returned; -1 with an exception. */
static Py_ssize_t
number_of(PyObject *result)
{
    Py_ssize_t number = result ? PyLong_AsSsize_t(result) : -1;
    Py_XDECREF(result);
    return number;
}

static int
set(PyObject *layer, PyObject *name, PyObject *value)
{
    int failed = value ? PyObject_SetAttr(layer, name, value) : -1;
    Py_XDECREF(value);
    return failed;
}

/* -- in ------------------------------------------------------------------------------------- */

/* What is being taken from the peer. */
typedef struct {
    const unsigned char *data;
    size_t size;
    size_t noted;   /* the layer's `left` */
    size_t left;    /* bytes that the record under way lacks */
    size_t records; /* whole ones */
    size_t plain;   /* bytes decrypted into the context's buffer */
    size_t length;  /* bytes of the last record, without its header and what came before */
    bool under_way; /* a record was begun, and OpenSSL has not got all of it */
    bool placed;    /* others were decrypted into the message under way */
} intake;

static int
give_openssl(FastTransport *self, const unsigned char *data, size_t size)
{
    return number_of(call_with(self->take, data, size)) < 0 ? -1 : 0;
}

/* Reads at most a record into `place`. 0 says that it had no data, or that the stream ends. */
static Py_ssize_t
read_into(FastTransport *self, unsigned char *place, size_t room)
{
    LoopContext *context = self->context;
    if (place == context->plain)
        return number_of(call(self->read, context->record_size, context->first_record));
    PyObject *size = PyLong_FromSize_t(room < RECORD ? room : RECORD);
    PyObject *view = PyMemoryView_FromMemory((char *)place, (Py_ssize_t)room, PyBUF_WRITE);
    PyObject *result = size ? call(self->read, size, view) : NULL;
    Py_XDECREF(size);
    Py_XDECREF(view);
    return number_of(result);
}

/* Decrypts the record that OpenSSL has: into the message under way, as far as that goes. -1 with
 * an exception if it has no data, or without one at the peer's end. */
static int
read_record(FastTransport *self, Reader *reader, intake *in)
{
    LoopContext *context = self->context;
    for (;;) {
        unsigned char *place;
        size_t room = in->plain ? 0 : context->api->place(reader, &place);
        bool placed = room > 0;
        if (!placed) {
            place = context->plain + in->plain;
            room = context->plain_size - in->plain;
        }
        Py_ssize_t size = read_into(self, place, room);
        if (size <= 0 || !self->coder) /* 0: the peer has ended its side; or closed meanwhile */
            return -1;
        if (!placed) {
            in->plain += (size_t)size;
            return 0; /* there was room for all of it */
        }
        context->api->placed(reader, (size_t)size);
        in->placed = true;
        if ((size_t)size < room)
            return 0;
        Py_ssize_t more = number_of(call_alone(self->pending));
        if (more <= 0)
            return (int)more;
    }
}

/* Takes what the last read left: a record that OpenSSL has in part, or a part of a header. */
static int
recall(FastTransport *self, intake *in)
{
    LoopContext *context = self->context;
    PyObject *left = PyObject_GetAttr(self->coder, context->left);
    if (!left)
        return -1;
    in->noted = in->left = PyLong_AsSize_t(left);
    Py_DECREF(left);
    if (in->left == (size_t)-1 && PyErr_Occurred())
        return -1;
    in->under_way = in->left > 0;
    in->length = in->left; /* at least: what has no data and is this short is charged, if cut too */
    PyObject *begun = PyObject_GetAttr(self->coder, context->begun);
    if (begun && (!PyBytes_CheckExact(begun) || PyBytes_GET_SIZE(begun) >= HEADER)) {
        PyErr_SetString(PyExc_SystemError, "that is no part of a header");
        Py_CLEAR(begun);
    }
    if (!begun)
        return -1;
    size_t there = (size_t)PyBytes_GET_SIZE(begun);
    int failed = 0;
    if (there) {
        unsigned char header[HEADER];
        size_t lacking = HEADER - there;
        memcpy(header, PyBytes_AS_STRING(begun), there);
        if (lacking > in->size)
            lacking = in->size;
        memcpy(header + there, in->data, lacking);
        there += lacking;
        if (there < HEADER) {
            failed = set(self->coder, context->begun,
                         PyBytes_FromStringAndSize((char *)header, (Py_ssize_t)there));
        } else {
            failed = set(self->coder, context->begun, PyBytes_FromStringAndSize(NULL, 0));
            if (!failed)
                failed = give_openssl(self, header, HEADER);
            in->length = in->left = (size_t)header[3] << 8 | header[4];
            in->under_way = true;
        }
        in->data += lacking;
        in->size -= lacking;
    }
    Py_DECREF(begun);
    return failed;
}

/* Decrypts record by record. Returns -1 with an exception, or at the peer's end without one. */
static int
take_records(FastTransport *self, Reader *reader, intake *in)
{
    size_t most = self->context->spent ? FEW : MANY;
    while (in->size || (in->under_way && !in->left)) {
        if (!in->under_way) {
            if (in->records >= most || in->size < HEADER)
                return 0;
            in->length = (size_t)in->data[3] << 8 | in->data[4];
            in->left = HEADER + in->length;
            in->under_way = true;
        }
        size_t size = in->left < in->size ? in->left : in->size;
        if (size && give_openssl(self, in->data, size) < 0)
            return -1;
        in->data += size;
        in->size -= size;
        in->left -= size;
        if (in->left)
            return 0;
        in->under_way = false;
        in->records++;
        if (read_record(self, reader, in) < 0)
            return -1;
    }
    return 0;
}

/* The layer gets what was not taken, and the exception if there is one; Python goes on. */
static int
halt(FastTransport *self, const intake *in, bool failed)
{
    PyObject *error = failed && PyErr_Occurred() ? sono_caught() : Py_NewRef(Py_None);
    PyObject *told = PyObject_CallMethod(
        self->coder, "halted", "y#OOn", (const char *)in->data, (Py_ssize_t)in->size, error,
        failed && error == Py_None ? Py_True : Py_False, (Py_ssize_t)in->length);
    Py_DECREF(error);
    Py_XDECREF(told);
    Py_CLEAR(self->reader);
    return told ? 0 : -1;
}

/* Notes how much of a record is still to come. Keeps an exception. */
static int
note_left(FastTransport *self, const intake *in)
{
    if (in->left == in->noted)
        return 0;
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    int failed = set(self->coder, self->context->left, PyLong_FromSize_t(in->left));
    if (!failed) {
        PyErr_Restore(type, error, traceback);
        return 0;
    }
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(traceback);
    return -1;
}

void
sono_drop_plain(LoopContext *context)
{
    Py_CLEAR(context->first_record);
    PyMem_Free(context->plain);
    context->plain = NULL;
    context->plain_size = 0;
}

/* Makes room for what a read of `size` bytes may bring. */
static int
have_room(LoopContext *context, size_t size)
{
    size += 2 * RECORD; /* what was given to OpenSSL before may come out with it */
    if (size <= context->plain_size)
        return 0;
    sono_drop_plain(context);
    size = size < PLAIN_KEPT ? PLAIN_KEPT : size;
    if (!(context->plain = PyMem_Malloc(size))) {
        PyErr_NoMemory();
        return -1;
    }
    context->plain_size = size;
    context->first_record = PyMemoryView_FromMemory((char *)context->plain, RECORD, PyBUF_WRITE);
    if (context->first_record)
        return 0;
    sono_drop_plain(context);
    return -1;
}

/* Gives the reader what was decrypted, and copies it if there is an exception, as nobody delivers it
 * then. Returns -1 with one. */
static int
hand_over(LoopContext *context, Reader *reader, const intake *in)
{
    if (!in->plain)
        return PyErr_Occurred() ? -1 : 0;
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    int failed = context->api->borrow(reader, context->plain, in->plain);
    if (type && failed == 0)
        failed = context->api->give_back(reader);
    if (!type)
        return failed;
    PyErr_Restore(type, error, traceback);
    return -1;
}

/* Takes what was received, as sono_secure_take does. */
static int
take(FastTransport *self, Reader *reader, intake *in)
{
    LoopContext *context = self->context;
    if (have_room(context, in->size) < 0 || recall(self, in) < 0)
        return -1;
    bool failed = take_records(self, reader, in) < 0;
    if (!self->coder) { /* closed meanwhile */
        PyErr_Clear();
        in->plain = 0;
        in->placed = false;
        return 0;
    }
    if (note_left(self, in) < 0)
        return -1;
    if (failed || in->size >= HEADER) {
        if (halt(self, in, failed) < 0)
            return hand_over(context, reader, in);
    } else if (in->size &&
               set(self->coder, context->begun,
                   PyBytes_FromStringAndSize((const char *)in->data, (Py_ssize_t)in->size)) < 0) {
        return hand_over(context, reader, in);
    }
    return hand_over(context, reader, in) < 0 ? -1 : in->plain || in->placed;
}

int
sono_secure_take(FastTransport *self, Reader *reader, const unsigned char *data, size_t size)
{
    intake in = {.data = data, .size = size};
    PyObject *coder = Py_XNewRef(self->coder);
    int there = take(self, reader, &in);
    if (there <= 0 && self->context->plain_size > PLAIN_KEPT)
        sono_drop_plain(self->context);
    Py_XDECREF(coder);
    return there;
}

/* -- out ------------------------------------------------------------------------------------ */

/* What is encrypted next: a large slice, or small ones that are copied to `joined`, up to a record. */
static void
next_chunk(const FastTransport *self, const unsigned char **data, size_t *size,
           unsigned char *joined)
{
    sono_slice slices[MOST_SLICES];
    int count = self->context->api->slices(self->outbox, slices, MOST_SLICES);
    if (slices[0].size >= RECORD) {
        *data = slices[0].data;
        *size = slices[0].size < CHUNK ? slices[0].size : CHUNK;
        return;
    }
    size_t filled = 0;
    for (int i = 0; i < count && filled < RECORD; i++) {
        size_t part = slices[i].size < RECORD - filled ? slices[i].size : RECORD - filled;
        memcpy(joined + filled, slices[i].data, part);
        filled += part;
    }
    *data = joined;
    *size = filled;
}

/* Encrypts, and returns the records. A finaliser may run Python in the middle, which may send more,
 * or close the transport, or write: NULL if the front of the outbox is no longer what it was. */
static PyObject *
encrypt(FastTransport *self, const unsigned char *data, size_t size, Py_ssize_t *plain)
{
    const Outbox *outbox = self->outbox;
    PyObject *front = Py_NewRef(outbox->chunks[outbox->head]);
    const size_t before = outbox->size, written = outbox->written;
    *plain = number_of(call_with(self->write, data, size));
    PyObject *records = *plain > 0 ? call_alone(self->give) : NULL;
    if (records && (!self->coder || !PyBytes_CheckExact(records) || outbox->size < before ||
                    outbox->chunks[outbox->head] != front || outbox->written != written))
        Py_CLEAR(records);
    Py_DECREF(front);
    return records;
}

/* The stream has to end: what was encrypted cannot be made again. Returns -1. */
static int
give_up(FastTransport *self)
{
    if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_KeyboardInterrupt))
        PyErr_SetInterrupt(); /* it comes again where it can be raised */
    else if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_Exception))
        PyErr_WriteUnraisable(self->coder);
    PyErr_Clear();
    if (self->fd >= 0)
        shutdown(self->fd, SHUT_RDWR);
    return -1;
}

/* The layer gets the records of which the socket took a part only. */
static int
keep_rest(FastTransport *self, Py_ssize_t plain, PyObject *records, ssize_t sent)
{
    PyObject *now = PyObject_CallNoArgs(self->context->time);
    PyObject *told = now ? PyObject_CallMethod(self->coder, "half_written", "nOnO", plain, records,
                                               (Py_ssize_t)sent, now)
                         : NULL;
    Py_XDECREF(now);
    Py_XDECREF(told);
    return told ? 0 : give_up(self);
}

/* Encrypts and sends what comes next. 1: all of that was sent, 0: a part, or nothing, -1: failed. */
static int
write_chunk(FastTransport *self)
{
    unsigned char joined[RECORD];
    const unsigned char *data;
    size_t size;
    Py_ssize_t plain;
    next_chunk(self, &data, &size, joined);
    PyObject *records = encrypt(self, data, size, &plain);
    if (plain <= 0 && PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_OSError)) {
        PyErr_Clear(); /* OpenSSL's, which has encrypted nothing: the layer meets it again */
        return 0;
    }
    if (!records)
        return give_up(self);
    Py_ssize_t wanted = PyBytes_GET_SIZE(records);
    ssize_t sent = send(self->fd, PyBytes_AS_STRING(records), (size_t)wanted, 0);
    int result = sent == wanted ? 1 : sent < 0 && !sono_full() ? -1 : 0;
    if (result > 0)
        self->context->api->advance(self->outbox, (size_t)plain);
    else if (keep_rest(self, plain, records, sent < 0 ? 0 : sent) < 0)
        result = -1;
    Py_DECREF(records);
    return result;
}

int
sono_secure_write(FastTransport *self)
{
    if (self->writing) /* what comes now follows */
        return 0;
    PyObject *coder = Py_XNewRef(self->coder);
    self->writing = true;
    int result = 1;
    while (result > 0 && self->take && self->outbox->size && !self->wire->size)
        result = write_chunk(self);
    self->writing = false;
    Py_XDECREF(coder);
    return result < 0 ? -1 : 0;
}

/* -- the engine ----------------------------------------------------------------------------- */

int
sono_set_engine(FastTransport *self, PyObject *engine)
{
    PyObject **places[] = {&self->coder, &self->session, &self->take, &self->read,
                           &self->write, &self->pending, &self->give};
    const Py_ssize_t count = sizeof places / sizeof *places;
    PyObject *outbox = PyTuple_Check(engine) && PyTuple_GET_SIZE(engine) == count
                           ? PyObject_GetAttrString(PyTuple_GET_ITEM(engine, 1), "outbox")
                           : NULL;
    if (!outbox || Py_TYPE(outbox) != self->context->api->outbox_type) {
        Py_XDECREF(outbox);
        PyErr_SetString(PyExc_TypeError, "the layer's engine is none");
        return -1;
    }
    Py_XSETREF(self->outbox, (Outbox *)outbox);
    for (Py_ssize_t i = 0; i < count; i++)
        Py_XSETREF(*places[i], Py_NewRef(PyTuple_GET_ITEM(engine, i)));
    return 0;
}

void
sono_clear_engine(FastTransport *self)
{
    Py_CLEAR(self->coder);
    Py_CLEAR(self->take);
    Py_CLEAR(self->read);
    Py_CLEAR(self->write);
    Py_CLEAR(self->pending);
    Py_CLEAR(self->give);
}
