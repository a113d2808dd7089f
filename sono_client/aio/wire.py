"""One session on one asyncio transport: moves its bytes, and keeps what it tells."""

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from sono_client.fast import Carrier, new_turn
from sono_client.fast import loop as loop_in_c
from sono_client.settings import client_limits
from sono_core import Close, Limits
from sono_core.events import Accept, Reject, Request
from sono_core.opening import Opening
from sono_core.protocol import SessionProtocol
from sono_core.session import Session

_RECEIVE = 256 * 1024  # bytes read at once
_MAX_UNREAD = 1024  # messages held for the application before no more are read
_MAX_UNREAD_SIZE = 1 << 20  # bytes or characters of them

logger = logging.getLogger("sono")


class _Buffers(threading.local):
    """What the connections of a thread's event loop receive into."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(_RECEIVE))


_buffers = _Buffers()


class Wire(SessionProtocol, Carrier, asyncio.BufferedProtocol):
    """Transport and handler of one attempt's session, and the protocol of its asyncio transport."""

    on_message: Callable[[str | bytes], object]
    write_soon = Carrier.write_soon

    def __init__(self, opening: Opening, limits: Limits) -> None:
        self.turn = new_turn(_buffers.view, client_limits(limits))
        """Its own; all share the buffer."""
        self.turn.thread = threading.get_ident()
        self.turn.wake = self._flush_soon
        self._loop = asyncio.get_running_loop()
        self._opening = opening
        self.pause_at = limits.pause_reading_at
        """Bytes that may wait to be written before senders wait."""
        self.queue_limit = limits.queue_limit
        """And before those who can't wait are told."""
        self._allowance = limits.pause_reading_at  # bytes that may wait while more is read
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self.messages: deque[str | bytes] = deque()
        """Those that wait for `take`."""
        self._prompt = False  # whether something came since the application last sent
        self._unread = 0  # length of them all
        self._held = False
        self.on_message = self._keep
        self.connection: Session
        """The session in the middle of what is driven."""
        self.response: Accept | Reject | None = None
        self.closed_with: Close | None = None
        self.pongs: dict[bytes, float] = {}
        """When the pong to each outstanding ping came; infinite while it has not."""

    # -- asyncio's protocol -----------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        sock = transport.get_extra_info("socket")
        Carrier.__init__(self, self.turn, sock.fileno())
        self.start_on(transport, fast=loop_in_c is not None)
        self.session, self.connection = self._opening.begin(self, self, self.time())
        self.flush(self.time())

    def updated_slowly(self, size: int, now: float) -> None:
        self.receive(bytes(_buffers.view[:size]), now)

    # -- Driver -----------------------------------------------------------------------------------

    def time(self) -> float:
        return time.monotonic()

    def _flush_soon(self) -> None:
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self.turn.flush(self.time())

    def flush(self, now: float) -> None:
        super().flush(now)
        if not self.session.outbox.size:
            self._allowance = self.pause_at
        self.notify()

    def write_now(self) -> None:
        super().write_now()
        # Much waits, and it is the application's own.
        self._allowance = self.pause_at + self.waiting_out

    def _write_directly(self) -> int:
        if not self._fast:
            return 0
        try:
            return self.write_some()
        except (BlockingIOError, InterruptedError):
            return 0

    def _watch(self, reading: bool, blocked: bool) -> None:
        # What the application sends is no sign of a server that does not read; the pongs that the
        # server asks for, and does not read, are.
        self._read(self.session.reading and self.session.outbox.size <= self._allowance)

    def _abandon(self) -> None:
        Carrier.closed(self)
        if self._timer:
            self._timer.cancel()
        super()._abandon()
        self.notify()

    def _pump_later(self) -> None:
        self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self.pump(self.time())

    def _tick_at(self, due: float) -> None:
        self.scheduled = due
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(max(0.0, due - self.time()), self._time_has_come)

    def _time_has_come(self) -> None:
        # What has arrived is read first; uvloop calls timers before it reads, and callbacks too.
        self._loop.call_soon(self._loop.call_soon, self._tick)

    def _tick(self) -> None:
        if not self.session.over:
            self.scheduled = math.inf
            self.tick(self.time())

    # -- Handler ----------------------------------------------------------------------------------

    def on_request(self, request: Request) -> None:
        """Never called on a client."""

    def on_response(self, response: Accept | Reject) -> None:
        self.response = response

    def _keep(self, message: str | bytes) -> None:
        self._prompt = True
        self.messages.append(message)
        self._unread += len(message)
        if len(self.messages) >= _MAX_UNREAD or self._unread >= _MAX_UNREAD_SIZE:
            self._held = True
            self.connection.hold()
        if self._waiters:
            self.notify()

    def on_pong(self, payload: bytes) -> None:
        if payload in self.pongs:
            self.pongs[payload] = self.time()

    def on_close(self, close: Close) -> None:
        self.closed_with = close

    def on_error(self, error: Exception) -> None:
        logger.error("a handler failed; its connection is closed", exc_info=error)

    # -- for the application ----------------------------------------------------------------------

    def take(self) -> str | bytes:
        """The oldest of them."""
        message = self.messages.popleft()
        self._unread -= len(message)
        few = len(self.messages) <= _MAX_UNREAD // 2 and self._unread <= _MAX_UNREAD_SIZE // 2
        if self._held and few:
            self._held = False
            self.connection.release()
        return message

    def drop(self) -> None:
        """Forget them all, and those that come."""
        self.messages.clear()
        self.on_message = _ignore
        self.connection.handler = self

    async def responded(self) -> None:
        """Wait for the server's answer. Cancelled, the connection is cut off."""
        try:
            await self.until(lambda: self.response is not None)
        except BaseException:
            self.cut_off()
            raise

    def deliver_to(self, function: Callable[[str | bytes], object]) -> None:
        """Call a function with every message from now on, those that came already first."""
        self.on_message = function
        self.connection.handler = self  # so that whoever delivers looks again whom to call
        while self.messages:
            self.on_message(self.take())

    def cut_off(self) -> None:
        """End the connection now, if it has not ended."""
        if not self.session.over:
            self.session.lost()

    async def changed(self) -> None:
        """Wait until something has happened: a message, a pong, bytes written, the end."""
        waiter = self._loop.create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait until this has happened, or the session is over."""
        while not done() and not self.session.over:
            await self.changed()

    def notify(self) -> None:
        """Let everybody who waits look again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def promptly(self, send: Callable[[Any], bool], message: str | bytes) -> bool:
        """Send a message: at once if it may be an answer, else when the loop's turn is over."""
        if not self._prompt or self.dirty:
            return send(message)
        self._prompt = False
        turn = self.turn
        turn.wake = None
        try:
            return send(message)
        finally:
            turn.wake = self._flush_soon
            turn.flush(time.monotonic())

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.closed_with is not None or self.session.over

    @property
    def waiting_out(self) -> int:
        """Bytes that wait to be written."""
        return self.session.outbox.size


def _ignore(message: str | bytes) -> None:
    """What happens to messages that nobody waits for."""
