"""The life of a blocking Sono client: one connection after the other, and who works for all.

One thread at a time receives and calls back, as the `Leader`; the others wait for it. What is said
is written at once, by whoever says it. Nothing runs in the background.
"""

import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

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
from sono_core.arguments import require_plain, require_type
from sono_core.close_codes import NORMAL_ENDS
from sono_core.connect import Backoff, Reconnection
from sono_core.errors import ConnectError, ConnectionClosed
from sono_core.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS
from sono_core.messaging.classic import ClientState, Incoming
from sono_core.messaging.lossless.client import Settled

from .channel import JoinedChannel
from .leader import Leader
from .websocket import WebSocket, connect

_MAX_BEHIND = 65_536  # events that an iteration has not asked for yet
_MAX_LATE = 1024  # messages handled after a deadline: those that came in time, and not for ever
_MAX_WAITING = 1024  # calls of the application that wait for somebody to make them
_LOOK_EVERY = 0.001  # seconds between two looks at what has come
_LOST = Close(1006, "", False)

Result = TypeVar("Result")


class Life(Listening[JoinedChannel]):
    """What `SonoClient` does without its words.

    Args:
        url: as for `connect`.
        reconnect: whether it comes back.
        speech: how it speaks.
        options: as for `connect`.

    Raises:
        ConnectError, ValueError, LocalProtocolError, TypeError: as `connect`.
        ConnectionClosed: the server has closed instead of welcoming the client.
    """

    socket: WebSocket
    """The connection below, the present one or the last."""

    def __init__(
        self, url: str, *, reconnect: bool, speech: LosslessOptions, options: ConnectOptions
    ) -> None:
        self._time = time.monotonic
        self._limits = options.get("limits", DEFAULT_LIMITS)
        self._patience = options.get("timeouts", DEFAULT_TIMEOUTS)
        self._speech = speech
        self._state = ClientState(self._limits)
        self._hooks = Hooks(require_plain)
        self._handlers = Handlers(require_plain, self._limits)
        self._talk = None
        offered: Any = options
        if not speech.classic:
            self._talk = self._new_talk()
            offered = {**options, "subprotocols": speech.offers}
        self._connect = partial(connect, url, **offered)
        self._connect_classic = partial(connect, url, **options)
        backoff = Backoff(random=random.random)
        renews = callable(speech.token)
        self._reconnection = Reconnection(backoff, renews=renews) if reconnect else None
        self._iterations: list[deque[Incoming]] = []  # events that each has not yet returned
        self._jobs: deque[Callable[[], object]] = deque()  # for the leader
        self._lock = threading.Lock()
        self._writing = threading.Lock()  # what is numbered must leave in its order
        self._leader = Leader()  # to receive and to call back
        self._closing = threading.Event()
        self._pause = self._closing.wait
        self._looked = -math.inf
        self._end: ConnectionClosed | ConnectError | None = None  # while there is no connection
        self._due: float | None = None  # when to try again then; None is never
        self._begin()

    def _new_talk(self) -> Talk[JoinedChannel]:
        return Talk(
            self._speech,
            self._limits,
            self._state.callbacks,
            self._hooks,
            self._handlers,
            self._channel,
            lambda: self._time(),  # noqa: PLW0108 - tests give it another
        )

    def _channel(self, name: str) -> JoinedChannel:
        raise NotImplementedError

    # -- beginning ------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Connect, and be welcome: no second attempt is made, unless in the classic dialect."""
        token = self._token()
        self.socket = self._connect()
        talk = self._talk
        if talk and self.socket.subprotocol is None and self._speech.falls_back:
            self.socket.close()
            talk.lost(None)
            self._talk = talk = None
            self._connect = self._connect_classic
            self.socket = self._connect()
        self._note_opened()
        if talk is None:
            return
        try:
            if self.socket.subprotocol is None:
                raise ConnectError("the server does not speak sono.v2")
            self._greet(talk, token)
            patience = self._patience.handshake
            if not self._until(lambda: talk.open or None, patience, self._receive):
                raise ConnectError("the server did not welcome the client in time")
        except BaseException:
            self.socket.cut_off()
            with self._lock:
                talk.lost(None)
            raise
        self._run_jobs()

    def _greet(self, talk: Talk[JoinedChannel], token: str | None) -> None:
        assert self.socket.subprotocol is not None
        with self._lock:
            talk.opened(self.socket.subprotocol, token)
        self._flush()

    def _token(self) -> str | None:
        """Who this is, as the application says now."""
        given = self._speech.token
        token: Any = given() if callable(given) else given
        require_type("token", token, str, None)
        found: str | None = token
        return found

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
                    self._leader.wait(waiter, min(remaining, self._left))
                    self._tick()
                    if remaining <= 0:
                        return None
                elif not step(remaining):
                    return None
        finally:
            if not nested:
                self._leader.leave()
        return None

    @property
    def _left(self) -> float:
        """Seconds until something is due."""
        return self._next_due() - self._time()

    def _next_due(self) -> float:
        """When something has taken too long."""
        return self._talk.next_deadline() if self._talk else math.inf

    def _live(self, remaining: float) -> bool:
        """Receive, or come back."""
        self._run_jobs()
        if self._end:
            return self._come_back(remaining)
        try:
            message = self._received(remaining)
        except ConnectionClosed as error:
            self._note_lost(error)
            self._run_jobs()
            return True
        return self._deal_with(message)

    def _receive(self, remaining: float) -> bool:
        """Only receive: a question of the classic dialect fails when the connection has ended."""
        return self._deal_with(self._received(remaining))

    def _received(self, remaining: float) -> str | bytes | None:
        """The next message, if one comes before something is due."""
        try:
            return self.socket.recv(max(0.0, min(remaining, self._left)))
        except TimeoutError:
            return None

    def _deal_with(self, message: str | bytes | None) -> bool:
        """Whether there was anything to do."""
        if message is None:
            due = self._left <= 0
            self._tick()
            self._cut_off_if_dead(behind=False)
            return due
        self._take(message)
        self._cut_off_if_dead(behind=True)
        self._run_jobs()
        return True

    def _take(self, message: str | bytes) -> None:
        """Make jobs of a message."""
        with self._lock:
            talk = self._talk
            if talk:
                talk.receive(message)
                self._collect(talk)
            elif incoming := self._state.receive(message):
                self._hand_out(incoming)
                callbacks = self._state.callbacks(incoming.event)
                self._jobs.extend(partial(callback, incoming.payload) for callback in callbacks)
            self._leader.notify()
        if talk:
            self._flush()

    def _collect(self, talk: Talk[JoinedChannel]) -> None:
        for job in talk.jobs():
            self._keep_job(job)

    def _keep_job(self, job: Job) -> None:
        if isinstance(job, Incoming):
            self._hand_out(job)
        elif isinstance(job, Question):
            self._jobs.append(partial(self._answer, job))
        elif isinstance(job, Renewal):
            self._jobs.append(self._renew)
        elif not isinstance(job, Settled):  # who waits for that checks its ticket
            self._jobs.append(job)

    def _hand_out(self, incoming: Incoming) -> None:
        for events in self._iterations:
            if len(events) <= _MAX_BEHIND:
                events.append(incoming)

    def _has_lost(self, events: deque[Incoming]) -> bool:
        """Whether an iteration has so many events before it that it did not get others."""
        return len(events) > _MAX_BEHIND

    def _run_jobs(self) -> None:
        """Call the application; what follows a call that raises is called the next time."""
        while self._jobs:
            self._jobs.popleft()()

    def _tick(self) -> None:
        with self._lock:
            talk = self._talk
            if talk and talk.next_deadline() <= self._time():
                talk.tick()
                self._collect(talk)
                self._leader.notify()

    def _cut_off_if_dead(self, behind: bool) -> None:
        talk = self._talk
        if talk and talk.dead(behind):
            self.socket.cut_off()

    def _look(self) -> None:
        """Take what has come, without waiting and without calling the application.

        Otherwise nobody would learn of results while a program only sends.
        """
        nested = self._leader.mine
        with self._lock:
            now = self._time()
            if now - self._looked < _LOOK_EVERY or self._end or self._leader.taken:
                return
            self._looked = now
            self._leader.enter_or_take()
        try:
            while len(self._jobs) < _MAX_WAITING:
                self._take(self.socket.recv(0))
        except TimeoutError:
            self._tick()
        except ConnectionClosed as error:
            self._note_lost(error)
        finally:
            if not nested:
                self._leader.leave()

    def _run_left(self) -> None:
        """Call the application about the end, unless another thread does."""
        if not self._leader.taken:
            self._run_jobs()

    # -- what is said -----------------------------------------------------------------------------

    def _flush(self) -> None:
        """Write what waits."""
        with self._writing:
            with self._lock:
                socket, talk = self.socket, self._talk
                contents = talk.written() if talk else []
            try:
                for content in contents:
                    socket.send(content)
            except ConnectionClosed:
                pass  # it is sent again in the next one

    def _answer(self, question: Question) -> None:
        """Answer a request of the server's.

        Raises:
            Exception: what the handler raised, unless it is RequestFailed.
        """
        try:
            answer = question.handler(question.data)
            self._reply(question.id, answer)
        except Exception as error:
            failure = failure_of(error)
            with self._lock:
                if self._talk:
                    self._talk.reply(question.id, error=failure)
            self._flush()
            if failure.code == "failed":
                raise

    def _reply(self, question: int, answer: object) -> None:
        with self._lock:
            if self._talk:
                self._talk.reply(question, answer)
        self._flush()

    def _renew(self) -> None:
        token = self._token()
        if token is not None:
            with self._lock:
                if self._talk:
                    self._talk.token(token)
            self._flush()

    def _end_talk(self, talk: Talk[JoinedChannel]) -> None:
        """Whatever has no outcome ends, and the application is told."""
        with self._lock:
            self._jobs.clear()
            talk.lost(None)
            self._collect(talk)
            self._leader.notify()
        self._run_jobs()

    # -- the end of a connection, and the next one ------------------------------------------------

    @property
    def _over(self) -> bool:
        return self._closing.is_set() or (self._end is not None and self._due is None)

    def _raise_end(self) -> None:
        end = self._end
        if self._closing.is_set() or end is None:
            return
        if isinstance(end, ConnectError) or end.code not in NORMAL_ENDS:
            raise end

    def _note_opened(self) -> None:
        if self._reconnection:
            self._reconnection.opened(self._time())

    def _note_lost(self, error: ConnectionClosed) -> None:
        close = self.socket.closed or Close(error.code, error.reason, False)
        self._note_end(error, close)
        if not self._closing.is_set():
            functions = self._hooks.of("disconnect")
            self._jobs.extend(partial(function, close) for function in functions)

    def _note_end(self, error: ConnectionClosed | ConnectError, end: Close | ConnectError) -> None:
        now = self._time()
        delay = self._reconnection.after(end, now) if self._reconnection else None
        with self._lock:
            self._end = error
            self._due = None if delay is None else now + delay
            if self._talk:
                self._talk.lost(delay)
                self._collect(self._talk)
            self._leader.notify()

    def _come_back(self, remaining: float) -> bool:
        """Wait until another attempt is due, or make it."""
        assert self._due is not None  # else this is over
        wait = self._due - self._time()
        if wait > 0:
            self._pause(max(0.0, min(wait, remaining, self._left)))
            self._tick()
            return min(wait, self._left) <= remaining
        try:
            token = self._ask_again()
            socket = self._connect()
        except ConnectError as error:
            self._note_end(error, error)
            return True
        try:
            self._return_with(socket, token)
        except BaseException:
            socket.cut_off()
            raise
        if self._closing.is_set():  # meanwhile
            socket.close()
        elif not self._talk:
            self._jobs.extend(self._hooks.of("connect"))
        self._run_jobs()
        return True

    def _ask_again(self) -> str | None:
        talk = self._talk
        if talk is None:
            return None
        with self._lock:
            talk.connecting()
            self._collect(talk)
        self._run_jobs()
        try:
            return self._token()
        except Exception as error:
            raise ConnectError(f"the application gave no token: {error}") from error

    def _return_with(self, socket: WebSocket, token: str | None = None) -> None:
        """Be where the client was, before others send."""
        talk = self._talk
        if talk and socket.subprotocol is None:  # a server that was not yet replaced, perhaps
            socket.cut_off()
            error = ConnectError("the server does not speak sono.v2")
            self._note_end(error, _LOST)
            return
        with self._lock:
            packets = [] if talk else self._state.returned()
        try:
            for packet in packets:
                socket.send(packet)
        except ConnectionClosed:
            pass  # lost again: the next one begins with it
        self.socket.cut_off()  # it may still wait for the end of its stream
        with self._writing, self._lock:
            self.socket = socket
            self._end = None
            self._note_opened()
            if talk:
                assert socket.subprotocol is not None
                talk.opened(socket.subprotocol, token)
        if talk:
            self._flush()
