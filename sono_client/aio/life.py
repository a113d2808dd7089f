"""The life of an asyncio Sono client: one connection after the other, and who is told what.

One task receives and comes back; a second one calls the application, so that a callback may wait
for what the first receives. Requests of the server are answered in tasks of their own.
"""

import asyncio
import contextlib
import inspect
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any
from weakref import WeakSet

from sono_client.lossless import (
    Handlers,
    Hooks,
    Job,
    Listening,
    LosslessOptions,
    Question,
    Renewal,
    Talk,
    failure_of,
)
from sono_client.options import ConnectOptions
from sono_core import Close
from sono_core.arguments import require_callable, require_type
from sono_core.close_codes import NORMAL_ENDS
from sono_core.connect import Backoff, Reconnection
from sono_core.errors import ConnectError, ConnectionClosed
from sono_core.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS
from sono_core.messaging.classic import ClientState, Incoming
from sono_core.messaging.lossless.client import Pending, Settled
from sono_io import MAX_WAIT

from .callbacks import Callbacks, logger
from .channel import AsyncJoinedChannel
from .notifier import Notifier
from .websocket import AsyncWebSocket, connect_async

_MAX_WAITING = 1024  # queued callbacks, or events for an iteration, at which reading stops
_MAX_ASKING = 65_536  # the same, while a callback may be waiting for an answer
_LOST = Close(1006, "", False)


class Life(Listening[AsyncJoinedChannel], Notifier):
    """What `AsyncSonoClient` does without its words.

    Args:
        url: as for `connect_async`.
        reconnect: whether it comes back.
        speech: how it speaks.
        options: as for `connect_async`.

    Raises:
        ValueError, LocalProtocolError, TypeError: as `connect_async`.
    """

    socket: AsyncWebSocket
    """The connection below, the present one or the last."""

    def __init__(
        self, url: str, *, reconnect: bool, speech: LosslessOptions, options: ConnectOptions
    ) -> None:
        super().__init__()
        offered: Any = options
        if not speech.classic:
            offered = {**options, "subprotocols": speech.offers}
        self._connect = partial(connect_async, url, on_message=None, **offered)
        self._connect()  # raises if an argument is wrong
        self._connect_classic = partial(connect_async, url, on_message=None, **options)
        self._time = time.monotonic
        self._limits = options.get("limits", DEFAULT_LIMITS)
        self._patience = options.get("timeouts", DEFAULT_TIMEOUTS)
        self._speech = speech
        self._state = ClientState(self._limits)
        self._hooks = Hooks(require_callable)
        self._handlers = Handlers(require_callable, self._limits)
        self._talk = None if speech.classic else self._new_talk()
        backoff = Backoff(random=random.random)
        renews = callable(speech.token)
        self._reconnection = Reconnection(backoff, renews=renews) if reconnect else None
        self._sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
        self._iterators: WeakSet[Events] = WeakSet()
        self._callbacks = Callbacks(self)
        self._waiting: dict[Pending, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Future[Any]] = set()  # requests that are being answered
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self.loop = None
        self._entered = False
        self._beginning = False  # until then nothing is received after the welcome
        self._life: asyncio.Task[None] | None = None  # ends as the last connection does
        self._caller: asyncio.Task[None] | None = None

    def _new_talk(self) -> Talk[AsyncJoinedChannel]:
        return Talk(
            self._speech,
            self._limits,
            self._state.callbacks,
            self._hooks,
            self._handlers,
            self._channel,
            lambda: self._time(),  # noqa: PLW0108 - tests give it another
        )

    def _channel(self, name: str) -> AsyncJoinedChannel:
        raise NotImplementedError

    # -- beginning ------------------------------------------------------------------------------

    async def _begin(self) -> None:
        """Connect, and be welcome: no second attempt is made, unless in the classic dialect."""
        self.loop = loop = asyncio.get_running_loop()
        self._beginning = True
        if self._talk and self._talk.ended:
            self._talk = self._new_talk()  # this is another life
        token = await self._token() if self._talk else None
        self.socket = await self._connect()
        if self._talk and self.socket.subprotocol is None and self._speech.falls_back:
            await self.socket.close()
            self._talk.lost(None)
            self._go_on()
            self._talk = None
            self._connect = self._connect_classic
            self.socket = await self._connect()
        self._greet(token)
        self._life = loop.create_task(self._live())
        self._life.add_done_callback(partial(self._note_end, self._talk))
        self._caller = loop.create_task(self._callbacks.run(lambda: self.ended))
        if self._talk:
            await self._welcomed(self._talk)
        self._beginning = False
        self.notify()

    async def _welcomed(self, talk: Talk[AsyncJoinedChannel]) -> None:
        """Wait for the welcome.

        Raises:
            ConnectError, ConnectionClosed: there is none.
        """
        await self._within(self._patience.handshake, lambda: talk.welcomed or self.ended)
        if not talk.welcomed:
            if self.ended:
                self.check()
                raise self._error()
            raise ConnectError("the server did not welcome the client in time")

    async def _within(self, seconds: float, done: Callable[[], object]) -> None:
        """Wait until the condition is true, for so many seconds at most."""
        late: list[bool] = []

        def give_up() -> None:
            late.append(True)
            self.notify()

        timer = asyncio.get_running_loop().call_later(min(seconds, MAX_WAIT), give_up)
        try:
            await self.until(lambda: late or done())
        finally:
            timer.cancel()

    def _error(self) -> ConnectionClosed:
        """The exception for calls after the end."""
        if "socket" in self.__dict__:
            return self.socket.error()
        return ConnectionClosed(_LOST.code, _LOST.reason)

    def _give_up(self) -> None:
        """End what has begun, without a word to the server."""
        for task in (self._life, self._caller):
            if task:
                task.cancel()
        if "socket" in self.__dict__:
            self.socket.cut_off()
        self._end_talk()
        self._callbacks.clear()

    def _greet(self, token: str | None) -> None:
        """Say hello on a new connection.

        Raises:
            ConnectError: the server does not speak the dialect.
        """
        if self._talk:
            if self.socket.subprotocol is None:
                self.socket.cut_off()
                raise ConnectError("the server does not speak sono.v2")
            self._talk.opened(self.socket.subprotocol, token)
            self._go_on()

    async def _token(self) -> str | None:
        """Who this is, as the application says now."""
        given = self._speech.token
        token: Any = given() if callable(given) else given
        if inspect.isawaitable(token):
            token = await token
        require_type("token", token, str, None)
        found: str | None = token
        return found

    # -- one connection after the other -----------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more."""
        return self._life is None or self._life.done()

    def check(self) -> None:
        """Raise the error that ended the connection for good, unless it ended normally."""
        if self._life and self._life.done() and not self._life.cancelled():
            self._life.result()

    def _note_end(self, talk: Talk[AsyncJoinedChannel] | None, life: "asyncio.Task[None]") -> None:
        if not life.cancelled():
            life.exception()  # so that asyncio does not complain if nobody asks
        if talk is self._talk:  # else somebody has entered again
            self._end_talk()
        self.notify()

    def _end_talk(self) -> None:
        """Whatever has no outcome ends."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._timer_at = math.inf
        if self._talk:
            self._talk.lost(None)
            self._go_on()

    async def _live(self) -> None:
        """One connection after the other, until there is none to come."""
        while True:
            if self._reconnection:
                self._reconnection.opened(self._time())
            end = await self._receive_all()
            close = self.socket.closed or Close(end.code, end.reason, False)
            self._call(partial(function, close) for function in self._hooks.of("disconnect"))
            if not await self._come_back(close):
                if close.code not in NORMAL_ENDS:
                    raise end
                return
            for packet in [] if self._talk else self._state.returned():
                with contextlib.suppress(ConnectionClosed):  # lost again: the next begins with it
                    await self.socket.send(packet)
            if not self._talk:
                self._call(self._hooks.of("connect"))

    async def _receive_all(self) -> ConnectionClosed:
        """Pass on events until the connection ends."""
        while True:
            await self.until(self._has_room)
            try:
                message = await self.socket.recv()
            except ConnectionClosed as error:
                self.notify()  # nobody will answer any more
                return error
            if self._talk:
                self._talk.receive(message)
                self._go_on()
                self.notify()
            elif incoming := self._state.receive(message):
                self.notify()  # a question may have been answered
                callbacks = self._state.callbacks(incoming.event)
                self._call(partial(callback, incoming.payload) for callback in callbacks)
                self._hand_out(incoming)

    def _has_room(self) -> bool:
        """Whether to receive another message. While somebody waits for an answer, more are: it
        may be a callback, and all others wait for that one."""
        most = _MAX_WAITING
        if self._state.asking:
            return True
        if self._beginning and self._talk and self._talk.welcomed:
            return False  # the application has still to say what it wants to hear
        if self._waiting:
            most = _MAX_ASKING
        return len(self._callbacks) < most and not any(
            len(events.waiting) >= most for events in self._iterators
        )

    def _hand_out(self, incoming: Incoming) -> None:
        for events in self._iterators:
            events.waiting.append(incoming)
        self.notify()

    def _call(self, functions: Iterable[Callable[[], object]]) -> None:
        for function in functions:
            self._callbacks.add(function)

    async def _come_back(self, end: Close) -> bool:
        """Whether there is another connection.

        Raises:
            ConnectError: there is not, for the last attempt failed so.
        """
        failure: ConnectError | None = None
        while True:
            delay = self._delay(failure or end)
            if self._talk:
                self._talk.lost(delay)
                self._go_on()
            if delay is None:
                break
            await self._sleep(delay)
            try:
                await self._try()
            except ConnectError as error:
                failure = error
            else:
                return True
        if failure:
            raise failure
        return False

    def _delay(self, end: ConnectError | Close) -> float | None:
        """Seconds to the next attempt; None if there is none."""
        if self._reconnection is None or (self._talk and not self._talk.welcomed):
            return None
        return self._reconnection.after(end, self._time())

    async def _try(self) -> None:
        """Connect once more."""
        token = None
        if self._talk:
            self._talk.connecting()
            self._go_on()
            try:
                token = await self._token()
            except Exception as error:
                raise ConnectError(f"the application gave no token: {error}") from error
        self.socket = await self._connect()
        self._greet(token)

    # -- what there is to do ----------------------------------------------------------------------

    def _go_on(self) -> None:
        """Write what waits, do what there is to do, and see to the time."""
        talk = self._talk
        if talk is None or self.loop is None:
            return
        for _ in range(2):  # once more after a tick
            for job in talk.jobs():
                self._do(job)
            for content in talk.written():
                self.socket.send_nowait(content)  # what is lost with it is sent again
            if talk.over:
                return
            if talk.next_deadline() > self._time() and not talk.dead(behind=False):
                break
            talk.tick()
            if talk.dead(self._is_behind):
                self.socket.cut_off()
                break
        if talk.next_deadline() < self._timer_at:
            self._set_timer(talk.next_deadline())

    def _do(self, job: Job) -> None:
        if isinstance(job, Incoming):
            self._hand_out(job)
        elif isinstance(job, Question):
            self._start(self._answer(job))
        elif isinstance(job, Renewal):
            self._start(self._renew())
        elif isinstance(job, Settled):
            future = self._waiting.pop(job.pending, None)
            if future and not future.done():  # it was cancelled
                future.set_result(None)
            self.notify()  # there may be room in the outbox
        else:
            self._callbacks.add(job)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, question: Question) -> None:
        try:
            answer = question.handler(question.data)
            if inspect.isawaitable(answer):
                answer = await answer
            if self._talk:
                self._talk.reply(question.id, answer)
        except Exception as error:
            failure = failure_of(error)
            if failure.code == "failed":
                with contextlib.suppress(Exception):  # of a handler of the log
                    logger.exception("a request of the server's could not be answered")
            if self._talk:
                self._talk.reply(question.id, error=failure)
        self._go_on()

    async def _renew(self) -> None:
        try:
            token = await self._token()
        except Exception:
            with contextlib.suppress(Exception):
                logger.exception("the application gave no token")
            return
        if token is not None and self._talk:
            self._talk.token(token)
            self._go_on()

    def _set_timer(self, due: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._later(max(0.0, due - self._time()), self._time_has_come)

    def _later(self, delay: float, function: Callable[[], None]) -> asyncio.TimerHandle:
        assert self.loop
        return self.loop.call_later(min(delay, MAX_WAIT), function)

    def _time_has_come(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        self._go_on()

    @property
    def _is_behind(self) -> bool:
        """Whether something has come that was not yet looked at."""
        return bool(self.socket._client_transport.messages)


class Events:
    """An iteration over a client's events; the client holds only a weak reference to it."""

    def __init__(self, client: Life) -> None:
        self._client = client
        self.waiting: deque[Incoming] = deque()

    def __aiter__(self) -> "Events":
        return self

    async def __anext__(self) -> Incoming:
        self._client.require_loop()
        await self._client.until(lambda: self.waiting or self._client.ended)
        if self.waiting:
            self._client.notify()  # there is room
            return self.waiting.popleft()
        self._client.check()
        raise StopAsyncIteration

    def __del__(self) -> None:
        self._client.notify()
