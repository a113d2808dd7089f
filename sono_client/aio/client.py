"""`AsyncSonoClient`: a client of a Sono server, which comes back when its connection is lost."""

import asyncio
import contextlib
import inspect
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from sono_core import Close
from sono_core import client as protocol
from sono_core.backoff import Backoff, Reconnection
from sono_core.client import Callback, ClientState, Incoming
from sono_core.errors import ConnectError, ConnectionClosed

from .websocket import NORMAL, AsyncWebSocket, connect_async

_MAX_WAITING = 1024  # calls, and events for who iterates, before no more are read

logger = logging.getLogger("sono")

Function = TypeVar("Function", bound=Callable[..., object])


class AsyncSonoClient:
    """A client of a Sono server: events from and to others, channels, listings.

    `async with AsyncSonoClient(url) as sono:` connects, and leaves at the end. Callbacks, plain
    functions or coroutine functions, are called with the payload of an event, `{"message": ...,
    "from": ...}`, one after the other; `async for` gives all events too.

    Args:
        url: as for `connect_async`.
        reconnect: whether to connect again when the connection is lost: after a random time, up
            to 30 s, and into the channel where it was. The id is a new one then.
        options: as for `connect_async`.

    Raises:
        ValueError, LocalProtocolError, TypeError: as `connect_async`.
    """

    socket: AsyncWebSocket
    """The connection below, the present one or the last."""

    def __init__(self, url: str, *, reconnect: bool = True, **options: Any) -> None:
        self._connect = partial(connect_async, url, **options)
        self._connect()  # what is wrong with the arguments is raised here
        self._state = ClientState()
        self._reconnection = Reconnection(Backoff(random=random.random)) if reconnect else None
        self._on_connect: list[Callable[[], object]] = []
        self._on_disconnect: list[Callable[[Close], object]] = []
        self._events: deque[Incoming] | None = None  # for who iterates
        self._calls: deque[Callable[[], object]] = deque()  # of callbacks, in order
        self._changed = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []
        self._end: ConnectionClosed | ConnectError | None = None

    # -- what comes -------------------------------------------------------------------------------

    def on(self, event: str, callback: Callback) -> None:
        """Call back with the payload of each event of that name; callbacks add up.

        The event `error` is what the server says of a refused packet: `{"code", "message"}`.
        """
        self._state.on(event, callback)

    def off(self, event: str, callback: Callback | None = None) -> None:
        """Take one callback back, or all of an event."""
        self._state.off(event, callback)

    def on_connect(self, function: Function) -> Function:
        """Decorator: call the function as `f()` after each connection but the first."""
        self._on_connect.append(function)
        return function

    def on_disconnect(self, function: Function) -> Function:
        """Decorator: call the function as `f(close)` when a connection has ended."""
        self._on_disconnect.append(function)
        return function

    def __aiter__(self) -> "AsyncSonoClient":
        if self._events is None:
            self._events = deque()
        return self

    async def __anext__(self) -> Incoming:
        assert self._events is not None  # by __aiter__
        async with self._changed:
            await self._changed.wait_for(lambda: self._events or self._ended)
            self._changed.notify_all()
        if self._events:
            return self._events.popleft()
        self._raise_end()
        raise StopAsyncIteration

    async def run(self) -> None:
        """Wait until the connection has ended for good.

        Raises:
            ConnectionClosed: it was lost.
            ConnectError: so it was, and did not come back.
        """
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._raise_end()

    # -- what goes --------------------------------------------------------------------------------

    async def message(self, message: object, event: str = "message") -> None:
        """Send an event to everybody in the channel, oneself included.

        Raises:
            ConnectionClosed: there is no connection now.
            TypeError, LocalProtocolError: `message` cannot be written as JSON.
            ValueError: the event's name is reserved or no name.
        """
        await self.socket.send(protocol.message(message, event))

    async def broadcast(self, message: object, event: str = "message") -> None:
        """Send an event to everybody else in the channel. Raises as `message`."""
        await self.socket.send(protocol.broadcast(message, event))

    async def direct_message(self, message: object, to: str, event: str = "message") -> None:
        """Send an event to one client, in whatever channel. Raises as `message`."""
        await self.socket.send(protocol.direct_message(message, to, event))

    async def change_channel(self, name: str) -> None:
        """Move to another channel. Raises ConnectionClosed, TypeError, LocalProtocolError."""
        await self.socket.send(self._state.change_channel(name))

    async def grab(self, kind: str) -> list[str]:
        """Ask for a listing and wait for it.

        Args:
            kind: `myid`, `clients`, `channels`, `mychannel` or `mychannelclients`.

        Raises:
            ConnectionClosed: the connection ended before.
            TypeError: `kind` is no str.
        """
        pending, packet = self._state.grab(kind)
        socket = self.socket
        await socket.send(packet)
        async with self._changed:
            await self._changed.wait_for(lambda: pending.items is not None or socket.closed)
        if pending.items is None:
            raise socket.error()
        return pending.items

    # -- the connection ---------------------------------------------------------------------------

    async def close(self) -> None:
        """Leave the server. Idempotent."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
            await self.socket.close()
            await self._notify()

    async def __aenter__(self) -> "AsyncSonoClient":
        self.socket = await self._connect()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._live()), loop.create_task(self._call_back())]
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    @property
    def _ended(self) -> bool:
        return not self._tasks or self._tasks[0].done()

    def _raise_end(self) -> None:
        end = self._end
        if isinstance(end, ConnectError) or (end and end.code not in NORMAL):
            raise end

    async def _live(self) -> None:
        """One connection after the other, until there is none to come."""
        try:
            while True:
                self._note_opened()
                close = await self._receive_all()
                await self._call_soon(partial(function, close) for function in self._on_disconnect)
                if not await self._come_back(close):
                    return
                for packet in self._state.returned():
                    await self._send_again(packet)
                await self._call_soon(self._on_connect)
        finally:
            await self._notify()

    def _note_opened(self) -> None:
        if self._reconnection:
            self._reconnection.opened(time.monotonic())

    async def _send_again(self, packet: str) -> None:
        with contextlib.suppress(ConnectionClosed):  # lost again: the next one begins with it
            await self.socket.send(packet)

    async def _receive_all(self) -> Close:
        socket = self.socket
        while True:
            try:
                message = await socket.recv()
            except ConnectionClosed as error:
                self._end = error
                await self._notify()
                return socket.closed or Close(error.code, error.reason, False)
            if incoming := self._state.receive(message):
                callbacks = self._state.callbacks(incoming.event)
                await self._call_soon(partial(f, incoming.payload) for f in callbacks)
                if self._events is not None:
                    await self._add(self._events, incoming)

    async def _come_back(self, end: Close | ConnectError) -> bool:
        """Whether there is another connection."""
        while self._reconnection:
            delay = self._reconnection.after(end, time.monotonic())
            if delay is None:
                return False
            await asyncio.sleep(delay)
            try:
                self.socket = await self._connect()
            except ConnectError as error:
                self._end = end = error
            else:
                return True
        return False

    # -- callbacks --------------------------------------------------------------------------------

    async def _call_soon(self, functions: Iterable[Callable[[], object]]) -> None:
        """Have functions called, in a task of their own, so that they may ask for listings."""
        for function in functions:
            await self._add(self._calls, function)
        await self._notify()  # an answer to a question may have come

    async def _add(self, queue: deque[Any], item: object) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(queue) < _MAX_WAITING or self._state.asking)
            queue.append(item)
            self._changed.notify_all()

    async def _call_back(self) -> None:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._calls or self._ended)
                self._changed.notify_all()
            if not self._calls:
                return
            try:
                result = self._calls.popleft()()
                if inspect.isawaitable(result):
                    await result
            except Exception:
                logger.exception("a callback failed")

    async def _notify(self) -> None:
        """Let everybody who waits look again."""
        async with self._changed:
            self._changed.notify_all()
