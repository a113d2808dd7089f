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
    PyObject *source, *little;  /* the object with that buffer; its beginning, for a spent turn */
    PyObject *to_flush;         /* a list of transports to flush before the loop waits */
    PyObject *wake;             /* called when the first of them is added, or None */
    PyObject *time;             /* the clock */
    bool own_clock;             /* it is Python's own, which C can read without a call of Python */
    double seconds, ends;       /* of a turn; when the one that is open ends, or infinite */
    double began;               /* when the last one began */
    bool spent;                 /* that time is over */
    PyObject *opened;           /* called when `look` opens a turn, or None: it opens none */
    FastTransport **transports; /* by file descriptor, borrowed: transports take themselves out */
    int transports_size;
    PyObject *last_received, *left, *begun; /* names of attributes */
    unsigned char *plain; /* what a read brought over TLS, decrypted; made when it is needed */
    size_t plain_size;
    PyObject *first_record; /* a view of its beginning, for */
    PyObject *record_size;  /* the most bytes that a TLS record holds */
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
    PyObject *session;    /* the same, or what a layer that encrypts has inside */
    Outbox *outbox;       /* the session's */
    Outbox *wire;         /* what is written: the same, unless a layer encrypts it */
    Reader *reader;       /* in the ordinary case, else NULL; and with it: */
    PyObject *on_message; /* the handler's */
    int fd;               /* -1 when it is closed */
    int watched;          /* what the selector watches it for */
    bool flush_scheduled;
    bool settled; /* the session may have told its budget that something is held */
    bool writing; /* in sono_secure_write */
    /* the layer's `Engine`, if it encrypts: the layer that does, and methods; or NULL */
    PyObject *coder;
    PyObject *take, *read, *write, *pending, *give;
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

/* Looks at the clock, and sets `spent`. Returns it, or -1 with an exception. */
int sono_context_look(LoopContext *self);

/* See sono_io.reference.LoopContext.read_at. Returns 0, or -1 with an exception. */
int sono_context_read_at(LoopContext *self, double now);

enum {
    /* Between two looks at the clock: connections of one wait, and messages of one connection. */
    TOLD_A_LOOK = 8,
    MESSAGES_A_LOOK = 32,
    /* Messages or KiB handled though the time of the turn is over: _LITTLE in
     * sono_core/lifecycle/session.py. */
    LITTLE = 16,
    RECORD = 16 * 1024,     /* the most bytes of a TLS record; _RECORD in sono_core/tls/layer.py */
    PLAIN_KEPT = 64 * 1024, /* bytes of `plain` that stay: each client has a context of its own */
};

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

/* -- secure.c ------------------------------------------------------------------------------- */

/* Decrypts what was received, and gives it to the reader. Whatever is not ordinary goes to the
 * layer; the transport has no reader then. 1: there is something to deliver, 0: there is nothing,
 * -1: an exception. */
int sono_secure_take(FastTransport *self, Reader *reader, const unsigned char *data, size_t size);

/* Frees what it was decrypted into. */
void sono_drop_plain(LoopContext *context);

/* What sono_transport_write does over TLS. */
int sono_secure_write(FastTransport *self);

/* Takes the session and the methods from an `Engine`; drops the methods. */
int sono_set_engine(FastTransport *self, PyObject *engine);
void sono_clear_engine(FastTransport *self);

/* -- transport.c ---------------------------------------------------------------------------- */

/* Takes the exception that was raised, with its traceback. */
PyObject *sono_caught(void);

/* Whether a call failed only because the socket takes or gives no more; see errno. */
bool sono_full(void);

/* Schedules a flush before the loop waits. */
int sono_transport_write_soon(FastTransport *self);

/* What a socket may be watched for; the numbers are those of `selectors`. */
enum { READABLE = 1, WRITABLE = 2, HUNG_UP = 4 };

/* See sono_io.reference.FastTransport.ready. */
PyObject *sono_transport_ready(FastTransport *self, int events, PyObject *now);

/* Calls a method of the transport's Python part. */
PyObject *sono_transport_flush(FastTransport *self, PyObject *now);

extern struct PyModuleDef sono_loop_module;
extern PyType_Spec sono_context_spec;
extern PyType_Spec sono_transport_spec;
extern PyType_Spec sono_sender_spec;

#endif
