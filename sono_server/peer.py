"""One accepted socket: the transport of its session. Moves bytes, and decides nothing."""

import contextlib
import math
import socket
from typing import Protocol

from .fast import Carrier, Turn
from .fast import loop as loop_in_c

READ, WRITE = 1, 2
"""What a loop may watch a socket for; the numbers are those of `selectors`."""


class PeerLoop(Protocol):
    """What a peer needs of the loop that runs it."""

    turn: Turn
    """What all its peers share."""
    buffer: memoryview
    """What every socket is received into."""
    again: "list[Peer]"
    """To be pumped in the next turn."""

    def time(self) -> float:
        """Seconds of the clock that all deadlines are measured with."""

    def watch(self, sock: socket.socket, peer: "Peer", before: int, events: int) -> None:
        """Call `peer.ready` when the socket can be read from or written to."""

    def schedule(self, peer: "Peer", due: float) -> None:
        """Call `session.tick` then."""

    def forget(self, peer: "Peer") -> None:
        """The peer's socket is closed."""


class Peer(Carrier):
    """The transport of one accepted socket."""

    __slots__ = (
        "_broken",
        "_closing",
        "_loop",
        "_plain",
        "_shut",
        "_sock",
        "listed",
        "scheduled",
    )

    def __init__(self, loop: PeerLoop, sock: socket.socket) -> None:
        super().__init__(loop.turn, sock.fileno())
        self._loop = loop
        self._sock = sock
        # A socket of another kind moves its bytes in its own way.
        self._plain = loop_in_c is not None and type(sock) is socket.socket
        self._broken = False  # writing failed
        self._closing = False
        self._shut = False
        self.listed = False  # for a pump in the next turn
        self.scheduled = math.inf  # when the server's timers look at it

    def write_now(self) -> None:
        self._write(self._loop.time())

    def close(self) -> None:
        self._closing = True
        self.write_soon()

    def abort(self) -> None:
        self.closed()
        self._watch(0)
        self._sock.close()
        self._loop.forget(self)

    def ready_slowly(self, events: int, now: float) -> None:
        """The selector says that the socket can be read from or written to."""
        session = self.session
        if events & READ and session.reading:
            buffer = self._loop.buffer
            try:
                size = self._sock.recv_into(buffer)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                session.lost()
                return
            else:
                self._receive(bytes(buffer[:size]), now)
        self.flush(now)

    def go_on(self, now: float, messages: int, size: int) -> None:
        """Something else follows the messages that C has delivered in this turn: so many."""
        listed, self.dirty = self.dirty, True
        try:
            self.session.pump(now, messages, size)
        finally:
            self.dirty = listed
        self.flush(now)

    def end_of_stream(self, now: float) -> None:
        """C came to the end of the peer's stream."""
        self._receive(b"", now)
        self.flush(now)

    def _receive(self, data: bytes, now: float) -> None:
        # What is answered meanwhile needs no flush of its own: one comes at the end.
        listed, self.dirty = self.dirty, True
        try:
            self.session.receive(data, now)
        finally:
            self.dirty = listed

    def flush(self, now: float) -> None:
        """Write what waits, then see to everything else that this connection needs."""
        session = self.session
        blocked = session.outbox.size > 0 and not self._write(now)
        if self._broken and not session.over:
            session.lost(self._rest())
        if session.over:
            return
        if self._closing and not self._shut and not session.outbox.size:
            self._shut = True
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
        if session.pump_due and not self.listed:
            self.listed = True
            self._loop.again.append(self)
        self._watch((READ if session.wants_data else 0) | (WRITE if blocked else 0))
        if session.deadlines.next < self.scheduled:
            self._loop.schedule(self, session.deadlines.next)
        self.reader = session.fast_path() if self._plain else None

    def _write(self, now: float) -> bool:
        """Write what the socket takes; False if something must wait for it."""
        session = self.session
        outbox = session.outbox
        while outbox.size:
            try:
                size = self.write_some() if self._plain else self._sock.send(outbox.peek())
            except (BlockingIOError, InterruptedError):
                size = 0
            except OSError:
                self._broken = True  # for flush: the session may be in the middle of something
                return True
            if not size:
                session.blocked(now)
                self.reader = None  # the session follows what is written from here on
                return False
            session.written(size, now)
        return True

    def _rest(self) -> bytes:
        """What the peer sent before it went, a Close frame perhaps: a fair share of it."""
        try:
            return self._sock.recv(len(self._loop.buffer))
        except OSError:
            return b""

    def _watch(self, events: int) -> None:
        if events != self.watched:
            before, self.watched = self.watched, events
            self._loop.watch(self._sock, self, before, events)
