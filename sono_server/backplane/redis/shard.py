"""One server: what is asked of it, what it tells, and whether that arrives."""

import math
import time
from collections.abc import Callable, Set
from functools import partial
from typing import Any, Protocol

from sono_core.messaging.lossless import BackplaneError, Receipt

from . import scripts, wire
from .commands import CLOSED, Bounds, Command, Commands
from .handover import Handover
from .servers import Address, Identity, Link
from .subscriber import LATE, Subscriber

_SIZE = 512  # bytes of memory that a probe takes while it waits, about


class Owner(Protocol):
    """Who has shards, and puts everything to the one that it belongs to."""

    replies: Handover
    messages: Handover
    clustered: bool

    def slot(self, key: str) -> int:
        """Of a cluster, in which a key or a channel is."""

    def told(self, channel: str, content: bytes) -> object:
        """Something was said in a channel."""

    def suspect(self) -> object:
        """Something that was said may have been missed."""

    def renewed(self, shard: "Shard") -> object:
        """A server is another one."""

    def returned(
        self, shard: "Shard", slots: Set[int], commands: list[Command], where: Address | None
    ) -> object:
        """See `commands.Returned`."""

    def astray(self, slot: int) -> object:
        """What is said in a slot is not told any more by the shard that has told it."""

    def troubled(self, shard: "Shard") -> object:
        """The server is lost, or will do nothing. Called in a thread of the shard."""


class Shard:
    """A server; of a cluster, one that has some of the slots.

    It has two threads, each with a connection: for what is asked, and for what is told.

    Args:
        owner: of this one among others.
        connect: makes a connection to it.
        address: of it, in a cluster.
        bounds: of what waits while it is away.
    """

    def __init__(
        self, owner: Owner, connect: Callable[[], Link], address: Address | None, bounds: Bounds
    ) -> None:
        self.address: Address | None = address
        self.probe_channel: str = ""
        """On which it tells what the node says to itself."""
        self.heard: float = -math.inf
        """When a probe came back last, by `time.monotonic`."""
        self._owner = owner
        self._identity: Identity | None = None
        self._probes = 0
        self._probing: dict[int, Receipt[None]] = {}  # what has not come back
        troubled = partial(owner.troubled, self)
        returned = partial(owner.returned, self) if owner.clustered else None
        self.commands: Commands = Commands(
            connect, owner.replies, self._arrived, bounds, returned, troubled
        )
        self.subscriber: Subscriber = Subscriber(
            connect,
            owner.messages,
            self._told,
            self._suspect,
            owner.astray,
            troubled,
            bounds.age,
        )

    def start(self, probe_channel: str, listens: bool) -> None:
        """Begin; nothing happens if it has begun."""
        self.probe_channel = probe_channel
        self.commands.start()
        if listens:
            self.subscriber.start(probe_channel)

    @property
    def ready(self) -> bool:
        """Whether a probe came back lately, and the server answers."""
        return self.commands.connected and time.monotonic() - self.heard < LATE

    def probe(self) -> Receipt[None]:
        """Try whether what is told arrives.

        The receipt is done when it has come back, behind all that was told before. If the server
        has it and it does not come back within LATE seconds, the connection is made anew.
        """
        self._probes += 1
        number = self._probes
        back = self._probing[number] = Receipt()
        channel = self.probe_channel
        arguments = ("", "", channel, str(number))
        done = partial(self._probed, number)
        probe = Command(scripts.TELL, (channel,), arguments, done, _SIZE, False)
        probe.slot = self._owner.slot(channel)
        if not self.commands.put(probe):
            self._probed(number, None, BackplaneError("the broker has no slot any more"))
        return back

    def forget_probes(self, error: BackplaneError) -> None:
        """Nobody hears those that are under way."""
        lost, self._probing = self._probing, {}
        for receipt in lost.values():
            receipt.fail(error)

    def end(self) -> None:
        """What it says is heard no more."""
        self.heard = -math.inf
        self.forget_probes(CLOSED)

    def retire(self, slots: Set[int]) -> None:
        """End, without waiting for it, as others have its slots; what waits is given back."""
        self.commands.part(slots, last=True)
        self.subscriber.retire()
        self.end()

    @property
    def ended(self) -> bool:
        """Whether its threads have."""
        return self.commands.ended and self.subscriber.ended

    # -- what its threads say -------------------------------------------------------------------

    def _probed(self, number: int, _: Any, error: BackplaneError | None) -> None:
        if error is None:
            self.subscriber.probed(number)
        elif back := self._probing.pop(number, None):
            back.fail(error)

    def _arrived(self, identity: Identity) -> None:
        former, self._identity = self._identity, identity
        if former not in (None, identity):
            self._owner.renewed(self)
            self._suspect()

    def _suspect(self) -> None:
        self.forget_probes(BackplaneError("the connection that would hear it is another"))
        self._owner.suspect()
        self.probe()

    def _told(self, channel: str, content: bytes) -> None:
        if channel != self.probe_channel:
            self._owner.told(channel, content)
            return
        self.heard = time.monotonic()
        number = wire.number(content)
        for one in [one for one in self._probing if one <= number]:
            self._probing.pop(one).complete(None)
