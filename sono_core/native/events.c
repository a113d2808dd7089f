/* The reader as Python sees it: MessageReader, the iterator that Connection.receive_data returns,
 * and MessageRules, which the readers of many connections share.
 */

#include "native.h"

#include <limits.h>
#include <string.h>
#include <structmember.h>

/* Why `deliver` stopped: Stop in sono_core/websocket/reader.py. */
enum { EMPTY, OTHER, LIMIT, PARTIAL };

typedef struct {
    PyObject_HEAD
    Reader *reader;
    PyObject *otherwise;
} Events;

/* -- rules --------------------------------------------------------------------------------- */

static int
rules_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"masked",
                            "legal",
                            "max_message",
                            "max_frame",
                            "max_fragments",
                            "max_compressed_message",
                            "max_compressed_frame",
                            "text",
                            "binary",
                            "control",
                            "judge_header",
                            "judge_text",
                            NULL};
    Rules *self = (Rules *)object;
    PyObject *legal[2], *parts[5];
    unsigned long long limits[5];
    int masked;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "p(SS)KKKKKOOOOO", names, &masked, &legal[0],
                                     &legal[1], &limits[0], &limits[1], &limits[2], &limits[3],
                                     &limits[4], &parts[0], &parts[1], &parts[2], &parts[3],
                                     &parts[4]))
        return -1;
    for (int i = 0; i < 2; i++) {
        if (PyBytes_GET_SIZE(legal[i]) != 256) {
            PyErr_SetString(PyExc_ValueError, "legal must be two times 256 bytes");
            return -1;
        }
    }
    for (int i = 0; i < 2; i++)
        Py_XSETREF(self->legal[i], Py_NewRef(legal[i]));
    self->masked = masked;
    self->max_message = limits[0];
    self->max_frame = limits[1];
    self->max_fragments = limits[2];
    self->max_compressed_message = limits[3];
    self->max_compressed_frame = limits[4];
    PyObject **fields[] = {&self->text_type, &self->binary_type, &self->control,
                           &self->judge_header, &self->judge_text};
    for (int i = 0; i < 5; i++)
        Py_XSETREF(*fields[i], Py_NewRef(parts[i]));
    return 0;
}

static int
rules_traverse(PyObject *object, visitproc visit, void *arg)
{
    Rules *self = (Rules *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->text_type);
    Py_VISIT(self->binary_type);
    Py_VISIT(self->control);
    Py_VISIT(self->judge_header);
    Py_VISIT(self->judge_text);
    return 0;
}

static int
rules_clear(PyObject *object)
{
    Rules *self = (Rules *)object;
    Py_CLEAR(self->text_type);
    Py_CLEAR(self->binary_type);
    Py_CLEAR(self->control);
    Py_CLEAR(self->judge_header);
    Py_CLEAR(self->judge_text);
    return 0;
}

static void
rules_dealloc(PyObject *object)
{
    Rules *self = (Rules *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    rules_clear(object);
    Py_CLEAR(self->legal[0]);
    Py_CLEAR(self->legal[1]);
    for (int i = 0; i < SONO_SPARES; i++)
        Py_CLEAR(self->spares[i]);
    type->tp_free(object);
    Py_DECREF(type);
}

/* clang-format off: one a line */
static PyType_Slot rules_slots[] = {
    {Py_tp_init, rules_init},       {Py_tp_new, PyType_GenericNew},
    {Py_tp_dealloc, rules_dealloc}, {Py_tp_traverse, rules_traverse},
    {Py_tp_clear, rules_clear},     {0, NULL},
};
/* clang-format on */

PyType_Spec sono_rules_spec = {
    .name = "sono_core.native._native.MessageRules",
    .basicsize = sizeof(Rules),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = rules_slots,
};

/* -- reader -------------------------------------------------------------------------------- */

static PyObject *
reader_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"rules", "inflate", NULL};
    sono_state *state = PyType_GetModuleState(type);
    PyObject *rules, *inflate;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O", names, state->rules_type, &rules,
                                     &inflate))
        return NULL;
    if (!((Rules *)rules)->legal[1]) {
        PyErr_SetString(PyExc_ValueError, "rules were not initialised");
        return NULL;
    }
    Reader *self = (Reader *)type->tp_alloc(type, 0);
    if (self) {
        self->rules = (Rules *)Py_NewRef(rules);
        self->inflate = Py_NewRef(inflate);
    }
    return (PyObject *)self;
}

static int
reader_traverse(PyObject *object, visitproc visit, void *arg)
{
    Reader *self = (Reader *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->rules);
    Py_VISIT(self->inflate);
    Py_VISIT(self->failure);
    return 0;
}

static int
reader_clear(PyObject *object)
{
    Reader *self = (Reader *)object;
    self->stopped = 1; /* so that the reader no longer uses the rules */
    Py_CLEAR(self->failure);
    Py_CLEAR(self->inflate);
    return 0;
}

static void
reader_dealloc(PyObject *object)
{
    Reader *self = (Reader *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    reader_clear(object);
    Py_CLEAR(self->rules);
    sono_drop_input(self);
    Py_CLEAR(self->payload);
    Py_CLEAR(self->inflated);
    Py_CLEAR(self->since);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *
reader_feed(PyObject *object, PyObject *data)
{
    if (!PyBytes_CheckExact(data)) {
        PyErr_SetString(PyExc_TypeError, "data must be bytes");
        return NULL;
    }
    if (sono_feed((Reader *)object, data) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Makes an event of a message, and takes over the reference to it. */
static PyObject *
as_event(Reader *self, PyObject *message)
{
    Rules *rules = self->rules;
    PyObject *type = PyUnicode_Check(message) ? rules->text_type : rules->binary_type;
    PyObject *event = PyObject_CallOneArg(type, message);
    Py_DECREF(message);
    return event;
}

static PyObject *
reader_next(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    Reader *self = (Reader *)object;
    sono_header header;
    PyObject *message = sono_next_message(self, &header, ULLONG_MAX);
    if (message)
        return as_event(self, message);
    if (PyErr_Occurred())
        return NULL;
    if (!header.size)
        Py_RETURN_NONE;
    PyObject *payload = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)header.length);
    if (!payload)
        return NULL;
    sono_mask((unsigned char *)PyBytes_AS_STRING(payload),
              self->data + self->position + header.size, (size_t)header.length, header.key);
    self->position += header.size + (size_t)header.length;
    return PyObject_CallFunction(self->rules->control, "iN", header.first & 0x0F, payload);
}

static PyObject *
reader_deliver(PyObject *object, PyObject *args)
{
    sono_state *state = PyModule_GetState(PyType_GetModule(Py_TYPE(object)));
    PyObject *on_message, *outbox;
    sono_share given, left;
    Py_ssize_t pause;
    if (!PyArg_ParseTuple(args, "OO!nnn", &on_message, state->outbox_type, &outbox, &pause,
                          &given.messages, &given.size))
        return NULL;
    left = given;
    Outbox *out = (Outbox *)outbox;
    int done = sono_deliver((Reader *)object, on_message, out, (size_t)pause, &left);
    if (done < 0)
        return NULL;
    int stop = !done ? OTHER : sono_begun((Reader *)object) ? PARTIAL : EMPTY;
    if (left.messages <= 0 || left.size <= 0 || out->size > (size_t)pause || !out->room)
        stop = LIMIT;
    return Py_BuildValue("nni", given.messages - left.messages, given.size - left.size, stop);
}

static PyObject *
reader_stop(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    Reader *self = (Reader *)object;
    self->stopped = 1;
    self->inflating = 0;
    sono_drop_input(self);
    Py_CLEAR(self->payload);
    Py_CLEAR(self->inflated);
    Py_RETURN_NONE;
}

static PyObject *
reader_events(PyObject *object, PyObject *otherwise)
{
    sono_state *state = PyModule_GetState(PyType_GetModule(Py_TYPE(object)));
    Events *events = PyObject_GC_New(Events, state->events_type);
    if (!events)
        return NULL;
    events->reader = (Reader *)Py_NewRef(object);
    events->otherwise = Py_NewRef(otherwise);
    PyObject_GC_Track(events);
    return (PyObject *)events;
}

static PyObject *
get_held(PyObject *object, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(sono_reader_held((Reader *)object));
}

static PyObject *
get_arrived(PyObject *object, void *Py_UNUSED(closure))
{
    Reader *self = (Reader *)object;
    int inside = !self->stopped && (self->in_frame || self->inside);
    uint64_t arrived = inside ? self->declared - self->remaining : 0;
    return PyLong_FromUnsignedLongLong(arrived);
}

static PyObject *
get_since(PyObject *object, void *Py_UNUSED(closure))
{
    PyObject *since = ((Reader *)object)->since;
    return Py_NewRef(since ? since : Py_None);
}

static int
set_since(PyObject *object, PyObject *since, void *Py_UNUSED(closure))
{
    Reader *self = (Reader *)object;
    if (since && since != Py_None && !PyFloat_Check(since)) {
        PyErr_SetString(PyExc_TypeError, "since must be a float or None");
        return -1;
    }
    Py_XSETREF(self->since, since && since != Py_None ? Py_NewRef(since) : NULL);
    return 0;
}

static PyGetSetDef reader_fields[] = {
    {"held", get_held, NULL, "See sono_core.websocket.reader.Reader.", NULL},
    {"arrived", get_arrived, NULL, "See sono_core.websocket.reader.Reader.", NULL},
    {"since", get_since, set_since, "See sono_core.websocket.reader.Reader.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(feed_doc, "feed(data, /)\n--\n\nSee sono_core.websocket.reader.MessageReader.");
PyDoc_STRVAR(next_doc, "next()\n--\n\nSee sono_core.websocket.reader.MessageReader.");
PyDoc_STRVAR(deliver_doc, "deliver(on_message, outbox, pause, messages, size, /)\n--\n\n"
                          "See sono_core.websocket.reader.MessageReader.");
PyDoc_STRVAR(stop_doc, "stop()\n--\n\nSee sono_core.websocket.reader.MessageReader.");
PyDoc_STRVAR(events_doc,
             "events(otherwise, /)\n--\n\nSee sono_core.websocket.reader.MessageReader.");

static PyMethodDef reader_methods[] = {
    {"feed", reader_feed, METH_O, feed_doc},
    {"next", reader_next, METH_NOARGS, next_doc},
    {"deliver", reader_deliver, METH_VARARGS, deliver_doc},
    {"stop", reader_stop, METH_NOARGS, stop_doc},
    {"events", reader_events, METH_O, events_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef reader_members[] = {
    {"extra", T_ULONGLONG, offsetof(Reader, extra), 0, "See sono_core.websocket.reader.Reader."},
    {NULL, 0, 0, 0, NULL},
};

/* clang-format off: one a line */
static PyType_Slot reader_slots[] = {
    {Py_tp_new, reader_new},           {Py_tp_dealloc, reader_dealloc},
    {Py_tp_traverse, reader_traverse}, {Py_tp_clear, reader_clear},
    {Py_tp_methods, reader_methods},   {Py_tp_members, reader_members},
    {Py_tp_getset, reader_fields},     {0, NULL},
};
/* clang-format on */

PyType_Spec sono_reader_spec = {
    .name = "sono_core.native._native.MessageReader",
    .basicsize = sizeof(Reader),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = reader_slots,
};

/* -- events -------------------------------------------------------------------------------- */

static PyObject *
events_next(PyObject *object)
{
    Events *self = (Events *)object;
    sono_header header;
    PyObject *message = sono_next_message(self->reader, &header, ULLONG_MAX);
    if (message)
        return as_event(self->reader, message);
    /* Whatever comes next, an error too: Python finds the same, and decides. */
    PyErr_Clear();
    PyObject *event = PyObject_CallNoArgs(self->otherwise);
    if (event == Py_None) {
        Py_DECREF(event);
        return NULL;
    }
    return event;
}

static int
events_traverse(PyObject *object, visitproc visit, void *arg)
{
    Events *self = (Events *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->reader);
    Py_VISIT(self->otherwise);
    return 0;
}

static void
events_dealloc(PyObject *object)
{
    Events *self = (Events *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_XDECREF(self->reader);
    Py_XDECREF(self->otherwise);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

static PyType_Slot events_slots[] = {
    {Py_tp_dealloc, events_dealloc},
    {Py_tp_traverse, events_traverse},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, events_next},
    {0, NULL},
};

PyType_Spec sono_events_spec = {
    .name = "sono_core.native._native.Events",
    .basicsize = sizeof(Events),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = events_slots,
};
