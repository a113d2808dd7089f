"""Blocking clients: `connect` for plain WebSockets, `SonoClient` for messaging.

Thin I/O over `sono_core`'s Session. Nothing runs in the background: bytes move while one of the
methods is called, so a program that computes for long answers no pings meanwhile.
"""

import contextlib
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from sono_core import (
    BinaryMessage,
    Close,
    Connection,
    Deflate,
    Headers,
    Limits,
    Ping,
    Role,
    TextMessage,
    Timeouts,
)
from sono_core import client as sono_protocol
from sono_core.client import Callback, ClientState, Target, parse_url
from sono_core.errors import ConnectError, ConnectionClosed
from sono_core.events import Accept, Reject
from sono_core.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS
from sono_core.session import Session

from .link import Link

_MAX_LATE = 1024  # messages handled after a deadline: those that came in time, and not for ever
_MAX_REASON = 200  # characters of a refusal that an exception quotes
_PING_BYTES = 8
_NORMAL = (1000, 1001, 1005)  # ends that no application treats as an error
_LOST = Reject(0, body=b"the connection was lost")
_STILL_CLOSING = Close(1006, "the connection is closing", False)


class WebSocket:
    """A client's open connection; made by `connect`.

    A context manager that closes, and an iterator over messages that ends with a normal close.
    For one thread at a time.
    """

    def __init__(self, link: Link, response: Accept) -> None:
        self._link = link
        self.response = response
        """The server's 101, with its headers."""

    @property
    def subprotocol(self) -> str | None:
        """What the handshake agreed on."""
        return self.response.subprotocol

    @property
    def closed(self) -> Close | None:
        """How the connection ended; None while it has not."""
        return self._link.closed

    def send(self, message: str | bytes) -> None:
        """Send a text (str) or binary (bytes) message; returns when the kernel has it all.

        What comes meanwhile is kept for `recv`: up to 1,024 messages or 64 MiB, beyond which
        a server that insists on being read is given up as it stalls.

        Raises:
            ConnectionClosed: the connection is no longer open.
            TypeError: `message` is neither.
            LocalProtocolError: a text holds a lone surrogate.
        """
        link = self._link
        sent = link.session.send(
            TextMessage(message) if isinstance(message, str) else BinaryMessage(message)
        )
        link.write_all()
        if not sent or link.closed:
            raise self._error()

    def recv(self, timeout: float | None = None) -> str | bytes:
        """The next message.

        Args:
            timeout: seconds to wait at most; 0 takes what has come.

        Raises:
            ConnectionClosed: there is none and will be none.
            TimeoutError: none came in time.
        """
        link = self._link
        self._until(lambda: link.waiting, timeout)
        return link.take()

    def __iter__(self) -> Iterator[str | bytes]:
        while True:
            try:
                message = self.recv()
            except ConnectionClosed as error:
                if error.code in _NORMAL:
                    return
                raise
            yield message

    def ping(self, timeout: float | None = None) -> float:
        """Send a ping and wait for its pong; the seconds that it took.

        Raises:
            ConnectionClosed: the connection ended before.
            TimeoutError: no pong came in time.
            BufferError: so many messages wait for `recv` that no pong can be read.
        """
        payload = os.urandom(_PING_BYTES)
        start = time.monotonic()
        self._link.session.send(Ping(payload))
        self._until(lambda: self._link.pong == payload, timeout)
        return time.monotonic() - start

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close, and wait for the server to do the same, for `Timeouts.close` at most.

        Messages that come meanwhile are dropped.

        Raises:
            TypeError, LocalProtocolError: the code may not be sent, or the reason is no str.
        """
        link = self._link
        link.session.close(code, reason, time.monotonic())
        link.drop()
        while not link.session.over:
            link.turn()

    def __enter__(self) -> "WebSocket":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _until(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Let bytes move until something has happened."""
        link = self._link
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        looked = False
        while not done():
            if link.closed:
                raise self._error()
            if link.full:
                raise BufferError("too many messages wait for recv")
            remaining = deadline - time.monotonic()
            if remaining <= 0 and looked and not link.backlog:
                raise TimeoutError("nothing came in time")
            looked = link.turn(max(0.0, remaining)) or looked

    def _error(self) -> ConnectionClosed:
        closed = self._link.closed or _STILL_CLOSING
        return ConnectionClosed(closed.code, closed.reason)


def connect(
    url: str,
    *,
    subprotocols: Sequence[str] = (),
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    timeout: float = 10.0,
    limits: Limits = DEFAULT_LIMITS,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    deflate: Deflate | None = Deflate(),  # noqa: B008 - immutable
) -> WebSocket:
    """Open a WebSocket.

    Args:
        url: as `ws://localhost:8080/ws`.
        subprotocols: to offer, in order of preference.
        headers: more header fields of the request, Origin or Authorization for instance.
        timeout: seconds for the TCP connection; the handshake has `timeouts.handshake`.
        limits: what the server may ask for. `pause_reading_at`, `max_queue` and the fair share
            are a server's matter: here the application waits while it sends.
        timeouts: how long it may take.
        deflate: how permessage-deflate is offered, None not to.

    Raises:
        ConnectError: nobody answered, or not as a WebSocket server.
        ValueError: `url` is no WebSocket URL, or a wss one, which this version cannot open.
        LocalProtocolError: a subprotocol or a header is illegal.
        TypeError: `subprotocols` is a str.
    """
    target = parse_url(url)
    if target.secure:
        raise ValueError(f"{url!r}: wss is not supported by this version")
    if isinstance(subprotocols, str):  # each letter would be one
        raise TypeError("subprotocols must be a sequence of str, not a str")
    connection = Connection(Role.CLIENT, limits=limits, deflate=deflate, random=os.urandom)
    connection.send(target.request(tuple(subprotocols), Headers(headers)))
    try:
        sock = socket.create_connection((target.host, target.port), timeout)
    except OSError as error:
        raise ConnectError(f"{target.authority}: {error.strerror or error}") from error
    try:
        link = _open_link(sock, connection, limits, timeouts)
    except BaseException:  # KeyboardInterrupt for one
        sock.close()
        raise
    if isinstance(link.response, Accept):
        return WebSocket(link, link.response)
    link.session.lost()
    raise _refusal(target, link.response or _LOST)


def _open_link(
    sock: socket.socket, connection: Connection, limits: Limits, timeouts: Timeouts
) -> Link:
    """A link whose handshake is over, for better or worse."""
    sock.setblocking(False)
    with contextlib.suppress(OSError):  # of a connection that has ended again, on some systems
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link = Link(sock, limits)
    session_limits = msgspec.structs.replace(
        limits,
        # What follows a message is not looked at before the application has answered it, so that
        # an answer still goes out when what follows ends the connection.
        max_turn_messages=1,
        # The application waits until what it sends is written, and the link bounds the pongs.
        pause_reading_at=sys.maxsize,
        max_queue=sys.maxsize,
    )
    link.session = Session(
        connection, link, link, now=time.monotonic(), limits=session_limits, timeouts=timeouts
    )
    while link.response is None and not link.session.over:
        link.turn()
    return link


def _refusal(target: Target, response: Reject) -> ConnectError:
    text = response.body.decode("utf-8", "replace").strip()
    first, *_ = text[:_MAX_REASON].splitlines() or [""]
    reason = "".join(character for character in first if character.isprintable())
    if not response.status:
        return ConnectError(f"{target.authority}: {reason}")
    text = f"{target.authority}: refused with status {response.status}: {reason}"
    return ConnectError(text.removesuffix(": "), response.status)


class SonoClient:
    """A client of a Sono server: events from and to others, channels, listings.

    Connects when it is made. Callbacks are called while `run`, `grab` or `close` moves bytes,
    with the payload of the event: `{"message": ..., "from": ...}`.

    Args:
        url, options: as for `connect`.

    Raises:
        ConnectError, ValueError, LocalProtocolError: as `connect`.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._state = ClientState()
        self.socket = connect(url, **options)
        """The connection below."""

    def on(self, event: str, callback: Callback) -> None:
        """Call back with the payload of each event of that name; callbacks add up.

        The event `error` is what the server says of a refused packet: `{"code", "message"}`.
        """
        self._state.on(event, callback)

    def off(self, event: str, callback: Callback | None = None) -> None:
        """Take one callback back, or all of an event."""
        self._state.off(event, callback)

    def message(self, message: object, event: str = "message") -> None:
        """Send an event to everybody in the channel, oneself included.

        Raises:
            ConnectionClosed: the connection is no longer open.
            TypeError, LocalProtocolError: `message` cannot be written as JSON.
            ValueError: the event's name is reserved or no name.
        """
        self.socket.send(sono_protocol.message(message, event))

    def broadcast(self, message: object, event: str = "message") -> None:
        """Send an event to everybody else in the channel. Raises as `message`."""
        self.socket.send(sono_protocol.broadcast(message, event))

    def direct_message(self, message: object, to: str, event: str = "message") -> None:
        """Send an event to one client, in whatever channel. Raises as `message`."""
        self.socket.send(sono_protocol.direct_message(message, to, event))

    def change_channel(self, name: str) -> None:
        """Move to another channel. Raises ConnectionClosed, TypeError, LocalProtocolError."""
        self.socket.send(sono_protocol.change_channel(name))

    def grab(self, kind: str, timeout: float | None = 10.0) -> list[str]:
        """Ask for a listing and wait for it.

        Args:
            kind: `myid`, `clients`, `channels`, `mychannel` or `mychannelclients`.
            timeout: seconds to wait at most.

        Raises:
            ConnectionClosed: the connection ended before.
            TimeoutError: no answer came in time.
            TypeError: `kind` is no str.
        """
        pending, packet = self._state.grab(kind)
        self.socket.send(packet)
        for incoming in self._incoming(timeout):
            self._call(incoming)
            if pending.items is not None:
                return pending.items
        raise TimeoutError(f"{kind!r} was not answered in time")

    def run(self, timeout: float | None = None) -> None:
        """Call back for what comes, until the connection is closed normally, or for that time.

        With 0 seconds: for what has come.

        Raises:
            ConnectionClosed: it ended in another way.
        """
        for incoming in self._incoming(timeout, _NORMAL):
            self._call(incoming)

    def close(self) -> None:
        """Leave the server."""
        self.socket.close()

    def __enter__(self) -> "SonoClient":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _incoming(
        self, timeout: float | None, ends: Collection[int] = ()
    ) -> Iterator[sono_protocol.Incoming]:
        """The events that come in that time, or before a close with one of these codes."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        late = 0
        while late < _MAX_LATE:
            remaining = deadline - time.monotonic()
            late += remaining <= 0
            try:
                message = self.socket.recv(remaining)
            except TimeoutError:
                return
            except ConnectionClosed as error:
                if error.code in ends:
                    return
                raise
            if incoming := self._state.receive(message):
                yield incoming

    def _call(self, incoming: sono_protocol.Incoming) -> None:
        for callback in self._state.callbacks(incoming.event):
            callback(incoming.payload)
