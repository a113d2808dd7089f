"""A client's numbered packets, from the call to the outcome. docs/protocol.md, 3.1, 5.13, 5.14.

A packet *waits* until it is written to a connection, and gets its number only then: so packets that
are given up before leave no hole. It is *written* until the server accepts it, and *accepted* until
its result comes. A welcome says exactly which numbers were accepted; those above wait again, and
keep their numbers: a process that was lost may have carried them out.
"""

import math
from collections.abc import Callable, Iterable, Iterator

from msgspec.structs import replace

from sono_core.errors import OutboxFull
from sono_core.messaging.lossless import MAX_NUMBER
from sono_core.messaging.lossless.packets import (
    Join,
    Leave,
    Move,
    Numbered,
    Present,
    Publish,
    Reply,
    Request,
)

from .limits import ClientLimits
from .pending import NO_SUCH_REQUEST, NOT_SENT, TIMEOUT, UNKNOWN, Outcome, Pending

UNNUMBERED = MAX_NUMBER
"""What a packet has as its `seq` until it is written: no number takes more bytes."""
OF_MEMBERSHIPS = (Join, Move, Leave)
_NOTHING = Reply(seq=UNNUMBERED, re=0)
"""What has the number of a packet that was given up: a reply to a request that nobody makes."""


class Item:
    """A packet on its way.

    Args:
        packet: with any number.
        size: bytes of it, as it is written.
        due: when it is given up, in seconds.
        harmless: whether it may arrive twice.
        members_of: the channel whose members are asked for by the client itself.
        pending: what the application holds; None if the client itself has sent it.
    """

    __slots__ = (
        "channel",
        "doubtful",
        "due",
        "former",
        "harmless",
        "kind",
        "members_of",
        "packet",
        "pending",
        "seq",
        "size",
    )

    def __init__(
        self,
        packet: Numbered,
        size: int,
        due: float,
        *,
        harmless: bool = False,
        members_of: str | None = None,
        pending: Pending | None = None,
    ) -> None:
        self.packet: Numbered | None = packet
        """None if it will not be sent again, and its result does not need it."""
        self.kind: type = type(packet)
        self.channel: str | None = None
        """Of which one must be a member for this."""
        if isinstance(packet, (Present, Publish)):
            self.channel = packet.channel
        self.size: int = size
        self.due: float = due
        self.harmless: bool = harmless
        self.members_of: str | None = members_of
        self.pending: Pending | None = pending
        self.seq: int | None = None
        """Its number, once it was written; and again none if it was not accepted."""
        self.former: int | None = None  # the number that it had, and will have
        self.doubtful: bool = False  # whether it may have been done under a former number

    @property
    def given_up(self) -> Outcome:
        """Its outcome, if nothing more is heard of it."""
        return NOT_SENT if self.seq is None and not self.doubtful else UNKNOWN


Settle = Callable[[Item, Outcome], None]


class Outbox:
    """A client's packets that have no outcome yet.

    Args:
        limits: how many they may be, how large, and for how long.
        settle: is told the outcome of those that are given up.
    """

    def __init__(self, limits: ClientLimits, settle: Settle) -> None:
        self._limits = limits
        self._settle = settle
        self._waiting: dict[int, Item] = {}  # these two by the identity of the item
        self._requests: dict[int, Item] = {}
        self._others: dict[int, Item] = {}  # in the order of their becoming due
        self._written: dict[int, Item] = {}  # these two by number
        self._accepted: dict[int, Item] = {}
        self._orphans: dict[int, Item] = {}  # given up, but their results change memberships
        self._next = 1
        self._highest = 0  # the last number that any packet of this session ever had
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._requests) + len(self._others)

    @property
    def last(self) -> int:
        """The last number that was written."""
        return self._next - 1

    @property
    def held(self) -> int:
        """Bytes of the packets that may be sent yet."""
        return self._bytes

    def __iter__(self) -> Iterator[Item]:
        yield from self._requests.values()
        yield from self._others.values()

    def require_room(self, size: int, *, request: bool) -> None:
        """Whether another packet of so many bytes may come.

        Raises:
            OutboxFull: not now; nothing was changed.
        """
        limits = self._limits
        if len(self) >= limits.max_packets:
            raise OutboxFull(f"{limits.max_packets} packets wait for their results already")
        if self._bytes + size > limits.max_bytes:
            raise OutboxFull(f"more than {limits.max_bytes} bytes would wait for the server")
        if request:
            asked = sum(item.pending is not None for item in self._requests.values())
            if asked >= limits.max_requests:
                raise OutboxFull(f"{limits.max_requests} requests wait for their results already")

    def add(self, item: Item) -> None:
        """Another packet, which waits."""
        key = id(item)
        self._waiting[key] = item
        (self._requests if item.kind is Request else self._others)[key] = item
        self._bytes += item.size

    def take(self) -> list[Numbered]:
        """The packets that wait, with their numbers: they are written now."""
        packets: list[Numbered] = []
        items: Iterable[Item] = self._waiting.values()
        if self._next <= self._highest:  # some of them had numbers
            items = sorted(items, key=lambda item: item.former or math.inf)
        for item in items:
            while self._next < (item.former or self._highest + 1):  # given up since it was written
                packets.append(self._number(Item(_NOTHING, 0, math.inf)))
            packets.append(self._number(item))
        self._waiting.clear()
        return packets

    def _number(self, item: Item) -> Numbered:
        assert item.packet is not None  # it is kept for this
        seq = item.seq = self._next
        item.former = None
        self._next += 1
        self._written[seq] = item
        return replace(item.packet, seq=seq)

    def ack(self, seq: int) -> None:
        """All numbers up to that one are accepted."""
        for number in [number for number in self._written if number <= seq]:
            item = self._accepted[number] = self._written.pop(number)
            if not item.harmless:
                self._release(item)

    def _release(self, item: Item) -> None:
        """It will not be sent again."""
        self._bytes -= item.size
        item.size = 0
        if item.kind not in OF_MEMBERSHIPS:
            item.packet = None

    def result(self, seq: int) -> Item | None:
        """The packet whose result has come; None if it means nothing to anybody."""
        item = self._written.get(seq) or self._accepted.get(seq)
        if item is None and self._highest >= self._next:  # a process that was lost had done it
            again = (one for one in self._waiting.values() if one.former == seq)
            item = next(again, None)
        if item is None:
            return self._orphans.pop(seq, None)
        self._forget(item)
        return item

    def _forget(self, item: Item) -> None:
        key = id(item)
        self._waiting.pop(key, None)
        self._requests.pop(key, None)
        self._others.pop(key, None)
        if item.seq is not None:
            self._written.pop(item.seq, None)
            self._accepted.pop(item.seq, None)
        self._bytes -= item.size

    # -- sessions -------------------------------------------------------------------------------

    def resume(self, seq: int) -> None:
        """The session lives, and has accepted the numbers up to that one."""
        self.ack(seq)
        denied = [item for number, item in self._accepted.items() if number > seq]
        unaccepted = list(self._written.values())
        self._written.clear()
        for item in unaccepted:
            item.former, item.seq = item.seq, None
        self._put_back(unaccepted)
        self.doubt(denied)  # the server contradicts itself
        self._orphans = {number: item for number, item in self._orphans.items() if number <= seq}
        self._highest = max(self._highest, self._next - 1)
        self._next = seq + 1

    def begin(self, seq: int) -> None:
        """Another session, which has accepted the numbers up to that one: none, if all is well."""
        self.doubt_all()
        for item in [item for item in self._waiting.values() if item.kind is Reply]:
            self._give_up(item, NO_SUCH_REQUEST)  # the request was the former session's
        written = [item for item in self._waiting.values() if item.former is not None]
        for item in written:
            del self._waiting[id(item)]
            item.seq, item.former = item.former, None
        self.doubt(written)
        self._orphans.clear()
        self._highest = seq
        self._next = seq + 1

    def doubt_all(self) -> None:
        """Results may be lost: what was written ends as `unknown`, or is sent again."""
        self.doubt([*self._accepted.values(), *self._written.values()])

    def doubt_accepted(self) -> None:
        """The same of what was accepted."""
        self.doubt(list(self._accepted.values()))

    def doubt(self, items: list[Item]) -> None:
        """The same of these; they were written."""
        again = []
        for item in items:
            if item.harmless:
                assert item.seq is not None  # it was written
                self._written.pop(item.seq, None)
                self._accepted.pop(item.seq, None)
                item.seq = None
                item.doubtful = True
                again.append(item)
            else:
                self._give_up(item, UNKNOWN)
        self._put_back(again)

    def _put_back(self, items: Iterable[Item]) -> None:
        """These wait before all others, which are later."""
        self._waiting = {id(item): item for item in items} | self._waiting

    def withdraw(self) -> None:
        """What the client itself has asked for is not sent, if it was not accepted yet."""
        for item in [item for item in self._waiting.values() if item.pending is None]:
            self._forget(item)

    def end(self) -> None:
        """There will be no session any more."""
        for item in list(self):
            self._give_up(item, item.given_up)

    # -- time -----------------------------------------------------------------------------------

    @property
    def next_due(self) -> float:
        """When the next packet is given up; infinity if there is none."""
        due = min((item.due for item in self._requests.values()), default=math.inf)
        for item in self._others.values():
            return min(due, item.due)
        return due

    def tick(self, now: float) -> None:
        """Give up what has waited for too long."""
        for item in [item for item in self._requests.values() if item.due <= now]:
            self._give_up(item, TIMEOUT)
        overdue = []
        for item in self._others.values():
            if item.due > now:
                break
            overdue.append(item)
        for item in overdue:
            self._give_up(item, item.given_up)

    def _give_up(self, item: Item, outcome: Outcome) -> None:
        self._forget(item)
        self._settle(item, outcome)
        if item.seq is not None and item.kind in OF_MEMBERSHIPS:
            item.pending = None  # it has its outcome
            self._orphans[item.seq] = item
            if len(self._orphans) > self._limits.max_packets:
                del self._orphans[next(iter(self._orphans))]
