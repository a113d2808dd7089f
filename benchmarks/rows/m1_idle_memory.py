"""M1: resident memory of the server for each of 5,000 idle connections."""

from benchmarks.cases import Row
from benchmarks.memory import Idle
from benchmarks.targets import PICOWS

from . import run_alone

PEERS = (PICOWS, "websockets")

ROW = Row(
    "M1",
    "memory a connection, 5,000 idle ones",
    (
        Idle(name="plain", subjects=("sono", *PEERS), mode="echo", connections=5000),
        Idle(name="Sono layer", subjects=("sono",), mode="sono", connections=5000),
    ),
    "Private memory of the process with them, less that before them; a fresh server each round.",
)

if __name__ == "__main__":
    run_alone(ROW)
