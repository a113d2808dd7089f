"""What is asked of the broker: in a thread of its own, in the order in which it was asked."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from sono_core.messaging.lossless import BackplaneError
from sono_server.backplane.errors import UnusableError
from sono_server.serving import logger

from .scripts import ALL, Script
from .servers import EXPECTED, REFUSED, Identity, Link, meaning

BATCH = 256
"""Operations that are sent before their replies are read."""
BATCH_SIZE = 1 << 20
"""Bytes of them, beside the last one."""
CLOSING = 1.0
"""Seconds that the end waits for the broker."""
FIRST_DELAY, LAST_DELAY = 0.05, 1.0
"""Seconds between two attempts to connect; each is twice the one before."""

_AWAY = BackplaneError("the broker does not answer")
_FULL = BackplaneError("too much waits for the broker already")
_UNKNOWN = BackplaneError("the broker was lost before it said whether it did that")
_CLOSED = BackplaneError("the backplane is closed")
# Replies of a server that did nothing: it is asked again, or another one is.
_NOT_DONE = (NoScriptError, ReadOnlyError)
_NOT_NOW = ("LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY")

Done = Callable[[Any, BackplaneError | None], object]


class Command:
    """One script with its arguments.

    Args:
        script: what is run.
        keys: its KEYS.
        arguments: its ARGV, behind the identity of the server.
        done: called with the reply, or with why there is none.
        size: bytes that it takes while it waits.
        repeatable: whether it may be run twice, as what it does then is the same.
    """

    __slots__ = ("arguments", "done", "keys", "repeatable", "script", "since", "size")

    def __init__(
        self,
        script: Script,
        keys: Sequence[str],
        arguments: Sequence[bytes | str | int],
        done: Done,
        size: int,
        repeatable: bool,
    ) -> None:
        self.script: Script = script
        self.keys: Sequence[str] = keys
        self.arguments: Sequence[bytes | str | int] = arguments
        self.done: Done = done
        self.size: int = size
        self.repeatable: bool = repeatable
        self.since: float = 0.0

    def packed(self, identity: Identity) -> tuple[Any, ...]:
        """As it is sent."""
        head = ("EVALSHA", self.script.sha, len(self.keys), *self.keys, str(identity))
        return (*head, *self.arguments)


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What may wait while the broker is away."""

    count: int = 10_000
    size: int = 16 << 20
    """Bytes."""
    age: float = 10.0
    """Seconds; then it fails."""


class Commands:
    """Runs commands, from `start` to `close`.

    Args:
        connect: makes a connection.
        call_soon: has a function called in the thread that `put` is called in.
        arrived: called there with the identity of a server that another connection leads to.
        bounds: of what waits.
    """

    def __init__(
        self,
        connect: Callable[[], Link],
        call_soon: Callable[[Callable[[], object]], object],
        arrived: Callable[[Identity], object],
        bounds: Bounds,
    ) -> None:
        self.connected: bool = False
        """Whether the broker answered last time."""
        self.failures: int = 0
        """Times that a connection was lost, or none could be made."""
        self.refused: UnusableError | None = None
        """Why the server will not do, if that is what it said last."""
        self._connect = connect
        self._call_soon = call_soon
        self._arrived = arrived
        self._bounds = bounds
        self._identity: Identity | None = None
        self._lock = threading.Condition()
        self._waiting: deque[Command] = deque()
        self._held = 0
        self._closed = False
        self._under_way: list[Command] = []  # sent, or to be sent again
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; nothing happens if it has begun."""
        if self._thread is None or self._closed:
            if self._thread is not None:
                self._thread.join()  # it was closed while the broker did not answer
            self._closed = False
            self._thread = threading.Thread(target=self._run, name="sono-backplane", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Run what waits, if the broker answers at once, and end; a broker that does not answer is
        waited for no longer than CLOSING seconds."""
        with self._lock:
            self._closed = True
            self._lock.notify()
        if self._thread is not None:
            self._thread.join(CLOSING)

    def put(self, command: Command) -> None:
        """Have a command run. If too much waits already it fails, soon."""
        command.since = time.monotonic()
        bounds = self._bounds
        with self._lock:
            full = len(self._waiting) >= bounds.count or (
                self._held + command.size > bounds.size and self._waiting
            )
            if not (full or self._closed):
                self._waiting.append(command)
                self._held += command.size
                if len(self._waiting) == 1:
                    self._lock.notify()
                return
        error = _CLOSED if self._closed else _FULL
        self._call_soon(lambda: command.done(None, error))

    # -- in the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        link: Link | None = None
        delay = FIRST_DELAY
        while self._wait():
            try:
                if link is None:
                    link = self._connected()
                self._exchange(link)
            except Exception as error:
                if link is not None:
                    link.close()
                    link = None
                self._lost(error)
                if self._closed:
                    break
                with self._lock:
                    self._lock.wait_for(lambda: self._closed, delay)
                delay = min(2 * delay, LAST_DELAY)
            else:
                delay = FIRST_DELAY
        if link is not None:
            link.close()
        self._give_up(self._under_way + list(self._waiting), _CLOSED)

    def _wait(self) -> bool:
        """Until there is something to do; False if there never will be."""
        with self._lock:
            self._lock.wait_for(lambda: self._waiting or self._under_way or self._closed)
            return bool(self._waiting or self._under_way)

    def _connected(self) -> Link:
        link = self._connect()
        try:
            link.open()
            identity = link.introduce()
            load(link)
        except REFUSED as error:
            link.close()
            raise UnusableError("the broker refuses the password, or what it may do") from error
        except BaseException:
            link.close()
            raise
        former, self._identity = self._identity, identity
        if not self.connected and self.failures:
            logger.warning("the backplane's broker answers again")
        self.connected, self.refused = True, None
        if former is not None and former != identity:
            lost, self._under_way = self._under_way, []
            self._give_up(lost, _UNKNOWN)
        self._call_soon(lambda: self._arrived(identity))
        return link

    def _lost(self, error: Exception) -> None:
        self.failures += 1
        if self.connected or self.failures == 1:  # once for each time that it is away
            unexpected = None if isinstance(error, EXPECTED) else error
            logger.error("the backplane's broker is away: %s", error, exc_info=unexpected)
        self.connected = False
        self.refused = error if isinstance(error, UnusableError) else None
        again = [command for command in self._under_way if command.repeatable]
        never = [command for command in self._under_way if not command.repeatable]
        self._under_way = again
        self._give_up(never, _UNKNOWN)
        self._expire()

    def _take(self) -> list[Command]:
        """What is sent next, behind what has to be sent again."""
        batch = self._under_way
        size = 0
        with self._lock:
            while self._waiting and len(batch) < BATCH and size < BATCH_SIZE:
                command = self._waiting.popleft()
                self._held -= command.size
                size += command.size
                batch.append(command)
        return batch

    def _exchange(self, link: Link) -> None:
        if link.readable():  # nothing is expected: what would be sent now would be lost
            raise ConnectionResetError("the broker has closed the connection")
        batch = self._take()
        assert self._identity
        finished: list[tuple[Command, Any, BackplaneError | None]] = []
        again: list[Command] = []
        refusal: ResponseError | None = None
        try:
            link.send(*(command.packed(self._identity) for command in batch))
            for command in batch:
                try:
                    finished.append((command, link.receive(), None))
                except ResponseError as error:
                    if isinstance(error, _NOT_DONE) or str(error).startswith(_NOT_NOW):
                        refusal = error
                        again.append(command)
                    else:
                        finished.append((command, None, meaning(error)))
        finally:
            # if the connection is lost, those that got no reply are under way
            self._under_way = again + batch[len(finished) + len(again) :]
            if finished:
                self._call_soon(lambda: _finish(finished))
        if isinstance(refusal, NoScriptError):
            load(link)
        elif refusal is not None:
            raise refusal

    def _expire(self) -> None:
        """Give up what waits too long."""
        oldest = time.monotonic() - self._bounds.age
        over = [command for command in self._under_way if command.since <= oldest]
        self._under_way = [command for command in self._under_way if command.since > oldest]
        with self._lock:
            while self._waiting and self._waiting[0].since <= oldest:
                command = self._waiting.popleft()
                self._held -= command.size
                over.append(command)
        self._give_up(over, self.refused or _AWAY)

    def _give_up(self, commands: Iterable[Command], error: BackplaneError) -> None:
        finished = [(command, None, error) for command in commands]
        if finished:
            self._call_soon(lambda: _finish(finished))


def load(link: Link) -> None:
    """Give a server the scripts."""
    link.send(*(("SCRIPT", "LOAD", script.text) for script in ALL))
    for _ in ALL:
        link.receive()


def _finish(finished: Iterable[tuple[Command, Any, BackplaneError | None]]) -> None:
    failure: Exception | None = None
    for command, reply, error in finished:
        try:
            command.done(reply, error)
        except Exception as raised:  # the others are told all the same
            failure = failure or raised
    if failure is not None:
        raise failure
