"""Clients and channels as applications hold them; their broadcaster does the work."""

import secrets
import sys
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol

from sono_core.events import Request
from sono_core.messaging import Dialect, RateLimiter
from sono_core.messaging.lossless import Position
from sono_core.messaging.v2 import Speech
from sono_server.serving import WebSocket

if sys.version_info >= (3, 13):  # with defaults
    from typing import TypeVar
else:
    from typing_extensions import TypeVar

from .away import Away
from .pages import MOST, HistoryPage, Presence
from .receipts import Promise

State = TypeVar("State", default=Any)
"""The type of `Client.data`."""


class Broadcaster(Protocol):
    """The methods that clients and channels call."""

    def channel_of(self, client: str, /) -> "Channel | None":
        """The client's current channel; None once it is gone."""

    def members(self, channel: str, /) -> "list[Client[Any]]":
        """The members of a channel; none if there is no such channel."""

    def send(self, client: "Client[Any]", event: str, message: object, /) -> bool:
        """See `Client.send`."""

    def emit(self, channel: str | None, event: str, message: object, /) -> "Promise[Position]":
        """See `Channel.publish`; None stands for every client."""

    def request(
        self, client: "Client[Any]", name: str, data: object, timeout: float, /
    ) -> "Promise[Any]":
        """See `Client.request`."""

    def send_to(self, id: str, event: str, message: object, /) -> "Promise[bool]":
        """See `RemoteClient.send`."""

    def request_of(self, id: str, name: str, data: object, timeout: float, /) -> "Promise[Any]":
        """See `RemoteClient.request`."""

    def close_anywhere(self, id: str, code: int, reason: str, /) -> "Promise[bool]":
        """See `RemoteClient.close`."""

    def close(self, client: "Client[Any]", code: int, reason: str, /) -> bool:
        """See `Client.close`."""

    def admit(self, client: "Client[Any]", channel: str, /) -> None:
        """See `Client.join`."""

    def expel(self, client: "Client[Any]", channel: str, /) -> None:
        """See `Client.leave`."""

    def reauthorise(self, client: "Client[Any]", /) -> "Promise[list[str]]":
        """See `Client.reauthorise`."""

    def history(
        self, channel: str, before: Position | None, limit: int, /
    ) -> "Promise[HistoryPage]":
        """See `Channel.history`."""

    def presence(self, channel: str, /) -> "Promise[Presence]":
        """See `Channel.presence`."""


class Ways(NamedTuple):
    """How the steps for a client of a dialect without sessions are run: called, or awaited."""

    receive: Callable[[Any, Any], Any]
    leave: Callable[[Any, Any], Any]
    greet: Callable[[Any, Any], Any]
    depart: Callable[[Any, Any], Any]
    review: Callable[[Any, Any], Any]


def new_id(size: int = 12) -> str:
    """Random bytes in base64url, but never a hyphen first: commands would take it for an option.

    Args:
        size: in bytes. 12 are enough for the id of a client.
    """
    while (name := secrets.token_urlsafe(size)).startswith("-"):
        pass
    return name


class Client(Generic[State]):
    """A client that is connected, or may come back. All methods may be called from any thread.

    `Client[Profile]` is one whose `data` is a `Profile`, for type checkers.
    """

    __slots__ = (
        "_broadcaster",
        "_callback",
        "_dialect",
        "_left",
        "_line",
        "_rate_limiter",
        "_socket",
        "_turns",
        "_ways",
        "data",
        "id",
        "identity",
    )

    def __init__(
        self,
        socket: WebSocket,
        broadcaster: Broadcaster,
        dialect: Dialect | Speech,
        identity: Any,
        rate_limiter: RateLimiter,
        id: str | None = None,
    ) -> None:
        self.id: str = id or new_id()
        """Unique and unguessable."""
        self.identity: Any = identity
        """The return value of `authenticate`, the last one; None if there is no such function."""
        no_state: Any = None
        self.data: State = no_state
        """The application's own state; None at first."""
        self._socket: WebSocket | Away = socket
        self._broadcaster = broadcaster
        self._dialect = dialect
        self._rate_limiter: RateLimiter | Away = rate_limiter
        self._callback: Callable[..., object] | None = None  # of `Sono.connect`, until it is called
        self._line: Any = None  # the connection of a client of `sono.v2`, if it has one
        self._turns: Any = None  # of one, with a connection or without
        self._ways: Ways | None = None  # of one without sessions
        self._left: list[str] | None = None  # channels; the application has not heard of it

    @property
    def channel(self) -> "Channel | None":
        """The current channel; None once the client is gone."""
        return self._broadcaster.channel_of(self.id)

    @property
    def http_request(self) -> Request:
        """The request that opened the connection, the present one or the last.

        While a client of `sono.v2` has none it has nothing but its `path`, once the functions of
        `on_suspend` have returned: what you need of its query and headers belongs into `data`. In
        `on_join`, when it comes back, it is the new one.
        """
        return self._socket.request

    def send(self, event: str, message: object) -> bool:
        """Send an event to this client alone; False if it is gone.

        Raises:
            TypeError, LocalProtocolError: `message` cannot be written as JSON.
            ValueError: the event's name is reserved or illegal.
        """
        return self._broadcaster.send(self, event, message)

    def request(
        self,
        name: str,
        data: object = None,
        timeout: float = 30.0,
        *,
        on_reply: "Callable[[Promise[Any]], object] | None" = None,
    ) -> "Promise[Any]":
        """Ask the client something; only those that speak `sono.v2` can be asked.

        `await` the reply; where functions are plain, give a function for it. It may come over
        another connection: a request outlives one.

        Args:
            timeout: seconds.
            on_reply: called with what is returned here, once it is done.

        Raises:
            TypeError, LocalProtocolError: `data` cannot be written, or the client speaks the
                classic dialect.
            ValueError: the name is illegal, or the time is not above 0.

        Returns:
            What becomes the reply. It fails with `RequestFailed`, whose `code` is that of the
            client's own, or `timeout`, `unknown` (the session has ended) or `too-many-requests`.
        """
        promise = self._broadcaster.request(self, name, data, timeout)
        if on_reply is not None:
            promise.then(on_reply)
        return promise

    def join(self, channel: str) -> None:
        """Make it a member of a channel beside its current one; a `sono.v2` client is told.

        `on_join` is not asked. Nothing happens if it is a member, or gone.

        Raises:
            TypeError, ValueError: that is not a channel name.
            LocalProtocolError: there is no such channel, or there are too many. In other threads
                than the server's only the name is checked at once.
        """
        self._broadcaster.admit(self, channel)

    def leave(self, channel: str) -> None:
        """End a membership; from its current channel it goes home. A `sono.v2` client is told.

        Nothing happens if it is no member, or gone.
        """
        self._broadcaster.expel(self, channel)

    def reauthorise(self) -> "Promise[list[str]]":
        """Ask `on_join` about every channel where it is, but the home channel.

        It comes in its turn, after what the client has sent. Where `on_join` says no, the
        membership ends as by `leave`; a `sono.v2` client is told `forbidden`.

        Returns:
            What becomes a list of these channels.
        """
        return self._broadcaster.reauthorise(self)

    def close(self, code: int = 1000, reason: str = "") -> bool:
        """Begin the closing handshake; False if the client is gone.

        It ends the session of a client that speaks `sono.v2`, with a connection or without.

        Raises:
            TypeError, LocalProtocolError: the code may not be sent, or the reason is not a str.
        """
        return self._broadcaster.close(self, code, reason)

    def __repr__(self) -> str:
        return f"<Client {self.id}>"


class RemoteClient:
    """A client by its id, in whichever process it is; there may be none. From any thread.

    What is asked of it fails with `BackplaneError` or `RequestFailed`, whose `code` is then
    `unavailable` or `timeout`, if its process cannot be reached in time.
    """

    __slots__ = ("_broadcaster", "id")

    def __init__(self, id: str, broadcaster: Broadcaster) -> None:
        self.id: str = id
        self._broadcaster = broadcaster

    def send(self, event: str, message: object) -> "Promise[bool]":
        """Send an event to this client alone.

        Raises:
            TypeError, LocalProtocolError: `message` cannot be written as JSON.
            ValueError: the event's name is reserved or illegal.

        Returns:
            What becomes whether there is such a client.
        """
        return self._broadcaster.send_to(self.id, event, message)

    def request(self, name: str, data: object = None, timeout: float = 30.0) -> "Promise[Any]":
        """Ask the client something; see `Client.request`.

        Args:
            timeout: seconds.

        Raises:
            TypeError, LocalProtocolError: `data` cannot be written.
            ValueError: the name is illegal, or the time is not above 0.

        Returns:
            What becomes the reply. It fails with `RequestFailed`, whose `code` may also be
            `unknown-client`, or `unknown-request` for one of the classic dialect.
        """
        return self._broadcaster.request_of(self.id, name, data, timeout)

    def close(self, code: int = 1000, reason: str = "") -> "Promise[bool]":
        """Begin the closing handshake, and end the session of a client that speaks `sono.v2`.

        Raises:
            TypeError, LocalProtocolError: the code may not be sent, or the reason is not a str.

        Returns:
            What becomes whether there was such a client.
        """
        return self._broadcaster.close_anywhere(self.id, code, reason)

    def __repr__(self) -> str:
        return f"<RemoteClient {self.id}>"


class Channel:
    """A channel by its name; it may cease to exist while you hold this."""

    __slots__ = ("_broadcaster", "name")

    def __init__(self, name: str, broadcaster: Broadcaster) -> None:
        self.name: str = name
        self._broadcaster = broadcaster

    @property
    def members(self) -> "list[Client[Any]]":
        """The clients that are in it now."""
        return self._broadcaster.members(self.name)

    def emit(self, message: object, event: str = "message") -> None:
        """Send an event to every member.

        Raises:
            TypeError, LocalProtocolError: `message` cannot be written as JSON.
            ValueError: the event's name is reserved or illegal.
        """
        self._broadcaster.emit(self.name, event, message)

    def publish(self, event: str, message: object) -> "Promise[Position]":
        """The same; what is returned becomes the event's position when it has one.

        Raises:
            TypeError, LocalProtocolError, ValueError: as `emit`.
        """
        return self._broadcaster.emit(self.name, event, message)

    def history(self, *, before: Position | None = None, limit: int = 50) -> "Promise[HistoryPage]":
        """What was said in it and is still kept, a page at a time, the newest first.

        Args:
            before: where the page ends: the position of the page's first entry that you have.
            limit: entries in the page, 1 to 100.

        Raises:
            ValueError: `limit` is none of these.
        """
        given: Any = limit
        if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= MOST:
            raise ValueError(f"limit must be an int from 1 to {MOST}, not {given!r}")
        return self._broadcaster.history(self.name, before, limit)

    def presence(self) -> "Promise[Presence]":
        """Who is present in it, with their public data.

        A client of `sono.v2` that has lost its connection is a member as long as its session lives,
        and is present for a grace period only.
        """
        return self._broadcaster.presence(self.name)

    def __repr__(self) -> str:
        return f"<Channel {self.name}>"
