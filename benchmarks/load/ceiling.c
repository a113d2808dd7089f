/* `ceiling --port N MODE`: the least that a WebSocket server can do, as an upper bound for others.
 *
 * Edge-triggered epoll in one thread. Each read is unmasked into one buffer, which leaves with one
 * write; `fanout` frames a message once, and each member gets one write in each turn of the loop.
 * It checks frames, not UTF-8, and has no time-outs. Fragments are echoed as they are, and refused
 * in `fanout`. */

#include "ceiling.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 512, BACKLOG = 1024 };
enum { WAITING_LIMIT = 64 << 20 }; /* bytes for one peer that does not read */
enum { KEPT = 4 << 20 };           /* bytes of an empty buffer that is used again */

static volatile sig_atomic_t stopped;

static void
stop(int number)
{
    (void)number;
    stopped = 1;
}

void
peer_end(server *of, peer *it)
{
    if (it->fd < 0)
        return;
    close(it->fd);
    it->fd = -1;
    of->peers[it->place] = of->peers[--of->count];
    of->peers[it->place]->place = it->place;
    it->next_ended = of->ended;
    of->ended = it;
}

/* Hands `first` bytes of `held`, then frames, to the socket; returns how many are done with. */
static size_t
send_now(server *of, peer *it, size_t first, const bytes *frames)
{
    struct iovec parts[2] = {{it->held.data, first}, {frames->data, frames->size}};
    struct msghdr both = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t sent = first ? sendmsg(it->fd, &both, MSG_NOSIGNAL)
                         : send(it->fd, frames->data, frames->size, MSG_NOSIGNAL);
    if (sent >= 0)
        return (size_t)sent;
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    peer_end(of, it);
    return first + frames->size;
}

void
peer_write(server *of, peer *it, const bytes *frames)
{
    int large = it->large && !it->left; /* complete; it goes first, because nothing waits */
    size_t first = large ? it->held.size : 0, written = 0;
    if (first + frames->size && !it->waiting.size)
        written = send_now(of, it, first, frames);
    if (large) {
        if (written < first) { /* it waits where it is, because it may be long */
            bytes waiting = it->waiting;
            it->waiting = it->held;
            it->held = waiting;
            it->written = written;
            written = first;
        }
        it->held.size = 0;
        it->large = 0;
    }
    written -= first;
    bytes_add(&it->waiting, frames->data + written, frames->size - written);
    if (it->waiting.size - it->written > WAITING_LIMIT)
        peer_end(of, it);
}

static void
write_waiting(server *of, peer *it)
{
    while (it->written < it->waiting.size) {
        ssize_t sent = send(it->fd, it->waiting.data + it->written, it->waiting.size - it->written,
                            MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN && errno != EINTR)
                peer_end(of, it);
            return;
        }
        it->written += (size_t)sent;
    }
    it->waiting.size = it->written = 0;
    if (it->waiting.capacity > KEPT)
        bytes_free(&it->waiting);
}

static void
read_peer(server *of, peer *it)
{
    ssize_t got;
    do {
        if (of->echo && it->waiting.size) /* back-pressure: reading resumes when that is gone */
            return;
        size_t held = it->large ? 0 : it->held.size;
        unsigned char *data = of->buffer + HEADROOM - held;
        got = recv(it->fd, of->buffer + HEADROOM, RECEIVE, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0) {
            peer_end(of, it);
            return;
        }
        if (held) {
            memcpy(data, it->held.data, held);
            it->held.size = 0;
        }
        peer_take(of, it, data, held + (size_t)got);
        if (it->closing && it->fd >= 0 && !it->waiting.size)
            peer_end(of, it);
    } while (it->fd >= 0 && (got == RECEIVE || it->ending));
}

static void
accept_peers(server *of, int listener)
{
    const int on = 1;
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        peer *it = calloc(1, sizeof *it);
        if (of->count == of->capacity) {
            of->capacity = of->capacity ? 2 * of->capacity : 64;
            of->peers = more_memory(of->peers, of->capacity, sizeof *of->peers);
        }
        struct epoll_event watch = {EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, {.ptr = it}};
        if (!it || epoll_ctl(of->epoll, EPOLL_CTL_ADD, fd, &watch) < 0)
            fail("cannot take a connection: %s", strerror(errno));
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        it->fd = fd;
        it->place = of->count;
        of->peers[of->count++] = it;
    }
}

static void
ready(server *of, peer *it, uint32_t events)
{
    if (it->fd < 0)
        return;
    if (events & EPOLLOUT && it->waiting.size) {
        write_waiting(of, it);
        if (it->fd < 0)
            return;
        if (it->closing && !it->waiting.size) {
            peer_end(of, it);
            return;
        }
        events |= EPOLLIN;
    }
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        it->ending = 1;
    if (it->ending || events & EPOLLIN)
        read_peer(of, it);
}

static void
publish(server *of)
{
    for (size_t i = of->count; i-- > 0;) /* the last replaces one that ends */
        if (of->peers[i]->open && !of->peers[i]->closing)
            peer_write(of, of->peers[i], &of->published);
    of->published.size = 0;
}

static void
serve(server *of, int listener)
{
    struct epoll_event events[EVENTS];
    sigset_t none;
    sigemptyset(&none);
    while (!stopped) {
        int count = epoll_pwait(of->epoll, events, EVENTS, -1, &none);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr)
                ready(of, events[i].data.ptr, events[i].events);
            else
                accept_peers(of, listener);
        }
        if (of->published.size)
            publish(of);
        while (of->ended) {
            peer *it = of->ended;
            of->ended = it->next_ended;
            bytes_free(&it->held);
            bytes_free(&it->waiting);
            free(it);
        }
    }
}

static int
listen_on(unsigned port)
{
    const int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, BACKLOG) < 0)
        fail("cannot listen on port %u: %s", port, strerror(errno));
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("listening on %u\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

/* SIGTERM and SIGINT end the loop; they are blocked except while it waits. */
static void
take_signals(void)
{
    struct sigaction action = {.sa_handler = stop};
    sigset_t both;
    sigemptyset(&both);
    sigaddset(&both, SIGTERM);
    sigaddset(&both, SIGINT);
    sigprocmask(SIG_BLOCK, &both, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

static void
allow_files(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

int
main(int argc, char **argv)
{
    static const struct option LONGS[] = {{"port", required_argument, NULL, 'p'}, {0}};
    unsigned long port = 65536;
    for (int option; (option = getopt_long(argc, argv, "", LONGS, NULL)) != -1;)
        port = option == 'p' ? strtoul(optarg, NULL, 10) : 65536;
    const char *mode = optind + 1 == argc ? argv[optind] : "";
    server of = {.echo = strcmp(mode, "echo") == 0};
    if (port > 65535 || !(of.echo || strcmp(mode, "fanout") == 0))
        fail("usage: ceiling --port N echo|fanout");
    take_signals();
    allow_files();
    of.epoll = epoll_create1(EPOLL_CLOEXEC);
    of.buffer = more_memory(NULL, HEADROOM + RECEIVE + 1, 1);
    int listener = listen_on((unsigned)port);
    struct epoll_event watch = {EPOLLIN | EPOLLET, {.ptr = NULL}};
    epoll_ctl(of.epoll, EPOLL_CTL_ADD, listener, &watch);
    serve(&of, listener);
    return 0;
}
