"""When to check each connection's deadlines: one heap for all connections of a loop."""

import heapq
import itertools
import math
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

_SPARE = 16  # entries beyond two a connection that are kept before outdated ones are dropped


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
        """Yield the entries that are due; each is no longer scheduled then.

        What is scheduled meanwhile comes with the next call, even if it is due: an entry that is
        due again whenever it comes would have no end.
        """
        heap = self._heap
        due = []
        while heap and heap[0][0] <= now:
            due.append(heapq.heappop(heap))
        for at, _, entry in due:
            if at == entry.scheduled:
                entry.scheduled = math.inf
                yield entry

    def forget_outdated(self, live: int) -> None:
        """Drop outdated entries if there are more than `live` ones: they hold what has ended."""
        if len(self._heap) > 2 * live + _SPARE:
            self._heap = [item for item in self._heap if item[0] == item[2].scheduled]
            heapq.heapify(self._heap)
