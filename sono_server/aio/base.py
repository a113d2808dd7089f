"""The part of servers that is the same on every asyncio event loop: calls, tasks, timers, the end.

The session and `serving.base` make the decisions.
"""

import asyncio
import contextlib
import math
import socket
import threading
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from typing import Any, TypeVar

from sono_core.lifecycle import Driver
from sono_server.serving import BaseServer, HTTPRequest, Options, ServedTransport, forks

T = TypeVar("T")

_FLUSH = 0.01  # seconds of writing in one turn; what is left is written in the next
_LAST_TURNS = (
    4  # of the loop, in which it sets up the connections that it has accepted, and closes them
)


class AsyncBaseServer(BaseServer):
    """A `BaseServer` on the running event loop."""

    def __init__(
        self, listeners: list[socket.socket], options: Options, name: str | None = None
    ) -> None:
        super().__init__(listeners, options, name)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = math.inf
        self._begun = False
        self._woken = False
        self._turn_scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.loop: asyncio.AbstractEventLoop

    @property
    def ended(self) -> bool:
        """Whether the loop will never run again."""
        return self._closed or (self._thread is not None and self.loop.is_closed())

    def _attach(self) -> None:
        """Use the running loop from now on."""
        self.loop = asyncio.get_running_loop()
        self._thread = self.context.thread = threading.get_ident()
        self.context.wake = self._flush_soon
        forks.begin(self)
        self.context.opened = self._turn_soon

    def _begin(self) -> None:
        """Handle the calls that are waiting, and all later ones as they come."""
        self._begun = True
        self._turn()

    def create_task(
        self, coroutine: Coroutine[Any, Any, None], request: HTTPRequest | None = None
    ) -> "asyncio.Task[None]":
        """Run a coroutine; the server waits for it at its end.

        Args:
            request: for whose answer it is needed. It is then cancelled when the time of a
                handshake is over, or the peer is gone; until it ends it counts as a connection.
        """
        if request is None:
            task = self.loop.create_task(coroutine)
            self._keep(task)
            return task
        task = self.loop.create_task(_within(self._options.timeouts.handshake, coroutine))
        self._keep(task)
        task.add_done_callback(lambda _: coroutine.close())  # it may not have begun
        transport = request._transport
        self._asking[transport] = task
        task.add_done_callback(lambda _: self._answered(transport))
        if transport not in self._transports:
            self.forget(transport)
        return task

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _answered(self, transport: ServedTransport) -> None:
        del self._asking[transport]
        self._lingering.discard(transport)

    def peer_ended(self, transport: ServedTransport) -> None:
        """The peer has ended its side: then there is no more to ask who it is."""
        if transport in self._asking:
            transport.layer.lost()

    def _wake(self) -> None:
        if self._thread is not None and not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for it
                self.loop.call_soon_threadsafe(self._turn)

    def _turn(self) -> None:
        self._woken = False
        if not self._begun:
            return
        if self._posted:
            self._call_posted()
            if self._posted:
                self._wake()
        if self._closed:
            self._cancel_at_once()
        elif self._stop_requests:
            self._continue_stopping()
            self._set_timer()

    def _flush_soon(self) -> None:
        if not self._turn_scheduled:  # which flushes
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        now = self.time()
        self.context.flush(now, now + _FLUSH)
        if self.context.to_flush:
            self._flush_soon()

    # -- turns ------------------------------------------------------------------------------------
    # What the loop calls because sockets can be read, it calls after what was to be called soon; so
    # `_next_turn` lies between what two selects have found.

    def _turn_soon(self) -> None:
        if not self._turn_scheduled:
            self._turn_scheduled = True
            self.loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._turn_scheduled = False
        self.context.end()
        if self._closed:
            return
        if self.again.waiting:
            self._turn_soon()
        if self.context.to_flush:  # answers leave before more is asked
            self._flush()
        self.again.pump(self.again.counts, self.context, self.time)

    def pump_later(self, transport: ServedTransport) -> None:
        super().pump_later(transport)
        self._turn_soon()

    def call_next_turn(self, function: Callable[[], object]) -> None:
        self.loop.call_soon(function)

    # -- timers -----------------------------------------------------------------------------------

    def schedule(self, transport: ServedTransport, due: float) -> None:
        """Handle the transport's deadlines at that time."""
        self._timers.schedule(transport, due)
        self._set_timer()

    def _set_timer(self) -> None:
        due = min(self._timers.next, self._stop_due)
        if due < self._timer_due and not self._closed:
            if self._timer:
                self._timer.cancel()
            self._timer_due = due
            self._timer = self.loop.call_later(max(0.0, due - self.time()), self._time_has_come)

    def _time_has_come(self) -> None:
        # Read first, so that a process that was stopped for a minute times out nobody that had
        # answered. uvloop runs timers and callbacks before it reads.
        self.loop.call_soon(self.loop.call_soon, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._timer_due = math.inf
        now = self.time()
        self._fire_timers(now)
        self._tidy_up()
        if now >= self._stop_due:
            self._continue_stopping()
        self._set_timer()

    # -- the end ----------------------------------------------------------------------------------

    async def _end(self) -> None:
        """Cut off all connections, and wait for the application's tasks for the rest of the drain
        time."""
        self._closed = True
        self._end_watch()
        self.context.flush(self.time())
        if self._timer:
            self._timer.cancel()
        self._stop_listening()
        self._cut_off()
        self._end_all()
        self._posted.clear()
        self._cancel_at_once()
        if self._tasks:
            left = min(self._options.drain, max(0.0, self._drain_until - self.time()))
            _, late = await asyncio.wait(self._tasks, timeout=left)
            for task in late:
                task.cancel()
        for _ in range(_LAST_TURNS):
            await asyncio.sleep(0)

    def _cancel_at_once(self) -> None:
        """After a second stop, cancel the application's tasks instead of waiting."""
        if self._stop_requests > 1:
            for task in self._tasks:
                task.cancel()


def awaited_future(future: "Future[T]") -> "Generator[Any, None, T]":
    """What `__await__` returns for a future of another thread."""
    return asyncio.wrap_future(future).__await__()


async def _within(seconds: float, coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine for at most this many seconds."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(coroutine, seconds)


class EmbeddedServer(AsyncBaseServer):
    """Runs connections that others have accepted, in the running event loop.

    Args:
        answer: called with each request as soon as it has come.
        options: how to serve; see `serve`.
        watched: whether to log which handler blocks the loop.
    """

    def __init__(
        self,
        answer: Callable[[HTTPRequest], object],
        options: Options,
        *,
        watched: bool = False,
    ) -> None:
        super().__init__([], options)
        self._answer = answer
        self._watched = watched
        self._attach()
        self._begin()

    def admit(self, transport: ServedTransport, *arguments: Any, **options: Any) -> bool:
        """See `BaseServer`."""
        if self._watched and not self._watchdog:
            self._begin_watch()
        return super().admit(transport, *arguments, **options)

    def forget(self, transport: ServedTransport) -> None:
        """See `BaseServer`."""
        super().forget(transport)
        if not self._transports:  # nobody says when the last connection has come
            self._end_watch()

    def _queue(self, request: HTTPRequest) -> None:
        self._answer(request)

    async def finish(self) -> None:
        """All connections have ended: wait for what the application does then."""
        self._end_all()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._options.drain)

    def runs_here(self) -> bool:
        """Whether its connections belong to the running event loop."""
        return self.loop is asyncio.get_running_loop()


class TaskTransport(Driver):
    """A transport whose bytes are moved by tasks.

    Args:
        server: the server that runs it.
    """

    flush_scheduled: bool

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server
        self._readable = asyncio.Event()
        self._readable.set()
        self._gone = asyncio.Event()

    def time(self) -> float:
        return self._server.time()

    def write_soon(self) -> None:
        if not self.flush_scheduled:
            self.flush_scheduled = True
            self._server.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self.flush_scheduled = False
        if not self.layer.over:
            self.flush(self.time())

    def _watch(self, reading: bool, blocked: bool) -> None:
        if reading:
            self._readable.set()
        else:
            self._readable.clear()

    def _abandon(self) -> None:
        self._readable.set()
        self._gone.set()
        self._server.forget(self)

    def _pump_later(self) -> None:
        self._server.pump_later(self)

    def _tick_at(self, due: float) -> None:
        self._server.schedule(self, due)

    def unexpected(self, error: Exception) -> None:
        """See `Driver`."""
        self._server.end_alone(self, error)
