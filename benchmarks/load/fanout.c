/* One connection publishes to all, and keeps some messages in flight. */

#include "commands.h"
#include "measure.h"
#include "wire.h"

enum { TIMED_EVERY = 8 };                  /* one of so many publications is timed */
enum { TIMES = 4096 };                     /* timed publications that may be on their way */
static const uint64_t QUIET = 50000000;    /* ns without a message before the first publication */
static const uint64_t NOISE = 10000000000; /* ns until the publisher begins regardless */

static struct {
    uint64_t number, time;
} times[TIMES];

static bool publishing; /* earlier messages are the server's greetings */
static uint64_t last_heard;

/* A connection whose copies show that a message has arrived. */
static connection *
teller(pool *of, uint64_t place)
{
    return &of->connections[place + of->chosen->publisher_apart];
}

static bool
tells(pool *of, const connection *it)
{
    return it >= teller(of, 0) && it <= teller(of, of->chosen->tellers - 1);
}

/* Whether a message that this teller has just got has arrived: whether all of them have it. */
static bool
arrived(pool *of, const connection *it)
{
    for (uint64_t i = 0; i < of->chosen->tellers; i++)
        if (teller(of, i)->received < it->received)
            return false;
    return true;
}

static uint64_t
timed_every(const pool *of)
{
    return of->chosen->tellers > 1 ? 1 : TIMED_EVERY;
}

static void
allow_one(pool *of)
{
    uint64_t number = of->published++, every = timed_every(of);
    pool_allow(of, &of->connections[0]);
    if (number % every == 0) {
        times[number / every % TIMES].number = number;
        times[number / every % TIMES].time = now();
    }
}

static void
note_latency(pool *of, const connection *it)
{
    uint64_t number = it->received, every = timed_every(of), place = number / every % TIMES;
    if (of->chosen->tellers > 1 && it != teller(of, of->chosen->tellers - 1))
        return;
    if (number % every == 0 && times[place].number == number)
        histogram_add(of->latency, now() - times[place].time);
}

static void
delivered(pool *of, connection *it, const message *got)
{
    bool other = passed_over(of, it, got);
    if (!publishing)
        last_heard = now();
    if (other || !publishing)
        return;
    const char *wrong = check_message(&of->payload, got, it->received);
    note_latency(of, it);
    it->received++;
    if (tells(of, it) && arrived(of, it))
        allow_one(of);
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
    if (tells(of, it))
        connection_flush(of, &of->connections[0]);
}

static void
closed(pool *of, connection *it, const char *wrong)
{
    if (it->slow)
        of->slow_closed++;
    else
        pool_error(of, wrong);
}

static void
wait_for_quiet(pool *of)
{
    uint64_t begin = now();
    last_heard = begin;
    for (uint64_t time = begin; time < last_heard + QUIET && time < begin + NOISE; time = now())
        pool_turn(of, last_heard + QUIET);
}

void
run_fanout(const options *chosen)
{
    static const hooks HOOKS = {greet, delivered, drained, closed};
    static histogram latency;
    pool of;
    pool_start(&of, chosen, &HOOKS, chosen->connections + chosen->slow);
    of.payload = make_payload(chosen);
    of.latency = &latency;
    of.keep_all = chosen->template || chosen->expect_prefix || chosen->skip_until ||
                  chosen->engineio;
    for (uint64_t i = chosen->connections; i < of.count; i++)
        of.connections[i].slow = true;
    pool_open(&of);
    wait_for_quiet(&of);
    publishing = true;
    for (uint64_t i = 0; i < chosen->in_flight; i++)
        allow_one(&of);
    connection_flush(&of, &of.connections[0]);
    measure(&of, NULL);
    pool_end(&of);
}
