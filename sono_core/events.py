"""One vocabulary for both directions: what one side sends is what the other receives.

The events are msgspec structs: immutable, compared by value, cheap to create, and usable in
`match` statements.
"""

import enum
from collections.abc import Iterable

import msgspec

from .headers import Headers
from .quoting import Discreet, shown_path


class Role(enum.Enum):
    """Which end of the connection this is."""

    CLIENT = "client"
    SERVER = "server"


Role.__hash__ = object.__hash__  # type: ignore[method-assign]  # Enum's own is written in Python


class Request(Discreet, frozen=True):
    """A request of the opening handshake (RFC 6455, section 4.1), or any other HTTP/1.1 request.

    A server's `Connection` yields every well-formed request, and checks whether it is a valid
    upgrade when it is answered with `Accept`.
    """

    target: str
    """The request target in origin form: path and query, ASCII."""
    headers: Headers = Headers()
    """A client's own additional headers, or all headers that a server received."""
    method: str = "GET"
    host: str = ""
    """What a client sends as Host; on a server the value of that header."""
    subprotocols: tuple[str, ...] = ()
    """The subprotocols that the client offers, in its order of preference."""
    http_version: str = "1.1"
    """`1.0` or `1.1` on a server, or what an ASGI server says. A client sends 1.1."""
    scheme: str = "http"
    """On a server `http` or `https`: what the client used, as far as the server knows."""

    @property
    def path(self) -> str:
        """The target without its query, still percent-encoded."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """What follows the target's first question mark, still percent-encoded."""
        return self.target.partition("?")[2]

    def shown(self) -> Iterable[tuple[str, object]]:
        """See `Discreet`."""
        yield "method", self.method
        yield "path", shown_path(self.target)
        yield "host", self.host
        yield "headers", self.headers


class Accept(Discreet, frozen=True):
    """The 101 that opens the connection (RFC 6455, section 4.2.2)."""

    subprotocol: str | None = None
    """One that the client offered, or None."""
    headers: Headers = Headers()
    """A server's own additional headers, or all headers that a client received."""

    def shown(self) -> Iterable[tuple[str, object]]:
        """See `Discreet`: some clients offer a token as their subprotocol."""
        yield "headers", self.headers


class Reject(Discreet, frozen=True):
    """Any other final HTTP response: the request does not become a WebSocket."""

    status: int
    """200 to 599; clients may receive up to 999, or 0 if no valid response came, with the reason
    as `body`."""
    headers: Headers = Headers()
    body: bytes = b""

    def shown(self) -> Iterable[tuple[str, object]]:
        """See `Discreet`."""
        yield "status", self.status
        yield "headers", self.headers
        yield "body", f"{len(self.body)} bytes"


class TextMessage(msgspec.Struct, frozen=True, gc=False):
    """A whole text message (opcode 1, with its continuations)."""

    text: str


class BinaryMessage(msgspec.Struct, frozen=True, gc=False):
    """A whole binary message (opcode 2, with its continuations)."""

    data: bytes


class Ping(msgspec.Struct, frozen=True, gc=False):
    """A ping of at most 125 bytes. A received one has been answered already."""

    payload: bytes = b""


class Pong(msgspec.Struct, frozen=True, gc=False):
    """A pong of at most 125 bytes."""

    payload: bytes = b""


class Close(msgspec.Struct, frozen=True):
    """The end of the connection: the last event of every accepted connection, exactly once.

    In a received event `code` is the peer's code (1005 if it gave none). If `clean` is False, it
    is the code with which this side gave up, or 1006 if the connection just ended.
    """

    code: int = 1000
    reason: str = ""
    clean: bool = True
    """Whether the closing handshake was completed. Ignored when sending."""


Event = Request | Accept | Reject | TextMessage | BinaryMessage | Ping | Pong | Close
