/* Handles the bytes that a connection receives: the response, then frames. */

#include "connection.h"

#include "wire.h"

static void
control(pool *of, connection *it, const message *got)
{
    unsigned opcode = got->first & OPCODE;
    if (opcode == PING) {
        connection_send(it, PONG, got->payload, got->size);
    } else if (opcode == CLOSE) {
        it->close_seen = true;
        if (!it->close_sent)
            connection_end(of, it, "the server closed a connection");
        else if (got->size < 2 || got->payload[0] != 1000 >> 8 || got->payload[1] != (1000 & 255))
            connection_end(of, it, "the server answered a close with another code");
    } else if (opcode != PONG) {
        connection_end(of, it, "an unknown control frame");
    }
}

static void
deliver(pool *of, connection *it, const message *got)
{
    if (got->first & CONTROL)
        control(of, it, got);
    else if (!it->close_sent) /* or else it was on its way */
        of->hooks->message(of, it, got);
}

static const unsigned char *
take_response(pool *of, connection *it, const unsigned char *data, size_t size)
{
    unsigned char after = data[size]; /* the buffer has one byte more than was received */
    ((unsigned char *)data)[size] = 0;
    size_t head = 0;
    const char *wrong = upgrade_check(of, it, (const char *)data, &head);
    ((unsigned char *)data)[size] = after;
    if (!wrong && !head && size > HEADROOM / 2)
        wrong = "a response of endless length";
    if (wrong) {
        connection_end(of, it, wrong);
        return NULL;
    }
    if (!head) {
        bytes_add(&it->held, data, size);
        return NULL;
    }
    it->stage = OPEN;
    of->hooks->opened(of, it);
    return data + head;
}

static const unsigned char *
take_piece(pool *of, connection *it, const unsigned char *data, size_t size)
{
    size_t taken = size < it->left ? size : (size_t)it->left;
    message *got = &it->large;
    if (it->left == got->size)
        got->head = data[0];
    if (got->payload) /* the command needs it whole */
        bytes_add(&it->held, data, taken);
    it->left -= taken;
    if (!it->left) {
        got->tail = data[taken - 1];
        bytes whole = it->held;
        it->held = (bytes){0};
        if (got->payload)
            got->payload = whole.data;
        deliver(of, it, got);
        bytes_free(&whole);
    }
    return data + taken;
}

/* Whether a server may send this frame to these clients. */
static const char *
judge(const header *frame)
{
    if (frame->masked)
        return "a masked frame";
    if (frame->first & CONTROL && (frame->length > MAX_CONTROL || !(frame->first & FIN)))
        return "a control frame that is too long or fragmented";
    return NULL;
}

void
connection_take(pool *of, connection *it, const unsigned char *data, size_t size)
{
    const unsigned char *end = data + size;
    if (it->stage == UPGRADING && !(data = take_response(of, it, data, size)))
        return;
    while (data < end && it->fd >= 0) {
        if (it->left) {
            data = take_piece(of, it, data, (size_t)(end - data));
            continue;
        }
        header frame;
        size_t there = (size_t)(end - data);
        if (!read_header(&frame, data, there)) {
            bytes_add(&it->held, data, there);
            return;
        }
        const char *wrong = judge(&frame);
        if (wrong) {
            connection_end(of, it, wrong);
            return;
        }
        message got = {.first = frame.first, .size = frame.length};
        got.sampled = it->received % SAMPLE == 0;
        if (frame.length <= there - frame.size) {
            got.payload = data + frame.size;
            data += frame.size + frame.length;
            if (got.size) {
                got.head = got.payload[0];
                got.tail = data[-1];
            }
            deliver(of, it, &got);
        } else if (frame.length <= (uint64_t)HEADROOM - frame.size) {
            bytes_add(&it->held, data, there);
            return;
        } else {
            data += frame.size;
            it->left = frame.length;
            it->large = got;
            it->large.payload = got.sampled || of->keep_all ? data : NULL;
        }
    }
}
