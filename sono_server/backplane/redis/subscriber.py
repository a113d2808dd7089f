"""What the broker tells: a connection of its own, in a thread of its own, that cannot be deaf.

redis-py would connect anew without a word, and what was said meanwhile would be lost in silence. So
each connection here is made once, and when another has to be made everybody who follows a stream is
told that something may be missing. Whether what is said arrives at all is tried from end to end.
"""

import contextlib
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from sono_core.messaging.lossless import BackplaneError
from sono_server.serving import logger

from . import wire
from .commands import CLOSING, FIRST_DELAY, LAST_DELAY
from .servers import EXPECTED, Link

MANY = 512
"""Channels that are subscribed to in one command."""
ROOM = 8 << 20
"""Bytes that wait for the loop; beyond it what is told is dropped, and read later."""
LATE = 5.0
"""Seconds after which a probe that has not come back shows that the connection is deaf."""

_RECORD = 200  # bytes of memory that one of them takes beside its own, about
_SHARE = 1000  # messages that are taken before the thread looks around
_TURN = 1.0  # seconds after which the thread looks around at the latest

Then = Callable[[BackplaneError | None], object]
Told = tuple[str, bytes] | Then
"""What is said in a channel, or who waits for what was said before."""
_CLOSED = BackplaneError("the backplane is closed")


class Subscriber:
    """Follows channels, from `start` to `close`.

    Args:
        connect: makes a connection.
        call_soon: has a function called in the thread of whoever is told.
        told: is called there with what was said.
        suspect: is called there when anything may have been missed.
        probe: the channel on which the node hears its own probes.
    """

    def __init__(
        self,
        connect: Callable[[], Link],
        call_soon: Callable[[Callable[[], object]], object],
        told: Callable[[str, bytes], object],
        suspect: Callable[[], object],
        probe: str,
    ) -> None:
        self.connections: int = 0
        """How many there were."""
        self.failures: int = 0
        """How many were lost, or could not be made."""
        self.dropped: int = 0
        """What was told and found no room."""
        self._connect = connect
        self._call_soon = call_soon
        self._told = told
        self._suspect = suspect
        self._probe = probe
        self._lock = threading.Lock()
        self._closed = False
        self._wanted: dict[str, None] = {}  # channels
        self._changes: deque[tuple[str, str, Then]] = deque()  # command, channel, then
        self._awaited: dict[str, deque[tuple[str, Then]]] = {}  # by channel
        self._inbox: list[Told] = []
        self._inbox_held = 0
        self._overflowed = False
        self._heard_probe = 0  # the number of the last one
        self._owed_probe: float | None = None  # since when one is under way
        self._away = False
        self._waker: socket.socket | None = None
        self._sleeper: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; nothing happens if it has begun."""
        if self._thread is None or self._closed:
            if self._thread is not None:
                self._thread.join()  # it was closed while the broker did not answer
            self._closed = False
            self._waker, self._sleeper = socket.socketpair()
            self._waker.setblocking(False)
            self._sleeper.setblocking(False)
            self._thread = threading.Thread(target=self._run, name="sono-subscriber", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End; a broker that does not answer is waited for no longer than CLOSING seconds."""
        self._closed = True
        self._wake()
        if self._thread is not None:
            self._thread.join(CLOSING)

    def follow(self, channel: str, then: Then) -> None:
        """Be told what is said in a channel; `then` is called when everything is that comes."""
        self._change("SUBSCRIBE", channel, then)

    def leave(self, channel: str, then: Then) -> None:
        """Be told no longer; `then` is called when nothing more comes."""
        self._change("UNSUBSCRIBE", channel, then)

    def probed(self, number: int) -> None:
        """The broker has been told the probe of that number, so it has to come back."""
        if self._heard_probe < number and self._owed_probe is None:
            self._owed_probe = time.monotonic()

    def _change(self, command: str, channel: str, then: Then) -> None:
        with self._lock:
            self._changes.append((command, channel, then))
            first = len(self._changes) == 1
        if first:
            self._wake()

    def _wake(self) -> None:
        waker = self._waker
        if waker is not None:
            with contextlib.suppress(OSError):  # it is full, so the thread will wake; or it ended
                waker.send(b"x")

    # -- in the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        delay = FIRST_DELAY
        while not self._closed:
            link = self._connect()
            try:
                link.open()
                self._begin(link)
                delay = FIRST_DELAY
                while not self._closed:
                    self._listen(link)
            except Exception as error:
                self._lost(error)
            finally:
                link.close()
            if not self._closed:
                self._sleep(delay)
                delay = min(2 * delay, LAST_DELAY)
        self._flush()
        self._give_up()
        waker, self._waker = self._waker, None
        for end in (waker, self._sleeper):
            assert end
            end.close()

    def _sleep(self, seconds: float) -> None:
        """Wait, and answer what is asked for: it holds from the next connection on."""
        until, sleeper = time.monotonic() + seconds, self._sleeper
        assert sleeper
        while not self._closed and (left := until - time.monotonic()) > 0:
            select.select([sleeper], [], [], left)
            self._forget_wakes()

    def _forget_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            assert self._sleeper
            self._sleeper.recv(4096)

    def _lost(self, error: Exception) -> None:
        self.failures += 1
        if not self._away:
            self._away = True
            unexpected = None if isinstance(error, EXPECTED) else error
            logger.error("the backplane hears nothing: %s", error, exc_info=unexpected)
        for channel in list(self._awaited):
            if channel not in self._wanted:  # else the next connection answers
                self._answer(then for _, then in self._awaited.pop(channel))
        self._flush()

    def _begin(self, link: Link) -> None:
        """Follow all channels again on a new connection."""
        self.connections += 1
        self._owed_probe = None
        wanted = [self._probe, *self._wanted]
        for at in range(0, len(wanted), MANY):
            link.send(("SUBSCRIBE", *wanted[at : at + MANY]))
        missing = set(wanted)
        while missing:  # what is said meanwhile is told, too
            kind, channel = self._next(link)
            if kind == b"subscribe":
                missing.discard(channel)
                self._answer(then for _, then in self._awaited.pop(channel, ()))
        if self._away:
            self._away = False
            logger.warning("the backplane hears again")
        self._call_soon(self._suspect)
        self._flush()

    def _next(self, link: Link) -> tuple[bytes, str]:
        """Take one message; returns its kind and channel."""
        kind, channel, content = link.receive()
        name = channel.decode()
        if kind == b"message":
            if name == self._probe:
                self._heard_probe = wire.number(content)
                self._owed_probe = None
            self._keep(name, content)
        return kind, name

    def _keep(self, channel: str, content: bytes) -> None:
        size = len(content) + _RECORD
        with self._lock:
            if self._inbox_held + size > ROOM and self._inbox_held:
                self.dropped += 1
                self._overflowed = True
            else:
                self._inbox.append((channel, content))
                self._inbox_held += size

    def _listen(self, link: Link) -> None:
        """Wait, and see to what comes."""
        self._send_changes(link)
        if not link.readable():
            select.select([link.socket, self._sleeper], [], [], _TURN)
            self._forget_wakes()
        for _ in range(_SHARE):
            if not link.readable():
                break
            kind, channel = self._next(link)
            if kind != b"message":
                self._confirmed(kind.decode().upper(), channel)
        self._flush()
        if self._owed_probe is not None and time.monotonic() - self._owed_probe > LATE:
            raise TimeoutError(f"nothing that was said came back within {LATE} s")

    def _send_changes(self, link: Link) -> None:
        with self._lock:
            changes, self._changes = self._changes, deque()
        batch: list[str] = []
        current = ""
        for command, channel, then in changes:
            self._awaited.setdefault(channel, deque()).append((command, then))
            if command == "SUBSCRIBE":
                self._wanted[channel] = None
            else:
                self._wanted.pop(channel, None)
            if batch and (command != current or len(batch) >= MANY):
                link.send((current, *batch))
                batch = []
            current = command
            batch.append(channel)
        if batch:
            link.send((current, *batch))

    def _confirmed(self, command: str, channel: str) -> None:
        """The first change of a channel that waits is made, unless another connection made it."""
        waiting = self._awaited.get(channel)
        if waiting and waiting[0][0] == command:
            self._answer([waiting.popleft()[1]])
            if not waiting:
                del self._awaited[channel]

    def _answer(self, calls: Iterable[Then]) -> None:
        """What was changed holds, behind all that came before."""
        with self._lock:
            self._inbox.extend(calls)

    def _flush(self) -> None:
        """Have told what came."""
        if self._inbox:
            self._call_soon(self._drain)

    def _drain(self) -> None:
        """In the loop: tell what waits."""
        with self._lock:
            inbox, self._inbox = self._inbox, []
            self._inbox_held = 0
            overflowed, self._overflowed = self._overflowed, False
        failure: Exception | None = None
        for one in inbox:
            try:
                if callable(one):
                    one(None)
                else:
                    self._told(*one)
            except Exception as error:  # the others are told all the same
                failure = failure or error
        if overflowed:
            self._suspect()
        if failure is not None:
            raise failure

    def _give_up(self) -> None:
        """It is closed: nothing is changed any more."""
        calls = [then for _, _, then in self._changes]
        calls += [then for waiting in self._awaited.values() for _, then in waiting]
        for then in calls:
            self._call_soon(partial(then, _CLOSED))
