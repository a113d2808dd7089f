"""B1: a client of one node publishes 128 B to 500 members there and 500 on another node."""

from benchmarks.cases import Row
from benchmarks.nodes import Shared
from benchmarks.targets import PYTHON_SOCKETIO, SOCKET_IO, SONO_V2
from benchmarks.units import DELIVERIES

from . import run_alone

SUBJECTS = (SONO_V2, "sono", PYTHON_SOCKETIO, SOCKET_IO)

ROW = Row(
    "B1",
    "publications of 128 B through a broker, to members on two nodes, 4 in flight",
    (
        Shared(
            name="2 x 500 members",
            unit=DELIVERIES,
            subjects=SUBJECTS,
            nodes=2,
            command=("fanout", "--size=128", "--connections=1000", "--in-flight=4", "--tellers=2"),
        ),
    ),
    "The CPU time is that of both servers and of Redis, all on one core. The first speaks sono.v2,"
    " as Sono's clients do by default: each publication has a position, a history and a result."
    " socket.io's are in a stream of Redis; python-socketio's are kept nowhere.",
)

if __name__ == "__main__":
    run_alone(ROW)
