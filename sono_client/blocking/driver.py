"""The turns in which any number of threads move the bytes of one blocking client's socket.

One lock guards the session and everything here; no thread holds it while it waits. A thread that
waits takes the lock to check its condition and to move bytes, and then polls the socket without it.
Only one thread polls at a time, the `Leader`; after each turn all others check again, and when the
leader leaves, one of them takes over. If all polled, one could read what another waits for, and
that one would sleep on. The events to poll for can change during a poll, for example when a message
does not go out at once, so a poll can be woken; without that, two threads on each side could wait
for each other. The socket is shut down first, which ends the poll, and closed once no thread polls.

While a message is written, this also reads, so that two sides that both send large messages do not
wait for each other.
"""

import math
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from sono_core.errors import ConnectionClosed
from sono_io import SocketTransport

from .leader import Leader
from .poll import Poll

Result = TypeVar("Result")


class _Process:
    """This process; a child that was forked is another one."""

    number = 0

    @classmethod
    def forked(cls) -> None:
        cls.number += 1


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_Process.forked)


class ThreadedDriver(SocketTransport):
    """A `SocketTransport` for several threads, on a socket that is connected.

    Subclasses set `layer`, and supply `error`, `has_room` and `interrupted`.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.start(fast=False)
        self._sock: socket.socket = sock
        self._process = _Process.number
        self._poll = Poll(sock)
        self._lock = threading.Lock()
        self._leader = Leader()  # to poll
        self._polled = (False, False, math.inf)  # for these events; see `_wanted`
        self.gone: bool = False
        """Whether the socket is not used any more."""
        self.emptied: int = 0
        """How often nothing was left to write."""

    def error(self) -> ConnectionClosed:
        """The exception for calls after the end of the connection."""
        raise NotImplementedError

    def has_room(self) -> bool:
        """Whether more may be received and handled."""
        raise NotImplementedError

    def interrupted(self) -> None:
        """A step was interrupted, perhaps by KeyboardInterrupt, so nothing can go on."""
        raise NotImplementedError

    def require_process(self) -> None:
        """Refuse a call in a child of the process that connected: both would use one socket.

        Raises:
            RuntimeError: this is a child.
        """
        if self._process != _Process.number:
            raise RuntimeError("this connection belongs to the process that opened it")

    def until(self, attempt: Callable[[], Result | None], timeout: float | None = None) -> Result:
        """Move bytes until an attempt returns anything but None.

        Args:
            attempt: called with the lock held, whenever something may have happened.
            timeout: seconds to wait at most; data that has come by then still counts.

        Raises:
            TimeoutError: it returned nothing in time.
            ConnectionClosed: it returned nothing, and the connection is over.
            ValueError: the time-out is not a number.
            RuntimeError: this is another process.
        """
        self.require_process()
        if timeout is not None and math.isnan(timeout):  # it would never be over
            raise ValueError("timeout must be a number of seconds, not nan")
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        nested = self._leader.mine
        looked = False
        try:
            while True:
                with self._lock:
                    result = attempt()
                    if result is not None:
                        self.tell_holder()
                        return result
                    if self.gone:
                        raise self.error()
                    now = time.monotonic()
                    if looked and deadline <= now and not self._backlog:
                        raise TimeoutError("nothing came in time")
                    if self._move(now):
                        self._leader.notify()
                        continue
                    self.tell_holder()
                    waiter = self._leader.enter_or_take()
                    if not waiter:
                        self._polled = self._wanted()
                if not waiter:
                    self._poll_once(now, deadline)
                    looked = True
                elif deadline > now:
                    self._leader.wait(waiter, deadline - now)
                else:
                    self._leader.wait(waiter, 0)
                    self._look_meanwhile()
                    looked = True
        finally:
            if not nested:
                self._leader.leave()
            if self.gone:
                self._release()

    # -- steps of a turn --------------------------------------------------------------------------

    def _move(self, now: float) -> bool:
        """Write waiting bytes, or deliver one event; whether there was anything to do."""
        layer = self.layer
        try:
            if layer.outbox.size:
                self.flush(now)
                if self.gone or not layer.outbox.size:
                    return True
            if self._backlog:
                self.resume(now)
                return True
        except BaseException:
            self.break_off()
            raise
        return False

    def _poll_once(self, now: float, deadline: float) -> None:
        """Wait for the socket, read, and handle the deadlines that are due."""
        read, write, due = self._polled
        readable = self._poll.wait(read, write, min(due, deadline) - now)
        with self._lock:
            if not self.gone:
                self._look(readable)
            self._leader.notify()

    def _look_meanwhile(self) -> None:
        """Look once although another thread polls, because there is no time to wait for it."""
        with self._lock:
            if not self.gone:
                self._look(self.layer.reading and self.has_room())
            self._poll.wake()

    def _look(self, readable: bool) -> None:
        try:
            if readable:
                self._read()
            now = time.monotonic()
            if self.layer.deadlines.next <= now:
                self.tick(now)
        except BaseException:
            self.break_off()
            raise

    @property
    def _backlog(self) -> bool:
        """Whether received data may hold more events that there is room for."""
        return self.layer.pump_due and self.has_room()

    def _wanted(self) -> tuple[bool, bool, float]:
        """The events to poll for (read, write), and the time until which."""
        layer = self.layer
        return layer.reading and self.has_room(), layer.outbox.size > 0, layer.deadlines.next

    def tell_holder(self) -> None:
        """Wake the polling thread if it should now poll for other events."""
        if self._leader.taken and not self.gone:
            read, write, due = self._wanted()
            if (read, write) != self._polled[:2] or due < self._polled[2] or self._backlog:
                self._poll.wake()

    # -- the end ----------------------------------------------------------------------------------

    def break_off(self) -> None:
        """End the connection without using the session, which may be half changed."""
        self.interrupted()
        self.abort()

    def cut_off(self) -> None:
        """End the connection now, unless it has ended."""
        self.require_process()
        with self._lock:
            if not self.gone:
                try:
                    self.layer.lost()
                except BaseException:
                    self.break_off()
                    raise
        self._release()

    def _release(self) -> None:
        """Close the socket, unless another thread polls it."""
        if not self._leader.taken:
            self._sock.close()
            self._poll.close()

    # -- Driver -----------------------------------------------------------------------------------

    def time(self) -> float:
        return time.monotonic()

    def flush(self, now: float) -> None:
        waiting = self.layer.outbox.size
        if waiting or self._closing:
            super().flush(now)
            if waiting and not self.layer.outbox.size:
                self.emptied += 1

    def _abandon(self) -> None:
        self.gone = True
        if self._leader.taken:  # a descriptor that is polled must not be closed
            try:
                self._sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self._poll.wake()
        self._release()
