#include "connection.h"

#include "tls.h"
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SLOW_WINDOW = 4096 }; /* bytes that a connection that never reads lets in, about */

static struct sockaddr_in
loopback(unsigned host, unsigned port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK + host)};
}

unsigned
port_of(const pool *of, const connection *it)
{
    return of->chosen->ports[it->number % of->chosen->port_count];
}

void
connection_start(pool *of, connection *it, uint32_t number)
{
    const int on = 1, window = SLOW_WINDOW;
    bytes held = it->held, extra = it->extra;
    *it = (connection){.number = number, .slow = it->slow, .held = held, .extra = extra};
    it->held.size = it->extra.size = 0;
    it->since = now();
    it->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (it->fd < 0)
        fail("cannot open a socket: %s", strerror(errno));
    of->open++;
    setsockopt(it->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (it->slow)
        setsockopt(it->fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof window);
    struct sockaddr_in server = loopback(0, port_of(of, it));
    if (of->sources > 1) { /* each address has its own ports to connect from */
        struct sockaddr_in source = loopback(number % of->sources, 0);
        setsockopt(it->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(it->fd, (struct sockaddr *)&source, sizeof source) < 0)
            fail("cannot bind to a source address: %s", strerror(errno));
    }
    it->stage = CONNECTING;
    struct epoll_event watch = {EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, {.ptr = it}};
    if (epoll_ctl(of->epoll, EPOLL_CTL_ADD, it->fd, &watch) < 0)
        fail("cannot watch a socket: %s", strerror(errno));
    if (connect(it->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS)
        connection_end(of, it, strerror(errno));
}

void
connection_end(pool *of, connection *it, const char *wrong)
{
    if (it->fd < 0)
        return;
    if (of->opening && wrong)
        fail("cannot connect to 127.0.0.1:%u: %s", port_of(of, it), wrong);
    tls_end(it);
    close(it->fd);
    it->fd = -1;
    it->stage = CLOSED;
    it->left = it->held.size = 0;
    of->open--;
    if (it->ready)
        of->ready--;
    it->ready = false;
    of->hooks->closed(of, it, wrong);
}

static void
receive(pool *of, connection *it, bool ending)
{
    ssize_t got;
    do {
        got = stream_receive(of, it, of->buffer + HEADROOM, RECEIVE);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (got <= 0) {
            bool clean = got == 0 && it->close_sent && it->close_seen;
            connection_end(of, it,
                           got < 0 ? strerror(errno)
                           : clean ? NULL
                                   : "the server ended a connection");
            return;
        }
        size_t held = it->left ? 0 : it->held.size;
        unsigned char *data = of->buffer + HEADROOM - held;
        if (held) {
            memcpy(data, it->held.data, held);
            it->held.size = 0;
        }
        connection_take(of, it, data, held + (size_t)got);
        if (it->fd < 0)
            return;
        if (it->slow && it->ready)
            break;
    } while (got == RECEIVE || ending || it->tls); /* TLS may have got the end with the data */
    if (of->hooks->drained)
        of->hooks->drained(of, it);
    if (it->extra.size)
        connection_flush(of, it);
}

void
connection_event(pool *of, connection *it, uint32_t events)
{
    if (it->fd < 0)
        return;
    if (it->slow && it->ready) { /* only its end is watched */
        if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            connection_end(of, it, "the server cut a slow reader off");
        return;
    }
    if (it->stage == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(it->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            connection_end(of, it, strerror(error));
            return;
        }
        if (!(events & EPOLLOUT))
            return;
        it->stage = UPGRADING;
        if (of->chosen->tls)
            tls_start(of, it);
        upgrade_request(of, it, &it->extra);
        connection_flush(of, it);
    } else if (it->blocked && (events & EPOLLOUT || it->tls)) { /* TLS may have to read first */
        it->blocked = false;
        connection_flush(of, it);
    }
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        receive(of, it, events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
}

void
connection_send(connection *it, unsigned opcode, const void *data, size_t size)
{
    unsigned char *out = bytes_room(&it->extra, MAX_HEADER + size);
    uint32_t bits = random_bits();
    unsigned char key[4];
    memcpy(key, &bits, 4);
    size_t start = write_header(out, FIN | opcode, MASKED, size);
    memcpy(out + start, key, 4);
    for (size_t i = 0; i < size; i++)
        out[start + 4 + i] = ((const unsigned char *)data)[i] ^ key[i & 3];
    it->extra.size += start + 4 + size;
}

/* Writes. A failed socket reports its error to the next read, which is where connections end. */
static size_t
write_some(connection *it, const unsigned char *data, size_t size)
{
    ssize_t written = stream_send(it, data, size);
    it->blocked = written < (ssize_t)size;
    return written < 0 ? 0 : (size_t)written;
}

static void
flush_payload(pool *of, connection *it)
{
    const payload *ring = &of->payload;
    unsigned count = it->owed < ring->batch ? (unsigned)it->owed : ring->batch;
    size_t from = ring->starts[it->slot] + it->offset;
    size_t size = ring->starts[it->slot + count] - from;
    size_t written = write_some(it, ring->frames.data + from, size);
    unsigned done = count;
    it->offset = 0;
    if (it->blocked) {
        size_t end = from + written;
        done = 0;
        while (ring->starts[it->slot + done + 1] <= end)
            done++;
        it->offset = end - ring->starts[it->slot + done];
    }
    it->owed -= done;
    it->slot = (it->slot + done) & (ring->slots - 1);
}

void
connection_flush(pool *of, connection *it)
{
    while (!it->blocked && it->fd >= 0) {
        if (it->extra.size && !it->offset)
            bytes_drop(&it->extra, write_some(it, it->extra.data, it->extra.size));
        else if (it->owed)
            flush_payload(of, it);
        else
            return;
    }
}
