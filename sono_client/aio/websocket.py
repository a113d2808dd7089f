"""A client's WebSocket on asyncio, and how it is opened."""

import math
import os
import time
from collections.abc import Callable, Coroutine, Generator
from threading import get_ident
from types import MethodType
from typing import Any, ClassVar

import msgspec

from sono_client.dialing import described
from sono_client.options import PING_BYTES, ConnectOptions, Options, client_limits, connector
from sono_core import Close, Limits, Ping, Prepared
from sono_core.arguments import Unpack, require_plain, takes_options
from sono_core.close_codes import NORMAL_ENDS
from sono_core.connect import Connector
from sono_core.errors import ConnectionClosed
from sono_core.events import Accept
from sono_core.lifecycle import ends
from sono_core.limits import MAX_UTF8
from sono_core.websocket import message_event
from sono_io import Sender

from .dial import dial
from .notifier import running_loop
from .transport import ClientTransport

OnMessage = Callable[["AsyncWebSocket", Any], object]


class AsyncWebSocket(Sender):
    """A client's open connection; made by `connect_async`.

    An asynchronous iterator over messages that ends with a normal close. Several tasks may use
    it; a message goes to one of those that wait for it. It belongs to the event loop in which it
    was opened: in another one, or in another thread, every method raises RuntimeError.
    """

    def __init__(self, transport: ClientTransport, response: Accept) -> None:
        connection = transport.session.connection
        outbox = transport.session.outbox
        super().__init__(transport.context, transport, outbox, connection.plain, connection.keys)
        self._client_transport = transport
        self._out = outbox
        self.response = response
        """The server's 101, with its headers."""

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the handshake agreed on."""
        return self.response.subprotocol

    @property
    def closed(self) -> Close | None:
        """How the connection ended; None while it has not."""
        return self._client_transport.closed_with

    @property
    def local_address(self) -> Any:
        """This side's, as of `socket.getsockname`."""
        return self._client_transport.address("sockname")

    @property
    def remote_address(self) -> Any:
        """The server's, or the proxy's, as of `socket.getpeername`."""
        return self._client_transport.address("peername")

    async def send(  # type: ignore[override]
        self, message: str | bytes | bytearray | memoryview
    ) -> None:
        """Send a text (str) or binary (bytes-like) message, after waiting while much waits to go.

        Cancelled, it was not sent.

        Raises:
            ConnectionClosed: the connection is no longer open.
            TypeError: `message` is neither.
            LocalProtocolError: a text holds a lone surrogate.
        """
        transport, out = self._client_transport, self._out
        if running_loop() is not transport.loop:
            transport.require_loop()
        if out.size:
            fits = transport.pause_at + MAX_UTF8 * len(message) <= transport.queue_limit
            await self._drain(transport.pause_at if fits else 0)
        if not transport.promptly(self.send_nowait, message):
            raise self.error()
        if out.size > transport.pause_at:
            transport.owe()

    async def drain(self) -> None:
        """Wait while much data waits to be written; for callers of `send_nowait`.

        Raises:
            ConnectionClosed: the connection is no longer open.
        """
        self._client_transport.require_loop()
        await self._drain(self._client_transport.pause_at)
        if self._client_transport.over:
            raise self.error()

    async def _drain(self, size: int) -> None:
        out = self._out
        if out.size > size:
            await self._client_transport.until(lambda: out.size <= size)

    send_nowait: ClassVar[
        Callable[["AsyncWebSocket", str | bytes | bytearray | memoryview | Prepared], bool]
    ] = Sender.send
    """Send a message before this turn of the loop ends, for callbacks: `send` of servers."""

    def send_fallback(self, message: str | bytes | bytearray | memoryview | Prepared) -> bool:
        """`send` for every message and connection that C leaves to Python."""
        self._require_thread()
        return self._client_transport.session.send(message_event(message))

    async def recv(self) -> str | bytes:
        """The next message. Cancelled, or with a time-out around it, it loses none.

        Raises:
            ConnectionClosed: there is none and will be none.
        """
        transport = self._client_transport
        if running_loop() is not transport.loop:
            transport.require_loop()
        while not transport.messages:
            if transport.over:
                raise self.error()
            await transport.changed()
        return transport.take()

    def __aiter__(self) -> "AsyncWebSocket":
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self.recv()
        except ConnectionClosed as error:
            if error.code in NORMAL_ENDS:
                raise StopAsyncIteration from None
            raise

    async def ping(self) -> float:
        """Send a ping and wait for its pong; the seconds that it took.

        Raises:
            ConnectionClosed: the connection ended before.
        """
        transport = self._client_transport
        transport.require_loop()
        payload = os.urandom(PING_BYTES)
        transport.pongs[payload] = math.inf
        try:
            start = time.monotonic()
            if not transport.session.send(Ping(payload)):
                raise self.error()
            await transport.until(lambda: transport.pongs[payload] < math.inf or transport.over)
            if transport.pongs[payload] == math.inf:
                raise self.error()
            return transport.pongs[payload] - start
        finally:
            del transport.pongs[payload]

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close, and wait for the server to do the same, for `Timeouts.close` at most.

        Messages that come in the meantime are dropped. If this is cancelled, the connection is cut
        off.

        Raises:
            TypeError, LocalProtocolError: the code may not be sent, or the reason is not a str.
        """
        self.close_nowait(code, reason)
        try:
            await self._client_transport.until(lambda: False)
        finally:
            self.cut_off()

    def close_nowait(self, code: int = 1000, reason: str = "") -> None:
        """Begin to close, for callbacks. Raises as `close`."""
        self._require_thread()
        self._client_transport.session.close(code, reason, time.monotonic())
        self._client_transport.drop()

    async def wait_closed(self) -> Close:
        """Wait until the connection has ended; for programs that get messages by callback.

        Returns:
            How it did.
        """
        transport = self._client_transport
        transport.require_loop()
        await transport.until(lambda: transport.closed_with)
        return transport.closed_with or ends.STILL_CLOSING

    def cut_off(self) -> None:
        """End the connection now, without a word to the server."""
        self._require_thread()
        self._client_transport.cut_off()

    def _require_thread(self) -> None:
        transport = self._client_transport
        transport.require_loop()
        if transport.context.thread != get_ident():
            raise RuntimeError("this connection belongs to the event loop of another thread")

    async def __aenter__(self) -> "AsyncWebSocket":
        self._client_transport.require_loop()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    def error(self) -> ConnectionClosed:
        """The exception for calls after the end of the connection."""
        closed = self._client_transport.closed_with or ends.STILL_CLOSING
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


@takes_options(Options)
def connect_async(
    url: str,
    *,
    on_message: OnMessage | None = None,
    **options: Unpack[ConnectOptions],
) -> _Connecting:
    """Open a WebSocket: `ws = await connect_async(...)`, or `async with connect_async(...) as ws`.

    Args:
        url: as `ws://localhost:8080/ws`, or `wss://`.
        on_message: a plain function that is called as `on_message(ws, message)` as soon as a
            message comes, which is the quickest way; then there is nothing to `recv`. If it
            raises, that is logged, and the connection closed with 1011.
        options: the fields of `Options`, in sono_client/options.py.

    Raises:
        ConnectError: nobody answered, or not as a WebSocket server.
        ValueError, LocalProtocolError, TypeError: as `connect`, and at once.
    """
    if on_message is not None:
        require_plain("on_message", on_message)
    chosen = Options(**options)
    of_session = client_limits(chosen.limits)
    if on_message is None:
        # The next message is parsed a turn later, so that the application's answer still leaves if
        # the next one ends the connection.
        of_session = msgspec.structs.replace(of_session, max_turn_messages=1)
    attempts = connector(url, chosen, of_session)
    return _Connecting(lambda: _open(attempts, chosen.limits, chosen.timeout, on_message))


async def _open(
    connector: Connector, limits: Limits, timeout: float, on_message: OnMessage | None
) -> AsyncWebSocket:
    while True:
        transport = ClientTransport(connector, limits)
        try:
            await dial(connector.endpoint, transport, timeout)
            await transport.responded()
        except BaseException as error:
            transport.cut_off()
            if isinstance(error, OSError):
                raise connector.failed(described(error)) from error.__cause__ or error
            raise
        if transport.failure:
            raise transport.failure
        if accept := connector.answered(transport.response):
            socket = AsyncWebSocket(transport, accept)
            transport.begin(on_message and MethodType(on_message, socket))
            return socket
