/* A client of `sono.v2`, as far as it takes to come back with its session (docs/protocol.md). */

#ifndef LOAD_SESSION_H
#define LOAD_SESSION_H

#include "connection.h"

typedef struct {
    char key[160];    /* the session's; empty before there is one */
    bytes streams;    /* the positions that it comes back with, as JSON */
    uint64_t missing; /* entries of a channel that must still come */
    uint64_t offset;  /* of the last that came; 0 before the first */
} session;

typedef enum { NOTHING, WELCOME, WHOLE, WRONG } progress;

/* Says hello on a new connection, with the session if there is one. */
void session_hello(session *of, connection *it);

/* Takes a message. WELCOME: there is a new session. WHOLE: it is resumed, and `missed` entries have
 * come in order. WRONG: `wrong` says why.
 *
 * A new session comes back later as if it had not heard the last `less` entries of its channels. */
progress session_take(session *of, const message *got, uint64_t missed, uint64_t less,
                      const char **wrong);

/* Publishes so many messages of that size in the home channel. */
void session_publish(connection *it, uint64_t count, uint64_t size);

/* Whether a message is something that somebody has published. */
bool is_event(const message *got);

#endif
