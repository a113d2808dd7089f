"""What becomes of a numbered packet."""

from typing import Any

from msgspec import UNSET

from sono_core.messaging.lossless import Position
from sono_core.messaging.lossless.packets import Failure
from sono_core.quoting import Discreet

UNKNOWN = Failure("unknown", "whether it was done cannot be known")
NOT_SENT = Failure("not-sent", "it was given up before it was sent", temporary=True)
TIMEOUT = Failure("timeout", "no reply came in time", temporary=True)
NO_SUCH_REQUEST = Failure("no-such-request", "nobody waits for this reply")
INVALID = Failure("invalid-packet", "the result does not fit the packet")


class Done(Discreet, frozen=True):
    """A packet was handled."""

    data: Any = UNSET
    """What the handler of a request returned."""
    published: Position | None = None
    """Where a publication stands in its stream."""


Outcome = Done | Failure


class Pending:
    """A packet that waits for its outcome."""

    __slots__ = ("outcome",)

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        """What became of it; None while that is not known."""
