"""F1: one member publishes 128 B to 1,000 and 5,000 members; 4 messages in flight."""

from benchmarks.cases import Row
from benchmarks.served import Served
from benchmarks.subjects import everybody
from benchmarks.targets import CEILING, PICOWS
from benchmarks.units import DELIVERIES

from . import run_alone


def fanout(members: int, subjects: tuple[str, ...]) -> Served:
    """The workload for that many members."""
    return Served(
        name=f"{members:,} members",
        unit=DELIVERIES,
        subjects=subjects,
        mode="fanout",
        command=("fanout", "--size=128", f"--connections={members}", "--in-flight=4"),
    )


ROW = Row(
    "F1",
    "fan-out of 128 B, 4 in flight",
    (
        fanout(1000, everybody("fanout")),
        fanout(5000, ("sono", PICOWS, "socketify", CEILING)),
    ),
)

if __name__ == "__main__":
    run_alone(ROW)
