/* Shared by the parts of the reader: reader.c (frames), payload.c (messages), events.c (Python
 * types).
 */

#ifndef SONO_READER_H
#define SONO_READER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "frames.h"
#include "mask.h"
#include "outbox.h"
#include "utf8.h"

enum { SONO_SPARES = 32 };
enum { SONO_SMALL = 1024 }; /* SMALL in sono_core/websocket/frames.py */

/* The rules that all connections of one kind share; made once. */
typedef struct {
    PyObject_HEAD
    PyObject *text_type, *binary_type;   /* event classes */
    PyObject *control;                   /* (opcode, payload) -> what next() returns */
    PyObject *judge_header, *judge_text; /* raise */
    PyObject *legal[2]; /* by first byte, 256 each: outside a message, and inside one */
    int masked;
    uint64_t max_message, max_frame, max_fragments;
    uint64_t max_compressed_message, max_compressed_frame;
    PyObject *spares[SONO_SPARES]; /* messages, or NULL; see payload.c */
    size_t spared;                 /* their bytes together */
    int next_spare;
} Rules;

typedef struct {
    PyObject_HEAD
    Rules *rules;
    PyObject *inflate; /* (frame, room, final, most) -> pieces, or None */
    /* unread bytes: in a bytes object, in the reader's own buffer, or borrowed */
    PyObject *chunk;
    unsigned char *own;
    size_t own_capacity;
    const unsigned char *data;
    size_t position, size;
    /* the data frame under way */
    uint64_t remaining;
    uint32_t key;
    unsigned char first;
    unsigned char in_frame;
    /* the message under way */
    unsigned char opcode; /* 0: none */
    unsigned char compressed;
    unsigned char inside;  /* between two of its frames */
    unsigned char stopped; /* nothing more will come out */
    sono_utf8 utf8;
    uint64_t fragments, budget, frame_limit;
    uint64_t declared; /* bytes of its frames so far, the one under way included */
    PyObject *payload; /* the object that it becomes, with room to spare, or NULL */
    size_t filled;
    PyObject *inflated; /* pieces, a list, or NULL */
    uint64_t room;      /* bytes that it may still inflate to */
    size_t inflating;   /* bytes of a frame that has been inflated in part, else 0 */
    PyObject *since;    /* when it began, as a float, or NULL; the transport or the session says */
    PyObject *failure;  /* the exception that was raised, to be raised again */
    unsigned long long extra; /* small fragments and final blocks, until it is set to 0 */
} Reader;

/* Python stores the hash of a bytes object in it; reused memory needs a new one. */
static inline void
sono_forget_hash(PyObject *bytes)
{
#if defined(__GNUC__) || defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations" /* there is no other way to it */
#endif
    ((PyBytesObject *)bytes)->ob_shash = -1;
#if defined(__GNUC__) || defined(__clang__)
#pragma GCC diagnostic pop
#endif
}

/* -- payload.c: only Python raises ---------------------------------------------------------- */

/* The message in one whole frame: unmasked straight into its object. */
PyObject *sono_whole_message(Reader *self, const sono_header *header, const unsigned char *payload);

/* Takes `size` bytes of the frame under way from the position. */
int sono_take_piece(Reader *self, size_t size);

/* The place in the message for the next bytes of the frame under way; returns its size, or 0. */
size_t sono_place(Reader *self, unsigned char **place);

/* `size` bytes were received there. */
void sono_placed(Reader *self, size_t size);

/* Bytes that the message under way has room for; `payload` must be set. */
size_t sono_payload_capacity(const Reader *self);

/* Inflates what comes next of the compressed frame, and validates its text. 1: the frame is done,
 * 0: it is not, and `inflating` says so, -1: error. */
int sono_inflate_frame(Reader *self, int final);

/* The message whose last frame is complete: a str or bytes. */
PyObject *sono_finish_message(Reader *self);

/* -- reader.c ------------------------------------------------------------------------------- */

/* Returns the next message as a str or bytes, or NULL. NULL without an exception means that
 * something else comes next: a control frame, whose header is then in `header`, or nothing yet
 * (`header->size` is 0), unless `extra` has reached `most`: then more may be there. */
PyObject *sono_next_message(Reader *self, sono_header *header, unsigned long long most);

/* Keeps the exception that is set, to raise it when more is asked for. */
void sono_keep_failure(Reader *self);

/* Takes a bytes object. */
int sono_feed(Reader *self, PyObject *data);

/* Reads from memory that stays unchanged until sono_give_back; bytes fed before come first. */
int sono_borrow(Reader *self, const unsigned char *data, size_t size);

/* Copies what is unread of the borrowed memory, which is about to change. */
int sono_give_back(Reader *self);

void sono_drop_input(Reader *self);

/* Whether a message or a frame was begun, and more of it must come. */
static inline int
sono_begun(const Reader *self)
{
    return self->position < self->size || self->in_frame || self->inside;
}

/* The bytes of memory that the reader holds; borrowed memory is not its own. */
size_t sono_reader_held(const Reader *self);

/* The turn is over: notes since when a message has been under way. Returns sono_reader_held. */
size_t sono_rest(Reader *self, PyObject *now);

/* How much of one connection may be handled before others have their turn. */
typedef struct {
    Py_ssize_t messages; /* and what was `extra` */
    Py_ssize_t size;     /* bytes or characters of them */
} sono_share;

/* Calls `on_message` for messages while there are any, the share lasts, and the peer keeps up.
 * 1: nothing is left, 0: something else comes next or is to be decided, -1: on_message raised. */
int sono_deliver(Reader *self, PyObject *on_message, Outbox *outbox, size_t pause,
                 sono_share *share);

extern PyType_Spec sono_rules_spec;
extern PyType_Spec sono_reader_spec;
extern PyType_Spec sono_events_spec;

#endif
