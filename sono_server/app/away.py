"""What a client of `sono.v2` has while it has no connection."""

import sys
from collections.abc import Callable
from typing import Any

from sono_core.events import Request


class Away:
    """Stands for the WebSocket and the rate limiter of a client that has lost its connection.

    Nothing reaches the peer, and nothing comes that would have to wait.

    Args:
        path: of the request that opened the last connection. Nothing else of it is kept: its query
            and its headers may be large.
    """

    __slots__ = ("_path", "opening")

    def __init__(self, path: str) -> None:
        self._path = sys.intern(path)  # there are thousands of clients, and few paths
        self.opening: Request | None = None
        """The request of a connection that is being opened, for `on_join`."""

    @property
    def request(self) -> Request:
        """See `WebSocket.request`."""
        return self.opening or Request(self._path)

    @property
    def open(self) -> bool:
        """See `WebSocket.open`."""
        return False

    def send(self, message: object) -> bool:
        """See `WebSocket.send`."""
        return False

    def close(self, code: int = 1000, reason: str = "") -> bool:
        """See `WebSocket.close`."""
        return False

    def call(self, function: Callable[..., object], argument: Any) -> None:
        """See `WebSocket.call`; there is nothing that it could come after."""

    def pause(self, seconds: float) -> None:
        """See `WebSocket.pause`."""

    def unpause(self, seconds: float) -> None:
        """See `WebSocket.unpause`."""

    def end_turn(self) -> None:
        """See `WebSocket.end_turn`."""

    def take(self, size: int, now: float) -> float:
        """See `RateLimiter.take`."""
        return 0.0

    def deliver(self, deliveries: int, size: int, now: float) -> float:
        """See `RateLimiter.deliver`."""
        return 0.0

    def owed(self, now: float) -> float:
        """See `RateLimiter.owed`."""
        return 0.0
