"""Clients for asyncio and uvloop: `connect_async` for plain WebSockets, `AsyncSonoClient`.

Thin I/O over `sono_core`'s opening, session and client state. Here bytes move, pings are answered
and deadlines are kept while the event loop runs, whatever the application does meanwhile.
"""

import asyncio
import logging
import math
import os
import ssl as tls
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from types import MethodType
from typing import Any

from sono_core import Close, Deflate, Limits, Ping, Prepared, Timeouts
from sono_core.errors import ConnectionClosed
from sono_core.events import Accept, Reject, Request
from sono_core.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS
from sono_core.opening import Opening
from sono_core.prepared import message_event
from sono_core.protocol import SessionProtocol
from sono_core.session import Session

from .fast import Carrier, Sender, new_turn
from .fast import loop as loop_in_c
from .settings import chosen_proxy, client_limits

_RECEIVE = 256 * 1024  # bytes read at once
_MAX_UNREAD = 1024  # messages held for `recv` before no more are read
_MAX_UNREAD_SIZE = 1 << 20  # bytes or characters of them
_PING_BYTES = 8
_NORMAL = (1000, 1001, 1005)  # ends that no application treats as an error
_STILL_CLOSING = Close(1006, "the connection is closing", False)

logger = logging.getLogger("sono")

OnMessage = Callable[["AsyncWebSocket", Any], object]


class _Buffers(threading.local):
    """What the connections of a thread's event loop receive into."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(_RECEIVE))


_buffers = _Buffers()


class _Wire(SessionProtocol, Carrier, asyncio.BufferedProtocol):
    """Transport and handler of one attempt's session, and the protocol of its asyncio transport."""

    on_message: Callable[[str | bytes], object]
    write_soon = Carrier.write_soon

    def __init__(self, opening: Opening, limits: Limits) -> None:
        self.turn = new_turn(_buffers.view, client_limits(limits))
        """Its own; all share the buffer."""
        self.turn.thread = threading.get_ident()
        self.turn.wake = self._flush_soon
        self._loop = asyncio.get_running_loop()
        self._opening = opening
        self.pause_at = limits.pause_reading_at
        """Bytes that may wait to be written before senders wait."""
        self.queue_limit = limits.queue_limit
        """And before those who can't wait are told."""
        self._allowance = limits.pause_reading_at  # bytes that may wait while more is read
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self.messages: deque[str | bytes] = deque()
        """Those that wait for `take`."""
        self._prompt = False  # whether something came since the application last sent
        self._unread = 0  # length of them all
        self._held = False
        self.on_message = self._keep
        self.connection: Session
        """The session in the middle of what is driven."""
        self.response: Accept | Reject | None = None
        self.closed_with: Close | None = None
        self.pongs: dict[bytes, float] = {}
        """When the pong to each outstanding ping came; infinite while it has not."""

    # -- asyncio's protocol -----------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        sock = transport.get_extra_info("socket")
        Carrier.__init__(self, self.turn, sock.fileno())
        self.start_on(transport, fast=loop_in_c is not None)
        self.session, self.connection = self._opening.begin(self, self, self.time())
        self.flush(self.time())

    def updated_slowly(self, size: int, now: float) -> None:
        self.receive(bytes(_buffers.view[:size]), now)

    # -- Driver -----------------------------------------------------------------------------------

    def time(self) -> float:
        return time.monotonic()

    def _flush_soon(self) -> None:
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self.turn.flush(self.time())

    def flush(self, now: float) -> None:
        super().flush(now)
        if not self.session.outbox.size:
            self._allowance = self.pause_at
        self.notify()

    def write_now(self) -> None:
        super().write_now()
        # Much waits, and it is the application's own.
        self._allowance = self.pause_at + self.waiting_out

    def _write_directly(self) -> int:
        if not self._fast:
            return 0
        try:
            return self.write_some()
        except (BlockingIOError, InterruptedError):
            return 0

    def _watch(self, reading: bool, blocked: bool) -> None:
        # What the application sends is no sign of a server that does not read; the pongs that the
        # server asks for, and does not read, are.
        self._read(self.session.reading and self.session.outbox.size <= self._allowance)

    def _abandon(self) -> None:
        Carrier.closed(self)
        if self._timer:
            self._timer.cancel()
        super()._abandon()
        self.notify()

    def _pump_later(self) -> None:
        self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self.pump(self.time())

    def _tick_at(self, due: float) -> None:
        self.scheduled = due
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(max(0.0, due - self.time()), self._time_has_come)

    def _time_has_come(self) -> None:
        # What has arrived is read first; uvloop calls timers before it reads, and callbacks too.
        self._loop.call_soon(self._loop.call_soon, self._tick)

    def _tick(self) -> None:
        if not self.session.over:
            self.scheduled = math.inf
            self.tick(self.time())

    # -- Handler ----------------------------------------------------------------------------------

    def on_request(self, request: Request) -> None:
        """Never called on a client."""

    def on_response(self, response: Accept | Reject) -> None:
        self.response = response

    def _keep(self, message: str | bytes) -> None:
        self._prompt = True
        self.messages.append(message)
        self._unread += len(message)
        if len(self.messages) >= _MAX_UNREAD or self._unread >= _MAX_UNREAD_SIZE:
            self._held = True
            self.connection.hold()
        if self._waiters:
            self.notify()

    def on_pong(self, payload: bytes) -> None:
        if payload in self.pongs:
            self.pongs[payload] = self.time()

    def on_close(self, close: Close) -> None:
        self.closed_with = close

    def on_error(self, error: Exception) -> None:
        logger.error("a handler failed; its connection is closed", exc_info=error)

    # -- for the application ----------------------------------------------------------------------

    def take(self) -> str | bytes:
        """The oldest of them."""
        message = self.messages.popleft()
        self._unread -= len(message)
        few = len(self.messages) <= _MAX_UNREAD // 2 and self._unread <= _MAX_UNREAD_SIZE // 2
        if self._held and few:
            self._held = False
            self.connection.release()
        return message

    def drop(self) -> None:
        """Forget them all, and those that come."""
        self.messages.clear()
        self.on_message = _ignore
        self.connection.handler = self

    async def responded(self) -> None:
        """Wait for the server's answer. Cancelled, the connection is cut off."""
        try:
            await self.until(lambda: self.response is not None)
        except BaseException:
            self.cut_off()
            raise

    def deliver_to(self, function: OnMessage, socket: "AsyncWebSocket") -> None:
        """Call a function with every message from now on, those that came already first."""
        self.on_message = MethodType(function, socket)
        self.connection.handler = self  # so that whoever delivers looks again whom to call
        while self.messages:
            self.on_message(self.take())

    def cut_off(self) -> None:
        """End the connection now, if it has not ended."""
        if not self.session.over:
            self.session.lost()

    async def changed(self) -> None:
        """Wait until something has happened: a message, a pong, bytes written, the end."""
        waiter = self._loop.create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait until this has happened, or the session is over."""
        while not done() and not self.session.over:
            await self.changed()

    def notify(self) -> None:
        """Let everybody who waits look again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def promptly(self, send: Callable[[Any], bool], message: str | bytes) -> bool:
        """Send a message: at once if it may be an answer, else when the loop's turn is over."""
        if not self._prompt or self.dirty:
            return send(message)
        self._prompt = False
        turn = self.turn
        turn.wake = None
        try:
            return send(message)
        finally:
            turn.wake = self._flush_soon
            turn.flush(time.monotonic())

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.closed_with is not None or self.session.over

    @property
    def waiting_out(self) -> int:
        """Bytes that wait to be written."""
        return self.session.outbox.size


def _ignore(message: str | bytes) -> None:
    """What happens to messages that nobody waits for."""


class AsyncWebSocket(Sender):
    """A client's open connection; made by `connect_async`.

    An asynchronous iterator over messages that ends with a normal close. Several tasks may use
    it; a message goes to one of those that wait for it.
    """

    def __init__(self, wire: _Wire, response: Accept) -> None:
        connection = wire.connection.connection
        outbox = wire.connection.outbox
        super().__init__(wire.turn, wire, outbox, connection.plain, connection.keys)
        self._wire = wire
        self._out = outbox
        self.response = response
        """The server's 101, with its headers."""

    @property
    def subprotocol(self) -> str | None:
        """What the handshake agreed on."""
        return self.response.subprotocol

    @property
    def closed(self) -> Close | None:
        """How the connection ended; None while it has not."""
        return self._wire.closed_with

    async def send(self, message: str | bytes) -> None:  # type: ignore[override]
        """Send a text (str) or binary (bytes) message; wait while much waits to be written.

        Cancelled while it waits to be written, the message is sent all the same.

        Raises:
            ConnectionClosed: the connection is no longer open.
            TypeError: `message` is neither.
            LocalProtocolError: a text holds a lone surrogate.
        """
        wire, out = self._wire, self._out
        if out.size and out.size + 4 * len(message) > wire.queue_limit:  # UTF-8 takes up to 4
            await wire.until(lambda: not out.size)
        if not wire.promptly(super().send, message):
            raise self._error()
        if out.size > wire.pause_at:
            await wire.until(lambda: out.size <= wire.pause_at)
            if wire.over:
                raise self._error()

    send_nowait = Sender.send
    """Send a message before this turn of the loop ends, for callbacks: `send` of servers."""

    def send_slowly(self, message: str | bytes | Prepared) -> bool:
        """What `send` does where the message or the connection is not of the ordinary kind."""
        return self._wire.connection.send(message_event(message))

    async def recv(self) -> str | bytes:
        """The next message. Cancelled, or with a time-out around it, it loses none.

        Raises:
            ConnectionClosed: there is none and will be none.
        """
        wire = self._wire
        while not wire.messages:
            if wire.over:
                raise self._error()
            await wire.changed()
        return wire.take()

    def __aiter__(self) -> "AsyncWebSocket":
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self.recv()
        except ConnectionClosed as error:
            if error.code in _NORMAL:
                raise StopAsyncIteration from None
            raise

    async def ping(self) -> float:
        """Send a ping and wait for its pong; the seconds that it took.

        Raises:
            ConnectionClosed: the connection ended before.
        """
        wire = self._wire
        payload = os.urandom(_PING_BYTES)
        wire.pongs[payload] = math.inf
        try:
            start = time.monotonic()
            if not wire.connection.send(Ping(payload)):
                raise self._error()
            await wire.until(lambda: wire.pongs[payload] < math.inf or wire.over)
            if wire.pongs[payload] == math.inf:
                raise self._error()
            return wire.pongs[payload] - start
        finally:
            del wire.pongs[payload]

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close, and wait for the server to do the same, for `Timeouts.close` at most.

        Messages that come meanwhile are dropped. Cancelled, the connection is cut off.

        Raises:
            TypeError, LocalProtocolError: the code may not be sent, or the reason is no str.
        """
        wire = self._wire
        wire.connection.close(code, reason, time.monotonic())
        wire.drop()
        try:
            await wire.until(lambda: False)
        finally:
            wire.cut_off()

    async def __aenter__(self) -> "AsyncWebSocket":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    def _error(self) -> ConnectionClosed:
        closed = self._wire.closed_with or _STILL_CLOSING
        return ConnectionClosed(closed.code, closed.reason)


class _Connecting:
    """`await` it for the connection, or let `async with` open and close it."""

    def __init__(self, connect: Callable[[], Coroutine[Any, Any, AsyncWebSocket]]) -> None:
        self._connect = connect

    def __await__(self) -> Generator[Any, None, AsyncWebSocket]:
        return self._connect().__await__()

    async def __aenter__(self) -> AsyncWebSocket:
        self._socket = await self._connect()
        return self._socket

    async def __aexit__(self, *error: object) -> None:
        await self._socket.close()


def connect_async(
    url: str,
    *,
    on_message: OnMessage | None = None,
    subprotocols: Sequence[str] = (),
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    timeout: float = 10.0,
    limits: Limits = DEFAULT_LIMITS,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    deflate: Deflate | None = Deflate(),  # noqa: B008 - immutable
    ssl: tls.SSLContext | None = None,
    unix: str | None = None,
    proxy: str | bool | None = True,
    max_redirects: int = 10,
) -> _Connecting:
    """Open a WebSocket: `ws = await connect_async(...)`, or `async with connect_async(...) as ws`.

    Args:
        url: as `ws://localhost:8080/ws`, or `wss://`.
        on_message: a plain function that is called as `on_message(ws, message)` as soon as a
            message comes, which is the quickest way; then there is nothing to `recv`.
        subprotocols, headers, timeout, limits, timeouts, deflate, ssl, unix, proxy, max_redirects:
            as for `connect`.

    Raises:
        ConnectError: nobody answered, or not as a WebSocket server.
        ValueError, LocalProtocolError, TypeError: as `connect`, and at once.
    """
    opening = Opening(
        url,
        random=os.urandom,
        subprotocols=subprotocols,
        headers=headers,
        limits=client_limits(limits),
        timeouts=timeouts,
        deflate=deflate,
        proxy=chosen_proxy(proxy),
        tls=ssl,
        unix=unix,
        max_redirects=max_redirects,
    )
    return _Connecting(lambda: _open(opening, limits, timeout, on_message))


async def _open(
    opening: Opening, limits: Limits, timeout: float, on_message: OnMessage | None
) -> AsyncWebSocket:
    while True:
        wire = await _dial(opening, limits, timeout)
        await wire.responded()
        if accept := opening.answered(wire.response):
            socket = AsyncWebSocket(wire, accept)
            if on_message:
                wire.deliver_to(on_message, socket)
            return socket


async def _dial(opening: Opening, limits: Limits, timeout: float) -> _Wire:
    loop = asyncio.get_running_loop()
    place = opening.dial
    try:
        if place.unix is not None:
            made = loop.create_unix_connection(lambda: _Wire(opening, limits), place.unix)
        else:
            made = loop.create_connection(lambda: _Wire(opening, limits), place.host, place.port)
        _, wire = await asyncio.wait_for(made, timeout)
    except asyncio.TimeoutError:
        raise opening.failed("connecting took too long") from None
    except OSError as error:
        raise opening.failed(error.strerror or str(error)) from error
    return wire
