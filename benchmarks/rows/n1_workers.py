"""N1: what S2 and F1 cost with several processes on one port, beside one process."""

from benchmarks.cases import Row
from benchmarks.nodes import Shared
from benchmarks.targets import IN_MEMORY, SONO_V2, WORKERS
from benchmarks.units import DELIVERIES

from . import run_alone
from .s2_echo import echo


def fanout(members: int) -> Shared:
    """F1's workload, in the channel that everybody is in."""
    return Shared(
        name=f"F1, {members:,} members",
        unit=DELIVERIES,
        subjects=(WORKERS[2], WORKERS[4], SONO_V2, IN_MEMORY),
        alone=(IN_MEMORY,),
        # As the kernel deals out the members, 16 of them are on all workers.
        command=(
            *("fanout", "--size=128", f"--connections={members}"),
            *("--in-flight=4", "--tellers=16"),
        ),
    )


ROW = Row(
    "N1",
    "S2 and F1 with workers that share a port, by the CPU time of all of them",
    (
        echo("S2", (WORKERS[2], WORKERS[4], "sono")),
        *(fanout(members) for members in (1000, 5000)),
    ),
    "Workers know of each other through Redis, whose CPU time counts too. F1 is with publications"
    " of sono.v2, as processes share channels and nothing below them; `sono v2` is one process with"
    " a broker.",
)

if __name__ == "__main__":
    run_alone(ROW)
