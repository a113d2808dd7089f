"""The cost of one delivery of a fan-out, as the number of members grows."""

from benchmarks.cases import Row
from benchmarks.served import Served
from benchmarks.targets import CEILING, PICOWS
from benchmarks.units import DELIVERY_COST

from . import run_alone

ROW = Row(
    "fanout_cost",
    "CPU cost of one delivery of 128 B",
    tuple(
        Served(
            name=f"{members:,} members",
            unit=DELIVERY_COST,
            subjects=("sono", PICOWS, CEILING),
            mode="fanout",
            command=("fanout", "--size=128", f"--connections={members}", "--in-flight=4"),
        )
        for members in (10, 100, 1_000, 10_000)
    ),
)

if __name__ == "__main__":
    run_alone(ROW)
