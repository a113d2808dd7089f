#include "tls.h"

#include <errno.h>
#include <sys/socket.h>

#ifdef WITH_TLS

#include <openssl/err.h>
#include <openssl/ssl.h>

static SSL_CTX *context;
static SSL_SESSION *kept; /* of --resume-tls: the latest */

bool
tls_available(void)
{
    return true;
}

static int
keep(SSL *tls, SSL_SESSION *session)
{
    (void)tls;
    SSL_SESSION_free(kept);
    kept = session;
    return 1;
}

static void
make_context(bool resume)
{
    context = SSL_CTX_new(TLS_client_method());
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION))
        fail("OpenSSL has no TLS 1.3");
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_read_ahead(context, 1);
    if (resume) {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context, keep);
    }
}

void
tls_start(pool *of, connection *it)
{
    if (!context)
        make_context(of->chosen->resume_tls);
    it->tls = SSL_new(context);
    if (!it->tls || !SSL_set_fd(it->tls, it->fd))
        fail("OpenSSL gives no connection");
    if (kept) { /* a copy, as OpenSSL resumes none of which a connection has failed */
        SSL_SESSION *copy = SSL_SESSION_dup(kept);
        SSL_set_session(it->tls, copy);
        SSL_SESSION_free(copy);
    }
    SSL_set_connect_state(it->tls);
}

void
tls_end(connection *it)
{
    if (!it->tls)
        return;
    SSL_shutdown(it->tls); /* so that the session may be resumed */
    SSL_free(it->tls);
    it->tls = NULL;
}

static ssize_t
failed(connection *it, int result)
{
    switch (SSL_get_error(it->tls, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        errno = errno ? errno : EPROTO;
        return -1;
    }
}

static ssize_t
receive_tls(pool *of, connection *it, unsigned char *into, size_t size)
{
    size_t total = 0;
    int result = 1;
    errno = 0;
    ERR_clear_error(); /* or another connection's would be taken for this one's */
    while (total < size && (result = SSL_read(it->tls, into + total, (int)(size - total))) > 0)
        total += (size_t)result;
    if (it->stage == UPGRADING && total)
        of->resumed += (uint64_t)SSL_session_reused(it->tls);
    return total ? (ssize_t)total : failed(it, result);
}

static ssize_t
send_tls(connection *it, const unsigned char *data, size_t size)
{
    size_t total = 0;
    int result = 1;
    errno = 0;
    ERR_clear_error(); /* or another connection's would be taken for this one's */
    while (total < size && (result = SSL_write(it->tls, data + total, (int)(size - total))) > 0)
        total += (size_t)result;
    return total ? (ssize_t)total : failed(it, result);
}

#else

bool
tls_available(void)
{
    return false;
}

void
tls_start(pool *of, connection *it)
{
    (void)of, (void)it;
}

void
tls_end(connection *it)
{
    (void)it;
}

static ssize_t
receive_tls(pool *of, connection *it, unsigned char *into, size_t size)
{
    (void)of, (void)it, (void)into, (void)size;
    return -1;
}

static ssize_t
send_tls(connection *it, const unsigned char *data, size_t size)
{
    (void)it, (void)data, (void)size;
    return -1;
}

#endif

ssize_t
stream_receive(pool *of, connection *it, unsigned char *into, size_t size)
{
    return it->tls ? receive_tls(of, it, into, size) : recv(it->fd, into, size, 0);
}

ssize_t
stream_send(connection *it, const unsigned char *data, size_t size)
{
    return it->tls ? send_tls(it, data, size) : send(it->fd, data, size, MSG_NOSIGNAL);
}
