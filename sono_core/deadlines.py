"""Timers as data: named points in time, of which the next one is always known."""

import enum
import math


class Deadline(enum.IntEnum):
    """What may become due for a connection."""

    HANDSHAKE = 0
    PING = 1
    PONG = 2
    CLOSE = 3
    STALL = 4
    PAUSE = 5


class Deadlines:
    """At most one point in time for each kind of deadline.

    Times are seconds of any clock that never steps, such as `time.monotonic`; this class knows
    none itself.
    """

    __slots__ = ("_due", "next")

    def __init__(self) -> None:
        self._due: dict[Deadline, float] = {}
        self.next = math.inf
        """When the first of them is due."""

    def __contains__(self, kind: Deadline) -> bool:
        return kind in self._due

    def set(self, kind: Deadline, at: float) -> None:
        """Let `kind` be due at `at`, whenever it was due before."""
        self._due[kind] = at
        self.next = min(self._due.values())

    def clear(self, kind: Deadline) -> None:
        """Let `kind` never be due."""
        if self._due.pop(kind, None) is not None:
            self.next = min(self._due.values(), default=math.inf)

    def clear_all(self) -> None:
        """Let nothing be due."""
        self._due.clear()
        self.next = math.inf

    def pop_due(self, now: float) -> list[Deadline]:
        """What is due at `now`, earliest first; it is cleared."""
        due = sorted((at, kind) for kind, at in self._due.items() if at <= now)
        for _, kind in due:
            self.clear(kind)
        return [kind for _, kind in due]
