"""Clients and channels as applications hold them. What they mean is asked of their `Sono`."""

import secrets
from typing import Any, Protocol

from sono_core.events import Request
from sono_core.messaging import Publish, RateLimiter
from sono_server.serving import WebSocket


class Broadcaster(Protocol):
    """What they ask of it."""

    def _channel_of(self, client: str) -> "Channel | None":
        """Where a client is; None once it is gone."""

    def _members(self, channel: str) -> "list[Client]":
        """Who is in a channel; nobody, if there is none of that name."""

    def _from_server(self, event: str, message: object) -> str:
        """The packet of what the server itself says.

        Raises:
            TypeError, LocalProtocolError: `message` cannot be written as JSON.
            ValueError: the event's name is reserved or no name.
        """

    def _publish(self, publication: Publish) -> None:
        """Send it to whom it is for. From any thread."""


def _new_id() -> str:
    """96 random bits, but never a hyphen first: commands would take the id for an option."""
    while (name := secrets.token_urlsafe(12)).startswith("-"):
        pass
    return name


class Client:
    """Somebody who is connected. All methods may be called from any thread."""

    __slots__ = ("_rate_limiter", "_socket", "_sono", "data", "id", "identity")

    def __init__(
        self, socket: WebSocket, sono: Broadcaster, identity: Any, quota: RateLimiter
    ) -> None:
        self.id = _new_id()
        """Unique and unguessable."""
        self.identity = identity
        """What `authenticate` returned; None if there is no such function."""
        self.data: Any = None
        """The application's own state."""
        self._socket = socket
        self._sono = sono
        self._rate_limiter = quota

    @property
    def channel(self) -> "Channel | None":
        """The current channel; None once the client is gone."""
        return self._sono._channel_of(self.id)

    @property
    def request(self) -> Request:
        """The request that opened the connection."""
        return self._socket.request

    def send(self, event: str, message: object) -> bool:
        """Send an event to this client alone; False if it is gone.

        Raises:
            TypeError, LocalProtocolError: `message` cannot be written as JSON.
            ValueError: the event's name is reserved or no name.
        """
        return self._socket.send(self._sono._from_server(event, message))

    def close(self, code: int = 1000, reason: str = "") -> bool:
        """Begin the closing handshake; False if the client is gone.

        Raises:
            TypeError, LocalProtocolError: the code may not be sent, or the reason is no str.
        """
        return self._socket.close(code, reason)

    def __repr__(self) -> str:
        return f"<Client {self.id}>"


class Channel:
    """A channel by its name; whether it still exists is seen when it is used."""

    __slots__ = ("_sono", "name")

    def __init__(self, name: str, sono: Broadcaster) -> None:
        self.name = name
        self._sono = sono

    @property
    def members(self) -> list[Client]:
        """Who is in it now."""
        return self._sono._members(self.name)

    def emit(self, message: object, event: str = "message") -> None:
        """Send an event to every member.

        Raises:
            TypeError, LocalProtocolError: `message` cannot be written as JSON.
            ValueError: the event's name is reserved or no name.
        """
        self._sono._publish(Publish(self.name, self._sono._from_server(event, message)))

    def __repr__(self) -> str:
        return f"<Channel {self.name}>"
