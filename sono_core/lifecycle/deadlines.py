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


class Deadlines(dict[Deadline, float]):
    """When each kind of deadline is due, if it is: what is in it, is set.

    Times are seconds of any clock that never steps, such as `time.monotonic`; this class knows
    none itself. It is changed by its own methods alone, which keep `next`.
    """

    __slots__ = ("next",)

    def __init__(self) -> None:
        self.next: float = math.inf
        """When the first of them is due."""

    def set(self, kind: Deadline, at: float) -> None:
        """Let `kind` be due at `at`, whenever it was due before."""
        self[kind] = at
        self.next = min(self.values())

    def unset(self, kind: Deadline) -> None:
        """Let `kind` never be due."""
        if self.pop(kind, None) is not None:
            self.next = min(self.values(), default=math.inf)

    def clear(self) -> None:
        """Let nothing be due."""
        super().clear()
        self.next = math.inf

    def pop_due(self, now: float) -> list[Deadline]:
        """What is due at `now`, earliest first; it is no longer set."""
        due = sorted((at, kind) for kind, at in self.items() if at <= now)
        for _, kind in due:
            self.unset(kind)
        return [kind for _, kind in due]
