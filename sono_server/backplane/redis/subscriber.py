"""What the broker tells: a connection of its own, in a thread of its own, that cannot be deaf.

redis-py would connect anew without a word, and what was said meanwhile would be lost in silence. So
each connection here is made once, and when another has to be made everybody who follows a stream is
told that something may be missing. Whether what is said arrives at all is tried from end to end.
"""

import contextlib
import math
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from redis.crc import key_slot
from redis.exceptions import MovedError

from sono_core.messaging.lossless import BackplaneError
from sono_server.serving import logger

from . import wire
from .commands import AWAY, CLOSED, CLOSING, FIRST_DELAY, FULL, LAST_DELAY
from .handover import Handover
from .servers import EXPECTED, Link

MANY = 512
"""Channels that are subscribed to in one command."""
ROOM = 8 << 20
"""Bytes that wait for the loop; beyond it what is told is dropped, and read later."""
LATE = 5.0
"""Seconds after which a probe that has not come back shows that the connection is deaf."""
CHANGES = 100_000
"""Channels that wait to be followed or left."""

_SHARDED = b"s"  # begins the commands, and the kinds of messages, of sharded pub/sub
_RECORD = 200  # bytes of memory that one of them takes beside its own, about
_SHARE = 1000  # messages that are taken before the thread looks around
_TURN = 1.0  # seconds after which the thread looks around at the latest

Then = Callable[[BackplaneError | None], object]


class _Change:
    """A channel is to be followed, or left."""

    __slots__ = ("channel", "command", "since", "then")

    def __init__(self, command: bytes, channel: str, then: Then) -> None:
        self.command: bytes = command
        self.channel: str = channel
        self.then: Then | None = then
        """None: it has been called."""
        self.since: float = time.monotonic()


class Subscriber:
    """Follows channels, from `start` to `close`.

    Args:
        connect: makes a connection.
        handover: to the thread of whoever is told.
        told: is called there with what was said.
        suspect: is called there when anything may have been missed.
        astray: is called there with a slot that the server has no longer, so that what is said in
            its channels is heard elsewhere.
        troubled: called in the thread if the server is lost.
        patience: seconds for which a change waits while the broker is away; then it fails, and
            holds all the same from the next connection on.
    """

    def __init__(
        self,
        connect: Callable[[], Link],
        handover: Handover,
        told: Callable[[str, bytes], object],
        suspect: Callable[[], object],
        astray: Callable[[int], object],
        troubled: Callable[[], object],
        patience: float,
    ) -> None:
        self.connections: int = 0
        """How many there were."""
        self.failures: int = 0
        """How many were lost, or could not be made."""
        self.dropped: int = 0
        """What was told and found no room."""
        self._connect = connect
        self._handover = handover
        self._told = told
        self._suspect = suspect
        self._astray = astray
        self._troubled = troubled
        self._patience = patience
        self._retired = False
        self._shard = b""  # or _SHARDED
        self._probe = ""
        self._lock = threading.Lock()
        self._closed = False
        self._wanted: dict[str, None] = {}  # channels
        self._changes: deque[_Change] = deque()  # that the broker has not been told
        self._awaited: dict[str, deque[_Change]] = {}  # that it has; by channel
        self._pending: deque[_Change] = deque()  # both, and some of which nobody waits any more
        self._inbox: list[Callable[[], object]] = []  # what has been heard in this turn
        self._inbox_size = 0
        self._overflowed = False
        self._heard_probe = 0  # the number of the last one
        self._owed_probe: float | None = None  # since when one is under way
        self._away = False
        self._waker: socket.socket | None = None
        self._link: Link | None = None
        self._received = 0
        self._thread: threading.Thread | None = None

    def start(self, probe: str) -> None:
        """Begin; nothing happens if it has begun.

        Args:
            probe: the channel on which the node hears its own probes.
        """
        if self._thread is None or self._closed:
            if self._thread is not None:
                self._thread.join()  # it was closed while the broker did not answer
            self._closed = False
            self._probe, self._heard_probe = probe, 0
            self._waker, sleeper = socket.socketpair()
            self._waker.setblocking(False)
            sleeper.setblocking(False)
            self._thread = threading.Thread(
                target=self._run, args=(sleeper,), name="sono-subscriber", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """End. A broker that does not answer is waited for no longer than CLOSING seconds."""
        self.stop()
        thread = self._thread
        while thread is not None and thread.is_alive():
            before = self._received
            thread.join(CLOSING)
            if before == self._received:
                if link := self._link:
                    link.abort()
                thread.join(CLOSING)
                break
        self._changes.clear()
        self._awaited.clear()
        self._give_up(CLOSED, math.inf)

    @property
    def ended(self) -> bool:
        """Whether it has nothing to do any more."""
        return self._thread is None or not self._thread.is_alive()

    def stop(self) -> None:
        """Begin to end, as `close` does, which is still to be called."""
        self._closed = True
        self._wake()

    def retire(self) -> None:
        """End, as its channels are followed elsewhere."""
        self._retired = True
        self.stop()

    def forget(self, channel: str) -> None:
        """A channel is followed elsewhere: what waits for it here waits no longer."""
        self._change(b"forget", channel, _nobody)

    def follow(self, channel: str, then: Then) -> None:
        """Be told what is said in a channel; `then` is called when everything is that comes."""
        self._change(b"subscribe", channel, then)

    def leave(self, channel: str, then: Then) -> None:
        """Be told no longer; `then` is called when nothing more comes."""
        self._change(b"unsubscribe", channel, then)

    def probed(self, number: int) -> None:
        """The broker has been told the probe of that number, so it has to come back."""
        if self._heard_probe < number and self._owed_probe is None:
            self._owed_probe = time.monotonic()

    def _change(self, command: bytes, channel: str, then: Then) -> None:
        with self._lock:
            full = len(self._pending) >= CHANGES and command != b"forget"
            refused = CLOSED if self._closed else FULL if full else None
            if refused is None:
                change = _Change(command, channel, then)
                self._changes.append(change)
                self._pending.append(change)
            first = len(self._changes) == 1
        if refused is not None:
            self._handover.put([partial(then, refused)])
        elif first:
            self._wake()

    def _wake(self) -> None:
        waker = self._waker
        if waker is not None:
            with contextlib.suppress(OSError):  # it is full, so the thread will wake; or it ended
                waker.send(b"x")

    # -- in the thread ----------------------------------------------------------------------------

    def _run(self, sleeper: socket.socket) -> None:
        delay = FIRST_DELAY
        while not self._closed:
            try:
                link = self._link = self._connect()
                link.open()
                self._begin(link)
                delay = FIRST_DELAY
                self._attend(link, sleeper)
                self._end(link)
            except Exception as error:
                self._lost(error)
            finally:
                ended, self._link = self._link, None
                if ended is not None:
                    ended.close()
            if not self._closed:
                self._sleep(delay, sleeper)
                delay = min(2 * delay, LAST_DELAY)
        if self._retired:
            self._give_up(None, math.inf)
        waker, self._waker = self._waker, None
        for end in (waker, sleeper):
            if end is not None:
                end.close()

    def _attend(self, link: Link, sleeper: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(sleeper, selectors.EVENT_READ)
            selector.register(link.socket, selectors.EVENT_READ)
            while not self._closed:
                self._listen(link, sleeper, selector)

    def _sleep(self, seconds: float, sleeper: socket.socket) -> None:
        """Wait, and look whether what is asked for waits too long."""
        until = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(sleeper, selectors.EVENT_READ)
            while not self._closed and (left := until - time.monotonic()) > 0:
                selector.select(left)
                _forget_wakes(sleeper)
                self._absorb()

    def _lost(self, error: Exception) -> None:
        self.failures += 1
        self._troubled()
        if not self._away:
            self._away = True
            unexpected = None if isinstance(error, EXPECTED) else error
            logger.error("the backplane hears nothing: %s", error, exc_info=unexpected)
        for channel in list(self._awaited):
            if channel not in self._wanted:  # else the next connection answers
                self._answer(self._awaited.pop(channel))
        self._absorb()

    def _absorb(self) -> None:
        """There is no connection: what is asked for holds from the next one on."""
        with self._lock:
            changes, self._changes = self._changes, deque()
        for change in changes:
            awaited = self._awaited.pop(change.channel, ())
            if change.command == b"subscribe":
                self._wanted[change.channel] = None
                living = (one for one in awaited if one.then is not None)
                self._awaited[change.channel] = deque([*living, change])
            else:
                self._wanted.pop(change.channel, None)
                self._answer([*awaited, change])
        self._flush()
        self._expire()

    def _begin(self, link: Link) -> None:
        """Follow all channels again on a new connection."""
        self.connections += 1
        self._owed_probe = None
        self._shard = _SHARDED if link.clustered else b""
        wanted = [self._probe, *self._wanted]
        if link.clustered:
            wanted.sort(key=_slot)
        self._send(link, [(b"subscribe", channel) for channel in wanted])
        missing = dict.fromkeys(wanted)
        while missing:  # what is said meanwhile is told, too
            kind, channel = self._next(link)
            if kind == b"subscribe":
                missing.pop(channel, None)
                self._answer(self._awaited.pop(channel, ()))
            elif kind == b"unsubscribe":  # of itself, as a slot leaves it
                missing.pop(channel, None)
                self._confirmed(kind, channel)
            elif kind == b"moved":
                self._refused(int(channel))
                missing = {one: None for one in missing if _slot(one) != int(channel)}
        if self._away:
            self._away = False
            logger.warning("the backplane hears again")
        self._inbox.append(self._suspect)
        self._flush()

    def _end(self, link: Link) -> None:
        """Follow nothing any more, and be sure that the broker knows it."""
        self._send_changes(link)
        link.send((self._shard + b"unsubscribe",))
        left = 1
        while left:
            kind, channel, count = link.receive()
            self._received += 1
            if kind == self._shard + b"message":
                self._keep(channel.decode(), count)
            elif kind == self._shard + b"unsubscribe":
                left = count
        self._answer(change for change in self._pending if change.command == b"unsubscribe")
        self._flush()

    def _next(self, link: Link) -> tuple[bytes, str]:
        """Take one message; returns its kind and channel, or `moved` and a slot."""
        try:
            kind, channel, content = link.receive()
        except MovedError as error:
            return b"moved", str(error.slot_id)
        finally:
            self._received += 1
        kind = kind.removeprefix(self._shard)
        name = channel.decode()
        if kind == b"message":
            if name == self._probe:
                self._heard_probe = wire.number(content)
                self._owed_probe = None
            self._keep(name, content)
        return kind, name

    def _keep(self, channel: str, content: bytes) -> None:
        size = len(content) + _RECORD
        held = self._handover.held + self._inbox_size
        if held + size <= ROOM or not held:
            self._inbox.append(partial(self._told, channel, content))
            self._inbox_size += size
            return
        self.dropped += 1
        if not self._overflowed:
            self._overflowed = True
            self._inbox.append(self._suspect_overflow)

    def _suspect_overflow(self) -> None:
        """In the loop, behind what found room."""
        self._overflowed = False
        self._suspect()

    def _listen(self, link: Link, sleeper: socket.socket, selector: selectors.BaseSelector) -> None:
        """Wait, and see to what comes."""
        self._send_changes(link)
        if not link.readable():
            selector.select(_TURN)
            _forget_wakes(sleeper)
        for _ in range(_SHARE):
            if not link.readable():
                break
            kind, channel = self._next(link)
            if kind != b"message":
                self._confirmed(kind, channel)
        self._flush()
        self._expire()
        if self._owed_probe is not None and time.monotonic() - self._owed_probe > LATE:
            raise TimeoutError(f"nothing that was said came back within {LATE} s")

    def _send_changes(self, link: Link) -> None:
        with self._lock:
            changes, self._changes = self._changes, deque()
        sent: list[tuple[bytes, str]] = []
        for change in changes:  # all, before one is sent: sending may fail
            command, channel = change.command, change.channel
            if command == b"subscribe":
                self._wanted[channel] = None
            else:
                self._wanted.pop(channel, None)
            if command == b"forget":
                self._answer([*self._awaited.pop(channel, ()), change])
            else:
                self._awaited.setdefault(channel, deque()).append(change)
                sent.append((command, channel))
        self._send(link, sent)

    def _send(self, link: Link, changes: Sequence[tuple[bytes, str]]) -> None:
        """Ask for changes: many at once, in a cluster those of one slot."""
        batches: list[tuple[tuple[bytes, int], list[bytes | str]]] = []
        for command, channel in changes:
            kind = self._shard + command, _slot(channel) if link.clustered else 0
            if not batches or batches[-1][0] != kind or len(batches[-1][1]) >= MANY:
                batches.append((kind, []))
            batches[-1][1].append(channel)
        for at in range(0, len(batches), MANY):
            some = batches[at : at + MANY]
            link.send(*([command, *channels] for (command, _), channels in some))

    def _confirmed(self, command: bytes, channel: str) -> None:
        """The first change of a channel that waits is made, unless another connection made it."""
        if command == b"moved":
            self._refused(int(channel))
            return
        waiting = self._awaited.get(channel)
        if waiting and waiting[0].command == command:
            self._answer([waiting.popleft()])
            if not waiting:
                del self._awaited[channel]
        elif command == b"unsubscribe" and channel in self._wanted:  # its slot goes elsewhere
            self._inbox.append(partial(self._astray, _slot(channel)))

    def _refused(self, slot: int) -> None:
        """The server has a slot no longer. Whoever waits for it need not: its channels are followed
        elsewhere, and suspected then."""
        for channel in [channel for channel in self._awaited if _slot(channel) == slot]:
            waiting = self._awaited[channel]
            self._answer([waiting.popleft()])
            if not waiting:
                del self._awaited[channel]
        self._inbox.append(partial(self._astray, slot))

    def _answer(self, changes: Iterable[_Change]) -> None:
        """What was changed holds, behind all that came before."""
        for change in changes:
            then, change.then = change.then, None
            if then is not None:
                self._inbox.append(partial(then, None))

    def _flush(self) -> None:
        """Have told what came."""
        inbox, self._inbox = self._inbox, []
        size, self._inbox_size = self._inbox_size, 0
        self._handover.put(inbox, size)
        self._handover.retry()

    def _expire(self) -> None:
        """Nobody waits too long for what is asked for; it holds all the same, once it can."""
        self._give_up(AWAY, time.monotonic() - self._patience)

    def _give_up(self, error: BackplaneError | None, latest: float) -> None:
        calls: list[Callable[[], object]] = []
        with self._lock:
            pending = self._pending
            while pending and (pending[0].then is None or pending[0].since <= latest):
                change = pending.popleft()
                then, change.then = change.then, None
                if then is not None:
                    calls.append(partial(then, error))
        self._handover.put(calls)


def _slot(channel: str) -> int:
    return int(key_slot(channel.encode()))


def _nobody(_: BackplaneError | None) -> None:
    """Nobody waits for it."""


def _forget_wakes(sleeper: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        sleeper.recv(4096)
