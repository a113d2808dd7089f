"""Blocking clients: `connect` for plain WebSockets, `SonoClient` for messaging.

Thin I/O over `sono_core`'s Session. Nothing runs in the background: bytes move while one of the
methods is called, so a program that computes for long answers no pings meanwhile.
"""

import math
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from sono_core.events import Accept, Reject, Request
from sono_core.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS
from sono_core.session import Session

_RECEIVE = 256 * 1024  # bytes asked for in one read
_MAX_UNREAD = 1024  # messages held for the application while it is sending
_PING_BYTES = 8
_NORMAL = (1000, 1001)  # ends that no application treats as an error
_STILL_CLOSING = Close(1006, "the connection is closing", False)

class _Link:
    """Transport and handler of one session on a non-blocking socket, and the turn that drives it.

    What the session tells is kept in public attributes.
    """

    session: Session

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._closing = False
        self._shut = False
        self._broken = False
        self.messages: deque[str | bytes] = deque()
        self.response: Accept | Reject | None = None
        self.closed: Close | None = None
        self.pong = b""

    # -- Transport ------------------------------------------------------------------------------

    def write_soon(self) -> None:
        """Every turn writes."""

    def write_now(self) -> None:
        self._write(time.monotonic())

    def close(self) -> None:
        self._closing = True

    def abort(self) -> None:
        self._sock.close()

    # -- Handler --------------------------------------------------------------------------------

    def on_request(self, request: Request) -> None:
        """Never called on a client."""

    def on_response(self, response: Accept | Reject) -> None:
        self.response = response

    def on_message(self, message: str | bytes, /) -> None:
        self.messages.append(message)

    def on_pong(self, payload: bytes) -> None:
        self.pong = payload

    def on_close(self, close: Close) -> None:
        self.closed = close

    def on_error(self, error: Exception) -> None:
        raise error  # of this class itself, a bug

    # -- I/O ------------------------------------------------------------------------------------

    def turn(self, timeout: float | None) -> None:
        """Write what waits, wait for the socket at most `timeout` seconds, read once."""
        session = self.session
        now = time.monotonic()
        if session.backlog and session.wants_data:
            session.pump(now)
            self._flush(now)
            return
        flushed = self._flush(now)
        if session.over:
            return
        # An application that only sends must not be buried under what it does not receive.
        read = session.reading and len(self.messages) < _MAX_UNREAD
        wait = min(session.deadlines.next - now, math.inf if timeout is None else timeout)
        if _wait(self._sock, read, not flushed, max(0.0, wait)):
            try:
                data = self._sock.recv(_RECEIVE)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                session.lost()
                return
            else:
                session.receive(data, time.monotonic())
        now = time.monotonic()
        session.tick(now)
        self._flush(now)

    def _flush(self, now: float) -> bool:
        """Write what the socket takes; False if it takes no more for now."""
        session = self.session
        flushed = self._write(now)
        if self._closing and flushed and not self._shut and not session.over:
            self._shut = True
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                self._broken = True
        if self._broken:
            session.lost()
        return flushed

    def _write(self, now: float) -> bool:
        session = self.session
        outbox = session.outbox
        while outbox.size:
            try:
                size = self._sock.send(outbox.peek())
            except (BlockingIOError, InterruptedError):
                session.blocked(now)
                return False
            except OSError:
                self._broken = True  # for _flush: the session may be in the middle of something
                return True
            session.written(size, now)
        return True


def _wait(sock: socket.socket, read: bool, write: bool, timeout: float) -> bool:
    """Whether the socket was wanted for reading and can be read, after at most that time."""
    if not hasattr(select, "poll"):  # Windows
        limit = None if timeout == math.inf else timeout
        readable, _, _ = select.select([sock] * read, [sock] * write, [], limit)
        return bool(readable)
    poll = select.poll()
    poll.register(sock, select.POLLIN * read | select.POLLOUT * write)
    ready = poll.poll(None if timeout == math.inf else math.ceil(timeout * 1000))
    return read and any(events & ~select.POLLOUT for _, events in ready)


class WebSocket:
    """A client's open connection; made by `connect`.

    A context manager that closes, and an iterator over messages that ends with a normal close.
    For one thread at a time.
    """

    def __init__(self, link: _Link, response: Accept) -> None:
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

        Raises:
            ConnectionClosed: the connection is no longer open.
            TypeError: `message` is neither.
            LocalProtocolError: a text holds a lone surrogate.
        """
        link = self._link
        sent = link.session.send(
            TextMessage(message) if isinstance(message, str) else BinaryMessage(message)
        )
        while link.session.outbox.size and not link.closed:
            link.turn(None)
        if not sent or link.closed:
            raise self._error()

    def recv(self, timeout: float | None = None) -> str | bytes:
        """The next message.

        Args:
            timeout: seconds to wait at most.

        Raises:
            ConnectionClosed: there is none and will be none.
            TimeoutError: none came in time.
        """
        messages = self._link.messages
        self._until(lambda: bool(messages), timeout)
        return messages.popleft()

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
        link.messages.clear()
        while not link.session.over:
            link.turn(None)

    def __enter__(self) -> "WebSocket":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _until(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Let bytes move until something has happened."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while not done():
            if self._link.closed:
                raise self._error()
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError("nothing came in time")
            self._link.turn(remaining)

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
        limits: what the server may ask for.
        timeouts: how long it may take.
        deflate: how permessage-deflate is offered, None not to.

    Raises:
        ConnectError: nobody answered, or not as a WebSocket server.
        ValueError: `url` is no WebSocket URL, or a wss one, which this version cannot open.
        LocalProtocolError: a subprotocol or a header is illegal.
    """
    target = parse_url(url)
    if target.secure:
        raise ValueError(f"{url!r}: wss is not supported by this version")
    connection = Connection(Role.CLIENT, limits=limits, deflate=deflate, random=os.urandom)
    connection.send(target.request(tuple(subprotocols), Headers(headers)))
    try:
        sock = socket.create_connection((target.host, target.port), timeout)
    except OSError as error:
        raise ConnectError(f"{target.authority}: {error.strerror or error}") from error
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link = _Link(sock)
    # One message a turn: what follows it is not looked at before the application has answered
    # it, so that an answer still goes out when what follows ends the connection.
    one_message = msgspec.structs.replace(limits, max_turn_messages=1)
    link.session = Session(
        connection, link, link, now=time.monotonic(), limits=one_message, timeouts=timeouts
    )
    while link.response is None and not link.session.over:
        link.turn(None)
    if isinstance(link.response, Accept):
        return WebSocket(link, link.response)
    link.session.lost()
    raise _refusal(target, link.response)


def _refusal(target: Target, response: Reject | None) -> ConnectError:
    if response is None:
        return ConnectError(f"{target.authority}: the connection was lost during the handshake")
    lines = response.body.decode("utf-8", "replace").splitlines() or [""]
    if not response.status:
        return ConnectError(f"{target.authority}: {lines[0]}")
    text = f"{target.authority}: refused with status {response.status}: {lines[0]}"
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
        """Move to another channel. Raises ConnectionClosed."""
        self.socket.send(sono_protocol.change_channel(name))

    def grab(self, kind: str, timeout: float | None = 10.0) -> list[str]:
        """Ask for a listing and wait for it.

        Args:
            kind: `myid`, `clients`, `channels`, `mychannel` or `mychannelclients`.
            timeout: seconds to wait at most.

        Raises:
            ConnectionClosed: the connection ended before.
            TimeoutError: no answer came in time.
        """
        pending, packet = self._state.grab(kind)
        self.socket.send(packet)
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while pending.items is None:
            remaining = deadline - time.monotonic()
            self._receive(None if remaining == math.inf else max(0.0, remaining))
        return pending.items

    def run(self, timeout: float | None = None) -> None:
        """Call back for what comes, until the connection is closed normally, or for that time.

        Raises:
            ConnectionClosed: it ended in another way.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            remaining = deadline - time.monotonic()
            try:
                self._receive(None if remaining == math.inf else max(0.0, remaining))
            except TimeoutError:
                return
            except ConnectionClosed as error:
                if error.code in _NORMAL:
                    return
                raise

    def close(self) -> None:
        """Leave the server."""
        self.socket.close()

    def __enter__(self) -> "SonoClient":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _receive(self, timeout: float | None) -> None:
        incoming = self._state.receive(self.socket.recv(timeout))
        if incoming:
            for callback in self._state.callbacks(incoming.event):
                callback(incoming.payload)
