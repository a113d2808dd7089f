/* `load`: puts load on a WebSocket server, checks the answers, and reports what they cost. */

#include "commands.h"

int
main(int argc, char **argv)
{
    options chosen = read_options(argc, argv);
    switch (chosen.command) {
    case ECHO:
        run_echo(&chosen);
        break;
    case PACE:
        run_pace(&chosen);
        break;
    case FANOUT:
        run_fanout(&chosen);
        break;
    case CONNECT:
        run_connect(&chosen);
        break;
    case IDLE:
        run_idle(&chosen);
        break;
    case RESUME:
        run_resume(&chosen);
        break;
    case STORM:
        run_storm(&chosen);
    }
    return 0;
}
