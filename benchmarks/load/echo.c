/* Messages that the server sends back: each connection keeps some in flight. */

#include "commands.h"
#include "measure.h"

enum { TIMED_EVERY = 16 }; /* one of so many messages of a connection is timed */

static void
echoed(pool *of, connection *it, const message *got)
{
    if (passed_over(of, it, got))
        return;
    const char *wrong = check_message(&of->payload, got, it->received);
    if (it->timing && it->timed == it->received) {
        it->timing = false;
        histogram_add(of->latency, now() - it->since);
    }
    it->received++;
    pool_allow(of, it);
    if (wrong) {
        pool_error(of, wrong);
        return;
    }
    of->messages++;
    of->bytes += got->size;
}

static void
drained(pool *of, connection *it)
{
    if (!it->owed && !it->extra.size)
        return;
    if (!it->timing && it->sent >= it->timed + TIMED_EVERY) {
        it->timing = true;
        it->timed = it->sent - 1;
        it->since = now();
    }
    connection_flush(of, it);
}

void
run_echo(const options *chosen)
{
    static const hooks HOOKS = {greet, echoed, drained, lost};
    static histogram latency;
    pool of;
    pool_start(&of, chosen, &HOOKS, chosen->connections);
    of.payload = make_payload(chosen);
    of.latency = &latency;
    of.keep_all = chosen->template != NULL;
    pool_open(&of);
    for (uint64_t i = 0; i < of.count; i++) {
        for (uint64_t n = 0; n < chosen->in_flight; n++)
            pool_allow(&of, &of.connections[i]);
        connection_flush(&of, &of.connections[i]);
    }
    measure(&of, NULL);
    pool_end(&of);
}
