"""B2: how long a publication of a client of one node takes to a member on another node."""

import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.cases import Row
from benchmarks.machine import cores
from benchmarks.measure import Reading
from benchmarks.nodes import Shared
from benchmarks.peers import Nodes, Server
from benchmarks.targets import BROKER, QUANTILES
from benchmarks.units import LATENCY

from . import run_alone
from .b1_fanout import SUBJECTS


@dataclass(frozen=True, kw_only=True)
class Delivered(Shared):
    """Latencies instead of rates.

    Args:
        quantile: as the load generator names it.
    """

    quantile: str
    saturates: bool = False

    def _load_on(self, server: Server | Nodes, subject: str, seconds: float) -> Reading:
        if subject == BROKER:
            program, port = Path(sys.executable), server.ports[0]
            arguments = "-m", "benchmarks.through_redis", f"--port={port}", f"--seconds={seconds}"
            result = load.run(program, *arguments, core=cores()[1])
        else:
            result = self._loaded(server, subject, seconds)
        return Reading(1e3 * result["latency_us"][self.quantile], errors=result["errors"])


ROW = Row(
    "B2",
    "from a publication on one node to its delivery by another, 128 B, one at a time",
    tuple(
        Delivered(
            name=quantile,
            unit=LATENCY,
            subjects=(*SUBJECTS, BROKER),
            alone=(BROKER,),
            nodes=2,
            command=("fanout", "--size=128", "--connections=2", "--tellers=2"),
            quantile=quantile,
        )
        for quantile in QUANTILES
    ),
    "Both servers and Redis share a core. `redis` is redis-py alone: from `publish` to the"
    " `get_message` of a second process, without any server.",
)

if __name__ == "__main__":
    run_alone(ROW)
