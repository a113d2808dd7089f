/* Handles the bytes that the ceiling receives: the request, then frames. */

#include "ceiling.h"

#include "../../sono_core/native/mask.h"

#include <stdio.h>

static void
answer(server *of, peer *it, const char *text, size_t size)
{
    bytes_add(&of->replies, text, size);
    peer_write(of, it, &of->replies);
    of->replies.size = 0;
}

/* Answers a request; returns the bytes after it, or NULL if it is incomplete or refused. */
static unsigned char *
upgrade(server *of, peer *it, unsigned char *data, size_t size)
{
    static const char REFUSAL[] =
        "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    char text[256], accept[ACCEPT_SIZE + 1];
    unsigned char after = data[size];
    data[size] = 0;
    const char *end = strstr((char *)data, "\r\n\r\n");
    size_t key_size = 0;
    const char *key = end ? header_field((char *)data, "sec-websocket-key:", &key_size) : NULL;
    data[size] = after;
    if (!end && size <= HEADROOM / 2) {
        bytes_add(&it->held, data, size);
        return NULL;
    }
    if (!key) {
        it->closing = 1;
        answer(of, it, REFUSAL, sizeof REFUSAL - 1);
        return NULL;
    }
    accept_key(accept, key, key_size);
    int length = snprintf(text, sizeof text,
                          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                          "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                          accept);
    it->open = 1;
    answer(of, it, text, (size_t)length);
    return (unsigned char *)end + 4;
}

static void
refuse(server *of, peer *it, unsigned code)
{
    unsigned char payload[2] = {(unsigned char)(code >> 8), (unsigned char)code};
    unsigned char *out = bytes_room(&of->replies, MAX_HEADER);
    of->replies.size += write_header(out, FIN | CLOSE, 0, sizeof payload);
    bytes_add(&of->replies, payload, sizeof payload);
    it->closing = 1;
}

/* The close code that a frame deserves, or 0. */
static unsigned
judge(const server *of, const header *frame)
{
    unsigned opcode = frame->first & OPCODE;
    if (!frame->masked || frame->first & (RSV1 | RSV2_3))
        return 1002;
    if (opcode & CONTROL)
        return opcode > PONG || frame->length > MAX_CONTROL || !(frame->first & FIN) ? 1002 : 0;
    if (opcode > BINARY)
        return 1002;
    if (!of->echo && (!(frame->first & FIN) || !opcode))
        return 1003;
    return frame->length > MAX_MESSAGE ? 1009 : 0;
}

/* Appends the frame that answers, or that all get. */
static void
reply(bytes *out, unsigned first, const unsigned char *payload, const header *frame)
{
    unsigned char *to = bytes_room(out, MAX_HEADER + frame->length);
    size_t size = write_header(to, first, 0, frame->length);
    sono_mask(to + size, payload, frame->length, frame->key);
    out->size += size + frame->length;
}

static void
whole_frame(server *of, peer *it, const header *frame, const unsigned char *payload)
{
    switch (frame->first & OPCODE) {
    case PONG:
        return;
    case PING:
        reply(&of->replies, FIN | PONG, payload, frame);
        return;
    case CLOSE:
        reply(&of->replies, FIN | CLOSE, payload, frame);
        it->closing = 1;
        return;
    default:
        reply(of->echo ? &of->replies : &of->published, frame->first, payload, frame);
    }
}

/* Begins the reply to a frame that has not arrived whole. */
static void
begin_large(peer *it, const header *frame)
{
    it->large = 1;
    it->left = frame->length;
    it->key = frame->key;
    unsigned char *out = bytes_room(&it->held, MAX_HEADER + frame->length);
    it->held.size = write_header(out, frame->first, 0, frame->length);
}

/* Adds to a large reply; returns how much of the data belongs to it. */
static size_t
add_large(server *of, peer *it, const unsigned char *data, size_t size)
{
    size_t taken = size < it->left ? size : it->left;
    sono_mask(it->held.data + it->held.size, data, taken, it->key);
    it->key = sono_mask_turn(it->key, taken);
    it->held.size += taken;
    it->left -= taken;
    if (!it->left && !of->echo) {
        bytes_add(&of->published, it->held.data, it->held.size);
        it->held.size = 0;
        it->large = 0;
    }
    return taken;
}

void
peer_take(server *of, peer *it, unsigned char *data, size_t size)
{
    unsigned char *end = data + size;
    if (!it->open && !(data = upgrade(of, it, data, size)))
        return;
    if (it->large && it->left)
        data += add_large(of, it, data, (size_t)(end - data));
    header frame;
    while (data < end && !it->closing && read_header(&frame, data, (size_t)(end - data))) {
        unsigned code = judge(of, &frame);
        if (code) {
            refuse(of, it, code);
            break;
        }
        if (frame.length > (size_t)(end - data) - frame.size)
            break;
        whole_frame(of, it, &frame, data + frame.size);
        data += frame.size + frame.length;
    }
    peer_write(of, it, &of->replies);
    of->replies.size = 0;
    if (data == end || it->closing || it->fd < 0)
        return;
    if (read_header(&frame, data, (size_t)(end - data)) && frame.size + frame.length > HEADROOM) {
        begin_large(it, &frame);
        add_large(of, it, data + frame.size, (size_t)(end - data) - frame.size);
    } else {
        bytes_add(&it->held, data, (size_t)(end - data));
    }
}
