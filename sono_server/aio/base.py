"""The part of servers that is the same on every asyncio event loop: calls, tasks, timers, the end.

The session and `serving.base` make the decisions.
"""

import asyncio
import contextlib
import math
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from sono_core.lifecycle import Driver
from sono_server.serving import BaseServer, HTTPRequest, Options, ServedTransport

_LAST_TURNS = (
    4  # of the loop, in which it sets up the connections that it has accepted, and closes them
)


class AsyncBaseServer(BaseServer):
    """A `BaseServer` on the running event loop."""

    def __init__(self, listeners: list[socket.socket], options: Options) -> None:
        super().__init__(listeners, options)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = math.inf
        self._begun = False
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

    def _begin(self) -> None:
        """Handle the calls that are waiting, and all later ones as they come."""
        self._begun = True
        self._turn()

    def create_task(self, coroutine: Coroutine[Any, Any, None], brief: bool = False) -> None:
        """Run a coroutine; the server waits for it at its end.

        Args:
            brief: cancel it when the time of a handshake is over.
        """
        if brief:
            coroutine = _within(self._options.timeouts.handshake, coroutine)
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
        self.context.flush(self.time())

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


async def _within(seconds: float, coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine for at most this many seconds."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(coroutine, seconds)


class EmbeddedServer(AsyncBaseServer):
    """Runs connections that others have accepted, in the running event loop.

    Args:
        answer: called with each request as soon as it has come.
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
        self._server.loop.call_soon(self._pump)

    def _pump(self) -> None:
        self.pump(self.time())

    def _tick_at(self, due: float) -> None:
        self._server.schedule(self, due)
