"""When to check each connection's deadlines: one heap for all connections of a loop."""

import heapq
import itertools
import math
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

_SPARE = 1024  # entries beyond four a connection that are kept before outdated ones are dropped


class Timed(Protocol):
    """Anything with deadlines."""

    scheduled: float
    """When its deadlines are checked next; infinite for never."""


Entry = TypeVar("Entry", bound=Timed)


class Timers(Generic[Entry]):
    """Lazy timers: an entry is only ever moved to an earlier time; outdated ones are skipped."""

    __slots__ = ("_heap", "_ids")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Entry]] = []
        self._ids = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next(self) -> float:
        """When the earliest entry is due; infinite if there is none."""
        return self._heap[0][0] if self._heap else math.inf

    def schedule(self, entry: Entry, due: float) -> None:
        """Make an entry due at `due`, earlier than it was before."""
        entry.scheduled = due
        heapq.heappush(self._heap, (due, next(self._ids), entry))

    def pop_due(self, now: float) -> Iterator[Entry]:
        """Yield the entries that are due; each is no longer scheduled then."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            due, _, entry = heapq.heappop(heap)
            if due == entry.scheduled:
                entry.scheduled = math.inf
                yield entry

    def forget_outdated(self, live: int) -> None:
        """Drop outdated entries if there are many beside the `live` ones."""
        if len(self._heap) > 4 * live + _SPARE:
            self._heap = [item for item in self._heap if item[0] == item[2].scheduled]
            heapq.heapify(self._heap)
