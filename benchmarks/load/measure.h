/* Measures what happens in a given time and what it costs, and prints a line of JSON. */

#ifndef LOAD_MEASURE_H
#define LOAD_MEASURE_H

#include "connection.h"

/* Counts latencies by their size, in steps of at most 1/32 of it. */
enum { STEPS = 32, STEP_BITS = 5, BUCKETS = 64 * STEPS };

typedef struct histogram {
    uint64_t counts[BUCKETS];
    uint64_t total;
} histogram;

void histogram_add(histogram *of, uint64_t nanoseconds);

/* Microseconds that this share of the latencies does not exceed; 0 if there are none. */
double histogram_at(const histogram *of, double share);

/* User and system time of the servers' processes, with all threads, live and ended; finer than the
 * ticks in /proc. */
double server_seconds(const options *chosen);

/* Runs the loop through warm-up and measured time, and prints the result. `turned`, unless it is
 * NULL, is called after each turn. */
void measure(pool *of, void (*turned)(pool *));

#endif
