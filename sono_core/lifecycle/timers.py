"""When to look at which connection's deadlines: one heap for all connections of a loop."""

import heapq
import itertools
import math
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

_SPARE = 1024  # entries beside four a connection, kept before outdated ones are looked for


class Timed(Protocol):
    """What has deadlines."""

    scheduled: float
    """When it is looked at next; infinite for never."""


Entry = TypeVar("Entry", bound=Timed)


class Timers(Generic[Entry]):
    """Lazy timers: an entry only ever moves forward in time, and outdated ones are passed over."""

    __slots__ = ("_heap", "_ids")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Entry]] = []
        self._ids = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next(self) -> float:
        """When the first is due."""
        return self._heap[0][0] if self._heap else math.inf

    def schedule(self, entry: Entry, due: float) -> None:
        """Let an entry be due then, and not later as it was before."""
        entry.scheduled = due
        heapq.heappush(self._heap, (due, next(self._ids), entry))

    def pop_due(self, now: float) -> Iterator[Entry]:
        """Those that are due, as long as there are any; each is no longer scheduled."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            due, _, entry = heapq.heappop(heap)
            if due == entry.scheduled:
                entry.scheduled = math.inf
                yield entry

    def forget_outdated(self, live: int) -> None:
        """Drop what is no longer scheduled, if there is much of it beside `live` entries."""
        if len(self._heap) > 4 * live + _SPARE:
            self._heap = [item for item in self._heap if item[0] == item[2].scheduled]
            heapq.heapify(self._heap)
