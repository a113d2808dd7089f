"""Results that the backplane did not take: clients wait for them, and for nothing else."""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from sono_core.limits import MIB
from sono_core.messaging.lossless import Receipt

from .sessions import Session

AGAIN = 1.0
"""Seconds after which they are told again."""
MOST, LARGEST = 10_000, 16 * MIB
"""How many they may be, and the bytes of their data; clients find out about the rest when they come
back."""


class Told(NamedTuple):
    """A result that was told."""

    session: Session
    seq: int
    change: int
    """The number of the change of its memberships that it tells; 0: it tells none."""
    size: int
    """Bytes of its data, about."""
    publish: Callable[[], Receipt[Any]]
    """Puts it into the session's stream."""


class Untaken:
    """Keeps them until they are told again."""

    __slots__ = ("_held", "_results")

    def __init__(self) -> None:
        self._results: deque[tuple[float, Told]] = deque()
        self._held = 0

    def add(self, told: Told, now: float) -> None:
        """One more, if there is room."""
        if len(self._results) < MOST and self._held + told.size <= LARGEST:
            self._results.append((now + AGAIN, told))
            self._held += told.size

    def forget(self, session: Session) -> None:
        """Those of a session have another result now, or none."""
        self._results = deque(one for one in self._results if one[1].session is not session)
        self._held = sum(told.size for _, told in self._results)

    @property
    def deadline(self) -> float | None:
        """When the first is to be told again; None: never."""
        return self._results[0][0] if self._results else None

    def due(self, now: float) -> list[Told]:
        """Those that are, and are kept here no longer."""
        found = []
        while self._results and self._results[0][0] <= now:
            _, told = self._results.popleft()
            self._held -= told.size
            found.append(told)
        return found
