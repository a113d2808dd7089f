"""What happens for every message, as far as C can do it: the pure path, which says what C does.

Each package of transports has the extension `_loop`, built from the same sources, with classes of
these names. They hold no decision: C deals with the ordinary case, in which the session would
decide nothing, and Python with the rest.
"""

from _thread import get_ident
from collections.abc import Callable
from typing import Any

from sono_core.lifecycle import Layer, Transport
from sono_core.websocket import BINARY, MAX_HEADER, TEXT, Outbox, Prepared, Reader

RECEIVE_SIZE = 256 * 1024
"""Bytes received from one connection in a turn: a fair share."""


class LoopContext:
    """What the connections of one loop share in each of its turns.

    Args:
        buffer: what all sockets are received into.
        pause, messages, size: `Limits.pause_reading_at`, `.max_turn_messages`, `.max_turn_bytes`.
        prepared: the class of messages for many.
        time: the clock that all deadlines are measured with.
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
    ) -> None:
        self._buffer = buffer
        self._time = time
        self.thread = 0
        """Whose calls need no detour over `call_soon`; 0: nobody's yet."""
        self.to_flush: list[Any] = []
        """Carriers to be flushed before the loop waits."""
        self.wake: Callable[[], object] | None = None
        """Called when there is the first of them, if the loop does not look by itself."""

    def run(self, epoll: int, due: float, /) -> tuple[float, list[int]]:
        """Wait for sockets as a selector does, and tell carriers: C's short cut, on Linux alone.

        Args:
            epoll: the file descriptor of the selector's epoll.
            due: until when to wait, on `time.monotonic`'s clock; infinite for no end.

        Returns:
            The time when the wait was over, and the ready descriptors that are no carriers'.
        """
        raise NotImplementedError

    def flush(self, now: float, /) -> None:
        """Write what was sent meanwhile."""
        to_flush, self.to_flush = self.to_flush, []
        for transport in to_flush:
            transport.flush_scheduled = False
            transport.flush(now)


class FastTransport:
    """The bytes of one socket; a base of a `Driver`, whose methods it calls."""

    __slots__ = ("_context", "flush_scheduled", "layer", "reader", "watched")

    layer: Layer

    def __init__(self, context: LoopContext, fd: int) -> None:
        self._context = context
        self.flush_scheduled: bool = False
        """Whether a flush is coming anyway."""
        self.watched: int = 0
        """What the selector watches the socket for."""
        self.reader: Reader | None = None
        """What `Session.fast_path` gave, which C feeds from the file descriptor `fd`."""

    def ready(self, events: int, now: float, /) -> None:
        """The selector says that the socket can be read from or written to."""
        self.ready_fallback(events, now)

    def ready_fallback(self, events: int, now: float) -> None:
        """The same, whatever the state."""
        raise NotImplementedError

    def get_buffer(self, size: int, /) -> memoryview:
        """For `asyncio.BufferedProtocol`: what all streams are received into."""
        return self._context._buffer

    def buffer_updated(self, size: int, /) -> None:
        """For `asyncio.BufferedProtocol`: so many bytes were received."""
        self.updated_fallback(size, self._context._time())

    def updated_fallback(self, size: int, now: float) -> None:
        """The same, whatever the state."""
        raise NotImplementedError

    def closed(self) -> None:
        """The socket is about to be closed: its file descriptor may soon be another's."""
        self.reader = None

    def write_some(self) -> int:
        """Write from the front of the outbox, which C can do without copying; the number of bytes.

        It is 0 if the socket takes no more. What was written stays in the outbox.

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
    """Sends messages on a connection; the base of WebSockets, whose method it calls.

    Args:
        context: says which thread is the loop's.
        transport: is told to `write_soon`.
        outbox: of the connection.
        plain: bytes of a message above which it may have to be compressed.
        keys: gives a client's masking keys, one a call.
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

        A client for which more than `Limits.queue_limit` bytes wait, in however short a time, is
        closed by its server with 4008.

        Returns:
            False if the peer is gone. True means queued, never delivered.

        Raises:
            TypeError: `message` is neither.
            LocalProtocolError: a text holds a lone surrogate.
            BufferError: in another thread, if too many calls wait for the server's.
        """
        if self._context.thread == get_ident() and self._outbox.room:
            if type(message) is bytes:
                return self._send(BINARY, message) or self.send_fallback(message)
            if type(message) is str:
                try:
                    payload = message.encode()
                except UnicodeEncodeError:  # which is told further down
                    return self.send_fallback(message)
                return self._send(TEXT, payload) or self.send_fallback(message)
        return self.send_fallback(message)

    def _send(self, opcode: int, payload: bytes) -> bool:
        """Whether it is a message to be sent as it is, to a peer that keeps up: then it was."""
        outbox = self._outbox
        size = len(payload)
        if size > self._plain or outbox.size + size + MAX_HEADER > outbox.room:
            return False
        if not outbox.size:
            self._transport.write_soon()
        outbox.append_frame(opcode, payload, False, self._keys() if self._keys else b"")
        return True

    def send_fallback(self, message: str | bytes | bytearray | memoryview | Prepared) -> bool:
        """The same, whatever the state, the thread and the message."""
        raise NotImplementedError
