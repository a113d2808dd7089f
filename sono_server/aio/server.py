"""The server on asyncio: `serve_async`.

It reads into one buffer (`asyncio.BufferedProtocol`), and writes once per turn of the loop,
straight to the socket while the socket takes it. uvloop works as well.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from sono_core.arguments import Unpack, takes_options
from sono_io import SocketProtocol
from sono_server.serving import (
    BACKLOG,
    HTTPRequest,
    Options,
    ServedTransport,
    ServeOptions,
    StopSignals,
    listen,
    logger,
    remove_file,
)

from .base import AsyncBaseServer

_ANSWERS = 64  # requests answered in a turn: a fair share
_ACCEPTS = 16  # at most in a turn; asyncio tries, and logs, as often when descriptors have run out


class _AsyncTransport(SocketProtocol, asyncio.BufferedProtocol):
    """The transport of one session, and the protocol of one asyncio transport."""

    __slots__ = (
        "_broken",
        "_closing",
        "_fast",
        "_handed",
        "_reads",
        "_server",
        "_shut",
        "_stream",
        "pump_scheduled",
        "scheduled",
    )

    def __init__(self, server: AsyncBaseServer) -> None:
        self._server = server

    def connection_made(self, transport: Any) -> None:
        server = self._server
        try:
            self.start_on_socket(server.context, transport)
            now = server.time()
            server.admit(self, transport.get_extra_info("peername"), now)
            self.flush(now)  # schedules the deadline of a peer that says nothing
        except Exception:
            logger.exception("a connection cannot be served, and is closed")
            server.forget(self)
            transport.set_protocol(asyncio.Protocol())  # which does nothing
            transport.abort()

    def updated_fallback(self, size: int, now: float) -> None:
        self.receive_in_turn(bytes(self._server.buffer[:size]), now)

    def eof_received(self) -> bool:
        """See `SessionProtocol`."""
        goes_on = super().eof_received()
        self._server.peer_ended(self)
        return goes_on

    def time(self) -> float:
        return self._server.time()

    def fileno(self) -> int:
        """Of the socket."""
        number: int = self._stream.get_extra_info("socket").fileno()
        return number

    def _abandon(self) -> None:
        super()._abandon()
        self._server.forget(self)

    def _pump_later(self) -> None:
        self._server.pump_later(self)

    def _tick_at(self, due: float) -> None:
        self._server.schedule(self, due)

    def unexpected(self, error: Exception) -> None:
        """See `Driver`."""
        self._server.end_alone(self, error)


class AsyncServer(AsyncBaseServer):
    """Serves HTTP/1.1 requests, which may become WebSockets; made by `serve_async`.

    An asynchronous iterator of requests, each to be answered by its `accept` or `respond`. It
    ends after `stop`, SIGINT or SIGTERM. As an asynchronous context manager it closes everything
    at its end.
    """

    def __init__(
        self, listeners: list[socket.socket], options: Options, name: str | None = None
    ) -> None:
        super().__init__(listeners, options, name)
        self._servers: list[asyncio.Server] = []
        self._waiter: asyncio.Future[None] | None = None
        self._answers = _ANSWERS  # requests that may be answered before others have their turn
        self._signals = StopSignals(self.stop)

    async def start(self) -> None:
        """Accept connections, in the running event loop, from now on. Idempotent."""
        if self._thread is not None or self._closed:
            return
        self._attach()
        self._begin_watch()
        self._signals.take()
        try:
            for listener in self._listeners:
                await self._accept_from(listener)
        except BaseException:  # cancelled, for one
            await self.close()
            raise
        self._begin()

    async def _accept_from(self, listener: socket.socket) -> None:
        unix = listener.family == getattr(socket, "AF_UNIX", None)
        create = partial(
            self.loop.create_unix_server if unix else self.loop.create_server,
            lambda: _AsyncTransport(self),
            sock=listener,
            backlog=_ACCEPTS,
            start_serving=False,
        )
        server = await (_leaving_the_file(create) if unix else create())
        self._servers.append(server)  # to be closed, also if the next step is cancelled
        await server.start_serving()
        listener.listen(BACKLOG)  # to asyncio both numbers are one

    def __aiter__(self) -> "AsyncServer":
        return self

    def _require_loop(self) -> None:
        if self._thread is not None and self.loop is not asyncio.get_running_loop():
            raise RuntimeError("this server runs in another event loop")

    async def __anext__(self) -> HTTPRequest:
        await self.start()
        while not self._closed:
            self._require_loop()
            if self._answers and (request := self._next_request()):
                self._answers -= 1
                return request
            self._answers = _ANSWERS
            if self._requests:  # others have their turn
                await asyncio.sleep(0)
                continue
            if self._stop_requests and not self._transports:
                await self.close()
                break
            self._waiter = self.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        raise StopAsyncIteration

    async def __aenter__(self) -> "AsyncServer":
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Cut everything off and free all sockets. Idempotent; in the server's loop.

        Coroutines of the application that still run get the drain time, and are then cancelled.
        """
        if not self._closed:
            self._require_loop()
            self._signals.give_back()
            if self._thread is None:
                self._closed = True
                self._stop_listening()
            else:
                await self._end()
            self._notify()

    def descriptors(self) -> list[int]:
        """See `BaseServer`."""
        found = [one.fileno() for one in self._transports if isinstance(one, _AsyncTransport)]
        selector: Any = getattr(self.loop, "_selector", None)
        if hasattr(selector, "fileno"):  # asyncio's own; uvloop makes another at each fork
            found.append(selector.fileno())
        return [*super().descriptors(), *found]

    def forked(self) -> None:
        """See `forks`: if the loop goes on there, as uvloop does, the iteration ends."""
        super().forked()
        self._notify()

    # -- what the base class calls ----------------------------------------------------------------

    def _notify(self) -> None:
        """Wake `__anext__`."""
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def _queue(self, request: HTTPRequest) -> None:
        super()._queue(request)
        self._notify()

    def forget(self, transport: ServedTransport) -> None:
        super().forget(transport)
        if self._stop_requests and not self._transports:
            self._notify()

    def _continue_stopping(self) -> None:
        super()._continue_stopping()
        self._notify()

    def _stop_listening(self) -> None:
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            remove_file(listener)
        if not self._servers:
            self._close_sockets(listeners)
            return
        # asyncio loses the socket that it has just accepted if its server is closed in that turn.
        with contextlib.suppress(NotImplementedError):  # a loop that does not watch sockets
            for listener in listeners:
                self.loop.remove_reader(listener)
        self.loop.call_soon(self._close_sockets, listeners)

    def _close_sockets(self, listeners: list[socket.socket]) -> None:
        for server in self._servers:
            server.close()
        for listener in listeners:
            listener.close()


def _leaving_the_file(
    create: Callable[..., Awaitable[asyncio.Server]],
) -> Awaitable[asyncio.Server]:
    """From Python 3.13 on, asyncio would remove the file at the path, even another server's."""
    try:
        return create(cleanup_socket=False)
    except TypeError:  # an earlier one, or an uvloop of that time
        return create()


@takes_options(Options)
def serve_async(
    host: str | None = None,
    port: int = 8080,
    *,
    sock: socket.socket | None = None,
    unix: str | None = None,
    **options: Unpack[ServeOptions],
) -> AsyncServer:
    """Listen, and serve requests to whoever iterates over the result with `async for`.

    Connections are accepted when the iteration begins, or at `async with`, by the event loop
    that runs then; asyncio's own and uvloop. SIGINT and SIGTERM end the iteration, if it runs in
    the main thread.

    Args:
        host, port, sock, unix: as for `serve`.
        options: the fields of `Options`, in sono_server/serving/options.py.

    Raises:
        OSError, ValueError: as `serve`.
    """
    chosen = Options(**options)
    return AsyncServer(listen(host, port, sock, unix), chosen, host)


def run_server(server: AsyncServer, answer: Callable[[HTTPRequest], object]) -> None:
    """Run a server in a new event loop of asyncio, and answer its requests, until it is stopped."""

    async def serve() -> None:
        async with server:
            async for request in server:
                answer(request)

    asyncio.run(serve())
