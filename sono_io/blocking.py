"""A session on one socket, for code that waits: with a thread, greenlet or task for each.

    while not layer.over:
        wait_for(sock, driver.wanted())
        driver.turn()

Only the waiting is left to the caller. No socket is opened here.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from sono_core.lifecycle import Driver

from .reference import RECEIVE_SIZE

MAX_WAIT = 3600.0
"""Seconds: any way of waiting takes them, and waking up once more is cheap."""
_SHUT_WR = 1  # on every system


class NonBlockingSocket(Protocol):
    """The methods of a socket that are needed; they raise BlockingIOError instead of waiting."""

    def recv(self, size: int, /) -> bytes: ...
    def send(self, data: bytes | memoryview, /) -> int: ...
    def shutdown(self, how: int, /) -> None: ...
    def close(self) -> None: ...


class Wanted(NamedTuple):
    """What to wait for: whatever comes first."""

    read: bool
    """Until the socket can be read."""
    write: bool
    """Until it can be written."""
    seconds: float
    """Until so many have passed: at least 0, and never infinite."""


class SocketTransport(Driver):
    """The transport of one session on a socket that does not block, driven turn by turn.

    Whoever derives from it sets `_sock` and supplies `time` and the turns, each of which writes
    what waits and asks what to wait for.
    """

    _sock: NonBlockingSocket

    def _read(self) -> None:
        """Take what has come, if anything has."""
        try:
            data = self._sock.recv(RECEIVE_SIZE)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.layer.lost()
        else:
            self.receive(data, self.time())

    # -- Driver -----------------------------------------------------------------------------------

    def write_soon(self) -> None:
        """Nothing to do: every turn writes."""

    def _write_some(self) -> int:
        try:
            return self._sock.send(self.layer.outbox.peek())
        except (BlockingIOError, InterruptedError):
            return 0

    def _end_stream(self) -> None:
        try:
            self._sock.shutdown(_SHUT_WR)
        except OSError:  # the connection is gone; its loss is reported separately
            pass

    def _rest(self) -> bytes:
        try:
            return self._sock.recv(RECEIVE_SIZE)
        except OSError:
            return b""

    def _watch(self, reading: bool, blocked: bool) -> None:
        """Every turn asks what to wait for."""

    def _pump_later(self) -> None:
        """Every turn asks whether to."""

    def _tick_at(self, due: float) -> None:
        """Every turn asks when."""


class SocketDriver(SocketTransport):
    """A `SocketTransport` for one thread, greenlet or task that waits. It decides nothing.

    `turn` writes what the session sends within it. To send from elsewhere, override `write_soon`
    so that it ends the wait.

    Args:
        sock: connected; the session's end closes it.
        time: the clock of all deadlines.
    """

    def __init__(self, sock: NonBlockingSocket, time: Callable[[], float]) -> None:
        self.start(fast=False)
        self._sock = sock
        self._time = time

    def time(self) -> float:
        return self._time()

    def wanted(self) -> Wanted:
        """What to wait for before the next turn."""
        layer = self.layer
        due = 0.0 if layer.pump_due else layer.deadlines.next - self._time()
        return Wanted(layer.reading, layer.outbox.size > 0, max(0.0, min(due, MAX_WAIT)))

    def turn(self) -> None:
        """Do what needs no waiting: read or resume, handle the deadlines, and write."""
        layer = self.layer
        if layer.pump_due:
            self.resume(self._time())
        elif layer.reading:
            self._read()
        self.tick(self._time())  # after reading, so that what came in time counts

    def _abandon(self) -> None:
        self._sock.close()
