/* The opening handshake (RFC 6455, section 4.1). */

#include "connection.h"

#include "wire.h"

#include <stdio.h>

static const char EXTENSION[] =
    "permessage-deflate; client_no_context_takeover; server_no_context_takeover";

void
upgrade_request(const pool *of, connection *it, bytes *out)
{
    uint32_t random[4] = {random_bits(), random_bits(), random_bits(), random_bits()};
    base64(it->key, (const unsigned char *)random, sizeof random);
    const options *chosen = of->chosen;
    char *text = (char *)bytes_room(out, strlen(chosen->path) + 512);
    int size = sprintf(text,
                       "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: websocket\r\n"
                       "Connection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
                       "Sec-WebSocket-Version: 13\r\n%s%s%s%s%s%s\r\n",
                       chosen->path, port_of(of, it), it->key,
                       chosen->subprotocol ? "Sec-WebSocket-Protocol: " : "",
                       chosen->subprotocol ? chosen->subprotocol : "",
                       chosen->subprotocol ? "\r\n" : "",
                       chosen->deflate ? "Sec-WebSocket-Extensions: " : "",
                       chosen->deflate ? EXTENSION : "", chosen->deflate ? "\r\n" : "");
    out->size += (size_t)size;
}

static bool
contains(const char *text, size_t size, const char *part)
{
    return memmem(text, size, part, strlen(part)) != NULL;
}

static const char *
check_extension(bool wanted, const char *head)
{
    size_t size = 0;
    const char *agreed = header_field(head, "sec-websocket-extensions:", &size);
    if (!wanted)
        return agreed ? "the server uses an extension that was not offered" : NULL;
    if (!agreed || !contains(agreed, size, "permessage-deflate"))
        return "the server does not agree to permessage-deflate";
    if (!contains(agreed, size, "server_no_context_takeover"))
        return "the server does not agree to server_no_context_takeover";
    return NULL;
}

static const char *
check_subprotocol(const char *wanted, const char *head)
{
    size_t size = 0;
    const char *agreed = header_field(head, "sec-websocket-protocol:", &size);
    if (!wanted)
        return agreed ? "the server uses a subprotocol that was not offered" : NULL;
    if (!agreed || size != strlen(wanted) || memcmp(agreed, wanted, size) != 0)
        return "the server does not agree to the subprotocol";
    return NULL;
}

const char *
upgrade_check(const pool *of, const connection *it, const char *head, size_t *size)
{
    static char refused[64];
    const char *end = strstr(head, "\r\n\r\n");
    if (!end)
        return NULL;
    *size = (size_t)(end - head) + 4;
    if (strncmp(head, "HTTP/1.1 101", 12) != 0) {
        snprintf(refused, sizeof refused, "the upgrade is refused: %.*s",
                 (int)strcspn(head, "\r\n\"\\"), head);
        return refused;
    }
    char wanted[ACCEPT_SIZE + 1];
    accept_key(wanted, it->key, strlen(it->key));
    size_t length;
    const char *given = header_field(head, "sec-websocket-accept:", &length);
    if (!given || length != ACCEPT_SIZE || memcmp(given, wanted, length) != 0)
        return "the response has no right Sec-WebSocket-Accept";
    const char *wrong = check_subprotocol(of->chosen->subprotocol, head);
    return wrong ? wrong : check_extension(of->chosen->deflate, head);
}
