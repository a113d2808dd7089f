"""An open WebSocket as applications see it, on whatever server carries it."""

import inspect
import logging
import math
from collections import deque
from collections.abc import Callable
from types import MethodType
from typing import Any, Protocol

from sono_core import Close, CloseCode, Ping, Prepared, TextMessage
from sono_core.arguments import is_coroutine_function, require_callable
from sono_core.events import Request
from sono_core.lifecycle import BaseHandler, Session
from sono_core.websocket import close_payload, control_payload, message_event
from sono_io import LoopContext, Sender

logger: logging.Logger = logging.getLogger("sono")


class Loop(Protocol):
    """What the objects of an application ask of the server that runs them."""

    context: LoopContext
    """What its connections share."""
    create_task: Callable[..., Any] | None
    """Runs a coroutine; None on a loop that calls plain functions alone. With `brief=True` it is
    cancelled when the time of a handshake is over."""

    @property
    def ended(self) -> bool:
        """Whether it will never run again."""

    def time(self) -> float:
        """Seconds of a clock that never steps."""

    def in_loop(self) -> bool:
        """Whether the calling thread is the one that runs the loop."""

    def call_soon(self, function: Callable[..., object], *arguments: object) -> bool:
        """Call the function in the loop's thread. From any thread; False if the loop has ended."""


OnMessage = Callable[["WebSocket", Any], object]
OnClose = Callable[["WebSocket", Close], object]


def awaited(loop: Loop, *functions: Callable[..., object] | None) -> bool:
    """Whether one of them is a coroutine function, to be awaited in tasks of the loop.

    Raises:
        TypeError: one is, and this loop would never await it: nothing of it would run; or one
            cannot be called.
    """
    given = [function for function in functions if function is not None]
    for function in given:
        require_callable("callback", function)
    found = [function for function in given if is_coroutine_function(function)]
    if found and loop.create_task is None:
        raise TypeError(f"{found[0]!r} is a coroutine function; this server calls plain ones")
    return bool(found)


class WebSocket(Sender):
    """A connection without the Sono layer: messages in, messages out.

    Made by `request.accept`. All methods may be called from any thread; a call from another
    thread than the server's takes effect a moment later, in order.
    """

    __slots__ = ("_loop", "_session", "data", "request")

    def __init__(self, session: Session, loop: Loop, request: Request) -> None:
        connection = session.connection
        super().__init__(loop.context, session.transport, connection.frames, connection.plain)
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
    def subprotocol(self) -> str | None:
        """What the handshake agreed on."""
        return self._session.connection.subprotocol

    def send_fallback(self, message: str | bytes | bytearray | memoryview | Prepared) -> bool:
        """What `send` does where the message or the connection is not of the ordinary kind."""
        event = message_event(message)
        if self._loop.in_loop():
            return self._session.send(event)
        if isinstance(event, TextMessage):
            event = Prepared(event)  # what is wrong with it is raised here, in the caller's thread
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
            TypeError, LocalProtocolError: the code may not be sent, or the reason is no str.
        """
        if self._loop.in_loop():
            return self._session.close(code, reason, self._loop.time())
        close_payload(Close(code, reason))  # what is wrong with it is raised in this thread
        return self._post(self.close, code, reason)

    def pause(self, seconds: float) -> None:
        """Read nothing more from the peer for so long: it feels that it sends too fast.

        Raises:
            ValueError: `seconds` is negative or not finite.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError(f"seconds must be finite and not negative, not {seconds}")
        if self._loop.in_loop():
            self._session.pause(seconds, self._loop.time())
        else:
            self._post(self.pause, seconds)

    def end_turn(self) -> None:
        """Let others have their turn, before the next message of this peer is looked at.

        For handlers to which one message may mean much work.
        """
        if self._loop.in_loop():
            self._session.end_turn()
        else:
            self._post(self._session.end_turn)

    def call(self, function: Callable[["WebSocket", Any], object], argument: object) -> None:
        """Call `function(ws, argument)` before the next message is looked at.

        At once, or if the connection's functions are coroutine functions, in turn after them;
        it may be one then.
        """
        self._session.handler.call(function, argument)  # type: ignore[attr-defined]

    def _post(self, function: Callable[..., object], *arguments: object) -> bool:
        if not self.open:
            return False
        return self._loop.call_soon(function, *arguments)

    def __repr__(self) -> str:
        return f"<WebSocket {self.request.target} {self._session.connection.state.value}>"


class _WebSocketHandler(BaseHandler):
    """What the handlers of open WebSockets share: they log."""

    __slots__ = ("_on_close", "_socket")

    def __init__(self, socket: WebSocket, on_close: OnClose | None) -> None:
        self._socket = socket
        self._on_close = on_close

    def on_close(self, close: Close) -> None:
        level = logging.WARNING if close.code == CloseCode.SLOW_READER else logging.DEBUG
        target = self._socket.request.target
        logger.log(level, "%s closed with %d: %a", ascii(target)[1:-1], close.code, close.reason)
        if self._on_close:
            self.call(self._on_close, close)

    def on_error(self, error: Exception) -> None:
        logger.error("a handler failed; its connection is closed", exc_info=error)

    def call(self, function: Callable[[WebSocket, Any], object], argument: object) -> None:
        function(self._socket, argument)


class WebSocketHandler(_WebSocketHandler):
    """The `Handler` of an open WebSocket: calls the application's plain functions."""

    __slots__ = ("on_message",)

    def __init__(
        self, socket: WebSocket, on_message: OnMessage | None, on_close: OnClose | None
    ) -> None:
        super().__init__(socket, on_close)
        # a bound method, so that no frame of Python lies between the session and the application
        self.on_message: Callable[[str | bytes], object] = (
            MethodType(on_message, socket) if on_message else _ignore
        )


class AwaitingHandler(_WebSocketHandler):
    """The same for coroutine functions: one call after the other, in order, in a task.

    While one runs the session delivers nothing more, so that who is slow holds back its own
    peer alone.
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
                except BaseException as error:  # cancelled was what it awaited,
                    if self._loop.ended:  # or the task, by a server that ends
                        raise
                    cancelled = RuntimeError("a handler was cancelled")
                    cancelled.__cause__ = error
                    self._failed(cancelled)
        finally:
            self._running = False
            self._session.release()

    def _failed(self, error: Exception) -> None:
        if self._session.over:
            self.on_error(error)
        else:
            self._session.failed(error, self._loop.time())


def _ignore(message: str | bytes) -> None:
    """What happens to messages that nobody waits for."""
