/* MessageReader: from the peer's bytes to whole messages. RFC 6455, sections 5 and 8.1.
 *
 * The specification is the class of that name in sono_core/reader.py. This one takes valid input;
 * what looks wrong it leaves to Python: it hands over the bytes at hand and where it stands, and
 * Python raises. So every error is defined there alone.
 */

#include "native.h"

#include <string.h>

/* A message under way is given room in steps, so that a declared length reserves nothing. */
enum { FIRST_STEP = 64 * 1024 };

typedef struct {
    PyObject_HEAD
    /* from Python: event classes, and who is asked in rare cases */
    PyObject *text_type, *binary_type;
    PyObject *control; /* (opcode, payload) -> what next() returns for a control frame */
    PyObject *judge_header, *judge_text; /* raise */
    PyObject *inflate; /* (frame, bytearray, final), or None */
    /* what is legal */
    PyObject *legal[2]; /* 256 bytes each: first bytes, outside of a message and inside one */
    unsigned char masked;
    uint64_t max_message, max_frame, max_fragments;
    uint64_t max_compressed_message, max_compressed_frame;
    /* bytes that were not looked at: a bytes object's, or in a buffer of our own */
    PyObject *chunk;
    unsigned char *own;
    size_t own_capacity;
    const unsigned char *data;
    size_t position, size;
    /* the data frame under way */
    int in_frame;
    unsigned char first;
    uint64_t remaining;
    uint32_t key;
    /* the message under way */
    int opcode; /* 0: none */
    int compressed;
    int inside; /* between two of its frames */
    uint64_t fragments, budget, frame_limit;
    PyObject *payload; /* a bytes object of our own, with room to spare, or NULL */
    size_t filled;
    PyObject *inflated; /* a bytearray, or NULL */
    sono_utf8 utf8;
    /* the end */
    PyObject *failure; /* what was raised: nothing else will ever come */
    int stopped;
} Reader;

typedef struct {
    PyObject_HEAD
    Reader *reader;
    PyObject *otherwise;
} Events;

/* -- incoming bytes ------------------------------------------------------------------------ */

static void
drop_input(Reader *self)
{
    Py_CLEAR(self->chunk);
    PyMem_Free(self->own);
    self->own = NULL;
    self->data = NULL;
    self->own_capacity = self->position = self->size = 0;
}

static PyObject *
reader_feed(PyObject *object, PyObject *data)
{
    Reader *self = (Reader *)object;
    if (!PyBytes_CheckExact(data)) {
        PyErr_SetString(PyExc_TypeError, "data must be bytes");
        return NULL;
    }
    size_t rest = self->size - self->position;
    size_t more = (size_t)PyBytes_GET_SIZE(data);
    if (!rest) {
        drop_input(self);
        self->chunk = Py_NewRef(data);
        self->data = (const unsigned char *)PyBytes_AS_STRING(data);
        self->size = more;
        Py_RETURN_NONE;
    }
    if (self->size + more > self->own_capacity) {
        size_t capacity = 2 * (rest + more);
        unsigned char *own = PyMem_Malloc(capacity);
        if (!own)
            return PyErr_NoMemory();
        memcpy(own, self->data + self->position, rest);
        drop_input(self);
        self->data = self->own = own;
        self->own_capacity = capacity;
        self->size = rest;
    }
    memcpy(self->own + self->size, PyBytes_AS_STRING(data), more);
    self->size += more;
    Py_RETURN_NONE;
}

/* -- what looks wrong ---------------------------------------------------------------------- */

/* Has Python say what is wrong with the header at the position; returns -1. */
static int
judge_header(Reader *self)
{
    PyObject *verdict = PyObject_CallFunction(
        self->judge_header, "y#iKKK", (const char *)self->data + self->position,
        (Py_ssize_t)(self->size - self->position), self->inside,
        (unsigned long long)self->fragments, (unsigned long long)self->budget,
        (unsigned long long)self->frame_limit);
    if (verdict) {
        Py_DECREF(verdict);
        PyErr_SetString(PyExc_SystemError, "the native reader refused what Python accepts");
    }
    return -1;
}

static int
judge_text(Reader *self)
{
    PyObject *verdict = PyObject_CallNoArgs(self->judge_text);
    if (verdict) {
        Py_DECREF(verdict);
        PyErr_SetString(PyExc_SystemError, "judge_text did not raise");
    }
    return -1;
}

/* -- payloads ------------------------------------------------------------------------------ */

static PyObject *
new_event(PyObject *type, PyObject *value)
{
    if (!value)
        return NULL;
    PyObject *event = PyObject_CallOneArg(type, value);
    Py_DECREF(value);
    return event;
}

static PyObject *
decode_text(Reader *self, const char *data, size_t size)
{
    PyObject *text = PyUnicode_DecodeUTF8(data, (Py_ssize_t)size, "strict");
    if (!text && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        PyErr_Clear();
        judge_text(self);
    }
    return text;
}

/* The message in one whole frame: unmasked straight into its object. */
static PyObject *
whole_message(Reader *self, const sono_header *header, const unsigned char *payload)
{
    size_t size = (size_t)header->length;
    if ((header->first & 0x0F) == SONO_BINARY) {
        PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
        if (bytes)
            sono_mask((unsigned char *)PyBytes_AS_STRING(bytes), payload, size, header->key);
        return new_event(self->binary_type, bytes);
    }
    PyObject *text = PyUnicode_New((Py_ssize_t)size, 127);
    if (!text)
        return NULL;
    if (size) {
        unsigned char *out = PyUnicode_1BYTE_DATA(text);
        if (sono_mask(out, payload, size, header->key) & 0x80) {
            PyObject *decoded = decode_text(self, (const char *)out, size);
            Py_DECREF(text);
            text = decoded;
        }
    }
    return new_event(self->text_type, text);
}

/* Makes room for `more` bytes of payload. */
static int
reserve(Reader *self, size_t more)
{
    size_t needed = self->filled + more;
    if (!self->payload) {
        size_t capacity = needed;
        if (self->remaining && capacity < FIRST_STEP)
            capacity = self->remaining < FIRST_STEP ? (size_t)self->remaining + needed : FIRST_STEP;
        self->payload = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)capacity);
        return self->payload ? 0 : -1;
    }
    size_t capacity = (size_t)PyBytes_GET_SIZE(self->payload);
    if (needed <= capacity)
        return 0;
    return _PyBytes_Resize(&self->payload, (Py_ssize_t)(needed > 2 * capacity ? needed : 2 * capacity));
}

/* Takes `size` bytes of the frame under way from the position. */
static int
take_piece(Reader *self, size_t size)
{
    if (!size)
        return 0;
    self->remaining -= size;
    if (reserve(self, size) < 0)
        return -1;
    unsigned char *out = (unsigned char *)PyBytes_AS_STRING(self->payload) + self->filled;
    sono_mask(out, self->data + self->position, size, self->key);
    self->key = sono_mask_turn(self->key, size);
    self->position += size;
    self->filled += size;
    if (self->opcode == SONO_TEXT && !self->compressed && !sono_utf8_feed(&self->utf8, out, size))
        return judge_text(self);
    return 0;
}

/* Has the compressed frame inflated, and its text looked at; drops the frame. */
static int
inflate_frame(Reader *self, int final)
{
    if (!self->inflated && !(self->inflated = PyByteArray_FromStringAndSize(NULL, 0)))
        return -1;
    Py_ssize_t before = PyByteArray_GET_SIZE(self->inflated);
    PyObject *frame = self->payload ? self->payload : PyBytes_FromStringAndSize(NULL, 0);
    self->payload = NULL;
    if (!frame || (PyBytes_GET_SIZE(frame) != (Py_ssize_t)self->filled &&
                   _PyBytes_Resize(&frame, (Py_ssize_t)self->filled) < 0))
        return -1;
    self->filled = 0;
    PyObject *done = PyObject_CallFunction(self->inflate, "OOi", frame, self->inflated, final);
    Py_DECREF(frame);
    if (!done)
        return -1;
    Py_DECREF(done);
    const unsigned char *out = (const unsigned char *)PyByteArray_AS_STRING(self->inflated);
    size_t size = (size_t)(PyByteArray_GET_SIZE(self->inflated) - before);
    if (self->opcode == SONO_TEXT && !sono_utf8_feed(&self->utf8, out + before, size))
        return judge_text(self);
    return 0;
}

/* The message whose last frame is complete. */
static PyObject *
finish_message(Reader *self)
{
    int opcode = self->opcode;
    PyObject *message = NULL;
    if (opcode == SONO_TEXT && self->utf8.missing) {
        judge_text(self);
        return NULL;
    }
    if (self->compressed) {
        const char *data = PyByteArray_AS_STRING(self->inflated);
        Py_ssize_t size = PyByteArray_GET_SIZE(self->inflated);
        message = opcode == SONO_TEXT
                      ? new_event(self->text_type, decode_text(self, data, (size_t)size))
                      : new_event(self->binary_type, PyBytes_FromStringAndSize(data, size));
    } else if (opcode == SONO_TEXT) {
        const char *data = self->payload ? PyBytes_AS_STRING(self->payload) : "";
        message = new_event(self->text_type, decode_text(self, data, self->filled));
    } else {
        PyObject *payload = self->payload ? self->payload : PyBytes_FromStringAndSize(NULL, 0);
        self->payload = NULL;
        if (payload && PyBytes_GET_SIZE(payload) != (Py_ssize_t)self->filled)
            _PyBytes_Resize(&payload, (Py_ssize_t)self->filled); /* NULL if that fails */
        message = new_event(self->binary_type, payload);
    }
    Py_CLEAR(self->payload);
    Py_CLEAR(self->inflated);
    self->filled = 0;
    self->opcode = 0;
    memset(&self->utf8, 0, sizeof self->utf8);
    return message;
}

/* -- frames -------------------------------------------------------------------------------- */

/* Takes the header of a data frame in: what its message may still take goes down. Returns -1 if
 * that is too little. */
static int
begin_frame(Reader *self, const sono_header *header)
{
    if (!self->inside) {
        self->compressed = (header->first & SONO_RSV1) != 0;
        self->fragments = 0;
        self->budget = self->compressed ? self->max_compressed_message : self->max_message;
        self->frame_limit = self->compressed ? self->max_compressed_frame : self->max_frame;
    }
    if (self->fragments >= self->max_fragments || header->length > self->budget ||
        header->length > self->frame_limit)
        return judge_header(self);
    self->fragments++;
    self->budget -= header->length;
    if (!self->inside)
        self->opcode = header->first & 0x0F;
    self->inside = !(header->first & SONO_FIN);
    self->in_frame = 1;
    self->first = header->first;
    self->remaining = header->length;
    self->key = header->key;
    self->position += header->size;
    return 0;
}

/* Goes on with the frame under way. 1: its message is complete, 0: more must come, -1: error. */
static int
continue_frame(Reader *self)
{
    size_t there = self->size - self->position;
    if (take_piece(self, self->remaining < there ? (size_t)self->remaining : there) < 0)
        return -1;
    if (self->remaining)
        return 0;
    int final = (self->first & SONO_FIN) != 0;
    self->in_frame = 0;
    if (self->compressed && inflate_frame(self, final) < 0)
        return -1;
    return final;
}

/* Finds a header that may be taken in. 1: found, 0: more must come, -1: error. */
static int
find_header(Reader *self, sono_header *header)
{
    size_t there = self->size - self->position;
    int whole = sono_read_header(header, self->data + self->position, there);
    if (there < 2)
        return 0;
    if (!PyBytes_AS_STRING(self->legal[self->inside])[header->first] || header->masked != self->masked ||
        ((header->first & SONO_CONTROL) && header->form > SONO_MAX_CONTROL))
        return judge_header(self);
    if (!whole)
        return 0;
    if (header->form > SONO_MAX_CONTROL &&
        (header->length <= (header->form == 126 ? SONO_MAX_CONTROL : 0xFFFF) ||
         header->length >> 63))
        return judge_header(self);
    return 1;
}

static PyObject *
read_message(Reader *self, sono_header *header)
{
    for (;;) {
        header->size = 0;
        if (self->in_frame) {
            int done = continue_frame(self);
            if (done > 0)
                return finish_message(self);
            if (done < 0 || self->in_frame)
                return NULL;
            continue;
        }
        int found = find_header(self, header);
        if (found <= 0) {
            header->size = 0;
            return NULL;
        }
        size_t after = self->size - self->position - header->size;
        if (header->first & SONO_CONTROL) {
            if (header->length > after)
                header->size = 0;
            return NULL;
        }
        if (header->length <= after && !self->inside && (header->first & SONO_FIN) &&
            !(header->first & SONO_RSV1) && header->length <= self->max_message &&
            header->length <= self->max_frame) {
            const unsigned char *payload = self->data + self->position + header->size;
            PyObject *message = whole_message(self, header, payload);
            self->position += header->size + (size_t)header->length;
            return message;
        }
        if (begin_frame(self, header) < 0)
            return NULL;
    }
}

/* The next message, or NULL: with an exception, or, without, where something else comes next:
 * a control frame, whose header is in `header` then, or nothing yet (`header->size` is 0). */
static PyObject *
next_message(Reader *self, sono_header *header)
{
    header->size = 0;
    if (self->stopped)
        return NULL;
    if (self->failure) {
        PyErr_SetObject((PyObject *)Py_TYPE(self->failure), self->failure);
        return NULL;
    }
    PyObject *message = read_message(self, header);
    if (!message && PyErr_Occurred()) {
        PyObject *type, *traceback;
        PyErr_Fetch(&type, &self->failure, &traceback);
        PyErr_NormalizeException(&type, &self->failure, &traceback);
        Py_XDECREF(traceback);
        PyErr_SetObject(type, self->failure);
        Py_DECREF(type);
    }
    return message;
}

static PyObject *
reader_next(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    Reader *self = (Reader *)object;
    sono_header header;
    PyObject *message = next_message(self, &header);
    if (message || PyErr_Occurred())
        return message;
    if (!header.size)
        Py_RETURN_NONE;
    PyObject *payload = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)header.length);
    if (!payload)
        return NULL;
    sono_mask((unsigned char *)PyBytes_AS_STRING(payload),
              self->data + self->position + header.size, (size_t)header.length, header.key);
    self->position += header.size + (size_t)header.length;
    PyObject *control =
        PyObject_CallFunction(self->control, "iN", header.first & 0x0F, payload);
    return control;
}

/* -- the type ------------------------------------------------------------------------------ */

static int
reader_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"masked", "legal", "max_message", "max_frame", "max_fragments",
                            "max_compressed_message", "max_compressed_frame", "text", "binary", "control", "judge_header",
                            "judge_text", "inflate", NULL};
    Reader *self = (Reader *)object;
    PyObject *legal[2], *parts[6];
    unsigned long long limits[5];
    int masked;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "p(SS)KKKKKOOOOOO", names, &masked, &legal[0], &legal[1], &limits[0],
            &limits[1], &limits[2], &limits[3], &limits[4], &parts[0], &parts[1], &parts[2], &parts[3],
            &parts[4], &parts[5]))
        return -1;
    for (int i = 0; i < 2; i++) {
        if (PyBytes_GET_SIZE(legal[i]) != 256) {
            PyErr_SetString(PyExc_ValueError, "legal must be two times 256 bytes");
            return -1;
        }
        Py_XSETREF(self->legal[i], Py_NewRef(legal[i]));
    }
    self->masked = (unsigned char)masked;
    self->max_message = limits[0];
    self->max_frame = limits[1];
    self->max_fragments = limits[2];
    self->max_compressed_message = limits[3];
    self->max_compressed_frame = limits[4];
    PyObject **fields[] = {&self->text_type, &self->binary_type, &self->control,
                           &self->judge_header, &self->judge_text, &self->inflate};
    for (int i = 0; i < 6; i++)
        Py_XSETREF(*fields[i], Py_NewRef(parts[i]));
    return 0;
}

static int
reader_traverse(PyObject *object, visitproc visit, void *arg)
{
    Reader *self = (Reader *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->text_type);
    Py_VISIT(self->binary_type);
    Py_VISIT(self->control);
    Py_VISIT(self->judge_header);
    Py_VISIT(self->judge_text);
    Py_VISIT(self->inflate);
    Py_VISIT(self->failure);
    return 0;
}

static int
reader_clear(PyObject *object)
{
    Reader *self = (Reader *)object;
    Py_CLEAR(self->failure);
    Py_CLEAR(self->text_type);
    Py_CLEAR(self->binary_type);
    Py_CLEAR(self->control);
    Py_CLEAR(self->judge_header);
    Py_CLEAR(self->judge_text);
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
    Py_CLEAR(self->legal[0]);
    Py_CLEAR(self->legal[1]);
    drop_input(self);
    Py_CLEAR(self->payload);
    Py_CLEAR(self->inflated);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *
reader_stop(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    Reader *self = (Reader *)object;
    self->stopped = 1;
    drop_input(self);
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

PyDoc_STRVAR(feed_doc, "feed(data, /)\n--\n\nSee sono_core.reader.MessageReader.");
PyDoc_STRVAR(next_doc, "next()\n--\n\nSee sono_core.reader.MessageReader.");
PyDoc_STRVAR(stop_doc, "stop()\n--\n\nSee sono_core.reader.MessageReader.");
PyDoc_STRVAR(events_doc, "events(otherwise, /)\n--\n\nSee sono_core.reader.MessageReader.");

static PyMethodDef reader_methods[] = {
    {"feed", reader_feed, METH_O, feed_doc},
    {"next", reader_next, METH_NOARGS, next_doc},
    {"stop", reader_stop, METH_NOARGS, stop_doc},
    {"events", reader_events, METH_O, events_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot reader_slots[] = {
    {Py_tp_init, reader_init},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_dealloc, reader_dealloc},
    {Py_tp_traverse, reader_traverse},
    {Py_tp_clear, reader_clear},
    {Py_tp_methods, reader_methods},
    {0, NULL},
};

PyType_Spec sono_reader_spec = {
    .name = "sono_core._native.MessageReader",
    .basicsize = sizeof(Reader),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = reader_slots,
};

/* -- events: the iterator that Connection.receive_data returns ------------------------------ */

static PyObject *
events_next(PyObject *object)
{
    Events *self = (Events *)object;
    sono_header header;
    PyObject *event = next_message(self->reader, &header);
    if (event)
        return event;
    /* Whatever it is, Python comes to the same place, and decides. */
    PyErr_Clear();
    event = PyObject_CallNoArgs(self->otherwise);
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
    .name = "sono_core._native.Events",
    .basicsize = sizeof(Events),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = events_slots,
};
