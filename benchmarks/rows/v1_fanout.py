"""V1: publications of `sono.v2`, each with its place in a stream, fanned out to 1,000 members."""

from benchmarks.cases import Row
from benchmarks.served import Served
from benchmarks.targets import SONO_V2
from benchmarks.units import DELIVERIES

from . import run_alone

ROW = Row(
    "V1",
    "publications of sono.v2 of 128 B fanned out, 4 in flight",
    (
        Served(
            name="1,000 members",
            unit=DELIVERIES,
            subjects=(SONO_V2, "sono"),
            mode="lossless",
            command=("fanout", "--size=128", "--connections=1000", "--in-flight=4"),
        ),
    ),
    "Beside the classic dialect on the same kind of server. The messages that are sent have 128 B;"
    " those of sono.v2 arrive with their position.",
)

if __name__ == "__main__":
    run_alone(ROW)
