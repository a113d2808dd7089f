#include "connection.h"

#include "wire.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

enum { EVENTS = 512, SPARE_FILES = 32 };
enum { FROM_ONE_ADDRESS = 20000 };         /* connections: it has some 28,000 free ports */
enum { OPENING_AT_A_TIME = 64 };           /* handshakes: fewer than any listen backlog */
static const uint64_t SECOND = 1000000000; /* ns */
static const uint64_t PATIENCE = 10;       /* seconds without any progress of a handshake */

uint64_t
now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static void
allow_files(uint64_t wanted)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (wanted + SPARE_FILES > limit.rlim_max)
        fail("%llu connections need a higher limit of open files than %llu (ulimit -n)",
             (unsigned long long)wanted, (unsigned long long)limit.rlim_max);
}

void
pool_start(pool *of, const options *chosen, const hooks *what, uint64_t connections)
{
    signal(SIGPIPE, SIG_IGN);
    allow_files(connections);
    *of = (pool){.chosen = chosen, .hooks = what, .count = connections};
    uint64_t needed = 1 + connections / FROM_ONE_ADDRESS;
    of->sources = (unsigned)(chosen->sources ? chosen->sources : needed);
    of->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (of->epoll < 0)
        fail("no epoll: %s", strerror(errno));
    of->buffer = more_memory(NULL, HEADROOM + RECEIVE + 1, 1);
    of->connections = more_memory(NULL, connections, sizeof *of->connections);
    memset(of->connections, 0, connections * sizeof *of->connections);
    for (uint64_t i = 0; i < connections; i++)
        of->connections[i].fd = -1;
}

void
pool_ready(pool *of, connection *it)
{
    if (it->ready)
        return;
    it->ready = true;
    of->ready++;
    if (it->slow) {
        struct epoll_event watch = {EPOLLRDHUP | EPOLLET, {.ptr = it}};
        epoll_ctl(of->epoll, EPOLL_CTL_MOD, it->fd, &watch);
    }
}

void
pool_error(pool *of, const char *wrong)
{
    of->errors++;
    if (!of->first_error)
        of->first_error = wrong;
}

void
greet(pool *of, connection *it)
{
    const options *chosen = of->chosen;
    if (chosen->greet)
        connection_send(it, TEXT, chosen->greet, strlen(chosen->greet));
    if (!chosen->skip_until)
        pool_ready(of, it);
}

void
lost(pool *of, connection *it, const char *wrong)
{
    (void)it;
    pool_error(of, wrong);
}

bool
answered(pool *of, connection *it, const message *got)
{
    const options *chosen = of->chosen;
    if (chosen->engineio && got->size == 1 && message_begins(got, "2")) {
        connection_send(it, TEXT, "3", 1);
        return true;
    }
    if (it->ready || !chosen->skip_until || !message_begins(got, chosen->skip_until))
        return false;
    pool_ready(of, it);
    return true;
}

bool
passed_over(pool *of, connection *it, const message *got)
{
    const char *prefix = of->chosen->expect_prefix;
    if (answered(of, it, got))
        return true;
    return prefix && !(got->first & RSV1) && !message_begins(got, prefix);
}

void
pool_allow(pool *of, connection *it)
{
    uint64_t number = it->sent++;
    if (!of->payload.numbered) {
        it->owed++;
        return;
    }
    bytes text = {0};
    add_numbered(&text, &of->payload, number);
    connection_send(it, TEXT, text.data, text.size);
    bytes_free(&text);
}

void
pool_turn(pool *of, uint64_t until)
{
    struct epoll_event events[EVENTS];
    uint64_t time = now();
    int wait = until > time ? (int)((until - time + 999999) / 1000000) : 0;
    int count = epoll_wait(of->epoll, events, EVENTS, wait);
    for (int i = 0; i < count; i++) {
        connection *it = events[i].data.ptr;
        if (it)
            connection_event(of, it, events[i].events);
        else
            of->input = true;
    }
}

void
pool_open(pool *of)
{
    of->opening = true;
    uint64_t started = 0, ready = 0, patience = now() + PATIENCE * SECOND;
    while (of->ready < of->count) {
        while (started < of->count && started - of->ready < OPENING_AT_A_TIME) {
            connection_start(of, &of->connections[started], (uint32_t)started);
            started++;
        }
        pool_turn(of, patience);
        if (of->ready != ready) {
            ready = of->ready;
            patience = now() + PATIENCE * SECOND;
        } else if (now() >= patience) {
            fail("the server at 127.0.0.1:%s answers no handshake for %d s; %llu of %llu are open",
                 of->chosen->port, (int)PATIENCE, (unsigned long long)ready,
                 (unsigned long long)of->count);
        }
    }
    of->opening = false;
}

static void
ignore_message(pool *of, connection *it, const message *got)
{
    (void)of, (void)it, (void)got;
}

static void
ignore_end(pool *of, connection *it, const char *wrong)
{
    (void)of, (void)it, (void)wrong;
}

void
pool_end(pool *of)
{
    static const hooks NOTHING = {NULL, ignore_message, NULL, ignore_end};
    static const unsigned char NORMAL[] = {1000 >> 8, 1000 & 255};
    of->hooks = &NOTHING;
    for (uint64_t i = 0; i < of->count; i++) {
        connection *it = &of->connections[i];
        if (it->stage != OPEN || it->slow || it->offset) {
            connection_end(of, it, NULL);
            continue;
        }
        it->owed = 0;
        if (!it->close_sent)
            connection_send(it, CLOSE, NORMAL, sizeof NORMAL);
        it->close_sent = true;
        connection_flush(of, it);
    }
    uint64_t until = now() + SECOND;
    while (of->open && now() < until)
        pool_turn(of, until);
    for (uint64_t i = 0; i < of->count; i++)
        connection_end(of, &of->connections[i], NULL);
}
