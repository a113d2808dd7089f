"""The transport and the handler of one session on asyncio: moves bytes, and keeps messages."""

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from sono_client.options import client_limits
from sono_core import Close, Limits
from sono_core.connect import Connector
from sono_core.events import Accept, Reject
from sono_core.lifecycle import BaseHandler, Layer, Session
from sono_io import RECEIVE_SIZE, LoopContext, SocketProtocol, new_context

from .callbacks import logger
from .notifier import Notifier

_MAX_UNREAD = 1024  # messages held for the application before no more are read
_MAX_UNREAD_SIZE = 1 << 20  # bytes or characters of them


class _Buffers(threading.local):
    """The buffer that the connections of a thread's event loop receive into."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(RECEIVE_SIZE))


_buffers = _Buffers()


class ClientTransport(SocketProtocol, Notifier, BaseHandler, asyncio.BufferedProtocol):
    """Transport and handler of one attempt's session, and the protocol of its asyncio transport."""

    on_message: Callable[[str | bytes], object]
    layer: Layer
    scheduled: float

    def __init__(self, connector: Connector, limits: Limits) -> None:
        Notifier.__init__(self)
        self.context: LoopContext = new_context(_buffers.view, client_limits(limits))
        """Its own; all share the buffer."""
        self.context.thread = threading.get_ident()
        self._wake: Callable[[], object] | None = self._flush_soon
        self.context.wake = self._wake
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._connector = connector
        self.pause_at: int = limits.pause_reading_at
        """Bytes that may wait to be written before senders wait."""
        self.queue_limit: int = limits.queue_limit
        """Bytes that may wait in all; see `Limits`."""
        # Bytes that may wait to be written while more is read. This bounds answers to a server
        # that does not read them. Half of the limit, so that one more turn of answers still fits.
        self._most_answers = self._allowance = limits.queue_limit // 2
        self._timer: asyncio.TimerHandle | None = None
        self.messages: deque[str | bytes] = deque()
        """Those that wait for `take`."""
        self._prompt = False  # whether something came since the application last sent
        self._unread = 0  # length of them all
        self._held = False
        self.on_message = self._keep
        self.session: Session
        """The session inside `layer`."""
        self._begun = False
        self.failure: Exception | None = None
        """Why the attempt could not begin."""
        self.response: Accept | Reject | None = None
        self.closed_with: Close | None = None
        self.pongs: dict[bytes, float] = {}
        """When the pong to each outstanding ping came; infinite while it has not."""

    # -- asyncio's protocol -----------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self.start_on_socket(self.context, transport)
        try:
            self.layer, self.session = self._connector.begin(self, self, self.time())
        except Exception as error:  # TLS may not know the host, or not find its authorities
            self.failure = error
            self._abandon()
        else:
            self._begun = True
            self.flush(self.time())

    def connection_lost(self, error: Exception | None) -> None:
        if self._begun:
            super().connection_lost(error)

    def updated_fallback(self, size: int, now: float) -> None:
        self.receive(bytes(_buffers.view[:size]), now)

    # -- Driver -----------------------------------------------------------------------------------

    def time(self) -> float:
        return time.monotonic()

    def _flush_soon(self) -> None:
        try:
            self.require_loop()
        except RuntimeError:
            self.context.to_flush.clear()
            self.flush_scheduled = False
            raise
        self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self.context.flush(self.time())
        self.notify()  # C may have written it all, without a word

    def flush(self, now: float) -> None:
        super().flush(now)
        if not self.session.outbox.size:
            self._allowance = self._most_answers
        self.notify()

    def write_now(self) -> None:
        super().write_now()
        self.owe()

    def _watch(self, reading: bool, blocked: bool) -> None:
        few = self.session.outbox.size <= self._allowance
        if not few:
            self.session.unheard = True
        super()._watch(few and reading, blocked)

    def _abandon(self) -> None:
        if self._timer:
            self._timer.cancel()
        super()._abandon()
        self.context.wake = self._wake = None  # no cycles, so that everything is freed at once
        self.on_message = _ignore
        self.notify()

    def _pump_later(self) -> None:
        self.loop.call_soon(self._pump)

    def _pump(self) -> None:
        self.pump(self.time())

    def _tick_at(self, due: float) -> None:
        self.scheduled = due
        if self._timer:
            self._timer.cancel()
        self._timer = self.loop.call_later(max(0.0, due - self.time()), self._time_has_come)

    def _time_has_come(self) -> None:
        # Read first: uvloop runs timers and callbacks before it reads.
        self.loop.call_soon(self.loop.call_soon, self._tick)

    def _tick(self) -> None:
        if not self.layer.over:
            self.scheduled = math.inf
            self.tick(self.time())

    # -- Handler ----------------------------------------------------------------------------------

    def on_response(self, response: Accept | Reject) -> None:
        self.response = response
        self.session.hold(ahead=False)  # until the application is there: see `begin`
        if self.layer.outbox is self.session.outbox:
            self.layer = self.session  # a tunnel that is open has nothing more to say

    def _keep(self, message: str | bytes) -> None:
        self._prompt = True
        self.messages.append(message)
        self._unread += len(message)
        if len(self.messages) >= _MAX_UNREAD or self._unread >= _MAX_UNREAD_SIZE:
            self._held = True
            self.session.hold()
        self.notify()

    def on_pong(self, payload: bytes) -> None:
        if payload in self.pongs:
            self.pongs[payload] = self.time()

    def on_close(self, close: Close) -> None:
        self.closed_with = close

    def on_error(self, error: Exception) -> None:
        with contextlib.suppress(Exception):  # of a handler of the log
            logger.error("a handler failed; its connection is closed", exc_info=error)

    # -- for the application ----------------------------------------------------------------------

    def take(self) -> str | bytes:
        """The oldest of them."""
        message = self.messages.popleft()
        self._unread -= len(message)
        if self._held and self._few:
            self._held = False
            self.session.release()
        return message

    @property
    def _few(self) -> bool:
        return len(self.messages) <= _MAX_UNREAD // 2 and self._unread <= _MAX_UNREAD_SIZE // 2

    def drop(self) -> None:
        """Forget them all, and those that come."""
        self.messages.clear()
        self._call(_ignore)

    def begin(self, function: Callable[[str | bytes], object] | None) -> None:
        """Deliver messages, also those that came with the answer: to a function, or for `take`."""
        if function:
            self._call(function)
            try:
                while self.messages:  # the server has closed behind them already
                    function(self.take())
            except Exception as error:
                self.messages.clear()
                self.on_error(error)
        self.session.release()

    def _call(self, function: Callable[[str | bytes], object]) -> None:
        if not self.layer.over:
            self.on_message = function
            self.session.handler = self  # so that C asks again for the function to call

    def owe(self) -> None:
        """Keep reading although much of the application's own data waits to be written.

        Otherwise two sides that both send much would wait for each other.
        """
        self._allowance = self._most_answers + self.session.outbox.size

    def cut_off(self) -> None:
        """End the connection now, if it has not ended."""
        if self._begun and not self.layer.over:
            self.layer.lost()

    async def responded(self) -> None:
        """Wait until the server has answered, or it is clear that it will not."""
        if self._begun:
            await self.until(lambda: self.response)

    async def until(self, done: Callable[[], object]) -> None:
        """Wait until this is true, or the session is over."""
        await super().until(lambda: done() or self.layer.over)

    def promptly(
        self, send: Callable[[Any], bool], message: str | bytes | bytearray | memoryview
    ) -> bool:
        """Send a message: at once if it may be an answer, else at the end of the loop's turn."""
        if not self._prompt or self.flush_scheduled:
            return send(message)
        self._prompt = False
        context = self.context
        context.wake = None
        try:
            return send(message)
        finally:
            context.wake = self._wake
            self._flush()

    def address(self, name: str) -> Any:
        """Of the stream: `sockname` or `peername`."""
        return self._stream.get_extra_info(name)

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.closed_with is not None or self.layer.over


def _ignore(message: str | bytes) -> None:
    """Drops messages that the application does not ask for."""
