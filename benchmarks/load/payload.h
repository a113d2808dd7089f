/* Makes the messages to send, and checks those that come back.
 *
 * The n-th message of a sender carries the stamp n modulo `slots`, one character, which reveals
 * lost, doubled and reordered messages. Frames are made in advance, each with its own masking key,
 * and lie in a row: as many as may be sent go out in one write. */

#ifndef LOAD_PAYLOAD_H
#define LOAD_PAYLOAD_H

#include "bytes.h"
#include "options.h"

/* One of so many messages is compared in full. Odd, so that every stamp gets its turn. */
enum { SAMPLE = 63 };

typedef struct {
    unsigned char first;      /* FIN, RSV1 to RSV3, opcode */
    unsigned char head, tail; /* first and last byte, if there is one */
    bool sampled;             /* to be compared in full */
    uint64_t size;
    const unsigned char *payload; /* NULL if it came in pieces and is no sample */
} message;

typedef struct {
    unsigned char first; /* of each frame that is sent */
    bool deflate;
    const char *numbered; /* the template, if it gives messages numbers; then there are no frames */
    bytes part;           /* what must come back: the payload, or the filler of a template */
    size_t stamp;         /* where the stamp stands in it; its size if there is none */
    size_t at;            /* where it stands in a message that comes back; UNKNOWN at first */
    size_t total;         /* bytes of a message that comes back */
    unsigned slots;       /* different frames, a power of two */
    unsigned batch;       /* frames in one write, at most */
    bytes frames;         /* slots + batch of them: any batch lies in one piece */
    size_t *starts;       /* where each begins, and where the last ends */
} payload;

payload make_payload(const options *chosen);

/* Appends a sender's message of that number; `numbered` holds. */
void add_numbered(bytes *out, payload *of, uint64_t number);

/* The error in a sender's message of that number; NULL if there is none. */
const char *check_message(payload *expected, const message *got, uint64_t number);

/* Whether a whole, uncompressed message begins with that text. */
bool message_begins(const message *got, const char *prefix);

/* Appends `size` bytes of text that looks like JSON. */
void add_json(bytes *out, size_t size);

/* Raw deflate of one message by itself (RFC 7692, section 7.2.1), and back. False if the data is
 * broken or zlib is missing. */
bool deflate_available(void);
bool compress_message(bytes *out, const unsigned char *data, size_t size);
bool inflate_message(bytes *out, const unsigned char *data, size_t size);

#endif
