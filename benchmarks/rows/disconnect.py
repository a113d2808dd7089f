"""What a lost connection costs a node that has very many clients."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.cases import Case, Ready, Row
from benchmarks.measure import Reading
from benchmarks.units import CALL
from tests.core.messaging.lossless.house import House, Line

from . import run_alone

_LOST = 200  # connections, in each measurement


@dataclass(frozen=True, kw_only=True)
class Lost(Case):
    """Connections end while many others stay; their clients come back, which is not counted."""

    clients: int

    @contextmanager
    def open(self) -> Iterator[Ready]:
        """Have all of them in a node in memory, in one channel."""
        house = House()
        lines = [house.line(f"address {number // 50}") for number in range(self.clients)]
        welcomes = [line.hello() for line in lines]
        keys = {line: welcome.key for line, welcome in zip(lines, welcomes, strict=True)}
        yield Ready({self.ours: lambda seconds: self._lose(house, keys)}, {})

    def _lose(self, house: House, keys: dict[Line, str]) -> Reading:
        spent = 0
        for line in list(keys)[:_LOST]:
            start = time.thread_time_ns()
            line.lose()
            spent += time.thread_time_ns() - start
            again = house.line()
            keys[again] = again.hello(key=keys.pop(line)).key
        return Reading(spent / _LOST)


ROW = Row(
    "disconnect",
    "a lost connection of sono.v2, one channel",
    tuple(
        Lost(name=f"{clients:,} clients", unit=CALL, subjects=("sono",), clients=clients)
        for clients in (100, 10_000)
    ),
    "It should be below 50 µs, and not grow with the number of clients. The session is suspended in"
    " the node; closing the socket is not in it.",
)

if __name__ == "__main__":
    run_alone(ROW)
