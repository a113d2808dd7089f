"""One session on one blocking client's socket: the turn that moves its bytes.

It waits with poll, and while a message is written it also reads, so that two sides that both
send large messages do not wait for each other.
"""

import math
import select
import socket
import time
from collections import deque

from sono_core import Close, Limits
from sono_core.events import Accept, Reject, Request
from sono_core.session import Session

_RECEIVE = 256 * 1024  # bytes asked for in one read
_MAX_UNREAD = 1024  # messages held for the application while it is sending
_MAX_UNREAD_SIZE = 64 << 20  # bytes of them: room for the echoes of many large messages
_MAX_WAIT = 3600.0  # seconds: poll takes no more than 24 days


class Link:
    """Transport and handler of one session on a non-blocking socket, and the turn that drives it.

    What the session tells is kept in public attributes.
    """

    session: Session

    def __init__(self, sock: socket.socket, limits: Limits) -> None:
        self._sock = sock
        self._pause = limits.pause_reading_at
        self._allowance = self._pause  # bytes that may wait to be written while more is read
        self._closing = False
        self._shut = False
        self._messages: deque[str | bytes] = deque()
        self._unread = 0  # length of them all
        self.response: Accept | Reject | None = None
        self.closed: Close | None = None
        self.pong = b""

    # -- Transport ------------------------------------------------------------------------------

    def write_soon(self) -> None:
        """Every turn writes."""

    def write_now(self) -> None:
        """Every turn writes."""

    def close(self) -> None:
        self._closing = True

    def abort(self) -> None:
        self._sock.close()

    # -- Handler --------------------------------------------------------------------------------

    def on_request(self, request: Request) -> None:
        """Never called on a client."""

    def on_response(self, response: Accept | Reject) -> None:
        self.response = response

    def on_message(self, message: str | bytes, /) -> None:
        self._messages.append(message)
        self._unread += len(message)

    def on_pong(self, payload: bytes) -> None:
        self.pong = payload

    def on_close(self, close: Close) -> None:
        self.closed = close

    def on_error(self, error: Exception) -> None:
        raise error  # of this class itself, a bug

    # -- messages -------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether messages wait for the application."""
        return bool(self._messages)

    @property
    def full(self) -> bool:
        """Whether so many do that no more are read."""
        return len(self._messages) >= _MAX_UNREAD or self._unread >= _MAX_UNREAD_SIZE

    @property
    def backlog(self) -> bool:
        """Whether more may be made of what was read."""
        return self.session.pump_due and self._has_room()

    def take(self) -> str | bytes:
        """The oldest of them."""
        message = self._messages.popleft()
        self._unread -= len(message)
        return message

    def drop(self) -> None:
        """Forget them all."""
        self._messages.clear()
        self._unread = 0

    # -- I/O ------------------------------------------------------------------------------------

    def turn(self, timeout: float = math.inf) -> bool:
        """Do one thing: write what waits, or hand one event on, or wait for the socket and read.

        Args:
            timeout: seconds to wait at most.

        Returns:
            Whether it was the last, so that all that had come before is dealt with.
        """
        session = self.session
        now = time.monotonic()
        waited = session.outbox.size
        flushed = self._flush(now)
        if session.over or (waited and flushed):
            return False
        if self.backlog:
            session.pump(now)
            self._flush(now)
            return False
        wait = min(session.deadlines.next - now, timeout, _MAX_WAIT)
        if _wait(self._sock, session.reading and self._has_room(), not flushed, max(0.0, wait)):
            self._read()
        now = time.monotonic()
        session.tick(now)
        self._flush(now)
        return True

    def write_all(self) -> None:
        """Wait until everything is written, or the connection is closed."""
        # What the application sends is no sign of a server that does not read; and a server
        # that answers it bit by bit reads no more of it before its answers are read.
        self._allowance = self._pause + self.session.outbox.size
        while self.session.outbox.size and not self.closed:
            self.turn()
        self._allowance = self._pause

    def _has_room(self) -> bool:
        """For what the server says, and for the pongs that it may cost."""
        return not self.full and self.session.outbox.size <= self._allowance

    def _read(self) -> None:
        try:
            data = self._sock.recv(_RECEIVE)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.session.lost()
        else:
            self.session.receive(data, time.monotonic())

    def _flush(self, now: float) -> bool:
        """Write what the socket takes; False if it takes no more for now."""
        session = self.session
        outbox = session.outbox
        try:
            while outbox.size:
                session.written(self._sock.send(outbox.peek()), now)
            if self._closing and not self._shut and not session.over:
                self._shut = True
                self._sock.shutdown(socket.SHUT_WR)
        except (BlockingIOError, InterruptedError):
            session.blocked(now)
            return False
        except OSError:
            session.lost(self._rest())
        return True

    def _rest(self) -> bytes:
        """What the server said before it went, a Close perhaps."""
        try:
            return self._sock.recv(_RECEIVE)
        except OSError:
            return b""


def _wait(sock: socket.socket, read: bool, write: bool, timeout: float) -> bool:
    """Whether the socket was wanted for reading and can be read, after at most that time."""
    if not hasattr(select, "poll"):  # Windows
        readable, _, _ = select.select([sock] * read, [sock] * write, [], timeout)
        return bool(readable)
    poll = select.poll()
    poll.register(sock, select.POLLIN * read | select.POLLOUT * write)
    ready = poll.poll(math.ceil(timeout * 1000))
    return read and any(events & ~select.POLLOUT for _, events in ready)
