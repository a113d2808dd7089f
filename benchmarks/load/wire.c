#include "wire.h"

#include <strings.h>

enum { BLOCK = 64, DIGEST = 20 };

static uint32_t
rotate(uint32_t word, int bits)
{
    return word << bits | word >> (32 - bits);
}

static void
sha1_block(uint32_t state[5], const unsigned char *block)
{
    static const uint32_t CONSTANTS[4] = {0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6};
    uint32_t words[80];
    for (int i = 0; i < 16; i++)
        words[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
                   (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 80; i++)
        words[i] = rotate(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 1);
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int i = 0; i < 80; i++) {
        int part = i / 20;
        uint32_t mixed = part == 0   ? (b & c) | (~b & d)
                         : part == 2 ? (b & c) | (b & d) | (c & d)
                                     : b ^ c ^ d;
        uint32_t next = rotate(a, 5) + mixed + e + CONSTANTS[part] + words[i];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

/* SHA-1 (RFC 3174) of at most 119 bytes, which is what two blocks hold. */
static void
sha1(unsigned char out[DIGEST], const char *text, size_t size)
{
    uint32_t state[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    unsigned char blocks[2 * BLOCK] = {0};
    size_t end = size + 9 <= BLOCK ? BLOCK : 2 * BLOCK;
    memcpy(blocks, text, size);
    blocks[size] = 0x80;
    blocks[end - 2] = (unsigned char)(size * 8 >> 8);
    blocks[end - 1] = (unsigned char)(size * 8);
    for (size_t at = 0; at < end; at += BLOCK)
        sha1_block(state, blocks + at);
    for (int i = 0; i < DIGEST; i++)
        out[i] = (unsigned char)(state[i / 4] >> (24 - 8 * (i % 4)));
}

void
base64(char *out, const unsigned char *data, size_t size)
{
    static const char ALPHABET[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        uint32_t group = (uint32_t)data[i] << 16;
        if (i + 1 < size)
            group |= (uint32_t)data[i + 1] << 8;
        if (i + 2 < size)
            group |= data[i + 2];
        *out++ = ALPHABET[group >> 18];
        *out++ = ALPHABET[group >> 12 & 63];
        *out++ = i + 1 < size ? ALPHABET[group >> 6 & 63] : '=';
        *out++ = i + 2 < size ? ALPHABET[group & 63] : '=';
    }
    *out = 0;
}

void
accept_key(char out[ACCEPT_SIZE + 1], const char *key, size_t size)
{
    static const char SUFFIX[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[80];
    unsigned char digest[DIGEST];
    if (size > 40) /* a key has 24 characters */
        size = 40;
    memcpy(text, key, size);
    memcpy(text + size, SUFFIX, sizeof SUFFIX - 1);
    sha1(digest, text, size + sizeof SUFFIX - 1);
    base64(out, digest, DIGEST);
}

const char *
header_field(const char *head, const char *name, size_t *size)
{
    size_t name_size = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (*line == '\r') /* the end of the head */
            break;
        if (strncasecmp(line, name, name_size) != 0)
            continue;
        const char *value = line + name_size;
        value += strspn(value, " \t");
        *size = strcspn(value, "\r");
        while (*size && (value[*size - 1] == ' ' || value[*size - 1] == '\t'))
            --*size;
        return value;
    }
    return NULL;
}
