/* Messages that the server sends back, each at its own time, whatever became of those before it: a
 * server that stalls is late for all that were due meanwhile.
 */

#include "commands.h"
#include "measure.h"

enum { MOST_DUE = 4096 }; /* messages of a connection that may wait for their answers */

typedef struct {
    uint64_t due[MOST_DUE]; /* when, as a ring; from `received` to `sent` of the connection */
} schedule;

static schedule *schedules;
static uint64_t begun, sent; /* when the first message was due; how many were sent */
static double interval;      /* ns between two */

static void
echoed(pool *of, connection *it, const message *got)
{
    if (answered(of, it, got))
        return;
    const char *wrong = check_message(&of->payload, got, it->received);
    if (wrong || it->received == it->sent) {
        pool_error(of, wrong ? wrong : "a message that nobody asked for");
        return;
    }
    const schedule *times = &schedules[it - of->connections];
    histogram_add(of->latency, now() - times->due[it->received % MOST_DUE]);
    it->received++;
    of->messages++;
    of->bytes += got->size;
}

static void
send_due(pool *of)
{
    uint64_t time = now();
    while (begun + (uint64_t)((double)sent * interval) <= time) {
        uint64_t number = sent % of->count;
        connection *it = &of->connections[number];
        if (it->stage != OPEN)
            return;
        if (it->sent - it->received == MOST_DUE) {
            pool_error(of, "the server cannot keep up with the rate");
            begun = UINT64_MAX / 2;
            return;
        }
        schedules[number].due[it->sent % MOST_DUE] = begun + (uint64_t)((double)sent * interval);
        sent++;
        pool_allow(of, it);
        connection_flush(of, it);
    }
}

void
run_pace(const options *chosen)
{
    static const hooks HOOKS = {greet, echoed, NULL, lost};
    static histogram latency;
    pool of;
    pool_start(&of, chosen, &HOOKS, chosen->connections);
    of.payload = make_payload(chosen);
    of.latency = &latency;
    of.keep_all = chosen->template != NULL;
    schedules = more_memory(NULL, of.count, sizeof *schedules);
    pool_open(&of);
    interval = 1e9 / (double)chosen->rate;
    sent = 0;
    begun = now();
    of.hurried = true;
    measure(&of, send_due);
    pool_end(&of);
}
