"""L1: latency of an echo of 64 B at shares of the rate at which a peer has no more to give."""

import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks import load
from benchmarks.cases import Case, Ready, Row
from benchmarks.machine import cores
from benchmarks.measure import WARM_UP, Measure, Reading
from benchmarks.peers import Server
from benchmarks.served import new_certificate
from benchmarks.subjects import obstacle, start
from benchmarks.targets import PICOWS, QUANTILES, SHARES
from benchmarks.units import LATENCY

from . import run_alone

CONNECTIONS = "--connections=100"
ROUNDS = 3
"""Of the search for the peer's rate."""


@dataclass(frozen=True, kw_only=True)
class Paced(Case):
    """Servers that get messages at a rate of the load's own.

    Args:
        share: of the rate that `PICOWS` reaches with one message in flight on each connection.
        quantile: as the load generator names it.
        tls: over TLS 1.3.
    """

    share: float
    quantile: str
    tls: bool

    @contextmanager
    def open(self) -> Iterator[Ready]:
        """Start every server that is installed, and find the rate."""
        missing = {name: why for name in self.subjects if (why := obstacle(name))}
        measures: dict[str, Measure] = {}
        with ExitStack() as stack:
            certificate = stack.enter_context(new_certificate()) if self.tls else None
            servers = {
                name: stack.enter_context(start(name, "echo", certificate=certificate))
                for name in self.subjects
                if name not in missing
            }
            if PICOWS in servers:
                rate = int(self.share * self._saturation(servers[PICOWS]))
                measures = {name: partial(self._pace, servers[name], rate) for name in servers}
            yield Ready(measures, missing)

    def _run(self, server: Server, command: str, *options: object) -> dict[str, Any]:
        return load.run(
            load.build().load,
            command,
            *("--port", server.port),
            *("--server-pid", ",".join(map(str, server.pids))),
            *("--warmup", WARM_UP),
            CONNECTIONS,
            *options,
            *(["--tls"] if self.tls else []),
            core=cores()[1],
        )

    def _saturation(self, server: Server) -> float:
        rates = [self._run(server, "echo", "--seconds=0.5")["rate"] for _ in range(ROUNDS)]
        found: float = statistics.median(rates)
        return found

    def _pace(self, server: Server, rate: int, seconds: float) -> Reading:
        result = self._run(server, "pace", "--rate", rate, "--seconds", seconds)
        return Reading(1e3 * result["latency_us"][self.quantile], errors=result["errors"])


ROW = Row(
    "L1",
    "latency of an echo of 64 B on 100 connections, at shares of picows's saturation",
    tuple(
        Paced(
            name=f"{'TLS' if tls else 'plain'}, {share:.0%}, {quantile}",
            unit=LATENCY,
            subjects=("sono", "sono+uvloop", PICOWS),
            share=share,
            quantile=quantile,
            tls=tls,
        )
        for tls in (False, True)
        for share in SHARES
        for quantile in (*QUANTILES, "p999")
    ),
    "The load sends at even times, and a latency counts from when its message was due. p99.9 is"
    " reported, and has no target.",
)

if __name__ == "__main__":
    run_alone(ROW)
