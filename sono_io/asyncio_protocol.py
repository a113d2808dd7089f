"""A session on an asyncio transport: what asyncio calls a protocol, without importing asyncio.

It uses the interface of `asyncio.Transport`, which uvloop also has. Bytes that the transport has
not written stay in the session's outbox until it has, so that the session's limits count them.
"""

import contextlib
import os
from typing import Any

from sono_core.lifecycle import Driver

from .fast import FastTransport, LoopContext, loop
from .reference import RECEIVE_SIZE

_HANDED_OVER = 64 * 1024  # bytes given at once: the transport copies them if the stream is full


class SessionProtocol(Driver):
    """A `Driver` whose bytes an asyncio transport moves.

    Subclasses add `get_buffer` and `buffer_updated`, `time`, `write_soon`, `_pump_later`,
    `_tick_at`, and what happens when a connection begins and ends.
    """

    __slots__ = Driver.__slots__

    _stream: Any  # the asyncio transport
    _handed: int  # bytes at the front of the outbox that the transport has and has not written
    _reads: bool

    def start_on(self, transport: Any, fast: bool) -> None:
        """Like `start`; `connection_made` calls it."""
        self.start(fast)
        self._stream = transport
        self._handed = 0
        self._reads = True
        transport.set_write_buffer_limits(high=0)  # so that it tells when it has written all

    # -- called by the event loop -----------------------------------------------------------------

    def eof_received(self) -> bool:
        """The peer has ended its side; return True to continue writing."""
        self.receive(b"", self.time())
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """The stream is gone in both directions."""
        if not self.layer.over:
            self.layer.lost()

    def pause_writing(self) -> None:
        """Nothing to do: `get_write_buffer_size` says the same."""

    def resume_writing(self) -> None:
        """The transport has written what it had.

        Nothing is written in this call: a failure in it would end asyncio's transport twice.
        """
        if not self.layer.over:
            self.write_soon()

    # -- Driver -----------------------------------------------------------------------------------

    @property
    def buffered(self) -> int:
        """See `Transport`: what asyncio's transport has copied."""
        return self._handed

    def _write_directly(self) -> int:
        """Write past the transport while it has nothing to write; 0 if that is impossible."""
        return 0

    def _write_some(self) -> int:
        stream = self._stream
        if self._handed:
            left: int = stream.get_write_buffer_size()
            written, self._handed = self._handed - left, left
            return written
        if written := self._write_directly():
            return written
        data = self.layer.outbox.peek()
        if len(data) > _HANDED_OVER:
            data = memoryview(data)[:_HANDED_OVER]
        stream.write(data)
        self._handed = stream.get_write_buffer_size()
        return len(data) - self._handed

    def _end_stream(self) -> None:
        with contextlib.suppress(OSError):  # the connection is gone; `connection_lost` tells
            if self._stream.can_write_eof():
                self._stream.write_eof()
            else:  # in asyncio's TLS: there is nothing to wait for (RFC 6455, section 7.1.1)
                self._stream.close()

    def _abandon(self) -> None:
        self._stream.abort()

    def _watch(self, reading: bool, blocked: bool) -> None:
        if reading != self._reads:
            self._reads = reading
            if reading:
                self._stream.resume_reading()
            else:
                self._stream.pause_reading()


class SocketProtocol(FastTransport, SessionProtocol):
    """A `SessionProtocol` on a socket: reads into one buffer, and writes past asyncio's transport.

    Whoever derives from it adds `asyncio.BufferedProtocol`.
    """

    __slots__ = Driver.__slots__

    def start_on_socket(self, context: LoopContext, transport: Any) -> None:
        """As `start_on`, on a transport that has a socket."""
        FastTransport.__init__(self, context, transport.get_extra_info("socket").fileno())
        self.start_on(transport, fast=loop is not None)

    def _write_directly(self) -> int:
        if not self._fast:
            return 0
        try:
            return self.write_some()
        except (BlockingIOError, InterruptedError):
            return 0

    def _abandon(self) -> None:
        self.closed()
        super()._abandon()

    def _rest(self) -> bytes:
        """What the peer sent before it went, a Close frame perhaps: a fair share of it."""
        try:
            return os.read(self._stream.get_extra_info("socket").fileno(), RECEIVE_SIZE)
        except OSError:
            return b""
