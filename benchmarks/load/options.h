/* The command line of `load`. */

#ifndef LOAD_OPTIONS_H
#define LOAD_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

typedef enum {
    ECHO = 1,
    FANOUT = 2,
    CONNECT = 4,
    IDLE = 8,
    RESUME = 16,
    STORM = 32,
    PACE = 64
} command;

enum { MAX_PIDS = 64, MAX_PORTS = 16 };

typedef struct {
    command command;
    uint64_t connections, in_flight, size, slow, concurrency, sources, missed, rate, tellers;
    double seconds, warmup;
    const char *port, *path, *subprotocol, *template, *greet, *expect_prefix, *skip_until,
        *server_pid;
    bool binary, utf8, json, deflate, engineio, publisher_apart, tls, resume_tls;
    int pids[MAX_PIDS]; /* from --server-pid */
    int pid_count;
    unsigned ports[MAX_PORTS]; /* from --port */
    unsigned port_count;
} options;

/* Reads the command line; ends the program with status 1 if it is wrong, with 0 after --help. */
options read_options(int argc, char **argv);

#endif
