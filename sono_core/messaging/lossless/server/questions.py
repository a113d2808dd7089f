"""The requests that the server has asked of one client. docs/protocol.md, clause 4.7."""

from collections.abc import Callable
from typing import Any

from sono_core.errors import SonoError
from sono_core.messaging.lossless.packets import Failure

Answered = Callable[[Any, Failure | None], object]
"""Called once, with the data of the reply or with why there is none."""

TIMEOUT = Failure("timeout", "the client has not replied in time", True)
GONE = Failure("unknown", "the client's session has ended, or goes on elsewhere")


class TooManyRequests(SonoError):  # noqa: N818 - a refusal, as the protocol's code has it
    """As many requests are pending as may be; nothing was asked."""


class Questions:
    """Requests that wait for a client's reply, whether it has a connection or not.

    Args:
        most: how many may wait.
        last: the id before the first one's.
    """

    __slots__ = ("_last", "_most", "_waiting")

    def __init__(self, most: int, last: int = 0) -> None:
        self._most = most
        self._last = last
        self._waiting: dict[int, tuple[float, Answered]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, deadline: float, answered: Answered) -> int:
        """A request's id, for the packet that asks it.

        Raises:
            TooManyRequests: nothing was changed.
        """
        if len(self._waiting) >= self._most:
            raise TooManyRequests(f"{self._most} requests wait for this client already")
        self._last += 1
        self._waiting[self._last] = deadline, answered
        return self._last

    def answer(self, id: int, data: Any, error: Failure | None) -> bool:
        """A reply has come; False if nobody waits for it."""
        waiting = self._waiting.pop(id, None)
        if waiting is None:
            return False
        _, answered = waiting
        answered(data, error)
        return True

    @property
    def deadline(self) -> float | None:
        """When the next time-out is; None if nothing waits."""
        return min((deadline for deadline, _ in self._waiting.values()), default=None)

    def expire(self, now: float) -> None:
        """End those whose time is over."""
        for id in [id for id, (deadline, _) in self._waiting.items() if deadline <= now]:
            self.answer(id, None, TIMEOUT)

    def end(self) -> None:
        """The session has ended, and with it all that waits."""
        for id in list(self._waiting):
            self.answer(id, None, GONE)
