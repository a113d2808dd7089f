"""The transport and the handler of a blocking client's session."""

import math
import socket
import time
from collections import deque

from sono_core import BinaryMessage, Close, Limits, Ping, Prepared, TextMessage
from sono_core.connect import Connector
from sono_core.errors import ConnectionClosed
from sono_core.events import Accept, Reject
from sono_core.lifecycle import BaseHandler, Layer, Session, ends

from .driver import ThreadedDriver

_MAX_UNREAD = 1024  # messages held for the application while it is sending
_MAX_UNREAD_SIZE = 64 << 20  # bytes of them: room for the echoes of many large messages
_UNSEEN = 1  # messages sent without a look at what came: an answer leaves before what follows
_LOOK_EVERY = 0.001  # seconds between two looks: each is a call of the system
Message = str | bytes
_INTERRUPTED = Close(1006, "interrupted", False)


class BlockingTransport(ThreadedDriver, BaseHandler):
    """Transport and handler of one session on a connected socket.

    Public attributes keep the results that the session reports.
    """

    layer: Layer
    session: Session
    """The session inside `layer`."""

    def __init__(self, sock: socket.socket, limits: Limits) -> None:
        super().__init__(sock)
        self._pause = limits.pause_reading_at
        self._allowance = self._pause  # bytes that may wait to be written while more is read
        self._messages: deque[Message] = deque()
        self._unread = 0  # length of them all
        self._held = False  # so many wait that the session holds more back
        self._sent = 0  # messages since the last was received
        self._looked = -math.inf  # when `send` last looked at the socket
        self.response: Accept | Reject | None = None
        self.closed: Close | None = None
        self.pongs: dict[bytes, float | None] = {}
        """When the pong to each outstanding ping came; None while it has not."""

    # -- for the application ----------------------------------------------------------------------

    def open(self, connector: Connector) -> None:
        """Begin an attempt, and wait until it is answered, or the connection is over."""
        try:
            self._sock.setblocking(False)
            self.layer, self.session = connector.begin(self, self, time.monotonic())
        except BaseException:
            self.break_off()
            raise
        self.until(lambda: True if self.response or self.gone else None)

    def send(self, event: TextMessage | BinaryMessage | Prepared) -> None:
        """Send a message, and wait until the kernel has it all.

        Raises:
            ConnectionClosed: the connection is no longer open.
        """
        emptied = self.post(event)
        self._sent += 1
        if self._sent > _UNSEEN and self.emptied != emptied:
            self._glance()
        if self.emptied == emptied or self.closed:
            self.until(lambda: self._written_since(emptied))

    def post(self, event: TextMessage | BinaryMessage | Prepared | Ping) -> int:
        """Send as much as goes at once; how often everything had gone before.

        Raises:
            ConnectionClosed: the connection is no longer open.
            RuntimeError: this is another process.
        """
        self.require_process()
        with self._lock:
            try:
                if self.closed or not self.session.send(event):
                    raise self.error()
                emptied = self.emptied
                self.flush(time.monotonic())
            except Exception:  # mistakes of the caller, which changed nothing
                raise
            except BaseException:
                self.break_off()
                raise
            # The application's own data does not show that the server has stopped reading; and a
            # server that answers bit by bit reads on only once its answers are read.
            self._allowance = self._pause + self.session.outbox.size
            self.tell_holder()
            return emptied

    def _glance(self) -> None:
        """Take what has come, without waiting; else nobody would while a program only sends."""
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        with self._lock:
            if self._leader.taken:  # another thread looks
                return
            if not self.gone:
                self._look(self.layer.reading and self.has_room())
            while not self.gone and self._move(time.monotonic()):
                pass

    def _written_since(self, emptied: int) -> bool | None:
        self.check()
        return True if self.emptied != emptied else None

    def close_with(self, code: int, reason: str) -> None:
        """Close, and wait until the connection is over. Interrupted, it is cut off."""
        self.require_process()
        with self._lock:
            self.session.close(code, reason, time.monotonic())
            self._messages.clear()
            self._unread = 0
        try:
            self.until(lambda: self.gone or None)
        except BaseException:
            self.cut_off()
            raise

    def take(self) -> Message | None:
        """For `until`: the oldest message."""
        if not self._messages:
            self.check()
            return None
        message = self._messages.popleft()
        self._unread -= len(message)
        self._sent = 0
        if self._held and not self._full:
            self._held = False
            self.session.release()
        return message

    def pong(self, payload: bytes) -> float | None:
        """For `until`: when the pong to a ping came.

        Raises:
            BufferError: it cannot be read, because too many messages wait before it.
        """
        when = self.pongs[payload]
        if when is None:
            self.check()
            if self._held and not self.session.reading and not self.session.pump_due:
                raise BufferError("too many messages are waiting for recv")
        return when

    def check(self) -> None:
        """Raises ConnectionClosed when the connection has ended."""
        if self.closed:
            raise self.error()

    @property
    def _full(self) -> bool:
        """Whether so many messages wait that no more are delivered."""
        return len(self._messages) >= _MAX_UNREAD or self._unread >= _MAX_UNREAD_SIZE

    # -- Turns ------------------------------------------------------------------------------------

    def error(self) -> ConnectionClosed:
        closed = self.closed or ends.STILL_CLOSING
        return ConnectionClosed(closed.code, closed.reason)

    def has_room(self) -> bool:
        """Whether there is room for the pongs that reading may cause."""
        room = self.session.outbox.size <= self._allowance
        if not room:
            self.session.unheard = True
        return room

    def interrupted(self) -> None:
        self.closed = self.closed or _INTERRUPTED

    def flush(self, now: float) -> None:
        super().flush(now)
        if not self.session.outbox.size:
            self._allowance = self._pause

    # -- Handler ----------------------------------------------------------------------------------

    def on_response(self, response: Accept | Reject) -> None:
        self.response = response

    def on_message(self, message: Message, /) -> None:
        self._messages.append(message)
        self._unread += len(message)
        if self._full:
            self._held = True
            self.session.hold()

    def on_pong(self, payload: bytes) -> None:
        if payload in self.pongs:
            self.pongs[payload] = time.monotonic()

    def on_close(self, close: Close) -> None:
        self.closed = close

    def on_error(self, error: Exception) -> None:
        raise error  # of this class itself, a bug
