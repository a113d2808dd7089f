/* Connects, upgrades, greets the server if it has to, closes with 1000, waits for the answer and the
 * end, over and over. */

#include "commands.h"
#include "measure.h"
#include "wire.h"

static const uint64_t PATIENCE = 5000000000; /* ns that one connection may take in all */
static const uint64_t FINISH = 1000000000;   /* ns to finish what has begun when the time is over */
static const uint64_t PAUSE = 50000000;      /* ns between checks for failed or slow connections */

static connection **ended; /* to be started again after this turn */
static size_t ended_count;
static uint32_t started;
static uint64_t next_look;

static void
leave_if_ready(connection *it)
{
    static const unsigned char NORMAL[] = {1000 >> 8, 1000 & 255};
    if (!it->ready || it->close_sent)
        return;
    it->close_sent = true;
    connection_send(it, CLOSE, NORMAL, sizeof NORMAL);
}

static void
opened(pool *of, connection *it)
{
    greet(of, it);
    leave_if_ready(it);
}

static void
heard(pool *of, connection *it, const message *got)
{
    if (answered(of, it, got))
        leave_if_ready(it);
    else if (!of->chosen->skip_until)
        pool_error(of, "a message that nobody asked for");
}

static void
closed(pool *of, connection *it, const char *wrong)
{
    if (wrong) { /* tried again after a pause */
        pool_error(of, wrong);
        return;
    }
    of->opening = false;
    of->messages++;
    histogram_add(of->latency, now() - it->since);
    ended[ended_count++] = it;
}

static void
look(pool *of, uint64_t time)
{
    for (uint64_t i = 0; i < of->count; i++) {
        connection *it = &of->connections[i];
        if (it->stage == CLOSED)
            connection_start(of, it, started++);
        else if (time > it->since + PATIENCE)
            connection_end(of, it, "a connection takes longer than 5 s");
    }
}

static void
turned(pool *of)
{
    while (ended_count)
        connection_start(of, ended[--ended_count], started++);
    uint64_t time = now();
    if (time < next_look)
        return;
    next_look = time + PAUSE;
    look(of, time);
}

void
run_connect(const options *chosen)
{
    static const hooks HOOKS = {opened, heard, NULL, closed};
    static histogram latency;
    pool of;
    pool_start(&of, chosen, &HOOKS, chosen->concurrency);
    of.latency = &latency;
    of.keep_all = chosen->skip_until || chosen->engineio;
    of.opening = true; /* until one has succeeded */
    ended = more_memory(NULL, chosen->concurrency, sizeof *ended);
    turned(&of);
    while (of.opening) {
        pool_turn(&of, next_look);
        turned(&of);
    }
    measure(&of, turned);
    for (uint64_t end = now() + FINISH; of.open && now() < end;)
        pool_turn(&of, end); /* bring what has begun to a clean end */
    pool_end(&of);
}
