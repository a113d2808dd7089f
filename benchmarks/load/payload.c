#include "payload.h"

#include "wire.h"

#include <stdio.h>

enum { MAX_SLOTS = 64, MIN_SLOTS = 4, LEAST_FILLER = 8 };
enum { RING_SIZE = 256 * 1024 };   /* bytes of different frames, about: they stay in the cache */
enum { BATCH_SIZE = 1024 * 1024 }; /* bytes of one write, about */

static const size_t UNKNOWN = SIZE_MAX;
static const char HOLE[] = "{}", NUMBER[] = "{n}"; /* in a template */

/* Filler uses these characters, too: none needs an escape in a JSON string. */
static const char STAMPS[MAX_SLOTS + 1] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static unsigned char
stamp_of(const payload *of, uint64_t number)
{
    return (unsigned char)STAMPS[number & (of->slots - 1)];
}

static void
add_filler(bytes *out, size_t size)
{
    unsigned char *data = bytes_room(out, size);
    for (size_t i = 0; i < size; i++)
        data[i] = (unsigned char)STAMPS[random_bits() & (MAX_SLOTS - 1)];
    out->size += size;
}

static void
add_random(bytes *out, size_t size)
{
    unsigned char *data = bytes_room(out, size);
    for (size_t i = 0; i < size; i++)
        data[i] = (unsigned char)random_bits();
    out->size += size;
}

/* One ASCII character for the stamp, then U+00C0 to U+00FF, then one more if the size is even. */
static void
add_utf8(bytes *out, size_t size)
{
    add_filler(out, size ? 1 : 0);
    for (; out->size + 2 <= size;) {
        unsigned char character[2] = {0xC3, (unsigned char)(0x80 | (random_bits() & 0x3F))};
        bytes_add(out, character, 2);
    }
    add_filler(out, size - out->size);
}

/* Compresses `text` if asked for, and appends it as a masked frame. */
static void
add_frame(payload *of, const bytes *text)
{
    bytes packed = {0};
    if (of->deflate && !compress_message(&packed, text->data, text->size))
        fail("zlib cannot compress the message");
    const bytes *body = of->deflate ? &packed : text;
    unsigned char *out = bytes_room(&of->frames, MAX_HEADER + body->size);
    size_t size = write_header(out, of->first, MASKED, body->size);
    uint32_t bits = random_bits();
    unsigned char key[4];
    memcpy(key, &bits, 4);
    memcpy(out + size, key, 4);
    out += size + 4;
    for (size_t i = 0; i < body->size; i++)
        out[i] = body->data[i] ^ key[i & 3];
    of->frames.size += size + 4 + body->size;
    bytes_free(&packed);
}

/* `text` is what is sent; the part that must come back begins at `at` in it. */
static void
make_frames(payload *of, bytes *text, size_t at, uint64_t in_flight)
{
    size_t frame = text->size + MAX_HEADER;
    of->slots = MAX_SLOTS;
    while (of->slots > MIN_SLOTS && of->slots * frame > RING_SIZE)
        of->slots /= 2;
    uint64_t batch = BATCH_SIZE / frame;
    batch = batch < in_flight ? batch : in_flight;
    of->batch = batch ? (unsigned)batch : 1;
    of->starts = more_memory(NULL, of->slots + of->batch + 1, sizeof *of->starts);
    for (unsigned i = 0; i < of->slots + of->batch; i++) {
        if (of->stamp < of->part.size)
            text->data[at + of->stamp] = stamp_of(of, i);
        of->starts[i] = of->frames.size;
        add_frame(of, text);
    }
    of->starts[of->slots + of->batch] = of->frames.size;
}

static void
use_template(payload *of, const options *chosen)
{
    const char *hole = strstr(chosen->template, HOLE), *number = strstr(chosen->template, NUMBER);
    size_t around = strlen(chosen->template);
    if (!hole)
        fail("--template must hold {}");
    around -= strlen(HOLE) + (number ? strlen(NUMBER) : 0);
    if (chosen->size < around + LEAST_FILLER)
        fail("--size must be at least %zu: --template has %zu bytes, the filler at least %d",
             around + LEAST_FILLER, around, (int)LEAST_FILLER);
    add_filler(&of->part, chosen->size - around);
    of->at = UNKNOWN;
    of->slots = MAX_SLOTS;
    if (number) {
        of->numbered = chosen->template;
        return;
    }
    bytes text = {0};
    size_t before = (size_t)(hole - chosen->template);
    bytes_add(&text, chosen->template, before);
    bytes_add(&text, of->part.data, of->part.size);
    bytes_add(&text, hole + 2, around - before);
    make_frames(of, &text, before, chosen->in_flight);
    bytes_free(&text);
}

void
add_numbered(bytes *out, payload *of, uint64_t number)
{
    for (const char *rest = of->numbered; *rest;) {
        if (strncmp(rest, NUMBER, strlen(NUMBER)) == 0) {
            char digits[24];
            int size = snprintf(digits, sizeof digits, "%llu", (unsigned long long)number + 1);
            bytes_add(out, digits, (size_t)size);
            rest += strlen(NUMBER);
        } else if (strncmp(rest, HOLE, strlen(HOLE)) == 0) {
            of->part.data[of->stamp] = stamp_of(of, number);
            bytes_add(out, of->part.data, of->part.size);
            rest += strlen(HOLE);
        } else {
            bytes_add(out, rest++, 1);
        }
    }
}

payload
make_payload(const options *chosen)
{
    payload made = {.deflate = chosen->deflate, .total = chosen->size};
    if (chosen->deflate && !deflate_available())
        fail("--deflate needs zlib, which was missing when this program was built");
    made.first = (unsigned char)(FIN | (chosen->binary ? BINARY : TEXT) |
                                 (chosen->deflate ? RSV1 : 0));
    if (chosen->template) {
        use_template(&made, chosen);
        return made;
    }
    if (chosen->json) {
        bytes_add(&made.part, "[\"A\",", chosen->size < 5 ? chosen->size : 5);
        made.stamp = chosen->size > 2 ? 2 : 0;
        add_json(&made.part, chosen->size - made.part.size);
    } else {
        (chosen->binary ? add_random
         : chosen->utf8 ? add_utf8
                        : add_filler)(&made.part, chosen->size);
    }
    bytes text = {0};
    bytes_add(&text, made.part.data, made.part.size);
    make_frames(&made, &text, 0, chosen->in_flight);
    bytes_free(&text);
    return made;
}

/* Learns how a template's filler comes back: from the first message, as all others are alike, unless
 * they have numbers. */
static bool
find_part(payload *expected, const message *got)
{
    const bytes *part = &expected->part;
    const unsigned char *found = memmem(got->payload, got->size, part->data + 1, part->size - 1);
    if (!found || found == got->payload)
        return false;
    expected->at = (size_t)(found - got->payload) - 1;
    expected->total = got->size;
    return true;
}

static bool
same(const payload *expected, const unsigned char *data)
{
    const bytes *part = &expected->part;
    size_t after = expected->stamp + 1;
    if (after > part->size)
        return true;
    return memcmp(data, part->data, expected->stamp) == 0 &&
           memcmp(data + after, part->data + after, part->size - after) == 0;
}

static const char *
check_plain(payload *expected, const message *got, uint64_t number)
{
    bool known = expected->at != UNKNOWN && !expected->numbered;
    if (!known && !find_part(expected, got))
        return "a message without the filler of the template";
    if (got->size != expected->total)
        return "a message of wrong length";
    const bytes *part = &expected->part;
    if (!part->size)
        return NULL;
    size_t stamp = expected->at + expected->stamp, last = expected->at + part->size - 1;
    unsigned char wanted = stamp_of(expected, number);
    if (got->payload || stamp == 0)
        if ((stamp == 0 ? got->head : got->payload[stamp]) != wanted)
            return "a message that is lost, doubled, out of order or wrong";
    if (last != stamp) {
        unsigned char end = last + 1 == got->size ? got->tail : got->payload[last];
        if (end != part->data[part->size - 1])
            return "a message that ends wrongly";
    }
    if (got->sampled && !same(expected, got->payload + expected->at))
        return "a message with wrong content";
    return NULL;
}

static const char *
check_compressed(payload *expected, const message *got, uint64_t number)
{
    if (!got->sampled)
        return got->size ? NULL : "a compressed message without a byte";
    bytes text = {0};
    const char *wrong = "a message that does not inflate";
    if (inflate_message(&text, got->payload, got->size)) {
        message plain = {.sampled = true, .size = text.size, .payload = text.data};
        if (text.size) {
            plain.head = text.data[0];
            plain.tail = text.data[text.size - 1];
        }
        wrong = check_plain(expected, &plain, number);
    }
    bytes_free(&text);
    return wrong;
}

const char *
check_message(payload *expected, const message *got, uint64_t number)
{
    unsigned char plain = expected->first & (unsigned char)~RSV1;
    if (got->first == plain)
        return check_plain(expected, got, number);
    if (expected->deflate && got->first == (plain | RSV1))
        return check_compressed(expected, got, number);
    return "a frame with a wrong opcode, without FIN or with reserved bits";
}

bool
message_begins(const message *got, const char *prefix)
{
    size_t size = strlen(prefix);
    return got->first == (FIN | TEXT) && got->size >= size &&
           memcmp(got->payload, prefix, size) == 0;
}
