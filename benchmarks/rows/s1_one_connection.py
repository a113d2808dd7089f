"""S1: echo of 64 B on one connection, one message in flight."""

from benchmarks.cases import Row
from benchmarks.served import Served
from benchmarks.targets import PICOWS
from benchmarks.units import MESSAGES

from . import run_alone

ROW = Row(
    "S1",
    "echo 64 B, 1 connection, 1 in flight",
    (
        Served(
            name="echo",
            unit=MESSAGES,
            subjects=("sono", PICOWS),
            mode="echo",
            command=("echo", "--size=64", "--connections=1", "--in-flight=1"),
            saturates=False,
        ),
    ),
    "Server and client wait for each other here, so that no core is ever saturated: how busy it"
    " was is shown, and Sono must not be worse either by CPU time or by the clock on the wall.",
)

if __name__ == "__main__":
    run_alone(ROW)
