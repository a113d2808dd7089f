/* Holds connections open, and answers pings, until stdin ends. */

#include "commands.h"
#include "connection.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

static const uint64_t LONGEST_TURN = 1000000000; /* ns */

static void
heard(pool *of, connection *it, const message *got)
{
    answered(of, it, got);
}

static bool
input_goes_on(void)
{
    char unused[256];
    ssize_t got = read(STDIN_FILENO, unused, sizeof unused);
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

void
run_idle(const options *chosen)
{
    static const hooks HOOKS = {greet, heard, NULL, lost};
    pool of;
    pool_start(&of, chosen, &HOOKS, chosen->connections);
    of.keep_all = chosen->skip_until || chosen->engineio;
    pool_open(&of);
    printf("{\"open\": %llu}\n", (unsigned long long)of.ready);
    fflush(stdout);
    struct epoll_event watch = {EPOLLIN, {.ptr = NULL}};
    bool waiting = epoll_ctl(of.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &watch) == 0;
    while (waiting) { /* skipped if stdin is a file, which epoll cannot watch */
        of.input = false;
        pool_turn(&of, now() + LONGEST_TURN);
        waiting = !of.input || input_goes_on();
    }
    printf("{\"open\": %llu, \"errors\": %llu}\n", (unsigned long long)of.ready,
           (unsigned long long)of.errors);
    fflush(stdout);
    pool_end(&of);
}
