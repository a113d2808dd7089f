/* The stream of a connection: its socket, or TLS on it. Built with WITH_TLS where OpenSSL is at
 * hand. The certificate is not verified: the server is on loopback, and its own program began it. */

#ifndef LOAD_TLS_H
#define LOAD_TLS_H

#include "connection.h"

#include <sys/types.h>

bool tls_available(void);

/* Begins TLS on a connection whose socket is connected; the first write shakes hands. */
void tls_start(pool *of, connection *it);
void tls_end(connection *it);

/* As recv() and send() of a socket that does not block. */
ssize_t stream_receive(pool *of, connection *it, unsigned char *into, size_t size);
ssize_t stream_send(connection *it, const unsigned char *data, size_t size);

#endif
