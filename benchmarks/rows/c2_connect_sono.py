"""C2: connect, hello, welcome and close in the Sono layer, 32 at a time."""

from benchmarks.cases import Row
from benchmarks.served import Served
from benchmarks.targets import MESSAGES_ALONE, SONO_V2
from benchmarks.units import HANDSHAKES

from . import run_alone

ROW = Row(
    "C2",
    "connect to the Sono layer, be welcomed and close, 32 at a time",
    (
        Served(
            name="welcomed",
            unit=HANDSHAKES,
            subjects=(SONO_V2, "sono", MESSAGES_ALONE),
            mode="lossless",
            command=("connect", "--concurrency=32"),
        ),
    ),
    "Clients of sono.v2 wait for the welcome, with its session; those of the classic dialect enter"
    " the home channel and close at once. The last server has no channels: its clients are C1's.",
)

if __name__ == "__main__":
    run_alone(ROW)
