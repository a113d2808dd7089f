#include "measure.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const uint64_t LONGEST_TURN = 50000000; /* ns: how late `turned` may be called */
static const uint64_t PATIENCE = 5000000000;   /* more ns for the first message */

typedef struct {
    uint64_t time, messages, bytes, published;
    double cpu, server_cpu;
} moment;

void
histogram_add(histogram *of, uint64_t nanoseconds)
{
    unsigned shift = 0;
    if (nanoseconds >= STEPS)
        shift = 63 - (unsigned)__builtin_clzll(nanoseconds) - STEP_BITS;
    of->counts[shift * STEPS + (nanoseconds >> shift)]++;
    of->total++;
}

double
histogram_at(const histogram *of, double share)
{
    uint64_t seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += of->counts[i];
        if (seen && (double)seen >= share * (double)of->total) {
            unsigned shift = i < 2 * STEPS ? 0 : i / STEPS - 1;
            uint64_t low = i < 2 * STEPS ? i : (uint64_t)(i - shift * STEPS) << shift;
            return ((double)low + (double)(1ull << shift) / 2) / 1e3;
        }
    }
    return 0;
}

static double
clock_seconds(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time) < 0)
        return -1;
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

double
server_seconds(const options *chosen)
{
    double sum = 0;
    for (int i = 0; i < chosen->pid_count; i++) {
        clockid_t clock;
        double seconds = -1;
        if (clock_getcpuclockid(chosen->pids[i], &clock) == 0)
            seconds = clock_seconds(clock);
        if (seconds < 0)
            fail("there is no process %d to measure the CPU time of", chosen->pids[i]);
        sum += seconds;
    }
    return sum;
}

static moment
take_moment(const pool *of)
{
    return (moment){.server_cpu = server_seconds(of->chosen),
                    .cpu = clock_seconds(CLOCK_PROCESS_CPUTIME_ID),
                    .messages = of->messages,
                    .bytes = of->bytes,
                    .published = of->published,
                    .time = now()};
}

static void
print_text(const char *text)
{
    for (; *text; text++)
        putchar(*text < ' ' || *text > '~' || *text == '"' || *text == '\\' ? '?' : *text);
}

static void
print_result(const pool *of, const moment *from, const moment *to)
{
    double seconds = (double)(to->time - from->time) / 1e9;
    uint64_t messages = to->messages - from->messages;
    printf("{\"messages\": %llu, \"seconds\": %.6f, \"rate\": %.1f, \"bytes\": %llu, ",
           (unsigned long long)messages, seconds, (double)messages / seconds,
           (unsigned long long)(to->bytes - from->bytes));
    printf("\"errors\": %llu, \"cpu_seconds\": %.6f, ", (unsigned long long)of->errors,
           to->cpu - from->cpu);
    if (of->chosen->pid_count)
        printf("\"server_cpu_seconds\": %.6f, ", to->server_cpu - from->server_cpu);
    if (of->chosen->command == FANOUT)
        printf("\"published\": %llu, ", (unsigned long long)(to->published - from->published));
    if (of->chosen->slow)
        printf("\"slow_closed\": %llu, ", (unsigned long long)of->slow_closed);
    if (of->chosen->resume_tls)
        printf("\"resumed\": %llu, ", (unsigned long long)of->resumed);
    if (of->first_error) {
        printf("\"first_error\": \"");
        print_text(of->first_error);
        printf("\", ");
    }
    printf("\"latency_us\": {\"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f}}\n",
           histogram_at(of->latency, 0.5), histogram_at(of->latency, 0.99),
           histogram_at(of->latency, 0.999));
    fflush(stdout);
}

static void
turn_until(pool *of, uint64_t end, void (*turned)(pool *))
{
    for (uint64_t time = now(); time < end; time = now()) {
        uint64_t soon = of->hurried ? time : time + LONGEST_TURN;
        pool_turn(of, soon < end ? soon : end);
        if (turned)
            turned(of);
        else if (!of->open)
            return; /* nothing more can arrive */
    }
}

void
measure(pool *of, void (*turned)(pool *))
{
    turn_until(of, now() + (uint64_t)(of->chosen->warmup * 1e9), turned);
    memset(of->latency, 0, sizeof *of->latency);
    moment from = take_moment(of);
    uint64_t end = from.time + (uint64_t)(of->chosen->seconds * 1e9);
    turn_until(of, end, turned);
    /* A busy machine may stall for the whole of a short run: that is slow, not wrong. */
    while (of->messages == from.messages && !of->errors && of->open && now() < end + PATIENCE)
        turn_until(of, now() + LONGEST_TURN, turned);
    moment to = take_moment(of);
    if (to.messages == from.messages)
        pool_error(of, "nothing came in the measured time");
    print_result(of, &from, &to);
}
