"""`SonoClient`: a client of a Sono server for programs without an event loop.

Nothing runs in the background: events come while `run`, `grab` or an iteration waits. One thread
at a time receives and calls back, as the `Leader`; the others wait for it.
"""

import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from sono_client.options import ConnectOptions
from sono_core import Close
from sono_core.arguments import Unpack, require_plain
from sono_core.close_codes import NORMAL_ENDS
from sono_core.connect import Backoff, Reconnection
from sono_core.errors import ConnectError, ConnectionClosed
from sono_core.messaging.classic import Callback, ClientState, Incoming
from sono_core.messaging.classic import client as protocol

from .leader import Leader
from .websocket import WebSocket, connect

_MAX_LATE = 1024  # messages handled after a deadline: those that came in time, and not for ever
_MAX_BEHIND = 65_536  # events that an iteration has not asked for yet

Function = TypeVar("Function", bound=Callable[..., object])
Result = TypeVar("Result")


class SonoClient:
    """A client of a Sono server: events from and to others, channels, listings.

    Connects when it is made, and raises when that fails. Callbacks are called while `run`, `grab`
    or an iteration waits, in that thread, with the payload of the event: `{"message": ...,
    "from": ...}`. Several threads may use it at once; callbacks come one after the other.

    Args:
        url: as for `connect`.
        reconnect: whether `run` and iterations connect again when the connection is lost: after
            a random time, up to 30 s, and into the channel where it was. The id is a new one
            then. Until then, sending and asking raise ConnectionClosed.
        options: as for `connect`.

    Raises:
        ConnectError, ValueError, LocalProtocolError, TypeError: as `connect`.
    """

    socket: WebSocket
    """The connection below, the present one or the last."""

    def __init__(
        self, url: str, *, reconnect: bool = True, **options: Unpack[ConnectOptions]
    ) -> None:
        self._connect = partial(connect, url, **options)
        self._time = time.monotonic
        self._state = ClientState()
        self._reconnection = Reconnection(Backoff(random=random.random)) if reconnect else None
        self._on_connect: list[Callable[[], object]] = []
        self._on_disconnect: list[Callable[[Close], object]] = []
        self._iterations: list[deque[Incoming]] = []  # events that each has not yet returned
        self._lock = threading.Lock()
        self._leader = Leader()  # to receive and to call back
        self._closing = threading.Event()
        self._pause = self._closing.wait
        self._end: ConnectionClosed | ConnectError | None = None  # while there is no connection
        self._due: float | None = None  # when to try again then; None is never
        self.socket = self._connect()
        self._note_opened()

    # -- receiving ------------------------------------------------------------------------------

    def on(self, event: str, callback: Callback) -> None:
        """Call back with the payload of each event of that name; callbacks add up.

        The server sends the event `error` if it refuses a packet: `{"code", "message"}`.

        Raises:
            TypeError: the callback cannot be called, or is a coroutine function.
        """
        require_plain("callback", callback)
        self._state.on(event, callback)

    def off(self, event: str, callback: Callback | None = None) -> None:
        """Take one callback back, or all of an event."""
        self._state.off(event, callback)

    def on_connect(self, function: Function) -> Function:
        """Decorator: call the function as `f()` after each connection but the first."""
        require_plain("function", function)
        self._on_connect.append(function)
        return function

    def on_disconnect(self, function: Function) -> Function:
        """Decorator: call the function as `f(close)` when a connection has ended."""
        require_plain("function", function)
        self._on_disconnect.append(function)
        return function

    def run(self, timeout: float | None = None) -> None:
        """Receive and call back until the connection has ended for good, or for `timeout` seconds.

        Connects again if necessary. With a timeout of 0 it handles what has already come. A
        reconnection that has begun in time may take longer. Exceptions of callbacks are raised
        here, and `run` may be called again.

        Raises:
            ConnectionClosed: the connection was lost, or closed in another way than normally.
            ConnectError: so it was, and did not come back.
        """
        if self._until(lambda: self._over or None, timeout, self._live):
            self._raise_end()

    def __iter__(self) -> Iterator[Incoming]:
        """All events, beside calling back, until the connection has ended for good.

        Raises:
            ConnectionClosed, ConnectError: as `run`.
            BufferError: other threads have received 65,536 events that it did not ask for.
        """
        events: deque[Incoming] = deque()
        with self._lock:
            self._iterations.append(events)
        try:
            while self._until(lambda: bool(events) or self._over or None, None, self._live):
                if not events:
                    self._raise_end()
                    return
                if len(events) > _MAX_BEHIND:
                    raise BufferError("too many events are waiting for the iteration")
                yield events.popleft()
        finally:
            with self._lock:
                self._iterations = [other for other in self._iterations if other is not events]

    # -- sending -------------------------------------------------------------------------------

    def message(self, message: object, event: str = "message") -> None:
        """Send an event to everybody in the channel, oneself included.

        Raises:
            ConnectionClosed: there is no connection now.
            TypeError, LocalProtocolError: `message` cannot be written as JSON.
            ValueError: the event's name is reserved or illegal.
        """
        self.socket.send(protocol.message(message, event))

    def broadcast(self, message: object, event: str = "message") -> None:
        """Send an event to everybody else in the channel. Raises as `message`."""
        self.socket.send(protocol.broadcast(message, event))

    def direct_message(self, message: object, to: str, event: str = "message") -> None:
        """Send an event to one client, in any channel. Raises as `message`."""
        self.socket.send(protocol.direct_message(message, to, event))

    def change_channel(self, name: str) -> None:
        """Move to another channel. Raises ConnectionClosed, TypeError, LocalProtocolError."""
        self.socket.send(self._state.change_channel(name))

    def grab(self, kind: str, timeout: float | None = 10.0) -> list[str]:
        """Ask for a listing and wait for it.

        Args:
            kind: `myid`, `clients`, `channels`, `mychannel` or `mychannelclients`.
            timeout: seconds to wait at most.

        Raises:
            ConnectionClosed: the connection ended before.
            TimeoutError: no answer came in time.
            TypeError: `kind` is not a str.
        """
        with self._lock:  # else the question might be registered with the next connection
            socket = self.socket
            if self._end:
                raise socket.error()
            pending, packet = self._state.grab(kind)
        socket.send(packet)

        def answer() -> list[str] | None:
            if pending.items is None and (self._end or self.socket is not socket):
                raise socket.error()
            return pending.items

        items = self._until(answer, timeout, self._receive)
        if items is None:
            raise TimeoutError(f"{kind!r} was not answered in time")
        return items

    # -- the connection -------------------------------------------------------------------------

    def close(self) -> None:
        """Leave the server. Waiting threads return; `run` and iterations end normally.

        Only a thread that connects just now takes until that has succeeded or failed.
        """
        with self._lock:
            self._closing.set()
            socket = self.socket
            self._leader.notify()
        socket.close()

    def __enter__(self) -> "SonoClient":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def _over(self) -> bool:
        return self._closing.is_set() or (self._end is not None and self._due is None)

    def _raise_end(self) -> None:
        end = self._end
        if self._closing.is_set() or end is None:
            return
        if isinstance(end, ConnectError) or end.code not in NORMAL_ENDS:
            raise end

    # -- the duty -------------------------------------------------------------------------------

    def _until(
        self,
        attempt: Callable[[], Result | None],
        timeout: float | None,
        step: Callable[[float], bool],
    ) -> Result | None:
        """Take steps, or wait for the thread that does, until an attempt gives something.

        Args:
            attempt: is called with the lock.
            timeout: seconds; when they are over, this gives None.
            step: takes the seconds that are left; False if nothing came in them.
        """
        deadline = math.inf if timeout is None else self._time() + timeout
        nested = self._leader.mine  # in a callback
        late = 0
        try:
            while late <= _MAX_LATE:
                with self._lock:
                    result = attempt()
                    if result is not None:
                        return result
                    waiter = self._leader.enter_or_take()
                remaining = deadline - self._time()
                late += remaining <= 0
                if waiter:
                    self._leader.wait(waiter, remaining)
                    if remaining <= 0:
                        return None
                elif not step(remaining):
                    return None
        finally:
            if not nested:
                self._leader.leave()
        return None

    def _live(self, remaining: float) -> bool:
        """Receive, or come back."""
        if self._end:
            return self._come_back(remaining)
        try:
            message = self.socket.recv(remaining)
        except TimeoutError:
            return False
        except ConnectionClosed as error:
            self._note_lost(error)
        else:
            self._handle(message)
        return True

    def _receive(self, remaining: float) -> bool:
        """Only receive: a question fails when the connection has ended."""
        try:
            message = self.socket.recv(remaining)
        except TimeoutError:
            return False
        self._handle(message)
        return True

    def _handle(self, message: str | bytes) -> None:
        with self._lock:
            incoming = self._state.receive(message)
            if incoming is None:
                return
            for events in self._iterations:
                if len(events) <= _MAX_BEHIND:
                    events.append(incoming)
            self._leader.notify()
        for callback in self._state.callbacks(incoming.event):
            callback(incoming.payload)

    def _note_opened(self) -> None:
        if self._reconnection:
            self._reconnection.opened(self._time())

    def _note_lost(self, error: ConnectionClosed) -> None:
        close = self.socket.closed or Close(error.code, error.reason, False)
        self._note_end(error, close)
        if not self._closing.is_set():
            for function in self._on_disconnect:
                function(close)

    def _note_end(self, error: ConnectionClosed | ConnectError, end: Close | ConnectError) -> None:
        now = self._time()
        delay = self._reconnection.after(end, now) if self._reconnection else None
        with self._lock:
            self._end = error
            self._due = None if delay is None else now + delay
            self._leader.notify()

    def _come_back(self, remaining: float) -> bool:
        """Wait until another attempt is due, or make it."""
        assert self._due is not None  # else this is over
        wait = self._due - self._time()
        if wait > 0:
            self._pause(max(0.0, min(wait, remaining)))
            return wait <= remaining
        try:
            socket = self._connect()
        except ConnectError as error:
            self._note_end(error, error)
            return True
        try:
            self._return_with(socket)
        except BaseException:
            socket.cut_off()
            raise
        if self._closing.is_set():  # meanwhile
            socket.close()
            return True
        for function in self._on_connect:
            function()
        return True

    def _return_with(self, socket: WebSocket) -> None:
        """Be where the client was, before others send."""
        with self._lock:
            packets = self._state.returned()
        try:
            for packet in packets:
                socket.send(packet)
        except ConnectionClosed:
            pass  # lost again: the next one begins with it
        self.socket.cut_off()  # it may still wait for the end of its stream
        with self._lock:
            self.socket = socket
            self._end = None
            self._note_opened()
