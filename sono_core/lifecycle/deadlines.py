"""Deadlines as data: named points in time, the earliest of which is always known."""

import enum
import math


class Deadline(enum.IntEnum):
    """The kinds of deadlines that a connection has."""

    HANDSHAKE = 0
    PING = 1
    PONG = 2
    CLOSE = 3
    STALL = 4
    PAUSE = 5
    THROTTLE = 6
    MESSAGE = 7


class Deadlines(dict[Deadline, float]):
    """The deadlines that are set, each with the time when it is due.

    Times are seconds of any clock that never steps, such as `time.monotonic`. Only its own methods
    may change it, because they keep `next`.
    """

    __slots__ = ("next",)

    def __init__(self) -> None:
        self.next: float = math.inf
        """When the earliest is due; infinite if none is set."""

    def set(self, kind: Deadline, at: float) -> None:
        """Make `kind` due at `at`, whenever it was due before."""
        before = self.get(kind, math.inf)
        self[kind] = at
        if at <= self.next:
            self.next = at
        elif before <= self.next:
            self.next = min(self.values())

    def unset(self, kind: Deadline) -> None:
        """Cancel `kind`."""
        before = self.pop(kind, None)
        if before is not None and before <= self.next:
            self.next = min(self.values(), default=math.inf)

    def clear(self) -> None:
        """Cancel all of them."""
        super().clear()
        self.next = math.inf

    def pop_due(self, now: float) -> list[Deadline]:
        """Remove and return what is due at `now`, earliest first."""
        due = sorted((at, kind) for kind, at in self.items() if at <= now)
        for _, kind in due:
            self.unset(kind)
        return [kind for _, kind in due]
