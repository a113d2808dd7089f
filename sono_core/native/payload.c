/* From payloads to messages: masks, fragments, UTF-8. RFC 6455, sections 5.3, 5.4 and 8.1. */

#include "reader.h"

#include <string.h>

enum {
    /* A message under way is given room in steps, so that a declared length reserves nothing. */
    FIRST_STEP = 64 * 1024,
    /* If this many bytes are missing, it pays to receive them in their place. */
    IN_PLACE = 16 * 1024,
    /* Of an announced length, at most this many times what has come is reserved. That costs address
     * space, and memory only when the bytes come. */
    MOST_AHEAD = 16,
    /* Bytes: the smallest message that is kept for its memory, and all of them together. */
    SMALLEST_SPARE = 128 * 1024,
    MOST_SPARED = 32 * 1024 * 1024,
    /* Pieces that are inflated at once: PIECES in sono_core/websocket/messages.py. */
    PIECES = 16,
};

static int
judge_text(Reader *self)
{
    PyObject *verdict = PyObject_CallNoArgs(self->rules->judge_text);
    if (verdict) {
        Py_DECREF(verdict);
        PyErr_SetString(PyExc_SystemError, "judge_text did not raise");
    }
    return -1;
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

PyObject *
sono_whole_message(Reader *self, const sono_header *header, const unsigned char *payload)
{
    size_t size = (size_t)header->length;
    if ((header->first & 0x0F) == SONO_BINARY) {
        PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
        if (bytes)
            sono_mask((unsigned char *)PyBytes_AS_STRING(bytes), payload, size, header->key);
        return bytes;
    }
    PyObject *text = PyUnicode_New((Py_ssize_t)size, 127);
    if (!text || !size)
        return text;
    unsigned char *out = PyUnicode_1BYTE_DATA(text);
    if (sono_mask(out, payload, size, header->key) & 0x80) {
        PyObject *decoded = decode_text(self, (const char *)out, size);
        Py_DECREF(text);
        text = decoded;
    }
    return text;
}

/* The message under way is kept in the object that it becomes: a bytes object, or a str while a
 * text is all ASCII. The object has room to spare, and no other reference. */

static unsigned char *
payload_data(const Reader *self)
{
    return PyUnicode_Check(self->payload) ? PyUnicode_1BYTE_DATA(self->payload)
                                          : (unsigned char *)PyBytes_AS_STRING(self->payload);
}

/* The size of a bytes object or an ASCII str, in bytes. */
static size_t
message_size(PyObject *message)
{
    return (size_t)(PyUnicode_Check(message) ? PyUnicode_GET_LENGTH(message)
                                             : PyBytes_GET_SIZE(message));
}

size_t
sono_payload_capacity(const Reader *self)
{
    return message_size(self->payload);
}

/* Makes the payload's object, or resizes it, to hold `capacity` bytes. */
static int
resize_payload(Reader *self, size_t capacity)
{
    Py_ssize_t size = (Py_ssize_t)capacity;
    if (self->payload)
        return PyUnicode_Check(self->payload) ? PyUnicode_Resize(&self->payload, size)
                                              : _PyBytes_Resize(&self->payload, size);
    self->payload = self->opcode == SONO_TEXT && !self->compressed
                        ? PyUnicode_New(size, 127)
                        : PyBytes_FromStringAndSize(NULL, size);
    return self->payload ? 0 : -1;
}

/* A text turns out not to be ASCII: keep its bytes, and decode them when all are there. */
static int
keep_as_bytes(Reader *self)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)sono_payload_capacity(self));
    if (!bytes)
        return -1;
    memcpy(PyBytes_AS_STRING(bytes), payload_data(self), self->filled);
    Py_SETREF(self->payload, bytes);
    return 0;
}

/* -- spares: large messages that nothing else refers to ---------------------------------------
 *
 * The C library gives large blocks back to the system and takes them again; touching every page of
 * such a block anew costs more than everything else that is done with the message. So the last few
 * large messages are remembered, and reused once nothing else refers to them.
 */

/* Whether a remembered object can be reused: then nothing shows that it was another message. */
static int
renew(PyObject *spare)
{
    if (Py_REFCNT(spare) != 1)
        return 0;
    if (!PyUnicode_Check(spare)) {
        sono_forget_hash(spare);
        return 1;
    }
    PyASCIIObject *text = (PyASCIIObject *)spare;
#if PY_VERSION_HEX < 0x030c0000
    if (text->wstr) /* a copy of the old text */
        return 0;
#endif
    if (PyUnicode_CHECK_INTERNED(spare)) /* others find it by the old text */
        return 0;
    text->hash = -1;
    return 1;
}

static PyObject *
take_spare(Rules *rules, size_t size, int text)
{
    for (int i = 0; i < SONO_SPARES; i++) {
        PyObject *spare = rules->spares[i];
        if (!spare || PyUnicode_Check(spare) != text)
            continue;
        size_t there = message_size(spare);
        if (there < size || there > 2 * size || !renew(spare))
            continue;
        rules->spares[i] = NULL;
        rules->spared -= there;
        return spare;
    }
    return NULL;
}

static void
drop_spare(Rules *rules, int index)
{
    if (rules->spares[index])
        rules->spared -= message_size(rules->spares[index]);
    Py_CLEAR(rules->spares[index]);
}

/* Remembers a message instead of the oldest one, and forgets more of them if there is no room. */
static void
keep_spare(Rules *rules, PyObject *message)
{
    size_t size = message_size(message);
    if (size < SMALLEST_SPARE || size > MOST_SPARED)
        return;
    int index = rules->next_spare;
    rules->next_spare = (index + 1) % SONO_SPARES;
    drop_spare(rules, index);
    for (int i = rules->next_spare; rules->spared + size > MOST_SPARED; i = (i + 1) % SONO_SPARES)
        drop_spare(rules, i);
    rules->spares[index] = Py_NewRef(message);
    rules->spared += size;
}

/* Makes room for `more` bytes of payload. */
static int
reserve(Reader *self, size_t more)
{
    size_t needed = self->filled + more, end = self->filled + (size_t)self->remaining;
    size_t capacity = self->payload ? sono_payload_capacity(self) : 0;
    if (self->payload && needed <= capacity)
        return 0;
    if (!self->payload && !self->compressed && end >= SMALLEST_SPARE &&
        (self->payload = take_spare(self->rules, end, self->opcode == SONO_TEXT)))
        return 0;
    /* Up to the end of the frame, but at most MOST_AHEAD times what has come; other frames may
     * follow behind the end. */
    size_t wanted = capacity ? MOST_AHEAD * capacity : FIRST_STEP;
    if (wanted > end)
        wanted = self->first & SONO_FIN || end > 2 * capacity ? end : 2 * capacity;
    return resize_payload(self, needed > wanted ? needed : wanted);
}

/* Unmasks the next bytes of the frame under way into their place in the message. */
static int
fill(Reader *self, const unsigned char *data, size_t size)
{
    unsigned char *out = payload_data(self) + self->filled;
    int ascii = !(sono_mask(out, data, size, self->key) & 0x80);
    self->key = sono_mask_turn(self->key, size);
    self->remaining -= size;
    self->filled += size;
    if (self->opcode != SONO_TEXT || self->compressed || (ascii && !self->utf8.missing))
        return 0;
    if (!sono_utf8_feed(&self->utf8, out, size))
        return judge_text(self);
    return PyUnicode_Check(self->payload) ? keep_as_bytes(self) : 0;
}

int
sono_take_piece(Reader *self, size_t size)
{
    if (!size)
        return 0;
    if (reserve(self, size) < 0)
        return -1;
    self->position += size;
    return fill(self, self->data + self->position - size, size);
}

size_t
sono_place(Reader *self, unsigned char **place)
{
    if (self->stopped || self->failure || !self->in_frame || self->remaining < IN_PLACE ||
        self->position < self->size)
        return 0;
    if (reserve(self, IN_PLACE) < 0) {
        PyErr_Clear(); /* the next allocation raises it */
        return 0;
    }
    size_t room = sono_payload_capacity(self) - self->filled;
    *place = payload_data(self) + self->filled;
    return room < self->remaining ? room : (size_t)self->remaining;
}

void
sono_placed(Reader *self, size_t size)
{
    if (fill(self, payload_data(self) + self->filled, size) < 0)
        sono_keep_failure(self);
}

/* Takes the inflated pieces of a frame. */
static int
take_inflated(Reader *self, PyObject *pieces)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(pieces); i++) {
        char *data;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(PyList_GET_ITEM(pieces, i), &data, &size) < 0)
            return -1;
        self->room -= (uint64_t)size;
        self->extra += !size; /* it stands for a final block */
        if (self->opcode == SONO_TEXT &&
            !sono_utf8_feed(&self->utf8, (unsigned char *)data, (size_t)size))
            return judge_text(self);
    }
    if (self->inflated)
        return PyList_SetSlice(self->inflated, PY_SSIZE_T_MAX, PY_SSIZE_T_MAX, pieces);
    self->inflated = Py_NewRef(pieces);
    return 0;
}

/* Joins the inflated pieces to one message. */
static PyObject *
join_inflated(Reader *self)
{
    PyObject *bytes = NULL;
    if (PyList_GET_SIZE(self->inflated) == 1) {
        bytes = Py_NewRef(PyList_GET_ITEM(self->inflated, 0));
    } else {
        PyObject *nothing = PyBytes_FromStringAndSize(NULL, 0);
        if (nothing)
            bytes = PyObject_CallMethod(nothing, "join", "O", self->inflated);
        Py_XDECREF(nothing);
    }
    Py_CLEAR(self->inflated);
    if (!bytes || self->opcode != SONO_TEXT)
        return bytes;
    PyObject *text = decode_text(self, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
    Py_DECREF(bytes);
    return text;
}

int
sono_inflate_frame(Reader *self, int final)
{
    PyObject *frame = self->payload ? self->payload : PyBytes_FromStringAndSize(NULL, 0);
    self->payload = NULL;
    if (!frame || (PyBytes_GET_SIZE(frame) != (Py_ssize_t)self->filled &&
                   _PyBytes_Resize(&frame, (Py_ssize_t)self->filled) < 0))
        return -1;
    size_t size = self->inflating ? self->inflating : self->filled;
    self->filled = 0;
    PyObject *pieces = PyObject_CallFunction(self->inflate, "OKii", frame,
                                             (unsigned long long)self->room, final, PIECES);
    Py_DECREF(frame);
    Py_ssize_t count = pieces && PyList_Check(pieces) ? PyList_GET_SIZE(pieces) : -1;
    int done = -1;
    if (count >= 0)
        done = take_inflated(self, pieces) < 0 ? -1 : count < PIECES;
    else if (pieces)
        PyErr_SetString(PyExc_TypeError, "inflate must return a list");
    Py_XDECREF(pieces);
    self->inflating = done ? 0 : size;
    return done;
}

PyObject *
sono_finish_message(Reader *self)
{
    int text = self->opcode == SONO_TEXT;
    PyObject *message = NULL;
    if (text && self->utf8.missing) {
        judge_text(self);
        return NULL;
    }
    if (self->compressed) {
        message = join_inflated(self);
    } else if (text && self->payload && PyBytes_Check(self->payload)) {
        message = decode_text(self, PyBytes_AS_STRING(self->payload), self->filled);
    } else if ((self->payload || resize_payload(self, 0) == 0) &&
               (sono_payload_capacity(self) == self->filled ||
                resize_payload(self, self->filled) == 0)) {
        message = self->payload;
        self->payload = NULL;
        keep_spare(self->rules, message);
    }
    Py_CLEAR(self->payload);
    Py_CLEAR(self->inflated);
    self->filled = 0;
    self->opcode = 0;
    memset(&self->utf8, 0, sizeof self->utf8);
    return message;
}
