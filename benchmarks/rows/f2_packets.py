"""F2: packets of the application layer, which the server fans out to 1,000 clients."""

from benchmarks.cases import Row
from benchmarks.served import Served
from benchmarks.subjects import everybody
from benchmarks.units import DELIVERIES

from . import run_alone

ROW = Row(
    "F2",
    "application packets of 128 B fanned out, 4 in flight",
    (
        Served(
            name="1,000 members",
            unit=DELIVERIES,
            subjects=everybody("sono"),
            mode="sono",
            command=("fanout", "--size=128", "--connections=1000", "--in-flight=4"),
        ),
    ),
    "Each in the message format of its own, JSON in all of them.",
)

if __name__ == "__main__":
    run_alone(ROW)
