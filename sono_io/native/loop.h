/* Shared by the parts of sono_io._loop. The specification is sono_io/reference.py. */

#ifndef SONO_LOOP_H
#define SONO_LOOP_H

#define _GNU_SOURCE /* clock_gettime */
#include "native.h"

#include <stdbool.h>

typedef struct FastTransport FastTransport;

/* What the connections of one loop share in each of its turns. */
typedef struct {
    PyObject_HEAD
    const sono_api *api;
    unsigned long thread;       /* the loop's, whose calls need no detour; 0 until it runs */
    size_t pause;               /* bytes waiting for a peer above which reading from it stops */
    sono_share share;           /* of each connection in a turn */
    Py_buffer buffer;           /* bytes from all sockets are received into it */
    PyObject *source;           /* the object with that buffer */
    PyObject *to_flush;         /* a list of transports to flush before the loop waits */
    PyObject *wake;             /* called when the first of them is added, or None */
    PyObject *time;             /* the clock */
    FastTransport **transports; /* by file descriptor, borrowed: transports take themselves out */
    int transports_size;
    PyObject *last_received; /* the name of an attribute */
    /* the last message for many: the object, its frame, and the length of its payload */
    PyObject *prepared_type;
    PyObject *prepared, *frame;
    size_t prepared_size;
    /* counts of what was done here, and what was left to Python */
    unsigned long long messages, turns, detours, sent, sent_fallback;
} LoopContext;

/* Moves the bytes of one socket; a base of the transports of selectors and asyncio. */
struct FastTransport {
    PyObject_HEAD
    LoopContext *context;
    PyObject *layer;
    Outbox *outbox;
    Reader *reader;       /* in the ordinary case, else NULL; and with it: */
    PyObject *on_message; /* the handler's */
    int fd;               /* -1 when it is closed */
    int watched;          /* what the selector watches it for */
    bool flush_scheduled;
};

/* Sends messages on a connection; a base of the servers' and the clients' WebSockets. */
typedef struct {
    PyObject_HEAD
    LoopContext *context;
    PyObject *transport; /* a FastTransport, or something with write_soon() */
    Outbox *outbox;
    PyObject *keys; /* gives a client's masking keys, or NULL */
    size_t plain;   /* bytes above which a message may have to be compressed */
} Sender;

typedef struct {
    PyObject *core; /* the module sono_core.native._native, whose API is used */
    PyTypeObject *context_type;
    PyTypeObject *transport_type;
    PyTypeObject *sender_type;
} sono_loop_state;

bool sono_is_context(PyObject *object);

/* Raises unless __init__ was called. */
static inline bool
sono_initialised(const LoopContext *context)
{
    if (!context)
        PyErr_SetString(PyExc_RuntimeError, "__init__ was not called");
    return context != NULL;
}

/* Writes as much of the outbox as the socket takes; the rest stays in it. -1 if writing failed for
 * another reason than a full socket (see errno); never sets an exception. */
int sono_transport_write(FastTransport *self);

/* Schedules a flush before the loop waits. */
int sono_transport_write_soon(FastTransport *self);

/* What a socket may be watched for; the numbers are those of `selectors`. */
enum { READABLE = 1, WRITABLE = 2 };

/* See sono_io.reference.FastTransport.ready. */
PyObject *sono_transport_ready(FastTransport *self, int events, PyObject *now);

/* Calls a method of the transport's Python part. */
PyObject *sono_transport_flush(FastTransport *self, PyObject *now);

extern struct PyModuleDef sono_loop_module;
extern PyType_Spec sono_context_spec;
extern PyType_Spec sono_transport_spec;
extern PyType_Spec sono_sender_spec;

#endif
