/* LoopContext: what the connections of one loop share, and the flush at the end of a turn. */

#include "loop.h"

#include <errno.h>
#include <math.h>
#include <structmember.h>

#ifdef __linux__
#include <sys/epoll.h>
#include <time.h>
#endif

enum {
    MOST_EVENTS = 512,    /* taken from the kernel at once */
    WRITES_A_LOOK = 8,    /* connections that are flushed between two looks at the clock */
    MOST_SECONDS = 86400, /* of one wait: epoll counts milliseconds in an int */
};

/* Whether a clock is Python's time.monotonic, which nobody has replaced; -1 with an exception. */
static int
is_own_clock(PyObject *clock)
{
#ifdef __linux__
    PyObject *module = PyImport_ImportModule("time");
    PyObject *monotonic = module ? PyObject_GetAttrString(module, "monotonic") : NULL;
    int same = monotonic ? clock == monotonic && PyCFunction_Check(clock) : -1;
    Py_XDECREF(module);
    Py_XDECREF(monotonic);
    return same;
#else
    (void)clock;
    return 0;
#endif
}

static PyObject *
context_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"buffer",   "pause", "messages", "size",
                            "prepared", "time",  "seconds",  NULL};
    Py_ssize_t pause;
    double seconds;
    sono_share share;
    PyObject *buffer, *prepared_type, *time;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OnnnOOd", names, &buffer, &pause,
                                     &share.messages, &share.size, &prepared_type, &time, &seconds))
        return NULL;
    int own_clock = is_own_clock(time);
    const sono_api *api = own_clock < 0 ? NULL : PyCapsule_Import(SONO_API, 0);
    LoopContext *self = api ? (LoopContext *)type->tp_alloc(type, 0) : NULL;
    if (!self)
        return NULL;
    self->api = api;
    self->pause = (size_t)pause;
    self->share = share;
    self->prepared_type = Py_NewRef(prepared_type);
    self->time = Py_NewRef(time);
    self->own_clock = own_clock;
    self->seconds = seconds;
    self->ends = Py_HUGE_VAL;
    self->opened = Py_NewRef(Py_None);
    self->began = -Py_HUGE_VAL;
    self->source = Py_NewRef(buffer);
    self->little = PySequence_GetSlice(buffer, 0, LITTLE * 1024);
    self->wake = Py_NewRef(Py_None);
    self->to_flush = PyList_New(0);
    self->last_received = PyUnicode_InternFromString("last_received");
    self->left = PyUnicode_InternFromString("left");
    self->begun = PyUnicode_InternFromString("begun");
    self->record_size = PyLong_FromLong(RECORD);
    if (self->to_flush && self->last_received && self->left && self->begun && self->record_size &&
        self->little && PyObject_GetBuffer(buffer, &self->buffer, PyBUF_WRITABLE) == 0)
        return (PyObject *)self;
    Py_DECREF(self);
    return NULL;
}

static int
context_traverse(PyObject *object, visitproc visit, void *arg)
{
    LoopContext *self = (LoopContext *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->to_flush);
    Py_VISIT(self->prepared_type);
    Py_VISIT(self->prepared);
    Py_VISIT(self->time);
    Py_VISIT(self->wake);
    Py_VISIT(self->opened);
    return 0;
}

static int
context_clear(PyObject *object)
{
    LoopContext *self = (LoopContext *)object;
    if (self->to_flush)
        PyList_SetSlice(self->to_flush, 0, PyList_GET_SIZE(self->to_flush), NULL);
    Py_CLEAR(self->prepared);
    Py_CLEAR(self->frame);
    Py_XSETREF(self->wake, Py_NewRef(Py_None));
    Py_XSETREF(self->opened, Py_NewRef(Py_None));
    return 0;
}

static void
context_dealloc(PyObject *object)
{
    LoopContext *self = (LoopContext *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_CLEAR(self->prepared);
    Py_CLEAR(self->frame);
    Py_CLEAR(self->to_flush);
    Py_CLEAR(self->prepared_type);
    Py_CLEAR(self->last_received);
    Py_CLEAR(self->left);
    Py_CLEAR(self->begun);
    Py_CLEAR(self->record_size);
    sono_drop_plain(self);
    Py_CLEAR(self->time);
    Py_CLEAR(self->wake);
    Py_CLEAR(self->opened);
    Py_CLEAR(self->source);
    Py_CLEAR(self->little);
    PyMem_Free(self->transports);
    if (self->buffer.obj)
        PyBuffer_Release(&self->buffer);
    type->tp_free(object);
    Py_DECREF(type);
}

bool
sono_is_context(PyObject *object)
{
    return Py_TYPE(object)->tp_dealloc == context_dealloc; /* it has no subclasses */
}

static int
read_clock(LoopContext *self, double *now)
{
#ifdef __linux__
    struct timespec own;
    if (self->own_clock) {
        clock_gettime(CLOCK_MONOTONIC, &own); /* and rounds as Python does */
        *now = (double)((long long)own.tv_sec * 1000000000 + own.tv_nsec) / 1e9;
        return 0;
    }
#endif
    PyObject *time = PyObject_CallNoArgs(self->time);
    *now = time ? PyFloat_AsDouble(time) : -1;
    Py_XDECREF(time);
    return *now == -1 && PyErr_Occurred() ? -1 : 0;
}

static void
begin_turn(LoopContext *self, double now)
{
    self->ends = now + self->seconds;
    self->spent = false;
    if (!isinf(now))
        self->began = now;
}

/* Begins a turn because of what happens in it, and tells the loop. */
static int
open_turn(LoopContext *self, double now)
{
    begin_turn(self, now);
    PyObject *told = PyObject_CallNoArgs(self->opened);
    Py_XDECREF(told);
    return told ? 0 : -1;
}

int
sono_context_look(LoopContext *self)
{
    double now;
    if (self->spent)
        return 1;
    if (isinf(self->ends) && self->opened == Py_None)
        return 0;
    if (read_clock(self, &now) < 0)
        return -1;
    if (!isinf(self->ends))
        return self->spent = now >= self->ends;
    return open_turn(self, now);
}

int
sono_context_read_at(LoopContext *self, double now)
{
    if (now == -1 && PyErr_Occurred())
        return -1;
    if (!isinf(self->ends))
        self->spent = self->spent || now >= self->ends;
    else if (self->opened != Py_None && now - self->began >= self->seconds)
        return open_turn(self, now);
    return 0;
}

static PyObject *
context_read_at(PyObject *object, PyObject *number)
{
    if (sono_context_read_at((LoopContext *)object, PyFloat_AsDouble(number)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
context_begin(PyObject *object, PyObject *number)
{
    double now = PyFloat_AsDouble(number);
    if (now == -1 && PyErr_Occurred())
        return NULL;
    begin_turn((LoopContext *)object, now);
    Py_RETURN_NONE;
}

static PyObject *
context_end(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    begin_turn((LoopContext *)object, Py_HUGE_VAL);
    Py_RETURN_NONE;
}

static PyObject *
context_look(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    int spent = sono_context_look((LoopContext *)object);
    return spent < 0 ? NULL : PyBool_FromLong(spent);
}

/* Thousands of transports do not stay in the cache, so those that come next are fetched early. */
static inline void
fetch_ahead(PyObject *transports, Py_ssize_t i, Py_ssize_t count)
{
#if defined(__GNUC__) || defined(__clang__)
    if (i + 8 >= count)
        return;
    __builtin_prefetch(&((FastTransport *)PyList_GET_ITEM(transports, i + 8))->outbox);
    __builtin_prefetch(((FastTransport *)PyList_GET_ITEM(transports, i + 4))->outbox);
#endif
}

/* Puts those that were not flushed, from the i-th on, before those that came meanwhile. */
static void
leave_waiting(LoopContext *self, PyObject *waiting, Py_ssize_t i)
{
    PyList_SetSlice(waiting, 0, i, NULL);
    PyList_SetSlice(self->to_flush, 0, 0, waiting);
    Py_DECREF(waiting);
}

static PyObject *
context_flush(PyObject *object, PyObject *args)
{
    LoopContext *self = (LoopContext *)object;
    PyObject *now;
    double until = Py_HUGE_VAL, at = 0;
    if (!PyArg_ParseTuple(args, "O|d", &now, &until))
        return NULL;
    Py_CLEAR(self->prepared);
    Py_CLEAR(self->frame);
    Py_ssize_t count = PyList_GET_SIZE(self->to_flush);
    if (!count)
        Py_RETURN_NONE;
    PyObject *waiting = self->to_flush, *fresh = PyList_New(0);
    if (!fresh)
        return NULL;
    self->to_flush = fresh;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (i && i % WRITES_A_LOOK == 0 && !isinf(until)) {
            int failed = read_clock(self, &at);
            if (failed || at >= until) {
                leave_waiting(self, waiting, i);
                return failed ? NULL : Py_NewRef(Py_None);
            }
        }
        fetch_ahead(waiting, i, count);
        FastTransport *transport = (FastTransport *)PyList_GET_ITEM(waiting, i);
        transport->flush_scheduled = false;
        if (transport->reader && transport->outbox->room && sono_transport_write(transport) == 0 &&
            !transport->outbox->size)
            continue;
        PyObject *done = sono_transport_flush(transport, now);
        if (!done) { /* the others stay in the list */
            leave_waiting(self, waiting, i + 1);
            return NULL;
        }
        Py_DECREF(done);
    }
    Py_DECREF(waiting);
    Py_RETURN_NONE;
}

#ifdef __linux__
/* Tells the descriptor's transport; a descriptor that has none goes to `others`. */
static int
tell(LoopContext *self, const struct epoll_event *event, PyObject *now, PyObject *others)
{
    int fd = event->data.fd;
    FastTransport *transport = fd < self->transports_size ? self->transports[fd] : NULL;
    if (!transport) {
        PyObject *number = PyLong_FromLong(fd);
        int failed = !number || PyList_Append(others, number) < 0;
        Py_XDECREF(number);
        return failed ? -1 : 0;
    }
    int events = (event->events & ~(unsigned)EPOLLOUT ? READABLE : 0) |
                 (event->events & ~(unsigned)EPOLLIN ? WRITABLE : 0);
    events &= transport->watched;
    if (event->events & EPOLLHUP)
        events |= HUNG_UP;
    Py_INCREF(transport);
    PyObject *done = sono_transport_ready(transport, events, now);
    Py_DECREF(transport);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

static PyObject *
context_watch(PyObject *Py_UNUSED(object), PyObject *args)
{
    int epoll, fd, before, wanted;
    if (!PyArg_ParseTuple(args, "iiii", &epoll, &fd, &before, &wanted))
        return NULL;
    struct epoll_event event = {.data.fd = fd};
    event.events = (wanted & READABLE ? EPOLLIN : 0u) | (wanted & WRITABLE ? EPOLLOUT : 0u);
    int operation = !wanted ? EPOLL_CTL_DEL : before ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(epoll, operation, fd, &event) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

/* How long to wait until a time on the clock of Python's time.monotonic(); -1 for ever. */
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
context_run(PyObject *object, PyObject *args)
{
    LoopContext *self = (LoopContext *)object;
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
    if (others)
        begin_turn(self, PyFloat_AsDouble(now));
    for (int i = 0; others && i < count; i++)
        if (tell(self, &events[i], now, others) < 0 ||
            (i % TOLD_A_LOOK == TOLD_A_LOOK - 1 && sono_context_look(self) < 0))
            Py_CLEAR(others);
    PyObject *result = others ? PyTuple_Pack(2, now, others) : NULL;
    Py_XDECREF(now);
    Py_XDECREF(others);
    return result;
}

PyDoc_STRVAR(run_doc, "run(epoll, due, /)\n--\n\nSee sono_io.reference.LoopContext.");
PyDoc_STRVAR(watch_doc,
             "watch(epoll, fd, before, events, /)\n--\n\nSee sono_io.reference.LoopContext.");
#endif

PyDoc_STRVAR(flush_doc, "flush(now, until=inf, /)\n--\n\nSee sono_io.reference.LoopContext.");
PyDoc_STRVAR(begin_doc, "begin(now, /)\n--\n\nSee sono_io.reference.LoopContext.");
PyDoc_STRVAR(end_doc, "end()\n--\n\nSee sono_io.reference.LoopContext.");
PyDoc_STRVAR(look_doc, "look()\n--\n\nSee sono_io.reference.LoopContext.");
PyDoc_STRVAR(read_at_doc, "read_at(now, /)\n--\n\nSee sono_io.reference.LoopContext.");

static PyMethodDef context_methods[] = {
#ifdef __linux__
    {"run", context_run, METH_VARARGS, run_doc},
    {"watch", context_watch, METH_VARARGS, watch_doc},
#endif
    {"flush", context_flush, METH_VARARGS, flush_doc},
    {"begin", context_begin, METH_O, begin_doc},
    {"end", context_end, METH_NOARGS, end_doc},
    {"look", context_look, METH_NOARGS, look_doc},
    {"read_at", context_read_at, METH_O, read_at_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef context_members[] = {
    {"thread", T_ULONG, offsetof(LoopContext, thread), 0,
     "Whose calls need no detour; 0: nobody's yet."},
    {"to_flush", T_OBJECT_EX, offsetof(LoopContext, to_flush), READONLY,
     "Transports to be flushed."},
    {"wake", T_OBJECT, offsetof(LoopContext, wake), 0, "Called when there is something to flush."},
    {"spent", T_BOOL, offsetof(LoopContext, spent), READONLY, "The time of the turn is over."},
    {"opened", T_OBJECT, offsetof(LoopContext, opened), 0, "Called when `look` opens a turn."},
    {"messages", T_ULONGLONG, offsetof(LoopContext, messages), READONLY, "Delivered in C."},
    {"turns", T_ULONGLONG, offsetof(LoopContext, turns), READONLY,
     "Reads that C dealt with alone."},
    {"detours", T_ULONGLONG, offsetof(LoopContext, detours), READONLY,
     "Reads that Python was asked about."},
    {"sent", T_ULONGLONG, offsetof(LoopContext, sent), READONLY, "Messages sent in C."},
    {"sent_fallback", T_ULONGLONG, offsetof(LoopContext, sent_fallback), READONLY,
     "Left to Python."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot context_slots[] = {
    {Py_tp_new, context_new},
    {Py_tp_dealloc, context_dealloc},
    {Py_tp_traverse, context_traverse},
    {Py_tp_clear, context_clear},
    {Py_tp_methods, context_methods},
    {Py_tp_members, context_members},
    {0, NULL},
};

PyType_Spec sono_context_spec = {
    .name = "sono_io._loop.LoopContext",
    .basicsize = sizeof(LoopContext),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = context_slots,
};
