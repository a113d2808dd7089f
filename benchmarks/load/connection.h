/* Connections to the server, and the loop that runs them: edge-triggered epoll, one receive
 * buffer, frames parsed in place. A command gives the hooks that decide what happens. */

#ifndef LOAD_CONNECTION_H
#define LOAD_CONNECTION_H

#include "bytes.h"
#include "options.h"
#include "payload.h"

typedef enum { CLOSED, CONNECTING, UPGRADING, OPEN } stage;

typedef struct {
    int fd; /* -1 if there is none */
    stage stage;
    uint32_t number;
    bool blocked; /* the socket takes no more for now */
    bool close_sent, close_seen;
    bool ready;         /* counted as open by the pool */
    bool slow;          /* never reads once it is ready */
    bool timing;        /* `timed` and `since` hold */
    char key[25];       /* Sec-WebSocket-Key */
    struct ssl_st *tls; /* OpenSSL's; NULL without TLS */

    bytes held;    /* the beginning of a small frame or head; or a large payload */
    message large; /* the frame of which `left` bytes of payload are still to come */
    uint64_t left;

    bytes extra;   /* frames that go out before those of the payload */
    uint64_t owed; /* frames of the payload that may be sent */
    unsigned slot; /* of the next */
    size_t offset; /* bytes of it that are sent */

    uint64_t received, sent; /* messages counted so far; messages allowed so far */
    uint64_t timed, since;   /* a message's number; when it, or the connection, began (ns) */
} connection;

typedef struct pool pool;

typedef struct {
    void (*opened)(pool *, connection *);
    void (*message)(pool *, connection *, const message *);
    void (*drained)(pool *, connection *); /* everything that could be read is handled; or NULL */
    void (*closed)(pool *, connection *, const char *wrong); /* NULL after a clean close */
} hooks;

struct pool {
    const options *chosen;
    const hooks *hooks;
    payload payload;
    connection *connections;
    uint64_t count;
    unsigned sources;     /* addresses to connect from */
    uint64_t ready, open; /* connections that are members; whose socket is open */
    bool keep_all;        /* the command needs every message whole */
    bool opening;         /* a failure ends the program */
    bool input;           /* stdin can be read */
    bool hurried;         /* no turn waits: there is always something to do soon */
    int epoll;
    unsigned char *buffer;
    uint64_t messages, bytes, errors, published, slow_closed, resumed;
    const char *first_error;
    struct histogram *latency;
};

/* Nanoseconds of a clock that never steps. */
uint64_t now(void);

void pool_start(pool *of, const options *chosen, const hooks *what, uint64_t connections);

/* Opens all connections, a few at a time, and waits until they are members. */
void pool_open(pool *of);

/* Waits until something happens, but no longer than until then, and handles it. */
void pool_turn(pool *of, uint64_t until);

/* Closes every connection properly, if the server answers within a second. */
void pool_end(pool *of);
void pool_ready(pool *of, connection *it);
void pool_error(pool *of, const char *wrong);

/* Hooks that several commands use: an open connection greets the server, and is a member at once
 * or when its answer comes; one that has ended is an error. */
void greet(pool *of, connection *it);
void lost(pool *of, connection *it, const char *wrong);

/* Handles a message that answers a greeting, or is a ping of engine.io; false if it is neither. */
bool answered(pool *of, connection *it, const message *got);

/* Whether a message is something else than what is counted; those that `answered` handles are. */
bool passed_over(pool *of, connection *it, const message *got);

/* Lets a connection send one message more; `connection_flush` sends it. */
void pool_allow(pool *of, connection *it);

/* The port of the server that a connection goes to. */
unsigned port_of(const pool *of, const connection *it);

/* Begins to connect; servers and source addresses take turns. */
void connection_start(pool *of, connection *it, uint32_t number);
void connection_event(pool *of, connection *it, uint32_t events);
void connection_send(connection *it, unsigned opcode, const void *data, size_t size);
void connection_flush(pool *of, connection *it);
void connection_end(pool *of, connection *it, const char *wrong);

/* Handles received bytes. */
void connection_take(pool *of, connection *it, const unsigned char *data, size_t size);

/* The upgrade: its request, and what is wrong with a response; `size` gets that of the head, or
 * 0 if more of it has to come. */
void upgrade_request(const pool *of, connection *it, bytes *out);
const char *upgrade_check(const pool *of, const connection *it, const char *head, size_t *size);

enum { HEADROOM = 8192 }; /* bytes before the receive buffer: for small beginnings */
enum { RECEIVE = 512 * 1024 };

#endif
