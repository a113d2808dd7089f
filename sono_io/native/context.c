/* Turn: what the connections of one loop share, and the flush at the end of a turn. */

#include "loop.h"

#include <errno.h>
#include <math.h>
#include <structmember.h>

#ifdef __linux__
#include <sys/epoll.h>
#include <time.h>
#endif

enum {
    MOST_EVENTS = 512,     /* taken from the kernel at once */
    MOST_SECONDS = 86400,  /* of one wait: epoll counts milliseconds in an int */
};

static PyObject *
turn_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"buffer", "pause", "messages", "size", "prepared", "time", NULL};
    Py_ssize_t pause;
    sono_share share;
    PyObject *buffer, *prepared_type, *time;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OnnnOO", names, &buffer, &pause,
                                     &share.messages, &share.size, &prepared_type, &time))
        return NULL;
    const sono_api *api = PyCapsule_Import(SONO_API, 0);
    Turn *self = api ? (Turn *)type->tp_alloc(type, 0) : NULL;
    if (!self)
        return NULL;
    self->api = api;
    self->pause = (size_t)pause;
    self->share = share;
    self->prepared_type = Py_NewRef(prepared_type);
    self->time = Py_NewRef(time);
    self->source = Py_NewRef(buffer);
    self->wake = Py_NewRef(Py_None);
    self->dirty = PyList_New(0);
    self->heard = PyUnicode_InternFromString("heard");
    if (self->dirty && self->heard &&
        PyObject_GetBuffer(buffer, &self->buffer, PyBUF_WRITABLE) == 0)
        return (PyObject *)self;
    Py_DECREF(self);
    return NULL;
}

static int
turn_traverse(PyObject *object, visitproc visit, void *arg)
{
    Turn *self = (Turn *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->dirty);
    Py_VISIT(self->prepared_type);
    Py_VISIT(self->prepared);
    Py_VISIT(self->time);
    Py_VISIT(self->wake);
    return 0;
}

static int
turn_clear(PyObject *object)
{
    Turn *self = (Turn *)object;
    if (self->dirty)
        PyList_SetSlice(self->dirty, 0, PyList_GET_SIZE(self->dirty), NULL);
    Py_CLEAR(self->prepared);
    Py_CLEAR(self->frame);
    Py_XSETREF(self->wake, Py_NewRef(Py_None));
    return 0;
}

static void
turn_dealloc(PyObject *object)
{
    Turn *self = (Turn *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_CLEAR(self->prepared);
    Py_CLEAR(self->frame);
    Py_CLEAR(self->dirty);
    Py_CLEAR(self->prepared_type);
    Py_CLEAR(self->heard);
    Py_CLEAR(self->time);
    Py_CLEAR(self->wake);
    Py_CLEAR(self->source);
    PyMem_Free(self->carriers);
    if (self->buffer.obj)
        PyBuffer_Release(&self->buffer);
    type->tp_free(object);
    Py_DECREF(type);
}

bool
sono_is_turn(PyObject *object)
{
    return Py_TYPE(object)->tp_dealloc == turn_dealloc; /* nothing is derived from it */
}

/* Thousands of carriers do not stay in the cache; what is needed soon is asked for now. */
static inline void
fetch_ahead(PyObject *carriers, Py_ssize_t i, Py_ssize_t count)
{
#if defined(__GNUC__) || defined(__clang__)
    if (i + 8 >= count)
        return;
    __builtin_prefetch(&((Carrier *)PyList_GET_ITEM(carriers, i + 8))->outbox);
    __builtin_prefetch(((Carrier *)PyList_GET_ITEM(carriers, i + 4))->outbox);
#endif
}

static PyObject *
turn_flush(PyObject *object, PyObject *now)
{
    Turn *self = (Turn *)object;
    Py_CLEAR(self->prepared);
    Py_CLEAR(self->frame);
    Py_ssize_t count = PyList_GET_SIZE(self->dirty);
    if (!count)
        Py_RETURN_NONE;
    PyObject *dirty = self->dirty, *fresh = PyList_New(0);
    if (!fresh)
        return NULL;
    self->dirty = fresh;
    for (Py_ssize_t i = 0; i < count; i++) {
        fetch_ahead(dirty, i, count);
        Carrier *carrier = (Carrier *)PyList_GET_ITEM(dirty, i);
        carrier->dirty = false;
        if (carrier->reader && carrier->outbox->room && sono_carrier_write(carrier) == 0 &&
            !carrier->outbox->size)
            continue;
        PyObject *done = sono_carrier_flush(carrier, now);
        if (!done) { /* the others are not forgotten */
            PyList_SetSlice(dirty, 0, i + 1, NULL);
            PyList_SetSlice(self->dirty, 0, 0, dirty);
            Py_DECREF(dirty);
            return NULL;
        }
        Py_DECREF(done);
    }
    Py_DECREF(dirty);
    Py_RETURN_NONE;
}

#ifdef __linux__
/* Tells the carrier, if it is one; else the descriptor goes to `others`. */
static int
tell(Turn *self, const struct epoll_event *event, PyObject *now, PyObject *others)
{
    int fd = event->data.fd;
    Carrier *carrier = fd < self->carriers_size ? self->carriers[fd] : NULL;
    if (!carrier) {
        PyObject *number = PyLong_FromLong(fd);
        int failed = !number || PyList_Append(others, number) < 0;
        Py_XDECREF(number);
        return failed ? -1 : 0;
    }
    int events = (event->events & ~(unsigned)EPOLLOUT ? READABLE : 0) |
                 (event->events & ~(unsigned)EPOLLIN ? WRITABLE : 0);
    Py_INCREF(carrier);
    PyObject *done = sono_carrier_ready(carrier, events & carrier->watched, now);
    Py_DECREF(carrier);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

/* How long to wait for a point in time of Python's time.monotonic(); -1 is without end. */
static int
milliseconds_until(double due)
{
    if (isinf(due))
        return due > 0 ? -1 : 0;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double seconds = due - (double)now.tv_sec - 1e-9 * (double)now.tv_nsec;
    if (seconds <= 0)
        return 0;
    return seconds > MOST_SECONDS ? MOST_SECONDS * 1000 : (int)ceil(seconds * 1000);
}

static PyObject *
turn_run(PyObject *object, PyObject *args)
{
    Turn *self = (Turn *)object;
    struct epoll_event events[MOST_EVENTS];
    int epoll;
    double due;
    if (!PyArg_ParseTuple(args, "id", &epoll, &due))
        return NULL;
    int wait = milliseconds_until(due), count;
    Py_BEGIN_ALLOW_THREADS
    count = epoll_wait(epoll, events, MOST_EVENTS, wait);
    Py_END_ALLOW_THREADS
    if (count < 0 && errno != EINTR)
        return PyErr_SetFromErrno(PyExc_OSError);
    PyObject *now = PyObject_CallNoArgs(self->time);
    PyObject *others = now ? PyList_New(0) : NULL;
    for (int i = 0; others && i < count; i++)
        if (tell(self, &events[i], now, others) < 0)
            Py_CLEAR(others);
    PyObject *result = others ? PyTuple_Pack(2, now, others) : NULL;
    Py_XDECREF(now);
    Py_XDECREF(others);
    return result;
}

PyDoc_STRVAR(run_doc, "run(epoll, due, /)\n--\n\nSee sono_io.reference.Turn.");
#endif

PyDoc_STRVAR(flush_doc, "flush(now, /)\n--\n\nSee sono_io.reference.Turn.");

static PyMethodDef turn_methods[] = {
#ifdef __linux__
    {"run", turn_run, METH_VARARGS, run_doc},
#endif
    {"flush", turn_flush, METH_O, flush_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef turn_members[] = {
    {"thread", T_ULONG, offsetof(Turn, thread), 0, "Whose calls need no detour; 0: nobody's yet."},
    {"dirty", T_OBJECT_EX, offsetof(Turn, dirty), READONLY, "Carriers to be flushed."},
    {"wake", T_OBJECT, offsetof(Turn, wake), 0, "Called when there is something to flush."},
    {"messages", T_ULONGLONG, offsetof(Turn, messages), READONLY, "Delivered in C."},
    {"turns", T_ULONGLONG, offsetof(Turn, turns), READONLY, "Reads that C dealt with alone."},
    {"detours", T_ULONGLONG, offsetof(Turn, detours), READONLY, "Reads that Python was asked about."},
    {"sent", T_ULONGLONG, offsetof(Turn, sent), READONLY, "Messages sent in C."},
    {"sent_slowly", T_ULONGLONG, offsetof(Turn, sent_slowly), READONLY, "Left to Python."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot turn_slots[] = {
    {Py_tp_new, turn_new},
    {Py_tp_dealloc, turn_dealloc},
    {Py_tp_traverse, turn_traverse},
    {Py_tp_clear, turn_clear},
    {Py_tp_methods, turn_methods},
    {Py_tp_members, turn_members},
    {0, NULL},
};

PyType_Spec sono_turn_spec = {
    .name = "sono_io._loop.Turn",
    .basicsize = sizeof(Turn),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = turn_slots,
};
