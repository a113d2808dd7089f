"""Results that the backplane did not take: clients wait for them, and for nothing else."""

from collections import deque

from sono_core.limits import MIB
from sono_core.messaging.lossless import Data, packets

from .sessions import Session

AGAIN = 1.0
"""Seconds after which they are told again."""
MOST, LARGEST = 10_000, 16 * MIB
"""How many they may be, and the bytes of their data; clients find out about the rest when they come
back."""


class Untaken:
    """Keeps them until they are told again."""

    __slots__ = ("_held", "_results")

    def __init__(self) -> None:
        self._results: deque[tuple[float, Session, packets.Result]] = deque()
        self._held = 0

    def add(self, session: Session, result: packets.Result, now: float) -> None:
        """One more, if there is room."""
        size = size_of(result)
        if len(self._results) < MOST and self._held + size <= LARGEST:
            self._results.append((now + AGAIN, session, result))
            self._held += size

    @property
    def deadline(self) -> float | None:
        """When the first is to be told again; None: never."""
        return self._results[0][0] if self._results else None

    def due(self, now: float) -> list[tuple[Session, packets.Result]]:
        """Those that are, and are kept here no longer."""
        found = []
        while self._results and self._results[0][0] <= now:
            _, session, result = self._results.popleft()
            self._held -= size_of(result)
            found.append((session, result))
        return found


def size_of(result: packets.Result) -> int:
    """Bytes of its data."""
    return result.data.size if isinstance(result.data, Data) else 0
