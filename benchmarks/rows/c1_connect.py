"""C1: connect, upgrade and close, over and over, 32 at a time."""

from benchmarks.cases import Row
from benchmarks.served import Served
from benchmarks.subjects import everybody
from benchmarks.units import HANDSHAKES

from . import run_alone

ROW = Row(
    "C1",
    "connect, upgrade and close, 32 at a time",
    (
        Served(
            name="connect and close",
            unit=HANDSHAKES,
            subjects=everybody("echo"),
            mode="echo",
            command=("connect", "--concurrency=32"),
        ),
    ),
)

if __name__ == "__main__":
    run_alone(ROW)
