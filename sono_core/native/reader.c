/* From the peer's bytes to frames and messages. RFC 6455, section 5.
 *
 * The specification is MessageReader in sono_core/websocket/reader.py. This one reads valid input,
 * and leaves whatever looks wrong to Python: it hands over the bytes and the state of the message,
 * and Python raises. So every error is defined there alone.
 */

#include "reader.h"

#include <string.h>

/* -- incoming bytes ------------------------------------------------------------------------ */

void
sono_drop_input(Reader *self)
{
    Py_CLEAR(self->chunk);
    PyMem_Free(self->own);
    self->own = NULL;
    self->data = NULL;
    self->own_capacity = self->position = self->size = 0;
}

/* Appends bytes to those that wait, in the reader's own buffer. */
static int
join(Reader *self, const unsigned char *more, size_t size)
{
    size_t rest = self->size - self->position;
    if (!self->own || self->size + size > self->own_capacity) {
        size_t capacity = rest ? 2 * (rest + size) : size;
        unsigned char *own = PyMem_Malloc(capacity);
        if (!own) {
            PyErr_NoMemory();
            return -1;
        }
        if (rest)
            memcpy(own, self->data + self->position, rest);
        sono_drop_input(self);
        self->data = self->own = own;
        self->own_capacity = capacity;
        self->size = rest;
    }
    memcpy(self->own + self->size, more, size);
    self->size += size;
    return 0;
}

int
sono_feed(Reader *self, PyObject *data)
{
    const unsigned char *bytes = (const unsigned char *)PyBytes_AS_STRING(data);
    size_t size = (size_t)PyBytes_GET_SIZE(data);
    if (self->position < self->size)
        return join(self, bytes, size);
    sono_drop_input(self);
    self->chunk = Py_NewRef(data);
    self->data = bytes;
    self->size = size;
    return 0;
}

int
sono_borrow(Reader *self, const unsigned char *data, size_t size)
{
    if (self->position < self->size)
        return join(self, data, size);
    sono_drop_input(self);
    self->data = data;
    self->size = size;
    return 0;
}

int
sono_give_back(Reader *self)
{
    if (self->chunk || self->own)
        return 0;
    const unsigned char *rest = self->data + self->position;
    size_t size = self->size - self->position;
    self->data = NULL;
    self->position = self->size = 0;
    return size ? join(self, rest, size) : 0;
}

/* -- what looks wrong ---------------------------------------------------------------------- */

/* Lets Python raise the error in the header at the position; returns -1. */
static int
judge_header(Reader *self)
{
    PyObject *verdict = PyObject_CallFunction(
        self->rules->judge_header, "y#iKKK", (const char *)self->data + self->position,
        (Py_ssize_t)(self->size - self->position), self->inside,
        (unsigned long long)self->fragments, (unsigned long long)self->budget,
        (unsigned long long)self->frame_limit);
    if (verdict) {
        Py_DECREF(verdict);
        PyErr_SetString(PyExc_SystemError, "the native reader refused what Python accepts");
    }
    return -1;
}

/* -- frames -------------------------------------------------------------------------------- */

/* Whether a frame is charged like a message: a small one that is not all of its message. */
static int
is_extra(const Reader *self, const sono_header *header)
{
    return header->length < SONO_SMALL && (self->inside || !(header->first & SONO_FIN));
}

/* Takes the header of a data frame, and deducts it from what its message may still take. Returns
 * -1 if that is too little. */
static int
begin_frame(Reader *self, const sono_header *header)
{
    const Rules *rules = self->rules;
    if (!self->inside) {
        self->compressed = (header->first & SONO_RSV1) != 0;
        self->fragments = 0;
        self->declared = 0;
        self->budget = self->compressed ? rules->max_compressed_message : rules->max_message;
        self->room = rules->max_message;
        self->frame_limit = self->compressed ? rules->max_compressed_frame : rules->max_frame;
    }
    if (self->fragments >= rules->max_fragments || header->length > self->budget ||
        header->length > self->frame_limit)
        return judge_header(self);
    self->fragments++;
    self->budget -= header->length;
    if (is_extra(self, header))
        self->extra++;
    self->declared += header->length;
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

/* Continues the frame under way. 1: its message is complete, 0: more must come, -1: error. */
static int
continue_frame(Reader *self)
{
    size_t there = self->size - self->position;
    if (sono_take_piece(self, self->remaining < there ? (size_t)self->remaining : there) < 0)
        return -1;
    if (self->remaining)
        return 0;
    int final = (self->first & SONO_FIN) != 0;
    int done = self->compressed ? sono_inflate_frame(self, final) : 1;
    self->in_frame = !done;
    return done > 0 ? final : done;
}

/* Finds the next header, if it is legal. 1: found, 0: more must come, -1: error. */
static int
find_header(Reader *self, sono_header *header)
{
    size_t there = self->size - self->position;
    int whole = sono_read_header(header, self->data + self->position, there);
    if (there < 2)
        return 0;
    if (!PyBytes_AS_STRING(self->rules->legal[self->inside])[header->first] ||
        header->masked != self->rules->masked ||
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
read_message(Reader *self, sono_header *header, unsigned long long most)
{
    for (;;) {
        header->size = 0;
        if (self->in_frame) {
            int done = continue_frame(self);
            if (done > 0)
                return sono_finish_message(self);
            if (done < 0 || (self->in_frame && !self->inflating) || self->extra >= most)
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
            !(header->first & SONO_RSV1) && header->length <= self->rules->max_message &&
            header->length <= self->rules->max_frame) {
            const unsigned char *payload = self->data + self->position + header->size;
            PyObject *message = sono_whole_message(self, header, payload);
            self->position += header->size + (size_t)header->length;
            return message;
        }
        if (begin_frame(self, header) < 0)
            return NULL;
    }
}

void
sono_keep_failure(Reader *self)
{
    PyObject *type, *traceback;
    PyErr_Fetch(&type, &self->failure, &traceback);
    PyErr_NormalizeException(&type, &self->failure, &traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
}

PyObject *
sono_next_message(Reader *self, sono_header *header, unsigned long long most)
{
    header->size = 0;
    if (self->stopped)
        return NULL;
    PyObject *message = self->failure ? NULL : read_message(self, header, most);
    if (message)
        return message;
    if (PyErr_Occurred())
        sono_keep_failure(self);
    if (self->failure)
        PyErr_SetObject((PyObject *)Py_TYPE(self->failure), self->failure);
    else if (self->position == self->size)
        sono_drop_input(self); /* an idle connection keeps nothing */
    return NULL;
}

/* -- what is left of a turn ---------------------------------------------------------------- */

enum {
    /* Bytes of zlib's stream in the middle of a message: its window, its tables and its input;
     * sono_core.websocket.reader.INFLATING. */
    INFLATING = 64 * 1024,
};

size_t
sono_reader_held(const Reader *self)
{
    size_t held = self->own_capacity + self->inflating;
    if (self->chunk)
        held += (size_t)PyBytes_GET_SIZE(self->chunk);
    if (self->payload)
        held += sono_payload_capacity(self);
    if (self->inflated && PyList_GET_SIZE(self->inflated))
        held += INFLATING + (size_t)(self->rules->max_message - self->room) +
                (size_t)PyList_GET_SIZE(self->inflated) * SONO_ITEM;
    return held;
}

size_t
sono_rest(Reader *self, PyObject *now)
{
    if (!sono_begun(self)) {
        Py_CLEAR(self->since);
        return 0;
    }
    if (!self->since)
        self->since = Py_NewRef(now);
    return sono_reader_held(self);
}

/* Whether at least one whole frame waits, or a part of one that counts as a message, or more of
 * what a frame inflates to. */
static int
whole_frame_waits(const Reader *self)
{
    size_t there = self->size - self->position;
    if (self->in_frame)
        return self->remaining <= there;
    sono_header header;
    return sono_read_header(&header, self->data + self->position, there) &&
           (header.length <= there - header.size || is_extra(self, &header));
}

int
sono_deliver(Reader *self, PyObject *on_message, Outbox *outbox, size_t pause, sono_share *share)
{
    while (outbox->size <= pause && outbox->room) {
        /* When the share is used up, a part of a frame can still be moved to its place. */
        if ((share->messages <= 0 || share->size <= 0) && whole_frame_waits(self))
            return 0;
        sono_header header;
        unsigned long long extra = self->extra;
        unsigned long long most = extra + (share->messages > 0 ? (size_t)share->messages : 0);
        PyObject *message = sono_next_message(self, &header, most);
        share->messages -= (Py_ssize_t)(self->extra - extra);
        if (!message) {
            int failed = PyErr_Occurred() != NULL;
            PyErr_Clear(); /* the failure is kept, and next() raises it */
            return !failed && !header.size && (share->messages > 0 || !whole_frame_waits(self));
        }
        Py_CLEAR(self->since); /* what is under way now began later */
        share->messages--;
        share->size -= PyUnicode_Check(message) ? PyUnicode_GET_LENGTH(message)
                                                : PyBytes_GET_SIZE(message);
        PyObject *arguments[] = {NULL, message};
        PyObject *result = PyObject_Vectorcall(on_message, arguments + 1,
                                               1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        Py_DECREF(message);
        if (!result)
            return -1;
        Py_DECREF(result);
    }
    return 0;
}
