/* All connections are cut at once, while the server goes on; their clients come back as clause 8.1
 * of docs/protocol.md says. The first connection stays, and publishes what the others miss. */

#include "commands.h"
#include "measure.h"
#include "session.h"

#include <stdio.h>

static const uint64_t MILLISECOND = 1000000;  /* ns */
static const uint64_t SECOND = 1000000000;    /* ns */
static const uint64_t PATIENCE = 60000000000; /* ns until those that are not back count as lost */
static const uint64_t TURN = 5000000;         /* ns between looks at who is due */
enum { LEAST = 500, MOST = 19500 };           /* ms that a client waits */

static session *sessions;
static uint64_t *due;      /* when each comes back */
static uint64_t *said;     /* when each has said hello */
static unsigned *attempts; /* of each, since the cut */
static bool cut;           /* whether that was */
static uint64_t back, tried;
static histogram whole; /* ns from the beginning of an attempt; `latency` is from hello */

static uint64_t
wait_before(unsigned attempt)
{
    uint64_t range = attempt < 6 ? (uint64_t)LEAST << attempt : MOST;
    return (LEAST + random_bits() % ((range < MOST ? range : MOST) + 1)) * MILLISECOND;
}

static void
returned(pool *of, connection *it)
{
    uint64_t time = now();
    pool_ready(of, it);
    back++;
    histogram_add(of->latency, time - said[it->number]);
    histogram_add(&whole, time - it->since);
}

static void
opened(pool *of, connection *it)
{
    said[it->number] = now();
    if (of->chosen->subprotocol)
        session_hello(&sessions[it->number], it);
    else if (cut && it->number)
        returned(of, it);
    else
        pool_ready(of, it);
}

static void
heard(pool *of, connection *it, const message *got)
{
    const char *wrong = NULL;
    if (!of->chosen->subprotocol)
        return;
    switch (session_take(&sessions[it->number], got, of->chosen->missed, 0, &wrong)) {
    case WELCOME:
        pool_ready(of, it);
        break;
    case WHOLE:
        returned(of, it);
        break;
    case WRONG:
        pool_error(of, wrong);
        break;
    case NOTHING:
        break;
    }
}

static void
closed(pool *of, connection *it, const char *wrong)
{
    (void)of, (void)wrong; /* it tries again */
    due[it->number] = now() + wait_before(++attempts[it->number]);
}

static void
come_back(pool *of)
{
    static uint64_t next;
    uint64_t time = now();
    if (time < next)
        return;
    next = time + TURN;
    for (uint64_t i = 1; i < of->count; i++) {
        connection *it = &of->connections[i];
        if (it->stage == CLOSED && due[i] <= time) {
            tried++;
            connection_start(of, it, (uint32_t)i);
        }
    }
}

static void
print_times(const char *name, const histogram *times)
{
    printf("\"%s\": {\"p50\": %.1f, \"p99\": %.1f, \"longest\": %.1f}", name,
           histogram_at(times, 0.5) / 1e3, histogram_at(times, 0.99) / 1e3,
           histogram_at(times, 1) / 1e3);
}

static void
print_result(const pool *of, uint64_t seconds, double server)
{
    printf("{\"connections\": %llu, \"resumed\": %llu, \"attempts\": %llu, \"errors\": %llu, ",
           (unsigned long long)of->count - 1, (unsigned long long)back, (unsigned long long)tried,
           (unsigned long long)of->errors);
    if (of->first_error)
        printf("\"first_error\": \"%s\", ", of->first_error);
    printf("\"seconds\": %.3f, ", (double)seconds / 1e9);
    if (of->chosen->pid_count)
        printf("\"server_cpu_seconds\": %.6f, ", server);
    print_times("answer_ms", of->latency);
    printf(", ");
    print_times("attempt_ms", &whole);
    puts("}");
    fflush(stdout);
}

void
run_storm(const options *chosen)
{
    static const hooks HOOKS = {opened, heard, NULL, closed};
    static histogram latency;
    pool of;
    uint64_t count = chosen->connections + 1;
    pool_start(&of, chosen, &HOOKS, count);
    of.latency = &latency;
    of.keep_all = true;
    sessions = more_memory(NULL, count, sizeof *sessions);
    memset(sessions, 0, count * sizeof *sessions);
    due = more_memory(NULL, count, sizeof *due);
    said = more_memory(NULL, count, sizeof *said);
    attempts = more_memory(NULL, count, sizeof *attempts);
    memset(attempts, 0, count * sizeof *attempts);
    pool_open(&of);
    for (uint64_t end = now() + SECOND; now() < end;)
        pool_turn(&of, end); /* until the server has come to rest */
    cut = true;
    uint64_t began = now();
    double server = server_seconds(chosen);
    for (uint64_t i = 1; i < count; i++) {
        connection_end(&of, &of.connections[i], NULL);
        attempts[i] = 0;
        due[i] = began + wait_before(0);
    }
    if (chosen->subprotocol) {
        session_publish(&of.connections[0], chosen->missed, chosen->size);
        connection_flush(&of, &of.connections[0]);
    }
    while (back < chosen->connections && now() < began + PATIENCE) {
        come_back(&of);
        pool_turn(&of, now() + TURN);
    }
    print_result(&of, now() - began, server_seconds(chosen) - server);
    pool_end(&of);
}
