"""One accepted socket: the transport of its layer. Moves bytes, and decides nothing."""

import socket
from collections.abc import Sized
from typing import Protocol

from sono_core.lifecycle import Driver
from sono_io import LITTLE_SIZE, FastTransport, LoopContext
from sono_io import loop as loop_in_c

READ, WRITE = 1, 2
"""The events that a loop watches for; the numbers are those of `selectors`."""
_HUNG_UP = 4  # see `FastTransport.ready`
_SOON = 16  # backlogs that one turn can probably take


class SelectorLoop(Protocol):
    """The methods of the loop that its transports use."""

    context: LoopContext
    """Shared by all transports of the loop."""
    buffer: memoryview
    """The buffer that all sockets receive into."""

    @property
    def again(self) -> Sized:
        """The transports that wait to be pumped."""

    def time(self) -> float:
        """Seconds of the clock that all deadlines are measured with."""

    def watch(
        self, sock: socket.socket, transport: "SelectorTransport", before: int, events: int
    ) -> None:
        """Call `transport.ready` when the socket can be read from or written to."""

    def schedule(self, transport: "SelectorTransport", due: float) -> None:
        """Call `transport.tick` then."""

    def pump_later(self, transport: "SelectorTransport") -> None:
        """Call `transport.pump` in a later turn."""

    def forget(self, transport: "SelectorTransport") -> None:
        """The transport's socket is closed."""

    def end_alone(self, transport: "SelectorTransport", error: Exception) -> None:
        """End a connection in which something failed that nobody foresaw."""


class SelectorTransport(FastTransport, Driver):
    """The transport of one accepted socket."""

    __slots__ = (
        "_broken",
        "_closing",
        "_fast",
        "_loop",
        "_shut",
        "_sock",
        "pump_scheduled",
        "scheduled",
    )

    pump_scheduled: bool

    def __init__(self, loop: SelectorLoop, sock: socket.socket) -> None:
        FastTransport.__init__(self, loop.context, sock.fileno())
        self._loop = loop
        self._sock = sock
        # A socket of another kind moves its bytes in its own way.
        self.start(fast=loop_in_c is not None and type(sock) is socket.socket)

    def time(self) -> float:
        return self._loop.time()

    def ready_fallback(self, events: int, now: float) -> None:
        """The selector says that the socket can be read from or written to."""
        layer = self.layer
        if events & READ and layer.reading:
            if events & _HUNG_UP and self._shut:  # reading would tell the same
                self.receive_in_turn(b"", now)
                return
            buffer = self._loop.buffer
            try:
                size = self._sock.recv_into(buffer, LITTLE_SIZE if self._loop.context.spent else 0)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                layer.lost()
                return
            else:
                self.receive_in_turn(bytes(buffer[:size]), now)
                return
        self.flush(now)

    # -- Driver ---------------------------------------------------------------------------------

    def _write_some(self) -> int:
        try:
            return self.write_some() if self._fast else self._sock.send(self.layer.outbox.peek())
        except (BlockingIOError, InterruptedError):
            return 0

    def _end_stream(self) -> None:
        try:  # as `suppress` costs more than the call
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _abandon(self) -> None:
        self.closed()
        self.pump_scheduled = False  # for which it would be watched
        self._watch(False, False)
        self._sock.close()
        self._loop.forget(self)

    def _watch(self, reading: bool, blocked: bool) -> None:
        # A backlog ends in the next turn: to look away until then would be two calls in vain. Only
        # where many wait will it take longer, for those that have had much.
        soon = self.pump_scheduled and (not self.layer.sated or len(self._loop.again) <= _SOON)
        events = (READ if reading or soon else 0) | (WRITE if blocked else 0)
        if events != self.watched:
            self._loop.watch(self._sock, self, self.watched, events)
            self.watched = events  # unless that failed

    def _pump_later(self) -> None:
        self._loop.pump_later(self)

    def _tick_at(self, due: float) -> None:
        self._loop.schedule(self, due)

    def unexpected(self, error: Exception) -> None:
        """See `Driver`."""
        self._loop.end_alone(self, error)

    def _rest(self) -> bytes:
        """A fair share of what the peer sent before it went, a Close frame perhaps."""
        try:
            return self._sock.recv(len(self._loop.buffer))
        except OSError:
            return b""
