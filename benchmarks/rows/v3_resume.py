"""V3: connections that are cut and come back with their sessions, 32 at a time."""

from benchmarks.cases import Row
from benchmarks.served import Served
from benchmarks.targets import SONO_V2
from benchmarks.units import RETURNS

from . import run_alone


def returns(name: str, *options: str) -> Served:
    """Clients of `sono.v2` come back with their sessions, those of the classic dialect without."""
    return Served(
        name=name,
        unit=RETURNS,
        subjects=(SONO_V2, "sono"),
        mode="lossless",
        command=("resume", "--concurrency=32", *options),
    )


ROW = Row(
    "V3",
    "connections that are cut come back, 32 at a time",
    (returns("nothing missed"), returns("10 missed", "--missed=10")),
    "A return is a handshake, and for sono.v2 a resume: all streams are recovered, with what was"
    " missed. In the classic dialect it is the handshake alone, and what was missed is lost.",
)

if __name__ == "__main__":
    run_alone(ROW)
