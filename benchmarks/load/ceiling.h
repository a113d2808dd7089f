/* What the two files of `ceiling` share. */

#ifndef CEILING_H
#define CEILING_H

#include "bytes.h"
#include "wire.h"

enum { HEADROOM = 8192 };        /* bytes before the receive buffer: for small beginnings */
enum { RECEIVE = 512 * 1024 };   /* bytes of one read */
enum { MAX_MESSAGE = 16 << 20 }; /* bytes of a payload */

typedef struct peer {
    int fd;         /* -1 once it has ended */
    int open;       /* the upgrade is over */
    int closing;    /* to be ended when nothing waits */
    int ending;     /* the end of the stream is announced: read up to it */
    size_t place;   /* in server.peers */
    bytes held;     /* the beginning of a request or small frame; or part of a reply */
    int large;      /* the latter */
    size_t left;    /* bytes of its payload still to come */
    uint32_t key;   /* its masking key, for the next of them */
    bytes waiting;  /* what the socket did not take */
    size_t written; /* bytes of it that have left since */
    struct peer *next_ended;
} peer;

typedef struct {
    int epoll;
    int echo;              /* or else fan-out */
    unsigned char *buffer; /* HEADROOM, RECEIVE and one more */
    bytes replies;         /* to the peer that is read from */
    bytes published;       /* frames for all, in this turn */
    peer **peers;
    size_t count, capacity;
    peer *ended; /* to be freed at the end of the turn */
} server;

void peer_take(server *of, peer *it, unsigned char *data, size_t size);
/* Writes a complete large reply, then frames; what the socket does not take waits. */
void peer_write(server *of, peer *it, const bytes *frames);
void peer_end(server *of, peer *it);

#endif
