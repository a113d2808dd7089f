"""How long a message may take to arrive: `Timeouts.message`, and more if more of it comes."""

import math

from sono_core.limits import KIB, Timeouts
from sono_core.websocket import Reader

from .deadlines import Deadline, Deadlines

_LATE = 1.0  # seconds: if a deadline is looked at so late, perhaps nothing was read either


class MessageAge:
    """Looks now and then how old the message under way is.

    It is lazy: whoever ends a turn notes in the reader when the message began, and a whole message
    costs nothing.

    Args:
        deadlines: of the session; MESSAGE is set here.
        timeouts: `message` applies.
    """

    __slots__ = ("_deadlines", "_due", "_time")

    def __init__(self, deadlines: Deadlines, timeouts: Timeouts) -> None:
        self._deadlines = deadlines
        self._time = timeouts.message
        self._due = math.inf  # when it was to be looked at

    def exceeded(self, reader: Reader, now: float, reading: bool) -> bool:
        """Return whether the message takes too long; if not, look again when it may.

        Args:
            reading: whether the transport reads; if not, what is missing may have come.
        """
        since = reader.since
        if since is None:
            since = now
        elif not reading or now - self._due > _LATE:
            reader.since = since = now
        else:
            since += reader.arrived / KIB
        due = since + self._time
        if due <= now:
            return True
        self._due = due
        self._deadlines.set(Deadline.MESSAGE, due)
        return False
