#include "session.h"

#include "wire.h"

#include <stdio.h>
#include <stdlib.h>

static const char OPENING[] = "{\"type\":\"hello\"";

/* What stands behind a text in a message, as far as `end`; NULL if it is not there. */
static const char *
behind(const char *from, const char *end, const char *text)
{
    size_t size = strlen(text);
    const char *found = memmem(from, (size_t)(end - from), text, size);
    return found ? found + size : NULL;
}

void
session_hello(session *of, connection *it)
{
    bytes text = {0};
    bytes_add(&text, OPENING, strlen(OPENING));
    if (*of->key) {
        bytes_add(&text, ",\"key\":\"", 8);
        bytes_add(&text, of->key, strlen(of->key));
        bytes_add(&text, "\",\"streams\":{", 13);
        bytes_add(&text, of->streams.data, of->streams.size);
        bytes_add(&text, "}", 1);
    }
    bytes_add(&text, "}", 1);
    connection_send(it, TEXT, text.data, text.size);
    bytes_free(&text);
}

/* Appends the stream that begins at `name` and its position, `"NAME",…"at":["EPOCH",OFFSET]`, as
 * hello presents it; returns what stands behind, or NULL. */
static const char *
add_stream(bytes *out, const char *name, const char *end, uint64_t less)
{
    const char *at = behind(name, end, "\"at\":[");
    const char *comma = at ? behind(at, end, "\",") : NULL, *quote = behind(name + 1, end, "\"");
    if (!comma || !quote)
        return NULL;
    char *after;
    uint64_t offset = strtoull(comma, &after, 10);
    if (name[1] == '#')
        offset -= less < offset ? less : offset;
    char digits[32];
    int size = snprintf(digits, sizeof digits, "%llu]", (unsigned long long)offset);
    if (out->size)
        bytes_add(out, ",", 1);
    bytes_add(out, name, (size_t)(quote - name));
    bytes_add(out, ":[", 2);
    bytes_add(out, at, (size_t)(comma - at));
    bytes_add(out, digits, (size_t)size);
    return after;
}

static progress
welcomed(session *of, const char *text, const char *end, uint64_t missed, uint64_t less,
         const char **wrong)
{
    bool resumes = *of->key;
    const char *key = behind(text, end, "\"key\":\"");
    const char *quote = key ? behind(key, end, "\"") : NULL;
    const char *rest = behind(text, end, "\"streams\":[");
    if (!quote || !rest || (size_t)(quote - key) > sizeof of->key) {
        *wrong = "a welcome without a key or streams";
        return WRONG;
    }
    memcpy(of->key, key, (size_t)(quote - key) - 1);
    of->key[quote - key - 1] = 0;
    if (resumes) {
        *wrong = "a session that was not resumed as a whole";
        if (!behind(text, end, "\"resumed\":true") || behind(text, end, "\"recovered\":false"))
            return WRONG;
        of->missing = missed;
        of->offset = 0;
        return missed ? NOTHING : WHOLE;
    }
    while (rest && (rest = behind(rest, end, "{\"stream\":")))
        rest = add_stream(&of->streams, rest, end, less);
    return WELCOME;
}

static progress
heard(session *of, const char *text, const char *end, const char **wrong)
{
    const char *at = behind(text, end, "\"at\":["), *comma = at ? behind(at, end, "\",") : NULL;
    uint64_t offset = comma ? strtoull(comma, NULL, 10) : 0;
    if (!offset || (of->offset && offset != of->offset + 1)) {
        *wrong = "an entry without its place";
        return WRONG;
    }
    of->offset = offset;
    return --of->missing ? NOTHING : WHOLE;
}

bool
is_event(const message *got)
{
    return message_begins(got, "{\"type\":\"event\"");
}

progress
session_take(session *of, const message *got, uint64_t missed, uint64_t less, const char **wrong)
{
    const char *text = (const char *)got->payload, *end = text + got->size;
    if (message_begins(got, "{\"type\":\"welcome\""))
        return welcomed(of, text, end, missed, less, wrong);
    if (of->missing && is_event(got))
        return heard(of, text, end, wrong);
    if (message_begins(got, "{\"type\":\"error\"")) {
        *wrong = "the server refused a packet";
        return WRONG;
    }
    return NOTHING;
}

void
session_publish(connection *it, uint64_t count, uint64_t size)
{
    for (uint64_t i = 1; i <= count; i++) {
        bytes text = {0};
        char *room = (char *)bytes_room(&text, 128 + size);
        int head = sprintf(room,
                           "{\"type\":\"publish\",\"seq\":%llu,\"channel\":\"Home\","
                           "\"event\":\"message\",\"data\":\"",
                           (unsigned long long)i);
        memset(room + head, 'x', size);
        memcpy(room + head + size, "\"}", 2);
        connection_send(it, TEXT, room, (size_t)head + size + 2);
        bytes_free(&text);
    }
}
