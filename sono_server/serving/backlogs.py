"""Connections whose backlog waits for a later turn of the loop: who goes on when."""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from sono_core.lifecycle import Layer
from sono_io import TURN_SECONDS, LoopContext

_MUCH = 0.002  # seconds of a turn for those that have had much
_LONG_AGO = 1.0  # seconds: more than a turn takes


class Pumped(Protocol):
    """A connection that is pumped."""

    layer: Layer

    def pump(self, now: float) -> None:
        """Go on with what was received."""


class Backlogs:
    """Two rotations: of those that ask for little, and of those that have had much already.

    The first go on in each turn, so that no number of the others keeps them waiting. Of the others
    at least one does.
    """

    __slots__ = ("_little", "_much", "waiting")

    def __init__(self) -> None:
        self.waiting: int = 0
        """How many wait, as an attribute: each turn asks."""
        self._little: deque[Pumped] = deque()
        self._much: deque[Pumped] = deque()

    def __len__(self) -> int:
        return self.waiting

    def add(self, transport: Pumped) -> None:
        """Pump a connection in a later turn, after those of its kind that wait already."""
        self.waiting += 1
        (self._much if transport.layer.sated else self._little).append(transport)

    @property
    def counts(self) -> tuple[int, int]:
        """How many wait: for `pump`, which leaves those that come meanwhile."""
        return len(self._little), len(self._much)

    def pump(
        self, counts: tuple[int, int], context: LoopContext, time: Callable[[], float]
    ) -> None:
        """Pump the first that wait.

        What was read before has had its own time. Those that ask for little get a little each, as
        if the time were over; the others share what it takes to get on.

        Args:
            counts: how many of each rotation, at most.
            context: whose turn it is.
            time: the clock.
        """
        little, much = counts
        if little:
            now = time()
            context.begin(now - _LONG_AGO)
            context.look()
            for _ in range(little):
                self.waiting -= 1
                self._little.popleft().pump(now)
        if much:
            now = time()
            context.begin(now + _MUCH - TURN_SECONDS)
            for _ in range(much):
                self.waiting -= 1
                self._much.popleft().pump(now)
                if context.look():
                    break
