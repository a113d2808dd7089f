"""What a client gets of its words, and what it has to do for the application."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from sono_core.errors import RequestFailed
from sono_core.messaging.classic import Incoming
from sono_core.messaging.lossless import packets
from sono_core.messaging.lossless.client import Done, Pending, Settled

Result = TypeVar("Result")


class Ticket(Generic[Result]):
    """A packet on its way.

    Args:
        pending: of the machine.
        read: makes the result of what the server said.
    """

    __slots__ = ("_read", "pending")

    def __init__(self, pending: Pending, read: Callable[[Done], Result]) -> None:
        self.pending: Pending = pending
        self._read = read

    @property
    def done(self) -> bool:
        """Whether it has its outcome."""
        return self.pending.outcome is not None

    def result(self) -> Result:
        """What came of it; to be asked once it is done.

        Raises:
            RequestFailed: it was not done, or this cannot be known.
        """
        outcome = self.pending.outcome
        if isinstance(outcome, packets.Failure):
            raise RequestFailed(outcome.code, outcome.message, outcome.temporary)
        assert outcome is not None
        try:
            return self._read(outcome)
        except msgspec.ValidationError:
            raise RequestFailed("invalid-packet", "the result does not fit the packet") from None


class Question(msgspec.Struct, frozen=True):
    """A request of the server's, to be answered with what a function returns."""

    id: int
    handler: Callable[[Any], object]
    data: Any


class Renewal(msgspec.Struct, frozen=True):
    """The server asks for a fresh token."""


Job = Incoming | Question | Renewal | Settled | Callable[[], object]
"""What a client does next: hands an event to its iterations, answers a request, gives a token,
wakes who waits for a ticket, or calls a function of the application."""


def failure_of(error: BaseException) -> packets.Failure:
    """How a request is answered whose handler raised that."""
    if isinstance(error, RequestFailed):
        return packets.Failure(error.code, error.text, error.temporary)
    return packets.Failure("failed", "the handler failed", temporary=True)
