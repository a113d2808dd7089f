"""The connections of clients of `sono.v2`, and what waits for the application in their turns."""

from collections.abc import Callable
from typing import Any

from sono_core.messaging import RateLimiter
from sono_core.messaging.lossless.server import Conversation, Work
from sono_core.messaging.v2 import Speech
from sono_server.serving import HTTPRequest, WebSocket

from .clients import Client


class Turns:
    """The work of one client, one after the other, also from one connection to the next.

    Args:
        run: does what waits for the application, now or in a task.
    """

    __slots__ = ("busy", "held", "holding", "run", "task", "waiting")

    def __init__(self, run: "Callable[[Turns], object]") -> None:
        self.run: Callable[[Turns], object] = run
        self.busy: bool = False
        self.task: Any = None
        """Does it, if it has to be awaited."""
        # Mostly nothing waits, and a deque takes 600 bytes for that.
        self.waiting: list[tuple[Line | None, Work, int]] = []
        """With the connections of packets, and their bytes."""
        self.held: int = 0
        """Bytes of what waits, and some for each."""
        self.holding: dict[Line, None] | None = None
        """Connections from which nothing is taken meanwhile, as so much waits."""

    def begin(self) -> None:
        """Do what waits, unless that is being done."""
        if self.waiting and not self.busy:
            self.busy = True
            self.run(self)

    def cancel(self) -> None:
        """Nobody waits any more for what is being done."""
        if self.task is not None:
            self.task.cancel()


class Line:
    """One connection."""

    __slots__ = (
        "callback",
        "client",
        "conversation",
        "limiter",
        "number",
        "renewals",
        "request",
        "sent",
        "since",
        "socket",
        "speech",
        "turns",
        "welcomed",
    )

    def __init__(
        self,
        request: HTTPRequest,
        speech: Speech,
        limiter: RateLimiter,
        run: Callable[[Turns], object],
        callback: Callable[..., object] | None,
    ) -> None:
        self.socket: WebSocket
        self.request: HTTPRequest = request
        self.speech: Speech = speech
        self.limiter: RateLimiter = limiter
        self.callback: Callable[..., object] | None = callback
        self.client: Client | None = None
        self.conversation: Conversation
        self.turns: Turns = Turns(run)
        """Of its client, as soon as that is attached."""
        self.welcomed: bool = False
        self.renewals: Turns | None = None
        """Of fresh tokens, which wait for no handler."""
        self.number: int = 0  # among those on which silence is noticed
        self.since: float = 0.0  # when it was opened
        self.sent: float = 0.0  # when something was said to it alone
