"""What is asked of the broker: in a thread of its own, in the order in which it was asked."""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence, Set
from functools import partial
from typing import Any

import msgspec
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from sono_core.messaging.lossless import BackplaneError
from sono_server.backplane.errors import UnusableError
from sono_server.serving import logger

from .handover import Handover
from .scripts import ALL, OTHER, SURE, TELL, TOPS, Script
from .servers import EXPECTED, Address, Identity, Link, connecting, meaning

BATCH = 256
"""Operations that are sent before their replies are read."""
BATCH_SIZE = 1 << 20
"""Bytes of them, beside the last one."""
CLOSING = 1.0
"""Seconds that the end waits for the broker."""
FIRST_DELAY, LAST_DELAY = 0.05, 1.0
"""Seconds between two attempts to connect; each is twice the one before."""

_LOOK = 0.002  # seconds between two looks whether all is done
_RETRY = 0.1  # seconds after which a loop that had too much to do is told again

AWAY = BackplaneError("the broker does not answer")
FULL = BackplaneError("too much waits for the broker already")
CLOSED = BackplaneError("the backplane is closed")
_UNKNOWN = BackplaneError("the broker was lost before it said whether it did that")
_PASSED = BackplaneError("the broker did not do it when it did what was asked later")
# Replies of a server that did nothing: it is asked again, or another one is.
# The slot has moved (MovedError is an AskError), moves, or is nobody's for now.
_ELSEWHERE = (AskError, TryAgainError, ClusterDownError)
_NOT_DONE = (MasterDownError, NoScriptError, ReadOnlyError, *_ELSEWHERE)
_NOT_NOW = ("BUSY", OTHER)
_APART = (TELL, TOPS)  # which change nothing of a stream and see nothing, so that no order counts

Done = Callable[[Any, BackplaneError | None], object]
Returned = Callable[[Set[int], "list[Command]", Address | None], object]
"""Is called with slots that a server has no longer, or not now; with what it was asked there and
has not done, in order; and with the server that has them instead, if it says so."""


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

    __slots__ = (
        "arguments",
        "done",
        "keys",
        "repeatable",
        "script",
        "since",
        "size",
        "slot",
        "unsure",
        "urgent",
    )

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
        self.since: float = time.monotonic()
        self.slot: int = 0
        """Of a cluster, in which its keys are."""
        self.unsure: bool = False
        """Whether a server may have done it that did not say so."""
        self.urgent: bool = False
        """Whether it goes before all others, and however much waits."""

    def packed(self, server: str, clustered: bool) -> tuple[Any, ...]:
        """As it is sent.

        Args:
            server: see `scripts`.
            clustered: whether it is sent to a node of a cluster.
        """
        sha = self.script.shas[clustered]
        return ("EVALSHA", sha, len(self.keys), *self.keys, server, *self.arguments)


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
        handover: to the thread that `put` is called in.
        arrived: called there with the identity of a server that another connection leads to.
        bounds: of what waits.
        returned: called there; None: it is no cluster.
        troubled: called in the thread if the server is lost, or will do nothing.
    """

    def __init__(
        self,
        connect: Callable[[], Link],
        handover: Handover,
        arrived: Callable[[Identity], object],
        bounds: Bounds,
        returned: Returned | None,
        troubled: Callable[[], object],
    ) -> None:
        self.connected: bool = False
        """Whether the broker answered last time."""
        self.failures: int = 0
        """Times that a connection was lost, or none could be made."""
        self.refused: UnusableError | None = None
        """Why the server will not do, if that is what it said last."""
        self._connect = connect
        self._handover = handover
        self._arrived = arrived
        self._bounds = bounds
        self._returned = returned
        self._troubled = troubled
        self._left: set[int] = set()  # slots that are not here, so that nothing is put behind
        self._leaving: set[int] = set()  # some of them, in which something may still wait
        self._identity: Identity | None = None
        self._sure = False  # whether it was asked who it is since it said that it is another
        self._lock = threading.Condition()
        self._waiting: deque[Command] = deque()
        self._held = 0
        self._closed = False
        self._under_way: list[Command] = []  # sent, or to be sent again
        self._link: Link | None = None
        self._exchanges = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; nothing happens if it has begun."""
        if self._thread is None or self._closed:
            if self._thread is not None:
                self._thread.join()  # it was closed while the broker did not answer
            self._closed = False
            self._left.clear()
            self._leaving.clear()
            self._thread = threading.Thread(target=self._run, name="sono-backplane", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Run what waits and end. A broker that does not answer is waited for no longer than
        CLOSING seconds, and what waits for it fails."""
        self.stop()
        thread = self._thread
        while thread is not None and thread.is_alive():
            before = self._exchanges
            thread.join(CLOSING)
            if before == self._exchanges:
                if link := self._link:
                    link.abort()
                thread.join(CLOSING)
                break
        with self._lock:
            rest = [*self._under_way, *self._waiting]
            self._waiting.clear()
            self._held = 0
        self._give_up(rest, CLOSED)

    @property
    def ended(self) -> bool:
        """Whether it has nothing to do any more, nor to give back."""
        return self._thread is None or not self._thread.is_alive()

    def stop(self) -> None:
        """Begin to end, as `close` does, which is still to be called."""
        with self._lock:
            self._closed = True
            self._lock.notify()

    def part(self, slots: Collection[int], last: bool = False) -> None:
        """Do nothing more in some slots, and give back soon what waits; see `Returned`.

        Args:
            last: whether it ends behind that.
        """
        with self._lock:
            self._leaving.update(slots)
            self._closed = self._closed or last
            self._lock.notify()

    def reopen(self, slot: int) -> None:
        """Do again what is asked in a slot, of which everything was given back."""
        with self._lock:
            self._left.discard(slot)

    def finish(self) -> None:
        """Wait until all is done that was asked, as long as the broker answers."""
        before, since = self._exchanges, time.monotonic()
        while self._waiting or self._under_way:
            time.sleep(_LOOK)
            if before != self._exchanges:
                before, since = self._exchanges, time.monotonic()
            elif time.monotonic() - since > CLOSING:
                return

    def put(self, command: Command) -> bool:
        """Have a command run. If too much waits already it fails, soon.

        Returns:
            False: its slot is not here, and what waited there was given back, or soon will be.
        """
        bounds = self._bounds
        with self._lock:
            if command.slot in self._left:
                return False
            full = len(self._waiting) >= bounds.count or (
                self._held + command.size > bounds.size and self._waiting
            )
            if not self._closed and (command.urgent or not full):
                (self._waiting.appendleft if command.urgent else self._waiting.append)(command)
                self._held += command.size
                if len(self._waiting) == 1:
                    self._lock.notify()
                return True
        self._give_up([command], CLOSED if self._closed else FULL)
        return True

    # -- in the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        delay = FIRST_DELAY
        while self._wait():
            try:
                link = self._link or self._connected()
                self._exchange(link)
                self._exchanges += 1
            except Exception as error:
                self._disconnect()
                self._lost(error)
                if self._closed:
                    break
                with self._lock:
                    self._lock.wait_for(lambda: self._closed or self._leaving, delay)
                delay = min(2 * delay, LAST_DELAY)
            else:
                delay = FIRST_DELAY
        self._give_back()
        self._disconnect()

    def _disconnect(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _wait(self) -> bool:
        """Until there is something to do; False if there never will be."""

        def something() -> bool:
            return bool(self._waiting or self._under_way or self._leaving or self._closed)

        while True:
            with self._lock:
                found = self._lock.wait_for(something, _RETRY if self._handover.stuck else None)
                if found and not self._leaving:
                    return bool(self._waiting or self._under_way)
            if found:
                self._give_back()
            else:
                self._handover.retry()

    def _give_back(self, slots: Set[int] = frozenset(), where: Address | None = None) -> None:
        """What was asked in slots that are not here: all of it, and in its order."""
        with self._lock:
            slots = slots | self._leaving
            self._leaving = set()
            self._left |= slots
            waiting, self._waiting = self._waiting, deque()
            going = [command for command in self._under_way if command.slot in slots]
            self._under_way = [one for one in self._under_way if one.slot not in slots]
            for command in waiting:
                if command.slot in slots:
                    going.append(command)
                    self._held -= command.size
                else:
                    self._waiting.append(command)
        if slots and self._returned is not None:
            self._give_up([command for command in going if command.unsure], _UNKNOWN)
            untouched = [command for command in going if not command.unsure]
            self._handover.put([partial(self._returned, slots, untouched, where)])

    def _connected(self) -> Link:
        link = self._link = self._connect()
        with connecting():
            link.open()
            identity = link.introduce()
            load(link)
        if not self.connected and self.failures:
            logger.warning("the backplane's broker answers again")
        self.connected, self.refused = True, None
        if self._identity not in (None, identity):
            lost, self._under_way = self._under_way, []
            self._give_up(lost, _UNKNOWN)
        self._identity = identity
        self._handover.put([partial(self._arrived, identity)])
        return link

    def _lost(self, error: Exception) -> None:
        self.failures += 1
        if self.connected or self.failures == 1:  # once for each time that it is away
            unexpected = None if isinstance(error, EXPECTED) else error
            logger.error("the backplane's broker is away: %s", error, exc_info=unexpected)
        self.connected = False
        self._troubled()
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
        server = f"{SURE if self._sure else ''}{self._identity}"
        self._sure = False
        replies: list[Any] = []
        try:
            link.send(*(command.packed(server, link.clustered) for command in batch))
            for _ in batch:
                try:
                    replies.append(link.receive())
                except ResponseError as error:
                    replies.append(error)
        finally:
            again, finished = _sorted(batch, replies)
            # if the connection is lost, those that got no reply are under way
            self._under_way = [command for command, _ in again] + batch[len(replies) :]
            for command in batch[len(replies) :]:
                command.unsure = True
            self._handover.put(finished)
            if self._returned is not None and (astray := _astray(again)):
                self._give_back(*astray)
                again = [one for one in again if not isinstance(one[1], _ELSEWHERE)]
        if again:
            self._see_why(link, again[0][1])

    def _see_why(self, link: Link, refusal: RedisError) -> None:
        """A server has done nothing of what it was asked, for now."""
        if isinstance(refusal, NoScriptError):
            load(link)
        elif str(refusal).startswith(OTHER):
            identity = link.introduce()
            self._sure = True
            if identity != self._identity:
                self._identity = identity
                self._handover.put([partial(self._arrived, identity)])
        else:
            raise refusal

    def _expire(self) -> None:
        """Give up what waits too long."""
        oldest = time.monotonic() - self._bounds.age
        over = [command for command in self._under_way if command.since <= oldest]
        self._under_way = [command for command in self._under_way if command.since > oldest]
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
            for command in waiting:
                if command.since <= oldest:
                    self._held -= command.size
                    over.append(command)
                else:
                    self._waiting.append(command)
        self._give_up(over, self.refused or AWAY)

    def _give_up(self, commands: Iterable[Command], error: BackplaneError) -> None:
        self._handover.put(partial(command.done, None, error) for command in commands)


def _sorted(
    batch: Sequence[Command], replies: Sequence[Any]
) -> tuple[list[tuple[Command, RedisError]], list[Callable[[], object]]]:
    """Which commands are to be sent again, with why, and what those are told that are finished.

    What a server did not do before it did something later with the same keys is not done any more:
    the order would be another.
    """
    again: dict[str, list[tuple[Command, RedisError]]] = {}
    finished: list[Callable[[], object]] = []
    for command, reply in zip(batch, replies, strict=False):
        subject = command.keys[0]
        if isinstance(reply, RedisError):
            if isinstance(reply, _NOT_DONE) or str(reply).startswith(_NOT_NOW):
                again.setdefault(subject, []).append((command, reply))
            else:
                finished.append(partial(command.done, None, meaning(reply)))
            continue
        for passed, _ in () if command.script in _APART else again.pop(subject, ()):
            finished.append(partial(passed.done, None, _PASSED))
        finished.append(partial(command.done, reply, None))
    return [one for waiting in again.values() for one in waiting], finished


def _astray(again: Sequence[tuple[Command, RedisError]]) -> tuple[set[int], Address | None] | None:
    """Slots that are not here, or not wholly, and who has them."""
    slots = {command.slot for command, why in again if isinstance(why, _ELSEWHERE)}
    moved = (why.node_addr for _, why in again if isinstance(why, MovedError))
    return (slots, next(moved, None)) if slots else None


def load(link: Link) -> None:
    """Give a server the scripts."""
    link.send(*(("SCRIPT", "LOAD", script.texts[link.clustered]) for script in ALL))
    for _ in ALL:
        link.receive()
