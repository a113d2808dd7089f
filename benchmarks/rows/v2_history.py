"""V2: what it costs to keep what is published: one member, with history and without."""

from benchmarks.cases import Row
from benchmarks.served import Served
from benchmarks.targets import NO_HISTORY, SONO_V2
from benchmarks.units import PUBLICATIONS

from . import run_alone

ROW = Row(
    "V2",
    "publish 128 B with history, one member, 16 in flight",
    (
        Served(
            name="one member",
            unit=PUBLICATIONS,
            subjects=(SONO_V2, NO_HISTORY, "sono"),
            mode="lossless",
            command=("fanout", "--size=128", "--connections=1", "--in-flight=16"),
        ),
    ),
    "The member is the publisher; in sono.v2 it gets a result as well. History is as by default:"
    " 100 entries. The classic dialect has the same history, for members that speak sono.v2.",
)

if __name__ == "__main__":
    run_alone(ROW)
