"""Pure-Python reference for the C fast path: the code that runs for every message.

The extension `_loop` has classes of the same names. Neither decides anything: C handles the
ordinary case, in which the session would decide nothing, and Python handles the rest.
"""

import math
from _thread import get_ident
from collections.abc import Callable
from typing import Any, cast

from sono_core.lifecycle import Driver, Layer, Transport
from sono_core.websocket import BINARY, MAX_HEADER, TEXT, Outbox, Prepared, Reader

RECEIVE_SIZE = 256 * 1024
"""Bytes received from one connection in a turn: a fair share."""
TURN_SECONDS = 0.005
"""Of a turn of a loop, for what its connections have sent."""
LITTLE_SIZE = 16 * 1024
"""Bytes received from one connection though that time is over. What would not be handled stays in
the kernel, and need not be kept here."""


class LoopContext:
    """What the connections of one loop share in each of its turns.

    Args:
        buffer: bytes from all sockets are received into it.
        pause, messages, size: `Limits.pause_reading_at`, `.max_turn_messages`, `.max_turn_bytes`.
        prepared: the class of messages for many.
        time: the clock of all deadlines.
        seconds: that a turn takes: once they are over, connections get only a little more each.
    """

    def __init__(
        self,
        *,
        buffer: memoryview,
        pause: int,
        messages: int,
        size: int,
        prepared: type[Prepared],
        time: Callable[[], float],
        seconds: float,
    ) -> None:
        self._buffer = buffer
        self._time = time
        self._seconds = seconds
        self._ends = math.inf  # the open turn; infinite if none is open
        self._began = -math.inf  # the last turn
        self.spent: bool = False
        """Whether the time of the turn is over; see `Turn`."""
        self.opened: Callable[[], object] | None = None
        """Called when `look` opens a turn, if the loop does not say when one begins. It must call
        `end` before the next."""
        self.thread = 0
        """The loop's thread, whose calls need no `call_soon`; 0 until the loop runs."""
        self.to_flush: list[Any] = []
        """Transports to flush before the loop waits."""
        self.wake: Callable[[], object] | None = None
        """Called when the first of them is added, if the loop does not look by itself."""

    def run(self, epoll: int, due: float, /) -> tuple[float, list[int]]:
        """Wait for sockets as a selector does, and tell their transports: C only, on Linux.

        Args:
            epoll: the file descriptor of the selector's epoll.
            due: when to stop waiting, on `time.monotonic`'s clock; infinite for never.

        Returns:
            The time when the wait was over, and the ready descriptors that no transport has.
        """
        raise NotImplementedError

    def watch(self, epoll: int, fd: int, before: int, events: int, /) -> None:
        """Have `run` look at a socket: C only, on Linux.

        A selector keeps a record of each descriptor besides, which the table of transports is.

        Args:
            epoll: as for `run`.
            fd: the socket's file descriptor.
            before: the events that it was watched for, 0 for none.
            events: those that it is to be watched for, 0 for none.

        Raises:
            OSError: the descriptor cannot be watched.
        """
        raise NotImplementedError

    def begin(self, now: float, /) -> None:
        """A turn begins, and its time counts from `now`."""
        self._ends = now + self._seconds
        self.spent = False
        if now < math.inf:
            self._began = now

    def end(self) -> None:
        """The turn is over, and none has begun."""
        self.begin(math.inf)

    def look(self) -> bool:
        """See `Turn`. If no turn is open, one may begin; see `opened`."""
        if self.spent:
            return True
        if self._ends < math.inf:
            self.spent = self._time() >= self._ends
        elif self.opened:
            self.begin(self._time())
            self.opened()
        return self.spent

    def read_at(self, now: float, /) -> None:
        """A connection was read from, in a loop that does not say when its turns begin.

        So reads open a turn, at most one in the time of a turn: what was read before the first
        look has not taken longer than that.
        """
        if self._ends < math.inf:
            self.spent = self.spent or now >= self._ends
        elif self.opened and now - self._began >= self._seconds:
            self.begin(now)
            self.opened()

    def flush(self, now: float, until: float = math.inf, /) -> None:
        """Flush the transports in `to_flush`. Those that `until` leaves no time for stay there."""
        to_flush, self.to_flush = self.to_flush, []
        for done, transport in enumerate(to_flush):
            if done and until < math.inf and self._time() >= until:
                self.to_flush[:0] = to_flush[done:]
                break
            transport.flush_scheduled = False
            transport.flush(now)


class FastTransport:
    """Moves the bytes of one socket; a base beside `Driver`, whose methods it calls."""

    __slots__ = ("_context", "flush_scheduled", "layer", "reader", "watched")

    layer: Layer

    def __init__(self, context: LoopContext, fd: int) -> None:
        self._context = context
        self.flush_scheduled: bool = False
        """Whether a flush is scheduled already."""
        self.watched: int = 0
        """What the selector watches the socket for."""
        self.reader: Reader | None = None
        """From `Session.fast_path`; C feeds it from the file descriptor `fd`."""

    def ready(self, events: int, now: float, /) -> None:
        """The selector says that the socket can be read from or written to.

        Args:
            events: as selectors number them, and 4 where both sides have ended the stream, which
                epoll tells.
            now: the time.
        """
        try:
            self.ready_fallback(events, now)
        except Exception as error:
            cast(Driver, self).call_failed(error)

    def ready_fallback(self, events: int, now: float) -> None:
        """The same, in any state."""
        raise NotImplementedError

    def get_buffer(self, size: int, /) -> memoryview:
        """For `asyncio.BufferedProtocol`: the buffer that all streams share."""
        context = self._context
        return context._buffer[:LITTLE_SIZE] if context.spent else context._buffer

    def buffer_updated(self, size: int, /) -> None:
        """For `asyncio.BufferedProtocol`: `size` bytes were received."""
        now = self._context._time()
        self._context.read_at(now)
        try:
            self.updated_fallback(size, now)
        except Exception as error:
            cast(Driver, self).call_failed(error)

    def updated_fallback(self, size: int, now: float) -> None:
        """The same, in any state."""
        raise NotImplementedError

    def closed(self) -> None:
        """The socket is about to be closed: its file descriptor may soon be another's."""
        self.reader = None

    def write_some(self) -> int:
        """Write from the front of the outbox, without the copies that `peek` makes; C only.

        What was written stays in the outbox.

        Returns:
            The number of bytes; 0 if the socket takes no more.

        Raises:
            OSError: writing failed.
        """
        raise NotImplementedError

    def write_soon(self) -> None:
        """See `Transport`."""
        if not self.flush_scheduled:
            self.flush_scheduled = True
            context = self._context
            context.to_flush.append(self)
            if context.wake and len(context.to_flush) == 1:
                context.wake()


class Sender:
    """Sends messages on a connection; a base of WebSockets, which supply `send_fallback`.

    Args:
        context: says which thread is the loop's.
        transport: is told to `write_soon`.
        outbox: of the connection.
        plain: bytes above which a message may have to be compressed.
        keys: gives a client's masking keys, one per call.
    """

    __slots__ = ("_context", "_keys", "_outbox", "_plain", "_transport")

    def __init__(
        self,
        context: LoopContext,
        transport: Transport,
        outbox: Outbox,
        plain: int,
        keys: Callable[[], bytes] | None = None,
    ) -> None:
        self._keys = keys
        self._context = context
        self._transport = transport
        self._outbox = outbox
        self._plain = plain

    def send(self, message: str | bytes | bytearray | memoryview | Prepared, /) -> bool:
        """Send a text (str) or binary (bytes-like) message, or one prepared for many.

        A server closes a client with 4008 when more than `Limits.queue_limit` bytes wait for it,
        however briefly.

        Returns:
            False if the peer is gone. True means queued, not delivered.

        Raises:
            TypeError: `message` is neither.
            LocalProtocolError: a text holds a lone surrogate.
            BufferError: in another thread, if too many calls wait for the server's thread.
        """
        if self._context.thread == get_ident() and self._outbox.room:
            if type(message) is bytes:
                return self._send(BINARY, message) or self.send_fallback(message)
            if type(message) is str:
                try:
                    payload = message.encode()
                except UnicodeEncodeError:  # `send_fallback` raises for it
                    return self.send_fallback(message)
                return self._send(TEXT, payload) or self.send_fallback(message)
        return self.send_fallback(message)

    def _send(self, opcode: int, payload: bytes) -> bool:
        """Send a message uncompressed to a peer that keeps up; False if this is another case."""
        outbox = self._outbox
        size = len(payload)
        if size > self._plain or outbox.held + size + MAX_HEADER > outbox.room:
            return False
        if not outbox.size:
            self._transport.write_soon()
        outbox.append_frame(opcode, payload, False, self._keys() if self._keys else b"")
        return True

    def send_fallback(self, message: str | bytes | bytearray | memoryview | Prepared) -> bool:
        """The same, for any message, in any state and thread."""
        raise NotImplementedError
