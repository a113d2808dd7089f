/* Makes text that looks like JSON; it is the same in every run, to compress alike. */

#include "payload.h"

#include <stdio.h>
#include <string.h>

static const char *const NAMES[] = {"Ada", "Grace", "Edsger", "Barbara", "Alan", "Margaret"};
static const char *const WORDS[] = {"ready",   "news",  "channel", "status", "update",
                                    "message", "hello", "typing",  "joined", "left"};

enum { NAME_COUNT = sizeof NAMES / sizeof *NAMES, WORD_COUNT = sizeof WORDS / sizeof *WORDS };

void
add_json(bytes *out, size_t size)
{
    uint32_t state = 2463534242u;
    while (size) {
        char record[160];
        uint32_t picks[4];
        for (int i = 0; i < 4; i++) {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            picks[i] = state;
        }
        int length = snprintf(record, sizeof record,
                              "{\"id\":%u,\"user\":\"%s\",\"text\":\"%s %s\",\"seen\":%s},",
                              (unsigned)(picks[0] % 100000), NAMES[picks[1] % NAME_COUNT],
                              WORDS[picks[2] % WORD_COUNT], WORDS[picks[3] % WORD_COUNT],
                              picks[0] & 0x100000 ? "true" : "false");
        size_t taken = (size_t)length < size ? (size_t)length : size;
        bytes_add(out, record, taken);
        size -= taken;
    }
}
