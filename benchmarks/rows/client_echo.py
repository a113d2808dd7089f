"""The cost of an echo for a client: one connection to the C ceiling, one message in flight."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.cases import Case, Ready, Row
from benchmarks.machine import cores
from benchmarks.measure import Measure, Reading
from benchmarks.subjects import obstacle, start
from benchmarks.targets import CEILING, PICOWS
from benchmarks.units import ROUND_TRIPS

from . import run_alone


@dataclass(frozen=True, kw_only=True)
class Client(Case):
    """Clients, in turns against one server that is faster than all of them."""

    way: str
    size: int

    @contextmanager
    def open(self) -> Iterator[Ready]:
        """Start the server."""
        missing = {name: why for name in self.subjects if (why := obstacle(name))}
        with start(CEILING, "echo") as server:
            there = [name for name in self.subjects if name not in missing]
            yield Ready({name: self._echo(name, server.port) for name in there}, missing)

    def _echo(self, subject: str, port: int) -> Measure:
        def measure(seconds: float) -> Reading:
            result = load.run(
                Path(sys.executable),
                *("-m", "benchmarks.clients", subject, self.way),
                *("--port", port),
                *("--size", self.size),
                *("--seconds", seconds),
                core=cores()[1],
            )
            messages, cpu = result["messages"], result["cpu_seconds"]
            return Reading(
                value=messages / cpu,
                wall=messages / result["seconds"],
                busy=cpu / result["seconds"],
                errors=result["errors"],
            )

        return measure


SIZES = {"256 B": 256, "8 KiB": 8 << 10, "100 kB": 100_000}
CONDITIONS = (
    "The server is the C ceiling, on a core of its own; all clients run on uvloop. What is shown as"
    " busy is the client's core."
)


def echoes(way: str, peer: str) -> tuple[Client, ...]:
    """A way of receiving, beside a peer, with messages of each size."""
    return tuple(
        Client(
            name=f"{way}, {name}",
            unit=ROUND_TRIPS,
            subjects=("sono+uvloop", peer),
            way=way,
            size=size,
        )
        for name, size in SIZES.items()
    )


ROW = Row(
    "client_echo",
    "echo by a client with callbacks, 1 connection, 1 in flight",
    echoes("callbacks", PICOWS),
    CONDITIONS,
)

if __name__ == "__main__":
    run_alone(ROW)
