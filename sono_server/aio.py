"""The server on asyncio: `serve_async`, and connections that `asyncio.start_server` accepts.

It reads into one buffer (`asyncio.BufferedProtocol`) and writes once a turn of the loop, past the
transport as long as the socket takes it. On uvloop as well. What is decided, is decided by the
session and by `host`.
"""

import asyncio
import contextlib
import math
import os
import socket
import ssl as tls
import threading
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from sono_core import Deflate, Limits, Timeouts
from sono_core.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS
from sono_core.protocol import SessionProtocol

from .fast import Carrier
from .fast import loop as loop_in_c
from .host import RECEIVE_BUFFER, Host, HostedPeer, Options
from .listeners import listen, remove_file
from .requests import HTTPRequest
from .signals import StopSignals

StreamReader = asyncio.StreamReader
StreamWriter = asyncio.StreamWriter

_BACKLOG = 1024  # connections that the kernel holds until they are accepted
_LAST_TURNS = 4  # in which the loop makes what it has accepted, hands it over, and closes it


class AsyncHost(Host):
    """A `Host` on the running event loop."""

    def __init__(self, listeners: list[socket.socket], options: Options) -> None:
        super().__init__(listeners, options)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = math.inf
        self._begun = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.loop: asyncio.AbstractEventLoop

    def _attach(self) -> None:
        """Belong to the running loop from now on."""
        self.loop = asyncio.get_running_loop()
        self._thread = self.turn.thread = threading.get_ident()
        self.turn.wake = self._flush_soon

    def _begin(self) -> None:
        """Do what was asked for meanwhile, and from now on whatever is asked for."""
        self._begun = True
        self._turn()

    def create_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine; it is waited for when the server ends."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _wake(self) -> None:
        if self._thread is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for it
                self.loop.call_soon_threadsafe(self._turn)

    def _turn(self) -> None:
        if not self._begun:
            return
        if self._posted:
            self._call_posted()
        if self._closed:
            self._cancel_at_once()
        elif self._stop_requests:
            self._continue_stopping()
            self._set_timer()

    def _flush_soon(self) -> None:
        self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self.turn.flush(self.time())

    # -- timers -----------------------------------------------------------------------------------

    def schedule(self, peer: HostedPeer, due: float) -> None:
        """Look at the peer's deadlines then."""
        self._timers.schedule(peer, due)
        self._set_timer()

    def _set_timer(self) -> None:
        due = min(self._timers.next, self._drain_until)
        if due < self._timer_due and not self._closed:
            if self._timer:
                self._timer.cancel()
            self._timer_due = due
            self._timer = self.loop.call_later(max(0.0, due - self.time()), self._time_has_come)

    def _time_has_come(self) -> None:
        # What has arrived is read first: a process that was stopped for a minute times nobody
        # out that had answered. uvloop calls timers before it reads, and callbacks too.
        self.loop.call_soon(self.loop.call_soon, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._timer_due = math.inf
        now = self.time()
        self._fire_timers(now)
        self._tidy_up()
        if now >= self._drain_until:
            self._continue_stopping()
        self._set_timer()

    # -- the end ----------------------------------------------------------------------------------

    async def _end(self) -> None:
        """Cut everything off, and wait for what the application still does, for the drain time."""
        self._closed = True
        self.turn.flush(self.time())
        if self._timer:
            self._timer.cancel()
        self._stop_listening()
        self._cut_off()
        self._posted.clear()
        self._cancel_at_once()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._options.drain)
            for task in late:
                task.cancel()
        for _ in range(_LAST_TURNS):
            await asyncio.sleep(0)

    def _cancel_at_once(self) -> None:
        """After a second stop nothing of the application is waited for."""
        if self._stop_requests > 1:
            for task in self._tasks:
                task.cancel()


class _Peer(SessionProtocol, Carrier, asyncio.BufferedProtocol):
    """The transport of one session, and the protocol of one asyncio transport."""

    __slots__ = (
        "_broken",
        "_closing",
        "_fast",
        "_handed",
        "_host",
        "_reads",
        "_shut",
        "_stream",
        "listed",
        "scheduled",
    )

    write_soon = Carrier.write_soon

    def __init__(self, host: AsyncHost) -> None:
        self._host = host

    def connection_made(self, transport: Any) -> None:
        host = self._host
        Carrier.__init__(self, host.turn, transport.get_extra_info("socket").fileno())
        self.start_on(transport, fast=loop_in_c is not None)
        host.admit(self, transport.get_extra_info("peername"), host.time())

    def updated_slowly(self, size: int, now: float) -> None:
        self.receive(bytes(self._host.buffer[:size]), now)

    def time(self) -> float:
        return self._host.time()

    def _write_directly(self) -> int:
        if not self._fast:
            return 0
        try:
            return self.write_some()
        except (BlockingIOError, InterruptedError):
            return 0

    def _abandon(self) -> None:
        self.closed()
        super()._abandon()
        self._host.forget(self)

    def _pump_later(self) -> None:
        self._host.loop.call_soon(self._pump)

    def _pump(self) -> None:
        self.pump(self.time())

    def _tick_at(self, due: float) -> None:
        self._host.schedule(self, due)

    def _rest(self) -> bytes:
        """What the peer sent before it went, a Close frame perhaps: a fair share of it."""
        try:
            return os.read(self._stream.get_extra_info("socket").fileno(), RECEIVE_BUFFER)
        except OSError:
            return b""


class AsyncServer(AsyncHost):
    """Serves HTTP/1.1 requests, which may become WebSockets; made by `serve_async`.

    An asynchronous iterator of requests, each to be answered by its `accept` or `respond`. It
    ends after `stop`, SIGINT or SIGTERM. As an asynchronous context manager it closes everything
    at its end.
    """

    def __init__(self, listeners: list[socket.socket], options: Options) -> None:
        super().__init__(listeners, options)
        self._servers: list[asyncio.Server] = []
        self._waiter: asyncio.Future[None] | None = None
        self._signals = StopSignals(self.stop)

    async def start(self) -> None:
        """Accept connections, in the running event loop, from now on. Idempotent."""
        if self._thread is not None or self._closed:
            return
        self._attach()
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
        create = self.loop.create_unix_server if unix else self.loop.create_server
        server = await create(
            lambda: _Peer(self), sock=listener, backlog=_BACKLOG, start_serving=False
        )
        self._servers.append(server)  # to be closed, also if the next step is cancelled
        await server.start_serving()

    def __aiter__(self) -> "AsyncServer":
        return self

    async def __anext__(self) -> HTTPRequest:
        await self.start()
        while not self._closed:
            if request := self._next_request():
                return request
            if self._stop_requests and not self._peers:
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
            self._signals.give_back()
            if self._thread is None:
                self._closed = True
                self._stop_listening()
            else:
                await self._end()
            self._notify()

    # -- what the rest tells ----------------------------------------------------------------------

    def _notify(self) -> None:
        """Let `__anext__` look again."""
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def _queue(self, request: HTTPRequest) -> None:
        super()._queue(request)
        self._notify()

    def forget(self, peer: HostedPeer) -> None:
        super().forget(peer)
        if self._stop_requests and not self._peers:
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


def serve_async(
    host: str | None = None,
    port: int = 8080,
    *,
    sock: socket.socket | None = None,
    unix: str | None = None,
    ssl: tls.SSLContext | None = None,
    limits: Limits = DEFAULT_LIMITS,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    deflate: Deflate | None = Deflate(),  # noqa: B008 - immutable
    origins: Collection[str] = (),
    max_connections: int | None = None,
    drain: float = 10.0,
) -> AsyncServer:
    """Listen, and serve requests to whoever iterates over the result with `async for`.

    Connections are accepted when the iteration begins, or at `async with`, by the event loop
    that runs then; asyncio's own and uvloop. SIGINT and SIGTERM end the iteration, if it runs in
    the main thread.

    Args:
        host, port, sock, unix, ssl, limits, timeouts, deflate, origins, max_connections, drain:
            as for `serve`.

    Raises:
        OSError, ValueError: as `serve`.
    """
    options = Options(
        limits=limits,
        timeouts=timeouts,
        deflate=deflate,
        origins=origins,
        max_connections=max_connections,
        drain=drain,
        ssl=ssl,
    )
    return AsyncServer(listen(host, port, sock, unix), options)


class StreamHost(AsyncHost):
    """Serves connections that somebody else accepted, as asyncio's streams.

    Args:
        answer: answers each request.
        options: how to serve; see `serve`.
    """

    def __init__(self, answer: Callable[[HTTPRequest], object], options: Options) -> None:
        super().__init__([], options)
        self._answer = answer
        self._attach()
        self._begin()

    def _queue(self, request: HTTPRequest) -> None:
        self._answer(request)

    def runs_here(self) -> bool:
        """Whether the running event loop is that of its connections."""
        return self.loop is asyncio.get_running_loop()

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve a connection until its end. Cancelled, it is cut off."""
        peer = _StreamPeer(self, writer)
        self.admit(peer, writer.get_extra_info("peername"), self.time())
        try:
            await peer.read_all(reader)
        finally:
            if not peer.session.over:
                peer.session.lost()
            writer.close()


def stream_host(answer: Callable[[HTTPRequest], object]) -> StreamHost:
    """One with the shipped limits, in the running event loop."""
    return StreamHost(answer, Options())


class _StreamPeer(SessionProtocol):
    """The transport of one session on a `StreamWriter`."""

    def __init__(self, host: StreamHost, writer: StreamWriter) -> None:
        self._host = host
        self._writer = writer
        self._draining: asyncio.Task[None] | None = None
        self._readable = asyncio.Event()
        self._readable.set()
        self._gone = asyncio.Event()
        self.start_on(writer.transport, fast=False)

    async def read_all(self, reader: StreamReader) -> None:
        """Read while it is welcome, until both sides have ended."""
        while not self.session.over:
            await self._readable.wait()
            try:
                data = await reader.read(RECEIVE_BUFFER)
            except OSError:
                self.session.lost()
                break
            self.receive(data, self.time())
            if not data:
                break
        await self._gone.wait()

    def time(self) -> float:
        return self._host.time()

    def write_soon(self) -> None:
        if not self.dirty:
            self.dirty = True
            self._host.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self.dirty = False
        if not self.session.over:
            self.flush(self.time())

    def _watch(self, reading: bool, blocked: bool) -> None:
        if self.session.reading:
            self._readable.set()
        else:
            self._readable.clear()
        if blocked and not self._draining:
            self._draining = self._host.loop.create_task(self._drain())

    async def _drain(self) -> None:
        with contextlib.suppress(OSError):  # the loss of the connection is told to the reader
            await self._writer.drain()
        self._draining = None
        self.resume_writing()

    def _abandon(self) -> None:
        super()._abandon()
        self._readable.set()
        self._gone.set()
        if self._draining:
            self._draining.cancel()
        self._host.forget(self)

    def _pump_later(self) -> None:
        self._host.loop.call_soon(self._pump)

    def _pump(self) -> None:
        self.pump(self.time())

    def _tick_at(self, due: float) -> None:
        self._host.schedule(self, due)
