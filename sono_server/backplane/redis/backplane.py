"""A backplane on Redis or Valkey: what several processes need to serve as one."""

import math
import secrets
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec

from sono_core.errors import SonoError
from sono_core.limits import MIB
from sono_core.messaging.lossless import (
    DEFAULT_HISTORY,
    Backplane,
    BackplaneError,
    Batch,
    Change,
    Entry,
    History,
    Origin,
    Page,
    Position,
    Receipt,
    Roster,
    SavedSession,
    Top,
)
from sono_server.backplane.errors import TooLargeError, UnreadableError
from sono_server.serving import logger

from . import scripts, wire
from .attendance import Attendance
from .commands import Bounds, Command
from .erasing import Erasing
from .keys import PREFIX, Keys
from .scripts import Script
from .servers import links
from .shards import Shards
from .subscriber import LATE
from .wire import Codec

T = TypeVar("T")

LARGEST = 4 * MIB
"""Bytes of a body: a server cuts off whoever has 8 MiB of what is told before it."""
PROBE = 1.0
"""Seconds between two probes."""
LEASE = 15.0
"""Seconds after its last probe until a node counts as gone."""
_NOBODY = Origin()
_TOPS = 128  # streams that are asked about in one command
_LONG = 1 << 16  # bytes that a question counts for whose answer may be long
_RECORD = 512  # bytes of memory that a command takes while it waits, about


class _Subscription(msgspec.Struct, frozen=True, eq=False):
    on_entry: Callable[[Entry], object]
    on_change: Callable[[Change], object] | None
    on_volatile: Callable[[Any], object] | None


class RedisBackplane(Backplane):
    """Keeps everything in a server of Redis 7 or later, or Valkey, or in those of a cluster.

    It has two threads for each server, each with a connection: for what is asked, and for what is
    told; and one more that watches a cluster. Whatever it calls it calls in the thread in which it
    was called itself.

    Args:
        url: see `servers.links`.
        call_soon: has a function called in the thread of the caller, from any thread.
        codec: writes bodies and data.
        prefix: of all keys and channels; deployments that share a server need one each. None: as
            `prefix=` in the URL's query says, or `sono`.
        bounds: of what waits while a server is away, for each.
        presence: bytes that the members of one roster may take.
        listens: whether it hears what is told; who only publishes need not.
        clock: what time it is, in seconds, for tests of time; None: the server knows.
        options: of redis-py's connections, such as `ssl_ca_certs`.

    Raises:
        ValueError: the URL or the prefix will not do.
    """

    def __init__(
        self,
        url: str,
        call_soon: Callable[[Callable[[], object]], object],
        codec: Codec,
        *,
        prefix: str | None = None,
        bounds: Bounds = Bounds(),  # noqa: B008 - it is frozen
        presence: int = 16 * MIB,
        listens: bool = True,
        clock: Callable[[], float] | None = None,
        **options: Any,
    ) -> None:
        most = min(LATE, bounds.age)
        options = {"socket_timeout": most, "socket_connect_timeout": min(2.0, most)} | options
        servers = links(url, **options)
        self.node: str = secrets.token_urlsafe(9)
        """The name of this node among the others, anew for each start: a process that is forked
        before that must not have its parent's."""
        self._begun = False
        self.shared = True
        self.interval = PROBE
        self._keys = Keys(prefix or servers.prefix or PREFIX, servers.database)
        self._codec = codec
        self._clock = clock
        self._listens = listens
        self._shards = Shards(
            servers,
            self._keys,
            call_soon,
            self._told,
            self._suspect,
            self._renewed,
            bounds,
            listens,
        )
        self._subscriptions: dict[str, list[_Subscription]] = {}
        self._leaving: dict[str, Receipt[None]] = {}  # streams that are just being left
        self._attendance = Attendance(self._put, self._keys, presence)
        self._asked = 0  # commands, in all: with the node's name a new epoch
        self._publications = 0
        self._complaints = 0

    # -- its life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect, in the background; what is asked meanwhile waits."""
        if self._begun:
            return
        self._begun = True
        self.node = secrets.token_urlsafe(9)
        if self._listens:
            self._renew()
        self._shards.start(self.node)

    def close(self) -> None:
        """End: leave what is followed, and run what waits. It fails if the server does not answer.

        All receipts are done when this returns, as whoever was called may call nobody any more.
        """
        self._begun = False
        self._shards.close(self._leave)

    def _leave(self) -> None:
        if self._listens:
            self._put(Receipt(), wire.nothing, scripts.REMOVE, (self._keys.lease(self.node),))
        self._attendance.leave()

    def tick(self) -> None:
        """Try whether what is told arrives, and say that this node lives."""
        self.probe()
        self._attendance.renew()
        self._renew()

    def _renew(self) -> None:
        lease = (self._keys.lease(self.node),)
        self._put(Receipt(), wire.nothing, scripts.LIVE, lease, round(1000 * LEASE), urgent=True)

    def alive(self, node: str) -> Receipt[bool]:
        """See `Backplane.alive`: within LEASE seconds, by the broker's clock."""
        return self._put(Receipt(), bool, scripts.ALIVE, (self._keys.lease(node),))

    @property
    def ready(self) -> bool:
        """Whether a probe came back lately from the server, or each one of a cluster, and what is
        asked waits for none of them."""
        return self._shards.ready

    # -- streams --------------------------------------------------------------------------------

    def publish(
        self,
        stream: str,
        body: Any,
        size: int,
        history: History | None,
        key: str | None = None,
        origin: Origin | None = None,
    ) -> Receipt[Position]:
        """See `Backplane.publish`; carries what the codec can write, up to LARGEST bytes.

        Args:
            history: None: what the stream has, or the default.
        """
        arguments = stream, body, size, history, key, origin
        return self._publish(Receipt(), wire.replied_position, *arguments, must_be=False)

    def send(
        self,
        stream: str,
        body: Any,
        size: int,
        history: History | None,
        key: str | None = None,
        origin: Origin | None = None,
    ) -> Receipt[Position | None]:
        """See `Backplane.send`; carries what `publish` carries."""
        arguments = stream, body, size, history, key, origin
        read = wire.replied_position_or_none
        return self._publish(Receipt(), read, *arguments, must_be=True)

    def _publish(
        self,
        receipt: Receipt[T],
        read: Callable[[Any], T],
        stream: str,
        body: Any,
        size: int,
        history: History | None,
        key: str | None,
        origin: Origin | None,
        *,
        must_be: bool,
    ) -> Receipt[T]:
        if (content := self._written(receipt, body)) is None:
            return receipt
        if key is None:  # it may have to be said twice, and is published once
            self._publications += 1
            key = f"{self.node}:{self._publications}"
        bounds = history or DEFAULT_HISTORY
        age, counts = math.ceil(bounds.age * 1000), 0 if history is None else 1
        kept = (bounds.count, bounds.size, age, counts)
        arguments = (content, size, *kept, key, int(must_be), *(origin or _NOBODY))
        return self._run(receipt, read, scripts.PUBLISH, stream, *arguments, size=len(content))

    def tell(self, stream: str, body: Any) -> Receipt[None]:
        """See `Backplane.tell`; carries what `publish` carries."""
        receipt: Receipt[None] = Receipt()
        content = self._written(receipt, body)
        if content is None:
            return receipt
        said = b"V\n" + content
        return self._run(
            receipt, wire.nothing, scripts.TELL, stream, said, size=len(said), repeatable=False
        )

    def read(self, stream: str, after: Position, limit: int | None = None) -> Receipt[Batch]:
        """See `Backplane.read`."""

        def batch(reply: Any) -> Batch:
            epoch, top, first, upto, found = reply
            name = epoch.decode()
            entries = tuple(wire.entries(name, found, self._codec))
            ends = Position(name, int(upto)), Position(name, int(top))
            return Batch.found(after, entries, *ends, int(first))

        arguments = (after.epoch, after.offset, "" if limit is None else limit)
        return self._run(Receipt(), batch, scripts.READ, stream, *arguments)

    def page(self, stream: str, before: Position | None, count: int) -> Receipt[Page]:
        """See `Backplane.page`."""

        def page(reply: Any) -> Page:
            epoch, more, found = reply
            entries = tuple(wire.entries(epoch.decode(), found, self._codec))
            return Page(entries[::-1], bool(more))

        epoch, offset = (before.epoch, before.offset) if before else ("", 0)
        return self._run(Receipt(), page, scripts.PAGE, stream, epoch, offset, count)

    def subscribe(
        self,
        stream: str,
        on_entry: Callable[[Entry], object],
        *,
        on_change: Callable[[Change], object] | None = None,
        on_volatile: Callable[[Any], object] | None = None,
    ) -> Receipt[Position]:
        """See `Backplane.subscribe`."""
        receipt: Receipt[Position] = Receipt()
        subscription = _Subscription(on_entry, on_change, on_volatile)
        others = self._subscriptions.get(stream, ())
        self._subscriptions[stream] = [
            *(other for other in others if other.on_entry != on_entry),
            subscription,
        ]

        begins: Receipt[Position] = Receipt()
        # Before what is published from now on, however long it takes until the server has heard
        # that the stream is followed.
        self._run(begins, wire.replied_position, scripts.PIN, stream)

        def followed(error: BackplaneError | None) -> None:
            if error is not None:
                receipt.fail(error)
            else:
                begins.then(catch_up)

        def catch_up(begins: Receipt[Position]) -> None:
            if begins.error is not None:
                receipt.fail(begins.error)
            else:
                self.read(stream, begins.value).then(caught_up)

        def caught_up(missed: Receipt[Batch]) -> None:
            if missed.error is not None:
                receipt.fail(missed.error)
                return
            if self._subscribed(stream, on_entry):
                for entry in missed.value.entries:
                    on_entry(entry)
            receipt.complete(begins.value)

        # Also if others follow it: it is answered behind theirs, which may not be done yet.
        self._shards.follow(self._keys.channel(stream), followed)
        return receipt

    def _subscribed(self, stream: str, on_entry: Callable[[Entry], object]) -> bool:
        return any(one.on_entry == on_entry for one in self._subscriptions.get(stream, ()))

    def unsubscribe(self, stream: str, on_entry: Callable[[Entry], object]) -> Receipt[None]:
        """See `Backplane.unsubscribe`."""
        subscriptions = self._subscriptions.get(stream, [])
        remaining = [one for one in subscriptions if one.on_entry != on_entry]
        if remaining or not subscriptions:
            if remaining:
                self._subscriptions[stream] = remaining
            return Receipt.of(None)
        del self._subscriptions[stream]
        receipt: Receipt[None] = Receipt()
        leaving = self._leaving[stream] = Receipt()

        def left(error: BackplaneError | None) -> None:
            if self._leaving.get(stream) is leaving:
                del self._leaving[stream]
            if error is not None:
                receipt.fail(error)
            else:
                self._run(receipt, wire.nothing, scripts.END_ROSTER, stream)
            leaving.complete(None)

        self._shards.leave(self._keys.channel(stream), left)
        return receipt

    def tops(self, streams: Sequence[str]) -> Receipt[dict[str, Top]]:
        """See `Backplane.tops`. Streams that are followed here are made anew if they are gone."""
        tops: dict[str, Top] = {}
        whole: Receipt[dict[str, Top]] = Receipt()
        missing = 0
        failure: SonoError | None = None

        def one_more(receipt: Receipt[Any], names: Sequence[str]) -> None:
            nonlocal missing, failure
            failure = receipt.error or failure
            for name, found in zip(names, () if receipt.error else receipt.value, strict=False):
                if found:
                    tops[name] = wire.top(*found)
                elif name in self._subscriptions:
                    missing += 1
                    made = self._run(Receipt(), lambda reply: [reply], scripts.PIN, name)
                    made.then(partial(one_more, names=[name]))
            missing -= 1
            if missing:
                return
            if failure is not None and not tops:
                whole.fail(failure)
            else:  # those that could be had: some servers of a cluster may be away
                whole.complete(tops)

        parts = [*self._shards.together(streams, _TOPS)]
        missing = len(parts)
        if not parts:
            whole.complete(tops)
        for names in parts:
            keys = [key for name in names for key in self._keys.of_stream(name)[::4]]
            asked: Receipt[Any] = self._put(Receipt(), wire.as_is, scripts.TOPS, keys)
            asked.then(partial(one_more, names=names))
        return whole

    def fence(self, stream: str, session: str, generation: int) -> Receipt[Position]:
        """See `Backplane.fence`."""
        position = wire.replied_position
        return self._run(Receipt(), position, scripts.FENCE, stream, session, generation)

    def free(self, stream: str) -> Receipt[bool]:
        """See `Backplane.free`."""
        receipt: Receipt[bool] = Receipt()
        leaving = self._leaving.get(stream)
        free = partial(self._run, receipt, bool, scripts.FREE, stream)
        if leaving is None:
            free()
        else:
            leaving.then(lambda _: free())
        return receipt

    def erase(self, author: bytes) -> Receipt[int]:
        """See `Backplane.erase`."""
        return Erasing(self._put, self._keys, self._shards, author).receipt

    # -- presence -------------------------------------------------------------------------------

    def enter(
        self, stream: str, member: str, data: Any, size: int, *, keep: bool = False
    ) -> Receipt[Position]:
        """See `Backplane.enter`; carries what `publish` carries."""
        receipt: Receipt[Position] = Receipt()
        if (content := self._written(receipt, data)) is None:
            return receipt
        return self._attendance.enter(receipt, stream, member, content, size, keep=keep)

    def exit(self, stream: str, member: str) -> Receipt[Position | None]:
        """See `Backplane.exit`."""
        return self._attendance.exit(Receipt(), stream, member)

    def release(self, stream: str, member: str) -> None:
        """See `Backplane.release`."""
        self._attendance.release(stream, member)

    def announce(self, stream: str, listed: bool) -> None:
        """See `Backplane.announce`."""
        self._attendance.announce(stream, listed)

    def announced(self) -> Receipt[Collection[str]]:
        """See `Backplane.announced`."""
        return self._attendance.announced()

    def members(self, stream: str) -> Receipt[Roster]:
        """See `Backplane.members`."""

        def roster(reply: Any) -> Roster:
            epoch, version, found = reply
            there = sorted(
                (*wire.member(value), name)
                for name, value in zip(found[::2], found[1::2], strict=True)
            )
            read: dict[bytes, Any] = {}  # most members have the same, which is nothing
            for _, data, _ in there:
                if data not in read:
                    read[data] = self._data(data)
            members = {name.decode(errors="replace"): read[data] for _, data, name in there}
            return Roster(wire.position(epoch, version), members)

        return self._run(Receipt(), roster, scripts.MEMBERS, stream, size=_LONG)

    def _data(self, content: bytes) -> Any:
        """Public data of a member; None if a node of another version wrote it."""
        try:
            return self._codec.decode(content)
        except UnreadableError:
            return None

    # -- sessions -------------------------------------------------------------------------------

    def save_session(
        self,
        session: str,
        record: bytes,
        keys: Sequence[str],
        age: float,
        *,
        owner: str = "",
        generation: int = 1,
    ) -> Receipt[None]:
        """See `Backplane.save_session`."""
        arguments = (math.ceil(age * 1000), owner, generation, " ".join(keys), record)
        names = (self._keys.session(session),)
        return self._put(Receipt(), wire.nothing, scripts.SAVE, names, *arguments, size=len(record))

    def load_session(self, session: str, key: str) -> Receipt[SavedSession | None]:
        """See `Backplane.load_session`."""
        names = (self._keys.session(session),)
        return self._put(Receipt(), partial(_saved, session), scripts.LOAD, names, key)

    def claim_session(self, session: str, key: str, owner: str) -> Receipt[SavedSession | None]:
        """See `Backplane.claim_session`."""
        names = (self._keys.session(session),)
        return self._put(Receipt(), partial(_saved, session), scripts.CLAIM, names, key, owner)

    def drop_session(self, session: str, generation: int) -> Receipt[bool]:
        """See `Backplane.drop_session`."""
        names = (self._keys.session(session),)
        return self._put(Receipt(), bool, scripts.DROP, names, generation)

    # -- whether it works -----------------------------------------------------------------------

    def probe(self) -> Receipt[None]:
        """Try whether what is told arrives; call it every PROBE seconds.

        The receipt is done when it has come back, behind all that was told before. If the server
        has it and it does not come back within LATE seconds, the connection is made anew.
        """
        return self._shards.probe()

    @property
    def connected(self) -> bool:
        """Whether the server answered last time, or each one of a cluster."""
        return self._shards.connected

    def _suspect(self) -> None:
        self.suspected()  # what it is now

    def _renewed(self) -> None:
        """What was kept of some streams is another server's: what was present here is said again.

        It is said of all streams, as what is noted of this node may be there, too.
        """
        self._attendance.lost(other=not self._shards.clustered)

    def _told(self, channel: str, content: bytes) -> None:
        stream = self._keys.stream(channel)
        subscriptions = self._subscriptions.get(stream)
        if not subscriptions:
            return
        try:
            kind, what = wire.told(content, self._codec)
        except UnreadableError as error:  # a gap that is told, or a roster that is read again
            self._complaints += 1
            if self._complaints == 1:
                logger.error("backplane: %s", error)
            return
        failure: Exception | None = None
        for one in subscriptions:
            call = {"E": one.on_entry, "C": one.on_change, "V": one.on_volatile}[kind]
            if call is not None:
                try:
                    call(what)
                except Exception as error:  # the others are told all the same
                    failure = failure or error
        if failure is not None:
            raise failure

    # -- commands -------------------------------------------------------------------------------

    def _written(self, receipt: Receipt[Any], body: Any) -> bytes | None:
        """What a body is in the broker; None if the receipt says why it is nothing."""
        content = self._codec.encode(body)
        if len(content) <= LARGEST:
            return content
        receipt.fail(TooLargeError(f"{len(content)} bytes are more than {LARGEST}"))
        return None

    def _run(
        self,
        receipt: Receipt[T],
        read: Callable[[Any], T],
        script: Script,
        stream: str,
        *arguments: bytes | str | int,
        size: int = 0,
        repeatable: bool = True,
    ) -> Receipt[T]:
        """Run a script on a stream."""
        keys, channel = self._keys.of_stream(stream), self._keys.channel(stream)
        return self._put(
            receipt,
            read,
            script,
            keys,
            *arguments,
            channel=channel,
            size=size,
            repeatable=repeatable,
        )

    def _put(
        self,
        receipt: Receipt[T],
        read: Callable[[Any], T],
        script: Script,
        keys: Sequence[str],
        *arguments: bytes | str | int,
        channel: str = "",
        size: int = 0,
        repeatable: bool = True,
        urgent: bool = False,
    ) -> Receipt[T]:
        def done(reply: Any, error: BackplaneError | None) -> None:
            if error is not None:
                receipt.fail(error)
                return
            try:
                value = read(reply)
            except UnreadableError as unreadable:
                receipt.fail(unreadable)
            except Exception as failure:  # no script of ours replies like that
                logger.exception("backplane: a reply cannot be read")
                receipt.fail(BackplaneError(f"the broker's reply cannot be read: {failure}"))
            else:
                receipt.complete(value)

        now = "" if self._clock is None else round(1000 * self._clock())
        self._asked += 1
        complete = (f"{self.node}.{self._asked:x}", now, channel, *arguments)
        command = Command(script, keys, complete, done, _RECORD + size, repeatable)
        command.urgent = urgent
        self._shards.put(command)
        return receipt


def _saved(session: str, reply: Sequence[bytes] | None) -> SavedSession | None:
    if reply is None:
        return None
    record, generation, owner = reply
    return SavedSession(session, record, int(generation), owner.decode())
