"""`AsyncSonoClient`: a client of a Sono server, which comes back when its connection is lost."""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from typing import TypeVar
from weakref import WeakSet

from sono_client.options import ConnectOptions
from sono_core import Close
from sono_core.arguments import Unpack, require_callable
from sono_core.close_codes import NORMAL_ENDS
from sono_core.connect import Backoff, Reconnection
from sono_core.errors import ConnectError, ConnectionClosed
from sono_core.messaging.classic import Callback, ClientState, Incoming
from sono_core.messaging.classic import client as protocol

from .callbacks import Callbacks
from .notifier import Notifier
from .websocket import AsyncWebSocket, connect_async

_MAX_WAITING = 1024  # queued callbacks, or events for an iteration, at which reading stops

Function = TypeVar("Function", bound=Callable[..., object])


class AsyncSonoClient(Notifier):
    """A client of a Sono server: events from and to others, channels, listings.

    `async with AsyncSonoClient(url) as sono:` connects, and leaves at the end. Callbacks, plain
    functions or coroutine functions, are called with the payload of an event, `{"message": ...,
    "from": ...}`, one after the other; one that raises is logged. Each `async for` gives all
    events from its beginning on; an iteration that you keep but do not advance blocks all others.

    Args:
        url: as for `connect_async`.
        reconnect: whether to connect again when the connection is lost: after a random time, up
            to 30 s, and into the channel where it was. The id is a new one then. What is sent
            meanwhile raises `ConnectionClosed`. The first attempt is the only one if it fails.
        options: as for `connect_async`.

    Raises:
        ValueError, LocalProtocolError, TypeError: as `connect_async`.
    """

    socket: AsyncWebSocket
    """The connection below, the present one or the last."""

    def __init__(
        self, url: str, *, reconnect: bool = True, **options: Unpack[ConnectOptions]
    ) -> None:
        super().__init__()
        self._connect = partial(connect_async, url, on_message=None, **options)
        self._connect()  # raises if an argument is wrong
        self._state = ClientState()
        self._reconnection = Reconnection(Backoff(random=random.random)) if reconnect else None
        self._sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
        self._time = time.monotonic
        self._on_connect: list[Callable[[], object]] = []
        self._on_disconnect: list[Callable[[Close], object]] = []
        self._iterators: WeakSet[_Events] = WeakSet()
        self._callbacks = Callbacks(self)
        self._life: asyncio.Task[None] | None = None  # ends as the last connection does
        self._caller: asyncio.Task[None] | None = None

    # -- receiving --------------------------------------------------------------------------------

    def on(self, event: str, callback: Callback) -> None:
        """Call back with the payload of each event of that name; callbacks add up.

        The server sends the event `error` if it refuses a packet: `{"code", "message"}`.

        Raises:
            TypeError: the callback cannot be called.
        """
        self._state.on(event, callback)

    def off(self, event: str, callback: Callback | None = None) -> None:
        """Take one callback back, or all of an event."""
        self._state.off(event, callback)

    def on_connect(self, function: Function) -> Function:
        """Decorator: call the function as `f()` after each connection but the first."""
        require_callable("function", function)
        self._on_connect.append(function)
        return function

    def on_disconnect(self, function: Function) -> Function:
        """Decorator: call the function as `f(close)` when a connection ended, not after `close`."""
        require_callable("function", function)
        self._on_disconnect.append(function)
        return function

    def __aiter__(self) -> AsyncIterator[Incoming]:
        events = _Events(self)
        self._iterators.add(events)
        return events

    async def run(self) -> None:
        """Wait until the connection has ended for good.

        Raises:
            ConnectionClosed: it was lost.
            ConnectError: so it was, and did not come back.
        """
        if self._life and self._caller:
            await asyncio.wait([self._life, self._caller])
        self.check()

    # -- sending ---------------------------------------------------------------------------------

    async def message(self, message: object, event: str = "message") -> None:
        """Send an event to everybody in the channel, oneself included.

        Raises:
            ConnectionClosed: there is no connection now.
            TypeError, LocalProtocolError: `message` cannot be written as JSON.
            ValueError: the event's name is reserved or illegal.
        """
        await self.socket.send(protocol.message(message, event))

    async def broadcast(self, message: object, event: str = "message") -> None:
        """Send an event to everybody else in the channel. Raises as `message`."""
        await self.socket.send(protocol.broadcast(message, event))

    async def direct_message(self, message: object, to: str, event: str = "message") -> None:
        """Send an event to one client, in any channel. Raises as `message`."""
        await self.socket.send(protocol.direct_message(message, to, event))

    async def change_channel(self, name: str) -> None:
        """Move to another channel. Raises ConnectionClosed, TypeError, LocalProtocolError."""
        await self.socket.send(self._state.change_channel(name))

    async def grab(self, kind: str) -> list[str]:
        """Ask for a listing and wait for it; in callbacks too.

        Args:
            kind: `myid`, `clients`, `channels`, `mychannel` or `mychannelclients`.

        Raises:
            ConnectionClosed: the connection ended before.
            TypeError: `kind` is not a str.
        """
        socket = self.socket
        await socket.drain()
        # From here on nothing waits: a question that was not sent would get the next one's answer.
        pending, packet = self._state.grab(kind)
        if not socket.send_nowait(packet):
            raise socket.error()
        self.notify()
        await self.until(lambda: pending.items is not None or socket.closed)
        if pending.items is None:
            raise socket.error()
        return pending.items

    # -- the connection ---------------------------------------------------------------------------

    async def close(self) -> None:
        """Leave the server. Idempotent; in callbacks too. Callbacks under way are cancelled."""
        self._callbacks.clear()
        caller = None if self._callbacks.inside else self._caller
        tasks = [task for task in (self._life, caller) if task]
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError:
            self.socket.cut_off()
            raise
        await self.socket.close()
        self.notify()

    async def __aenter__(self) -> "AsyncSonoClient":
        self.socket = await self._connect()
        loop = asyncio.get_running_loop()
        self._life = loop.create_task(self._live())
        self._life.add_done_callback(self._note_end)
        self._caller = loop.create_task(self._callbacks.run(lambda: self.ended))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more."""
        return self._life is None or self._life.done()

    def check(self) -> None:
        """Raise the error that ended the connection for good, unless it ended normally."""
        if self._life and self._life.done() and not self._life.cancelled():
            self._life.result()

    def _note_end(self, life: "asyncio.Task[None]") -> None:
        if not life.cancelled():
            life.exception()  # so that asyncio does not complain if nobody asks
        self.notify()

    async def _live(self) -> None:
        """One connection after the other, until there is none to come."""
        while True:
            if self._reconnection:
                self._reconnection.opened(self._time())
            end = await self._receive_all()
            close = self.socket.closed or Close(end.code, end.reason, False)
            await self._call_soon(partial(function, close) for function in self._on_disconnect)
            if not await self._come_back(close):
                if close.code not in NORMAL_ENDS:
                    raise end
                return
            for packet in self._state.returned():
                with contextlib.suppress(ConnectionClosed):  # lost again: the next begins with it
                    await self.socket.send(packet)
            await self._call_soon(self._on_connect)

    async def _receive_all(self) -> ConnectionClosed:
        """Pass on events until the connection ends."""
        while True:
            try:
                message = await self.socket.recv()
            except ConnectionClosed as error:
                self.notify()  # nobody will answer any more
                return error
            if incoming := self._state.receive(message):
                self.notify()  # a question may have been answered
                callbacks = self._state.callbacks(incoming.event)
                await self._call_soon(partial(f, incoming.payload) for f in callbacks)
                await self.until(lambda: self._asking or not any(map(_is_full, self._iterators)))
                self._hand_out(incoming)

    def _hand_out(self, incoming: Incoming) -> None:
        for events in self._iterators:
            events.waiting.append(incoming)
        self.notify()

    async def _come_back(self, end: Close) -> bool:
        """Whether there is another connection.

        Raises:
            ConnectError: there is not, for the last attempt failed so.
        """
        failure: ConnectError | None = None
        while self._reconnection:
            delay = self._reconnection.after(failure or end, self._time())
            if delay is None:
                break
            await self._sleep(delay)
            try:
                self.socket = await self._connect()
            except ConnectError as error:
                failure = error
            else:
                return True
        if failure:
            raise failure
        return False

    async def _call_soon(self, functions: Iterable[Callable[[], object]]) -> None:
        for function in functions:
            await self.until(lambda: self._asking or len(self._callbacks) < _MAX_WAITING)
            self._callbacks.add(function)

    @property
    def _asking(self) -> bool:
        """Whether a question waits: then all is read, or its answer would never come."""
        return self._state.asking


class _Events:
    """An iteration over a client's events; the client holds only a weak reference to it."""

    def __init__(self, client: AsyncSonoClient) -> None:
        self._client = client
        self.waiting: deque[Incoming] = deque()

    def __aiter__(self) -> "_Events":
        return self

    async def __anext__(self) -> Incoming:
        await self._client.until(lambda: self.waiting or self._client.ended)
        if self.waiting:
            self._client.notify()  # there is room
            return self.waiting.popleft()
        self._client.check()
        raise StopAsyncIteration

    def __del__(self) -> None:
        self._client.notify()


def _is_full(events: _Events) -> bool:
    return len(events.waiting) >= _MAX_WAITING
