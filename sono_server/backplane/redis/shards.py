"""The servers that keep everything: one, or those of a cluster, each with some of the slots.

What belongs to one stream is done in the order in which it was asked, also while its slot goes from
one server to another. A slot is *open* at its server, where everything is put at once; or it is
*held*, and what is asked waits here: from when the server refuses it, or the cluster says that
another one has it, until the former has given back what it has not done and the cluster has been
asked who has it. Then it is opened at that one, with what was given back, and what came since
behind that.

Nobody can prove that a server that gets a slot gets all that was said there. So it is another
identity for these streams (see `scripts`), as after a fail-over: whatever was present is said again
to the new one, channels are followed there, and all streams are compared.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Sequence, Set
from functools import partial
from typing import NamedTuple

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from sono_core.messaging.lossless import BackplaneError, Receipt
from sono_server.backplane.errors import UnusableError

from .commands import AWAY, CLOSED, FULL, Bounds, Command
from .handover import Handover
from .keys import Keys
from .servers import Address, Servers
from .shard import Shard
from .subscriber import CHANGES, Then
from .topology import Range, Scout


class _Waiting(NamedTuple):
    """What is asked in a slot that is held."""

    since: float
    size: int
    go: Callable[[], object]
    fail: Callable[[BackplaneError], object]


class _Held:
    """Of a slot in which nothing is done for now."""

    __slots__ = ("awaited", "waiting")

    def __init__(self, awaited: Shard | None) -> None:
        self.awaited: Shard | None = awaited
        """Has still to give back what it has not done there."""
        self.waiting: list[_Waiting] = []


class Shards:
    """Puts everything to the server that it belongs to, from `start` to `close`.

    Args:
        servers: what the URL names.
        keys: names of what is there.
        call_soon: has a function called in the thread of the caller, from any thread.
        told: is called there with a channel, and with what was said in it.
        suspect: is called there when anything that was said may have been missed.
        renewed: is called there when what was kept of some streams is another server's.
        bounds: of what waits for one server, and of what waits while none is known.
        listens: whether what is told is heard.
    """

    def __init__(
        self,
        servers: Servers,
        keys: Keys,
        call_soon: Callable[[Callable[[], object]], object],
        told: Callable[[str, bytes], object],
        suspect: Callable[[], object],
        renewed: Callable[[], object],
        bounds: Bounds,
        listens: bool,
    ) -> None:
        self.clustered: bool = bool(servers.seeds)
        self.replies: Handover = Handover(call_soon)
        self.messages: Handover = Handover(call_soon)
        self.told: Callable[[str, bytes], object] = told
        self.suspect: Callable[[], object] = suspect
        self._renewed = renewed
        self._servers = servers
        self._keys = keys
        self._bounds = bounds
        self._listens = listens
        self._node = ""
        self._closed = False
        self._refused: UnusableError | None = None
        self._shards: dict[Address | None, Shard] = {}
        self._retired: list[Shard] = []
        self._owners: list[Shard | None] = [None] * (
            REDIS_CLUSTER_HASH_SLOTS if self.clustered else 1
        )
        self._held: dict[int, _Held] = {}
        self._waits = 0  # commands in them
        self._size = 0  # of these
        self._followed: dict[str, Shard | None] = {}  # channels, and who tells what is said there
        self._strayed: set[int] = set()  # slots of which the owner said that it has them no more
        self._scout: Scout | None = None
        if self.clustered:
            self._scout = Scout(
                servers.connect, servers.seeds, self.replies, self._found, self._not_found
            )
        else:
            self._owners[0] = self._shards[None] = self._shard(None)

    # -- its life ---------------------------------------------------------------------------------

    def start(self, node: str) -> None:
        """Connect, in the background.

        Args:
            node: the name of this node among the others.
        """
        self._node = node
        self._closed = False
        addresses = self._addresses()
        for shard in self._shards.values():
            shard.start(self._probe_channel(shard.address, addresses), self._listens)
        if self._scout:
            self._scout.start()

    def close(self, last: Callable[[], object]) -> None:
        """End: follow nothing more, and run what waits. It fails if a server does not answer.

        Args:
            last: asks for the last that is to be done, when nothing more is told.
        """
        self._closed = True
        if self._scout:
            self._scout.close()
        shards = [*self._shards.values(), *self._retired]
        for shard in shards:
            shard.subscriber.stop()
        for shard in shards:
            shard.subscriber.close()
        self.messages.drain()
        for shard in shards:
            if shard.commands.connected:
                shard.commands.finish()
        self.replies.drain()
        last()
        for shard in shards:
            shard.commands.stop()
        for shard in shards:
            shard.commands.close()
        self.replies.drain()
        for shard in shards:
            shard.end()
        held, self._held = self._held, {}
        self._waits = self._size = 0
        for one in held.values():
            for waiting in one.waiting:
                waiting.fail(CLOSED)
        self._retired.clear()

    @property
    def connected(self) -> bool:
        """Whether each server answered last time."""
        shards = self._shards.values()
        return bool(shards) and all(shard.commands.connected for shard in shards)

    @property
    def ready(self) -> bool:
        """Whether each server answers, and tells what is said: nothing waits for one that is not
        known."""
        shards = self._shards.values()
        unknown = self._held or self._strayed or not shards
        return not unknown and all(shard.ready for shard in shards)

    def probe(self) -> Receipt[None]:
        """Try whether what is told arrives, from each server; see `Shard.probe`."""
        whole: Receipt[None] = Receipt()
        probes = [shard.probe() for shard in self._shards.values()]
        missing = len(probes)

        def back(receipt: Receipt[None]) -> None:
            nonlocal missing
            missing -= 1
            if receipt.error is not None:
                whole.fail(receipt.error)
            elif not missing:
                whole.complete(None)

        for one in probes:
            one.then(back)
        if not probes:
            whole.fail(CLOSED if self._closed else AWAY)
        return whole

    # -- what is asked --------------------------------------------------------------------------

    def slot(self, key: str) -> int:
        """In which a key or a channel is; all are in the same if it is no cluster."""
        return int(key_slot(key.encode())) if self.clustered else 0

    def together(self, streams: Sequence[str], most: int) -> Iterable[Sequence[str]]:
        """Streams that one script may be asked about at once: at most so many, of one slot."""
        slots: dict[int, list[str]] = {}
        for stream in streams:
            slots.setdefault(self.slot(self._keys.channel(stream)), []).append(stream)
        for names in slots.values():
            yield from (names[at : at + most] for at in range(0, len(names), most))

    def homes(self) -> list[str]:
        """A name for each server that is in a slot of it."""
        return [shard.probe_channel for shard in self._shards.values()]

    def owners(self) -> Sequence[object]:
        """Of each slot, to see whether any has moved."""
        return self._addresses()

    def put(self, command: Command) -> None:
        """Have a command run where its keys are."""
        command.slot = slot = self.slot(command.keys[0])
        held = self._held.get(slot)
        if held is None:
            shard = self._owners[slot]
            if shard is not None and shard.commands.put(command):
                return
            held = self._hold(slot, shard)
        bounds = self._bounds
        full = self._waits >= bounds.count or (
            self._size + command.size > bounds.size and self._waits
        )
        self._wait(held, full, _waits_for(self, command))

    def follow(self, channel: str, then: Then) -> None:
        """See `Subscriber.follow`."""
        shard = self._followed[channel] = self._owners[self.slot(channel)]
        if shard is not None:
            shard.subscriber.follow(channel, then)
        else:
            self._change(channel, partial(self.follow, channel, then), then)

    def leave(self, channel: str, then: Then) -> None:
        """See `Subscriber.leave`."""
        shard = self._followed.pop(channel, None)
        if shard is not None:
            shard.subscriber.leave(channel, then)
        else:
            self._change(channel, partial(self.leave, channel, then), then)

    def _change(self, channel: str, go: Callable[[], object], then: Then) -> None:
        slot = self.slot(channel)
        held = self._held.get(slot) or self._hold(slot, None)
        self._wait(held, self._waits >= CHANGES, _Waiting(time.monotonic(), 0, go, then))

    # -- slots that are held --------------------------------------------------------------------

    def _hold(self, slot: int, awaited: Shard | None) -> _Held:
        held = self._held[slot] = _Held(awaited)
        self._ask()
        return held

    def _wait(self, held: _Held, full: object, waiting: _Waiting) -> None:
        if full or self._closed:
            error = CLOSED if self._closed else FULL
            self.replies.put([partial(waiting.fail, error)])
            return
        held.waiting.append(waiting)
        self._waits += 1
        self._size += waiting.size

    def _open(self, slot: int) -> None:
        """Do what waits at the server that has the slot, unless another one may still do some."""
        held, shard = self._held[slot], self._owners[slot]
        if held.awaited is not None or shard is None:
            return
        del self._held[slot]
        shard.commands.reopen(slot)
        for waiting in held.waiting:
            self._waits -= 1
            self._size -= waiting.size
            waiting.go()

    def _expire(self) -> None:
        """Give up what waits too long."""
        oldest = time.monotonic() - self._bounds.age
        for slot, held in [*self._held.items()]:
            over = [waiting for waiting in held.waiting if waiting.since <= oldest]
            held.waiting = [waiting for waiting in held.waiting if waiting.since > oldest]
            for waiting in over:
                self._waits -= 1
                self._size -= waiting.size
                waiting.fail(self._refused or AWAY)
            if not held.waiting and held.awaited is None and self._owners[slot] is None:
                self._held.pop(slot, None)

    # -- what shards say ------------------------------------------------------------------------

    def returned(
        self, shard: Shard, slots: Set[int], commands: list[Command], where: Address | None
    ) -> None:
        """A server does nothing more in some slots; see `commands.Returned`."""
        undone: dict[int, list[Command]] = {}
        for command in commands:
            undone.setdefault(command.slot, []).append(command)
        for slot in slots:
            held = self._held.get(slot)
            if held is None:
                if self._owners[slot] is not shard:
                    continue  # it has said so before
                held = self._hold(slot, None)
            if held.awaited is shard:
                held.awaited = None
            first = [_waits_for(self, command) for command in undone.get(slot, ())]
            if self._closed:
                for waiting in first:
                    waiting.fail(CLOSED)
                continue
            held.waiting[:0] = first
            self._waits += len(first)
            self._size += sum(waiting.size for waiting in first)
        if where is not None:
            self._strayed |= slots
            where = where[0] or (shard.address or where)[0], where[1]
        self._ask(where)

    def astray(self, slot: int) -> None:
        """What is said in a slot is not told any more by the shard that has told it."""
        self._strayed.add(slot)
        self._ask()

    def troubled(self, shard: Shard) -> None:
        """A server is lost, or will do nothing. Called in a thread of the shard."""
        if self._scout:
            self._scout.ask(worse=shard.address)

    def renewed(self, shard: Shard) -> None:
        """A server is another one."""
        self._renewed()

    # -- which servers there are ----------------------------------------------------------------

    def _ask(self, better: Address | None = None) -> None:
        if self._scout:
            self._scout.ask(better)

    def _shard(self, address: Address | None) -> Shard:
        return Shard(self, partial(self._servers.connect, address), address, self._bounds)

    def _probe_channel(self, address: Address | None, owners: Sequence[Address | None]) -> str:
        """One whose slot is a server's."""
        names = (f"{self._node}-{n}" if n else self._node for n in itertools.count())
        channels = map(self._keys.probe, names)
        return next(one for one in channels if owners[self.slot(one)] == address)

    def _found(self, ranges: list[Range]) -> None:
        """The cluster has said which server has which slots."""
        if self._closed:
            return
        self._refused = None
        self._expire()
        formers, self._owners = self._owners, self._assigned(ranges)
        self._retired = [shard for shard in self._retired if not shard.ended]
        anew, self._strayed = self._strayed, set()
        shards = set(self._shards.values())
        leaving: dict[Shard, set[int]] = {
            shard: set() for shard in formers if shard is not None and shard not in shards
        }
        changed = bool(anew)
        for slot, former in enumerate(formers):
            owner = self._owners[slot]
            if owner is former:
                continue
            changed = True
            if former is None:
                continue
            anew.add(slot)
            if slot not in self._held:
                self._held[slot] = _Held(former)
                leaving.setdefault(former, set()).add(slot)
        for shard, slots in leaving.items():
            if shard in shards:
                shard.commands.part(slots)
            else:
                shard.retire(slots)
                self._retired.append(shard)
        if changed:
            self._follow_anew(anew)
        if anew:
            self._renewed()
        for slot in [*self._held]:
            self._open(slot)
        if any(held.awaited is None for held in self._held.values()):
            self._ask()  # nobody has them for now

    def _not_found(self, refused: UnusableError | None) -> None:
        self._refused = refused
        self._expire()

    def _assigned(self, ranges: list[Range]) -> list[Shard | None]:
        """The owner of each slot. One that nobody has remains with whoever had it."""
        addresses = self._addresses()
        for one in ranges:
            addresses[one.first : one.last + 1] = [one.address] * (one.last + 1 - one.first)
        formers, self._shards = self._shards, {}
        for address in dict.fromkeys(addresses):
            if address is None:
                continue
            shard = formers.get(address)
            if shard is None or addresses[self.slot(shard.probe_channel)] != address:
                shard = self._shard(address)  # one whose probes would not come back is another
                shard.start(self._probe_channel(address, addresses), self._listens)
            self._shards[address] = shard
        return [None if address is None else self._shards[address] for address in addresses]

    def _addresses(self) -> list[Address | None]:
        return [shard.address if shard else None for shard in self._owners]

    def _follow_anew(self, slots: Set[int]) -> None:
        """Have told by its owner what is said in each channel."""
        channels: dict[Shard, list[str]] = {}
        for channel, former in self._followed.items():
            slot = self.slot(channel)
            shard = self._owners[slot]
            if shard is None or (shard is former and slot not in slots):
                continue
            if former is not None and former is not shard:
                former.subscriber.forget(channel)
            channels.setdefault(shard, []).append(channel)
        for shard, names in channels.items():
            for channel in names:
                self._followed[channel] = shard
                last = channel is names[-1]
                shard.subscriber.follow(channel, self._followed_anew if last else _nobody)

    def _followed_anew(self, error: BackplaneError | None) -> None:
        if error is None:  # else the next connection is suspected, with which they are followed
            self.suspect()


def _waits_for(shards: Shards, command: Command) -> _Waiting:
    fail = partial(command.done, None)
    return _Waiting(command.since, command.size, partial(shards.put, command), fail)


def _nobody(_: BackplaneError | None) -> None:
    """Nobody waits for it."""
