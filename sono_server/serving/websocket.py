"""An open WebSocket as applications see it, the same on every server."""

import inspect
import logging
import math
from collections import deque
from collections.abc import Callable
from types import MethodType
from typing import Any, Protocol

from sono_core import Close, CloseCode, Ping, Prepared, TextMessage
from sono_core.arguments import is_coroutine_function, name_of, require_callable
from sono_core.events import Request
from sono_core.lifecycle import BaseHandler, ForwardingLayer, MemoryBudget, Session
from sono_core.quoting import shown_path
from sono_core.websocket import close_payload, control_payload, message_event
from sono_io import LoopContext, Sender

from .log import logger

_NOTEWORTHY = frozenset((CloseCode.SLOW_READER, CloseCode.SLOW_SENDER, CloseCode.TRY_AGAIN_LATER))
_MANY = 64  # connections that wait to be written to, behind which one would wait long


class Loop(Protocol):
    """The methods of a server that its requests and WebSockets use."""

    context: LoopContext
    """Shared by all connections of the loop."""
    memory: MemoryBudget
    """Of all its peers."""

    @property
    def create_task(self) -> Callable[..., Any] | None:
        """Runs a coroutine; None on a loop that calls only plain functions. With a request as
        second argument, the coroutine is cancelled when the time of a handshake is over, or the
        peer gone."""

    @property
    def ended(self) -> bool:
        """Whether it will never run again."""

    def time(self) -> float:
        """Seconds of a clock that never steps."""

    def in_loop(self) -> bool:
        """Whether the calling thread is the one that runs the loop."""

    def call_soon(self, function: Callable[..., object], *arguments: object) -> bool:
        """Call the function in the loop's thread. From any thread; False if the loop has ended."""

    def call_next_turn(self, function: Callable[[], object]) -> None:
        """Call the function at the beginning of the next turn. In the loop's thread."""

    def at_end(self, function: Callable[[], object]) -> None:
        """Call the function when all connections have ended, and no others will come."""

    def schedule(self, alarm: Any, due: float, /) -> None:
        """Call `alarm.tick` then, or earlier if that was due earlier. In the loop's thread."""


class Alarm:
    """Calls a function at times that a loop is told by `schedule`, with the time it is."""

    __slots__ = ("scheduled", "tick")

    def __init__(self, function: Callable[[float], object]) -> None:
        self.tick: Callable[[float], object] = function
        self.scheduled: float = math.inf
        """When it will be called; infinite for never."""


OnMessage = Callable[["WebSocket", Any], object]
OnClose = Callable[["WebSocket", Close], object]


def awaited(loop: Loop, *functions: Callable[..., object] | None) -> bool:
    """Whether one of the functions is a coroutine function, which the loop awaits in a task.

    Raises:
        TypeError: one is, and this loop awaits nothing, so it would never run; or one cannot be
            called.
    """
    found = False
    for function in functions:
        if function is None:
            continue
        require_callable("callback", function)
        if is_coroutine_function(function):
            found = True
            if loop.create_task is None:
                raise TypeError(
                    f"{name_of(function)} is a coroutine function; this server calls only plain"
                    " functions"
                )
    return found


class WebSocket(Sender):
    """A connection without the Sono layer: messages in, messages out.

    Made by `request.accept`. All methods may be called from any thread; calls from threads other
    than the server's take effect a moment later, in order.
    """

    __slots__ = ("_loop", "_session", "data", "request")

    def __init__(self, session: Session, loop: Loop, request: Request) -> None:
        connection = session.connection
        transport = session.transport
        while isinstance(transport, ForwardingLayer):  # C sends on what is below all layers
            transport = transport.transport
        super().__init__(loop.context, transport, connection.frames, connection.plain)
        self._session = session
        self._loop = loop
        self.request: Request = request
        """The request that opened it."""
        self.data: Any = None
        """The application's own state."""

    @property
    def open(self) -> bool:
        """Whether messages can be sent."""
        return self._session.open

    @property
    def queued(self) -> int:
        """Bytes that wait to be written to the peer."""
        return self._session.outbox.size

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the handshake agreed on."""
        return self._session.connection.subprotocol

    def send_fallback(self, message: str | bytes | bytearray | memoryview | Prepared) -> bool:
        """`send` for every message and connection that C leaves to Python."""
        event = message_event(message)
        if self._loop.in_loop():
            return self._session.send(event)
        if isinstance(event, TextMessage):
            event = Prepared(event)  # so that mistakes raise here, in the caller's thread
        return self._post(self._session.send, event)

    def ping(self, payload: bytes = b"") -> bool:
        """Send a ping of at most 125 bytes; False if the peer is gone.

        Raises:
            TypeError, LocalProtocolError: the payload is not bytes-like or too long.
        """
        ping = Ping(control_payload(payload))
        if self._loop.in_loop():
            return self._session.send(ping)
        return self._post(self._session.send, ping)

    def close(self, code: int = 1000, reason: str = "") -> bool:
        """Begin the closing handshake; False if the connection is not open.

        Raises:
            TypeError, LocalProtocolError: the code may not be sent, or the reason is not a str.
        """
        if self._loop.in_loop():
            return self._session.close(code, reason, self._loop.time())
        close_payload(Close(code, reason))  # so that mistakes raise in this thread
        return self._post(self.close, code, reason)

    def pause(self, seconds: float) -> None:
        """Handle nothing from the peer for this many seconds, to slow it down.

        Up to `Limits.max_held` is read meanwhile, so that its pings are answered.

        Raises:
            ValueError: `seconds` is negative or not finite.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError(f"seconds must be finite and not negative, not {seconds}")
        if self._loop.in_loop():
            self._session.pause(seconds, self._loop.time())
        else:
            self._post(self.pause, seconds)

    def unpause(self, seconds: float) -> None:
        """End the last `pause` after these seconds, or at once. In the server's thread."""
        if seconds:
            self._session.pause(seconds, self._loop.time())
            self._session.transport.write_soon()  # which schedules the end
        else:
            self._session.unpause()

    def end_turn(self) -> None:
        """Let other connections have their turn before this peer's next message.

        For handlers that may do much work for one message.
        """
        if self._loop.in_loop():
            self._session.end_turn()
        else:
            self._post(self._session.end_turn)

    def call(self, function: Callable[["WebSocket", Any], object], argument: object) -> None:
        """Call `function(ws, argument)` before the next message is handled.

        It is called at once. If the connection's callbacks are coroutine functions, it is called
        after those that are waiting, and may be a coroutine function itself.
        """
        if self._loop.in_loop():
            self._session.handler.call(function, argument)  # type: ignore[attr-defined]
        else:
            self._post(self.call, function, argument)

    def _post(self, function: Callable[..., object], *arguments: object) -> bool:
        if not self.open:
            return False
        return self._loop.call_soon(function, *arguments)

    def __repr__(self) -> str:
        state = self._session.connection.state.value
        return f"<WebSocket {shown_path(self.request.target)} {state}>"


class _WebSocketHandler(BaseHandler):
    """The base of the handlers of open WebSockets: it logs."""

    __slots__ = ("_on_close", "_socket")

    def __init__(self, socket: WebSocket, on_close: OnClose | None) -> None:
        self._socket = socket
        self._on_close = on_close

    def on_close(self, close: Close) -> None:
        level = logging.WARNING if close.code in _NOTEWORTHY and not close.clean else logging.DEBUG
        if logger.isEnabledFor(level):
            path = shown_path(self._socket.request.target)
            logger.log(level, "%s closed with %d: %a", path, close.code, close.reason)
        if self._on_close:
            self.call(self._on_close, close)

    def on_error(self, error: Exception) -> None:
        what = "memory ran out" if isinstance(error, MemoryError) else "a handler failed"
        logger.error("%s; its connection is closed", what, exc_info=error)

    def call(self, function: Callable[[WebSocket, Any], object], argument: object) -> None:
        function(self._socket, argument)


class WebSocketHandler(_WebSocketHandler):
    """The `Handler` of an open WebSocket: calls the application's plain functions."""

    __slots__ = ("on_message",)

    def __init__(
        self, socket: WebSocket, on_message: OnMessage | None, on_close: OnClose | None
    ) -> None:
        super().__init__(socket, on_close)
        # a bound method: no Python frame lies between the session and the application
        self.on_message: Callable[[str | bytes], object] = (
            MethodType(on_message, socket) if on_message else _ignore
        )


class AwaitingHandler(_WebSocketHandler):
    """The `Handler` for coroutine functions: a task calls them one after the other, in order.

    While one runs, the session delivers nothing more, so a slow handler holds back only its own
    peer. What was read ahead when the connection ends comes at once, and waits here.
    """

    __slots__ = ("_calls", "_loop", "_on_message", "_running", "_session")

    def __init__(
        self,
        socket: WebSocket,
        on_message: OnMessage | None,
        on_close: OnClose | None,
        session: Session,
        loop: Loop,
    ) -> None:
        super().__init__(socket, on_close)
        self._on_message = on_message
        self._session = session
        self._loop = loop
        self._calls: deque[tuple[Callable[[WebSocket, Any], object], object]] = deque()
        self._running = False

    def on_message(self, message: str | bytes, /) -> None:
        if self._on_message:
            self.call(self._on_message, message)

    def call(self, function: Callable[[WebSocket, Any], object], argument: object) -> None:
        self._calls.append((function, argument))
        self._session.hold()
        if not self._running and self._loop.create_task:
            self._running = True
            self._loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._calls:
                function, argument = self._calls.popleft()
                try:
                    result = function(self._socket, argument)
                    if inspect.isawaitable(result):
                        await result
                except Exception as error:
                    self._failed(error)
                except (KeyboardInterrupt, SystemExit, GeneratorExit):
                    raise
                except BaseException as error:  # the awaited thing was cancelled,
                    if self._loop.ended:  # or this task, by a server that ends
                        raise
                    cancelled = RuntimeError("a handler was cancelled")
                    cancelled.__cause__ = error
                    self._failed(cancelled)
        finally:
            self._running = False
            if len(self._loop.context.to_flush) > _MANY:  # an answer does not wait for all these
                self._session.transport.write_now()
            self._session.release()

    def _failed(self, error: Exception) -> None:
        left = [call for call in self._calls if call[0] is not self._on_message]
        self._calls = deque(left)  # whose failure ends the connection gets no more messages
        if self._session.over:
            self.on_error(error)
        else:
            self._session.failed(error, self._loop.time())


def _ignore(message: str | bytes) -> None:
    """Drops messages that the application does not ask for."""
