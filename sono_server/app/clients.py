"""Clients and channels as applications hold them; their broadcaster does the work."""

import secrets
from typing import Any, Protocol

from sono_core.events import Request
from sono_core.messaging import Dialect, RateLimiter
from sono_server.serving import WebSocket


class Broadcaster(Protocol):
    """The methods that clients and channels call."""

    def channel_of(self, client: str, /) -> "Channel | None":
        """The client's current channel; None once it is gone."""

    def members(self, channel: str, /) -> "list[Client]":
        """The members of a channel; none if there is no such channel."""

    def send(self, client: "Client", event: str, message: object, /) -> bool:
        """See `Client.send`."""

    def emit(self, channel: str | None, event: str, message: object, /) -> None:
        """See `Channel.emit`; None stands for every client."""


def _new_id() -> str:
    """96 random bits, but never a hyphen first: commands would take the id for an option."""
    while (name := secrets.token_urlsafe(12)).startswith("-"):
        pass
    return name


class Client:
    """A connected client. All methods may be called from any thread."""

    __slots__ = (
        "_broadcaster",
        "_dialect",
        "_rate_limiter",
        "_socket",
        "data",
        "id",
        "identity",
    )

    def __init__(
        self,
        socket: WebSocket,
        broadcaster: Broadcaster,
        dialect: Dialect,
        identity: Any,
        rate_limiter: RateLimiter,
    ) -> None:
        self.id: str = _new_id()
        """Unique and unguessable."""
        self.identity: Any = identity
        """The return value of `authenticate`; None if there is no such function."""
        self.data: Any = None
        """The application's own state."""
        self._socket = socket
        self._broadcaster = broadcaster
        self._dialect = dialect
        self._rate_limiter = rate_limiter

    @property
    def channel(self) -> "Channel | None":
        """The current channel; None once the client is gone."""
        return self._broadcaster.channel_of(self.id)

    @property
    def request(self) -> Request:
        """The request that opened the connection."""
        return self._socket.request

    def send(self, event: str, message: object) -> bool:
        """Send an event to this client alone; False if it is gone.

        Raises:
            TypeError, LocalProtocolError: `message` cannot be written as JSON.
            ValueError: the event's name is reserved or illegal.
        """
        return self._broadcaster.send(self, event, message)

    def close(self, code: int = 1000, reason: str = "") -> bool:
        """Begin the closing handshake; False if the client is gone.

        Raises:
            TypeError, LocalProtocolError: the code may not be sent, or the reason is not a str.
        """
        return self._socket.close(code, reason)

    def __repr__(self) -> str:
        return f"<Client {self.id}>"


class Channel:
    """A channel by its name; it may cease to exist while you hold this."""

    __slots__ = ("_broadcaster", "name")

    def __init__(self, name: str, broadcaster: Broadcaster) -> None:
        self.name: str = name
        self._broadcaster = broadcaster

    @property
    def members(self) -> list[Client]:
        """The clients that are in it now."""
        return self._broadcaster.members(self.name)

    def emit(self, message: object, event: str = "message") -> None:
        """Send an event to every member.

        Raises:
            TypeError, LocalProtocolError: `message` cannot be written as JSON.
            ValueError: the event's name is reserved or illegal.
        """
        self._broadcaster.emit(self.name, event, message)

    def __repr__(self) -> str:
        return f"<Channel {self.name}>"
