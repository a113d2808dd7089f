#include "options.h"

#include "bytes.h"
#include "tls.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RETURNS = RESUME | STORM, ALL = ECHO | FANOUT | CONNECT | IDLE | RETURNS | PACE };
enum { TIMED = ECHO | FANOUT | CONNECT | RESUME | PACE, MESSAGES = ECHO | FANOUT | PACE };

typedef enum { COUNT, SECONDS, STRING, FLAG } kind;

typedef struct {
    const char *name;
    kind kind;
    size_t field;
    int commands; /* that have this option */
    double least, most;
    const char *help;
} row;

#define FIELD(name) offsetof(options, name)

static const row ROWS[] = {
    {"port", STRING, FIELD(port), ALL, 0, 0,
     "TCP port of the server on 127.0.0.1, required; several, separated by commas, take turns"},
    {"path", STRING, FIELD(path), ALL, 0, 0, "target of the upgrade request; /"},
    {"tls", FLAG, FIELD(tls), ALL, 0, 0, "TLS 1.3, without a look at the certificate"},
    {"resume-tls", FLAG, FIELD(resume_tls), CONNECT, 0, 0,
     "with --tls: TLS sessions are resumed, once there is one"},
    {"subprotocol", STRING, FIELD(subprotocol), ALL, 0, 0, "that must be agreed on"},
    {"connections", COUNT, FIELD(connections), MESSAGES | IDLE | STORM, 1, 1e6,
     "connections kept open; 1, for fanout and pace 100, for idle and storm 1000"},
    {"rate", COUNT, FIELD(rate), PACE, 1, 1e7, "messages a second, on all connections; 1000"},
    {"in-flight", COUNT, FIELD(in_flight), ECHO | FANOUT, 1, 1e6,
     "messages in flight, on each connection for echo, of the publisher for fanout; 1"},
    {"size", COUNT, FIELD(size), MESSAGES | RETURNS, 0, 1 << 28,
     "bytes of a message's payload; 64, for fanout 128"},
    {"binary", FLAG, FIELD(binary), MESSAGES, 0, 0, "binary messages; text in ASCII otherwise"},
    {"utf8", FLAG, FIELD(utf8), MESSAGES, 0, 0, "text of two-byte characters"},
    {"json", FLAG, FIELD(json), MESSAGES, 0, 0, "text that looks and compresses like JSON"},
    {"deflate", FLAG, FIELD(deflate), MESSAGES, 0, 0,
     "permessage-deflate without context takeover"},
    {"template", STRING, FIELD(template), MESSAGES | IDLE, 0, 0,
     "text to send, with {} replaced by filler up to --size bytes in all, and {n} by its number"},
    {"greet", STRING, FIELD(greet), MESSAGES | IDLE | CONNECT, 0, 0,
     "text that each connection sends first"},
    {"skip-until", STRING, FIELD(skip_until), MESSAGES | IDLE | CONNECT, 0, 0,
     "a connection is a member once it has received a message that begins with TEXT"},
    {"expect-prefix", STRING, FIELD(expect_prefix), MESSAGES | IDLE, 0, 0,
     "only messages that begin with TEXT count"},
    {"engineio", FLAG, FIELD(engineio), MESSAGES | IDLE | CONNECT, 0, 0,
     "answers the text 2 with the text 3"},
    {"publisher-apart", FLAG, FIELD(publisher_apart), FANOUT | IDLE, 0, 0,
     "the publisher gets no copy; the second connection shows what has arrived"},
    {"tellers", COUNT, FIELD(tellers), FANOUT, 1, 1e6,
     "connections that must have a publication before it has arrived: of several servers, one\n"
     "      each; 1. With more the latency is that of every copy of the last of them"},
    {"slow", COUNT, FIELD(slow), FANOUT, 0, 1e6, "further connections that never read; 0"},
    {"concurrency", COUNT, FIELD(concurrency), CONNECT | RESUME, 1, 1e5,
     "connections at a time; 16"},
    {"missed", COUNT, FIELD(missed), RETURNS, 0, 1e6,
     "messages that each client of sono.v2 gets when it comes back; 0"},
    {"source-addresses", COUNT, FIELD(sources), CONNECT | IDLE | RETURNS, 1, 250,
     "addresses 127.0.0.1 and up to connect from; 64, for storm 125, for idle as needed"},
    {"seconds", SECONDS, FIELD(seconds), TIMED, 0.01, 3600,
     "seconds to measure, and up to 5 more if nothing comes; 1"},
    {"warmup", SECONDS, FIELD(warmup), TIMED, 0, 3600, "seconds of load before that; 0.2"},
    {"server-pid", STRING, FIELD(server_pid), TIMED | STORM, 0, 0,
     "process ids, separated by commas, whose CPU time to report"},
    {"help", FLAG, 0, ALL, 0, 0, "this list"},
};

enum { ROW_COUNT = sizeof ROWS / sizeof *ROWS };

static const struct {
    const char *name;
    options defaults;
    const char *help;
} COMMANDS[] = {
    {"echo", {.command = ECHO, .connections = 1, .size = 64}, "the server sends each message back"},
    {"pace",
     {.command = PACE, .connections = 100, .size = 64, .rate = 1000},
     "the same at times of the load's own: latencies count from when a message was due"},
    {"fanout",
     {.command = FANOUT, .connections = 100, .size = 128, .tellers = 1},
     "one connection publishes to all"},
    {"connect",
     {.command = CONNECT, .concurrency = 16, .sources = 64},
     "connect, upgrade and close, over and over"},
    {"idle", {.command = IDLE, .connections = 1000}, "connections held open until stdin ends"},
    {"resume",
     {.command = RESUME, .concurrency = 16, .sources = 64, .size = 64},
     "connections that are cut and come back, over and over, with their sessions of sono.v2"},
    {"storm",
     {.command = STORM, .connections = 1000, .sources = 125, .size = 64},
     "all connections are cut at once, and come back as sono.v2 says"},
};

enum { COMMAND_COUNT = sizeof COMMANDS / sizeof *COMMANDS };

static void
print_help(void)
{
    puts("usage: load COMMAND --port PORT [option...]\n\n"
         "Puts load on a WebSocket server at 127.0.0.1, checks the answers, and prints one\n"
         "JSON object as the last line:\n\n"
         "  messages, bytes      correct ones that came back in the measured time, their payload;\n"
         "                       for fanout deliveries to all, for connect clean closes,\n"
         "                       for resume returns\n"
         "  seconds, rate        wall-clock time; messages a second\n"
         "  errors, first_error  number of failed checks at any time; the first of them, if any\n"
         "  cpu_seconds          user and system time of this program\n"
         "  server_cpu_seconds   that of the processes in --server-pid, all of their threads\n"
         "  latency_us           p50, p99 and p99.9 of a sample, in microseconds; for pace of all\n"
         "  published            messages of fanout's publisher\n"
         "  slow_closed          connections of --slow that the server has ended\n"
         "  resumed              connections of --resume-tls whose TLS session was resumed\n\n"
         "idle prints {\"open\": N} when all are open; {\"open\": N, \"errors\": N} at its end.\n"
         "storm prints how many came back within how many seconds, and ms from hello (answer_ms) "
         "and\n"
         "from the beginning of the attempt (attempt_ms) until all that was missed is there.\n"
         "The status is 0, or 1 with one line on stderr if it could not run.\n");
    for (int i = 0; i < COMMAND_COUNT; i++)
        printf("  %-8s %s\n", COMMANDS[i].name, COMMANDS[i].help);
    puts("\nidle accepts all options that a server needs for fanout. Without --subprotocol resume "
         "and\n"
         "storm come back without a session.");
    puts("\noptions, with the commands that have them, and defaults at the end:");
    for (int i = 0; i < ROW_COUNT; i++) {
        static const char *const UNITS[] = {" N", " SECONDS", " TEXT", ""};
        printf("  --%s%s\n      ", ROWS[i].name, UNITS[ROWS[i].kind]);
        for (int k = 0; k < COMMAND_COUNT && ROWS[i].commands != ALL; k++)
            if (ROWS[i].commands & (int)COMMANDS[k].defaults.command)
                printf("%s ", COMMANDS[k].name);
        printf("%s%s\n", ROWS[i].commands == ALL ? "" : "- ", ROWS[i].help);
    }
}

static double
number(const row *option, const char *text)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (errno || end == text || *end || !(value >= option->least && value <= option->most) ||
        (option->kind == COUNT && value != (double)(uint64_t)value))
        fail("--%s wants a %s from %g to %g, not %s", option->name,
             option->kind == COUNT ? "whole number" : "number", option->least, option->most, text);
    return value;
}

static void
set(options *result, const row *option, const char *text)
{
    if (!(option->commands & (int)result->command))
        fail("--%s is not for this command; see --help", option->name);
    char *field = (char *)result + option->field;
    switch (option->kind) {
    case COUNT:
        *(uint64_t *)(void *)field = (uint64_t)number(option, text);
        break;
    case SECONDS:
        *(double *)(void *)field = number(option, text);
        break;
    case STRING:
        *(const char **)(void *)field = text;
        break;
    case FLAG:
        *(bool *)(void *)field = true;
    }
}

/* Reads whole numbers with commas between them; returns how many there are. */
static unsigned
read_list(const char *name, const char *whole, long most, unsigned room, long *numbers)
{
    unsigned count = 0;
    for (const char *text = whole; text; text = *text ? text + 1 : NULL) {
        char *end;
        long found = strtol(text, &end, 10);
        if (end == text || (*end && *end != ',') || found <= 0 || found > most || count == room)
            fail("--%s wants whole numbers from 1 to %ld with commas, %u at most, not %s", name,
                 most, room, whole);
        numbers[count++] = found;
        text = end;
    }
    return count;
}

static void
read_lists(options *result)
{
    long pids[MAX_PIDS], ports[MAX_PORTS];
    result->pid_count = (int)read_list("server-pid", result->server_pid, INT_MAX, MAX_PIDS, pids);
    for (int i = 0; i < result->pid_count; i++)
        result->pids[i] = (int)pids[i];
    result->port_count = read_list("port", result->port, 65535, MAX_PORTS, ports);
    for (unsigned i = 0; i < result->port_count; i++)
        result->ports[i] = (unsigned)ports[i];
}

static void
check(const options *result)
{
    if (!result->port_count)
        fail("--port is required; see --help");
    if (result->tls && !tls_available())
        fail("--tls needs OpenSSL's headers: apt-get install libssl-dev");
    if (result->resume_tls && !result->tls)
        fail("--resume-tls needs --tls");
    if (result->binary + result->utf8 + result->json + (result->template != NULL) > 1)
        fail("only one of --binary, --utf8, --json and --template can be used");
    if (result->publisher_apart && result->connections < 2)
        fail("--publisher-apart needs two connections");
    if (result->tellers + result->publisher_apart > result->connections)
        fail("--tellers cannot be more than the connections that get a copy");
    for (const char *path = result->path; *path; path++)
        if (result->path[0] != '/' || *path <= ' ' || *path >= 0x7F)
            fail("--path must begin with / and hold printable ASCII only");
    for (const char *name = result->subprotocol; name && *name; name++)
        if (*name <= ' ' || *name >= 0x7F || strlen(result->subprotocol) > 64)
            fail("--subprotocol must hold at most 64 characters of printable ASCII only");
}

options
read_options(int argc, char **argv)
{
    struct option longs[ROW_COUNT + 1] = {0};
    for (int i = 0; i < ROW_COUNT; i++) {
        int has_value = ROWS[i].kind == FLAG ? no_argument : required_argument;
        longs[i] = (struct option){ROWS[i].name, has_value, NULL, 0};
    }
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0) {
        print_help();
        exit(0);
    }
    int found = 0;
    while (found < COMMAND_COUNT && strcmp(name, COMMANDS[found].name) != 0)
        found++;
    if (found == COMMAND_COUNT)
        fail("the first argument must be a command; see --help");
    options result = COMMANDS[found].defaults;
    result.path = "/";
    result.seconds = 1;
    result.warmup = 0.2;
    result.in_flight = 1;
    opterr = 0;
    int index, status;
    while ((status = getopt_long(argc - 1, argv + 1, "", longs, &index)) != -1) {
        if (status)
            fail("%s is unknown or has a wrong value; see --help", argv[optind]);
        if (strcmp(ROWS[index].name, "help") == 0) {
            print_help();
            exit(0);
        }
        set(&result, &ROWS[index], optarg);
    }
    if (optind + 1 < argc)
        fail("%s is not an option; see --help", argv[optind + 1]);
    read_lists(&result);
    check(&result);
    return result;
}
