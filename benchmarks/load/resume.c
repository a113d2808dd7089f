/* Connections that are cut and come back at once, over and over, with their sessions.
 *
 * The first connection stays, and has published beforehand what the others miss. */

#include "commands.h"
#include "measure.h"
#include "session.h"

static const uint64_t PATIENCE = 5000000000; /* ns that one return may take */
static const uint64_t PAUSE = 50000000;      /* ns between checks for failed or slow ones */

static session *sessions;
static connection **ended; /* to be started again after this turn */
static size_t ended_count;
static uint64_t published; /* messages that the first has published and heard */
static uint64_t next_look;

static void
returned(pool *of, connection *it, bool first)
{
    pool_ready(of, it);
    if (!first) {
        of->messages++;
        histogram_add(of->latency, now() - it->since);
    }
    connection_end(of, it, NULL);
}

static void
opened(pool *of, connection *it)
{
    if (of->chosen->subprotocol)
        session_hello(&sessions[it->number], it);
    else if (it->number)
        returned(of, it, of->opening);
    else
        pool_ready(of, it);
}

static void
heard(pool *of, connection *it, const message *got)
{
    const options *chosen = of->chosen;
    const char *wrong = NULL;
    if (!chosen->subprotocol)
        return;
    if (!it->number && is_event(got)) {
        published++;
        return;
    }
    switch (session_take(&sessions[it->number], got, chosen->missed, chosen->missed, &wrong)) {
    case WELCOME:
        if (it->number) {
            returned(of, it, true);
        } else {
            session_publish(it, chosen->missed, chosen->size);
            pool_ready(of, it);
        }
        break;
    case WHOLE:
        returned(of, it, false);
        break;
    case WRONG:
        pool_error(of, wrong);
        connection_end(of, it, wrong);
        break;
    case NOTHING:
        break;
    }
}

static void
closed(pool *of, connection *it, const char *wrong)
{
    if (wrong) /* tried again after a pause */
        pool_error(of, wrong);
    else
        ended[ended_count++] = it;
}

static void
turned(pool *of)
{
    while (ended_count) {
        connection *it = ended[--ended_count];
        connection_start(of, it, it->number);
    }
    uint64_t time = now();
    if (time < next_look)
        return;
    next_look = time + PAUSE;
    for (uint64_t i = 1; i < of->count; i++) {
        connection *it = &of->connections[i];
        if (it->stage == CLOSED)
            connection_start(of, it, it->number);
        else if (time > it->since + PATIENCE)
            connection_end(of, it, "a return takes longer than 5 s");
    }
}

/* Goes on until so many connections have been opened for the first time, and all is published. */
static void
wait_for(pool *of, size_t wanted, uint64_t messages)
{
    uint64_t until = now() + PATIENCE;
    while (ended_count < wanted || !of->connections[0].ready || published < messages) {
        if (now() >= until)
            fail("the server at 127.0.0.1:%s opens no sessions", of->chosen->port);
        pool_turn(of, until);
    }
}

void
run_resume(const options *chosen)
{
    static const hooks HOOKS = {opened, heard, NULL, closed};
    static histogram latency;
    pool of;
    uint64_t count = chosen->concurrency + 1;
    pool_start(&of, chosen, &HOOKS, count);
    of.latency = &latency;
    of.keep_all = true;
    sessions = more_memory(NULL, count, sizeof *sessions);
    memset(sessions, 0, count * sizeof *sessions);
    ended = more_memory(NULL, count, sizeof *ended);
    of.opening = true;
    connection_start(&of, &of.connections[0], 0);
    uint64_t missed = chosen->subprotocol ? chosen->missed : 0;
    wait_for(&of, 0, missed);
    for (uint64_t i = 1; i < count; i++)
        connection_start(&of, &of.connections[i], (uint32_t)i);
    wait_for(&of, chosen->concurrency, missed);
    of.opening = false;
    measure(&of, turned);
    pool_end(&of);
}
