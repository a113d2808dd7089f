"""What was read ahead while nothing is delivered: messages, and perhaps the end behind them."""

from collections import deque

from sono_core.events import BinaryMessage, Close, TextMessage

from .deadlines import Deadline, Deadlines

_OVERHEAD = 64  # bytes that a message takes beside its text or data, so that empty ones count too

Held = TextMessage | BinaryMessage | Close


class Ahead:
    """A queue of events that wait for their handler; an unused one costs next to nothing.

    Args:
        deadlines: of the session; PAUSE is set there.
        most: `Limits.max_held`.
    """

    __slots__ = ("_deadlines", "_events", "held", "most", "size")

    def __init__(self, deadlines: Deadlines, most: int) -> None:
        self._deadlines = deadlines
        self._events: deque[Held] | None = None
        self.held: bool = False
        """Whether the handler is busy: between `Session.hold` and `release`."""
        self.most: int = most
        """Above this `size` nothing more is read; -1 to read nothing at all."""
        self.size: int = 0
        """What they take: bytes or characters of messages, and 64 for each; 0 if there are none."""

    @property
    def paused(self) -> bool:
        """Whether nothing is to be delivered now: the handler is busy, or the peer too fast."""
        return self.held or Deadline.PAUSE in self._deadlines

    def add(self, event: Held) -> int:
        """Add to the end; return the length of the message, 0 for a Close."""
        if self._events is None:
            self._events = deque()
        self._events.append(event)
        self.size += length_of(event) + _OVERHEAD
        return length_of(event)

    def take(self) -> Held:
        """Remove the first one; there must be one."""
        assert self._events is not None
        event = self._events.popleft()
        self.size -= length_of(event) + _OVERHEAD
        if not self._events:
            self._events = None
        return event

    def clear(self) -> None:
        """Drop everything."""
        self._events = None
        self.size = 0


def length_of(event: Held) -> int:
    """Bytes or characters of a message; 0 for a Close."""
    if isinstance(event, TextMessage):
        return len(event.text)
    return len(event.data) if isinstance(event, BinaryMessage) else 0
