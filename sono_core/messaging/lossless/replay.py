"""Members of a stream that are behind the others, after joining or coming back.

Each has a cursor, which moves when the member asks for more, as its queue drains. What it gets
comes from the backplane, or from what was delivered lately. When its cursor reaches what the others
have, it is one of them.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import partial
from typing import Generic, Protocol, TypeVar

import msgspec

from sono_core.errors import SonoError

from .backplane import Backplane, Receipt, call_each
from .positions import Position
from .streams import ENTRY, Batch, Entry, Missing, completed, in_order

M = TypeVar("M", bound=Hashable)
M_contra = TypeVar("M_contra", contravariant=True)


class Audience(Protocol[M_contra]):
    """Whom a feed tells. What is called here may call the feed."""

    def deliver(self, entry: Entry) -> None:
        """Give an entry to all members that are not behind."""

    def gap(self, missing: Missing) -> None:
        """Tell all members that are not behind what cannot be had."""

    def replay(self, member: M_contra, items: Sequence[Entry | Missing], caught_up: bool) -> None:
        """Give these, in order, to a member that is behind and was ready for them.

        Args:
            caught_up: whether it is behind no longer: from now on `deliver` and `gap` are for it
                too. It is never told so amid one of these. Otherwise it says when it is ready
                again.
        """


class Others(Protocol[M_contra]):
    """The members that are not behind, as a feed has them, and how it tells one that is."""

    position: Position | None
    """What they have; None while it is not known."""
    busy: bool
    """Whether somebody is being told something. Nobody becomes one of them then, as they may have
    been told or not."""

    def replay(self, member: M_contra, items: Sequence[Entry | Missing], caught_up: bool) -> None:
        """See `Audience.replay`."""

    def repair(self) -> None:
        """A member has more than they have."""


class Start(msgspec.Struct, frozen=True):
    """Where a member begins."""

    at: Position
    """What it gets is after that."""
    recovered: bool
    """Whether that is the position that it had: nothing is missing in between."""


class _Behind(Generic[M]):
    __slots__ = ("asks", "cursor", "member", "reads", "receipt", "rewound", "served")

    def __init__(self, member: M, position: Position | None) -> None:
        self.member = member
        self.cursor = position
        """What the member has; None until it is known where it begins."""
        self.receipt: Receipt[Start] = Receipt()
        self.asks = False
        """Whether it is ready for more."""
        self.reads = False
        """Whether it waits for the backplane."""
        self.rewound: Position | None = None
        """Where the stream went back to, if the cursor was after that."""
        self.served = False
        """Whether somebody up the stack serves it already."""


class Replays(Generic[M]):
    """The members of a feed that are behind.

    Args:
        stream: its name.
        backplane: is read from.
        others: what those have that are not behind; until `stop`.
        chunk: bytes of the entries that a member gets at once; one entry may have more.
        room: bytes of memory for what was delivered lately, and again for what was read lately.
    """

    __slots__ = (
        "_backplane",
        "_chunk",
        "_lately",
        "_lately_held",
        "_others",
        "_reading",
        "_recent",
        "_recent_held",
        "_room",
        "_stream",
        "behind",
        "stuck",
    )

    def __init__(
        self,
        stream: str,
        backplane: Backplane,
        others: Others[M],
        chunk: int,
        room: int,
    ) -> None:
        self._stream = stream
        self._backplane = backplane
        self._others = others
        self._chunk = chunk
        self._room = room
        self.behind: dict[M, _Behind[M]] = {}
        """Members that are behind. It is always the same dict."""
        self.stuck: dict[_Behind[M], None] = {}
        """Those that wait for `moved`. It is always the same dict."""
        self._reading: dict[Position, list[_Behind[M]]] = {}  # who waits for which read
        self._lately: OrderedDict[Position, Batch] = OrderedDict()  # what reads have answered
        self._lately_held = 0
        self._recent: OrderedDict[Position, Entry] = OrderedDict()  # what was delivered
        self._recent_held = 0

    @property
    def held(self) -> int:
        """Bytes of memory that the entries here take."""
        return self._recent_held + self._lately_held

    # -- members --------------------------------------------------------------------------------

    def add(self, member: M, position: Position | None) -> Receipt[Start]:
        """See `Feed.catch_up`."""
        self.drop(member)
        behind = self.behind[member] = _Behind(member, position)
        self._begin(behind)
        return behind.receipt

    def ready(self, member: M) -> None:
        """See `Feed.ready`."""
        behind = self.behind.get(member)
        if behind is not None and behind.receipt.done:
            behind.asks = True
            self._serve(behind)

    def drop(self, member: M) -> None:
        """See `Feed.drop`."""
        behind = self.behind.pop(member, None)
        if behind is not None:
            self.stuck.pop(behind, None)
            if not self.behind:
                self._forget_delivered()

    # -- what happens elsewhere -----------------------------------------------------------------

    def delivered(self, entry: Entry) -> None:
        """The others get an entry. Those who are behind need not read it."""
        self._recent[entry.at] = entry
        self._recent_held += ENTRY + entry.size
        while self._recent_held > self._room:
            _, oldest = self._recent.popitem(last=False)
            self._recent_held -= ENTRY + oldest.size

    def moved(self) -> None:
        """The others' position is known, or another one; or a failed read may be tried again."""
        stuck = list(self.stuck)
        self.stuck.clear()
        for behind in stuck:
            if self._is_here(behind):
                if behind.receipt.done:
                    self._serve(behind)
                else:
                    self._begin(behind)

    def forget(self) -> None:
        """Let go what was read lately: whoever came back at the same time has it."""
        self._lately.clear()
        self._lately_held = 0

    def rewound(self, to: Position) -> None:
        """What comes after that position is something else than what came after it before."""
        self.forget()
        self._forget_delivered()
        for behind in self.behind.values():
            cursor = behind.cursor
            if cursor and cursor.epoch == to.epoch and cursor.offset > to.offset:
                behind.rewound = to

    def refuse(self, error: SonoError) -> None:
        """Nobody will know where those begin who wait for that."""
        for behind in list(self.behind.values()):
            if not behind.receipt.done:
                self._refuse(behind, error)

    def stop(self, error: SonoError) -> None:
        """Give nobody anything any more."""
        self.refuse(error)
        for member in list(self.behind):
            self.drop(member)
        self.forget()
        del self._others  # else the two would wait for the garbage collector

    def _forget_delivered(self) -> None:
        self._recent.clear()
        self._recent_held = 0

    # -- one member -----------------------------------------------------------------------------

    def _is_here(self, behind: _Behind[M]) -> bool:
        return self.behind.get(behind.member) is behind

    def _begin(self, behind: _Behind[M]) -> None:
        where = self._others.position
        cursor = behind.cursor
        if where is None:
            self.stuck[behind] = None
        elif cursor is None:
            self._begin_at(behind, where, recovered=False)
        elif cursor == where:
            self._begin_at(behind, where, recovered=True)
        else:
            self._read(behind, cursor)

    def _begin_at(self, behind: _Behind[M], at: Position, *, recovered: bool) -> None:
        behind.cursor = at
        behind.receipt.complete(Start(at, recovered))

    def _refuse(self, behind: _Behind[M], error: SonoError) -> None:
        self.drop(behind.member)
        behind.receipt.fail(error)

    def _serve(self, behind: _Behind[M]) -> None:
        """Give a member what it is ready for; again if that makes it ready at once."""
        self.stuck.pop(behind, None)
        if behind.served:
            return
        behind.served = True
        try:
            while behind.asks and not behind.reads and self._is_here(behind):
                before = behind.cursor, self._others.position
                self._advance(behind)
                if self._is_here(behind) and before == (behind.cursor, self._others.position):
                    self._wait(behind)
                    break
        finally:
            behind.served = False

    def _wait(self, behind: _Behind[M]) -> None:
        if behind.asks and not behind.reads and self._is_here(behind):
            self.stuck[behind] = None

    def _advance(self, behind: _Behind[M]) -> None:
        where, cursor = self._others.position, behind.cursor
        assert where is not None
        assert cursor is not None
        to, behind.rewound = behind.rewound, None
        if to is not None and cursor.epoch == to.epoch and cursor.offset > to.offset:
            self._give(behind, [Missing(cursor, to)])
        elif cursor == where:
            if not self._others.busy:
                self._give(behind, [])
        elif found := self._delivered_after(cursor):
            self._give(behind, found)
        elif cursor.epoch == where.epoch and cursor.offset > where.offset:
            self._others.repair()
        else:
            self._read(behind, cursor)

    def _give(self, behind: _Behind[M], items: Sequence[Entry | Missing]) -> None:
        if items:
            last = items[-1]
            behind.cursor = last.at if isinstance(last, Entry) else last.to
        behind.asks = False
        caught_up = behind.cursor == self._others.position and not self._others.busy
        if caught_up:
            self.drop(behind.member)
        self._others.replay(behind.member, items, caught_up)

    def _delivered_after(self, cursor: Position) -> list[Entry | Missing]:
        return self._chunk_of(self._delivered(cursor))

    def _delivered(self, cursor: Position) -> Iterator[Entry]:
        while True:
            cursor = Position(cursor.epoch, cursor.offset + 1)
            entry = self._recent.get(cursor)
            if entry is None:
                return
            yield entry

    def _chunk_of(self, items: Iterable[Entry | Missing]) -> list[Entry | Missing]:
        """As many as a member gets at once; one if there are any."""
        found: list[Entry | Missing] = []
        left = self._chunk
        for item in items:
            if isinstance(item, Entry):
                left -= item.size
            if left < 0 and found:
                break
            found.append(item)
        return found

    # -- reading --------------------------------------------------------------------------------

    def _read(self, behind: _Behind[M], cursor: Position) -> None:
        """Read what follows a cursor, once for all that stand there."""
        batch = self._lately.get(cursor)
        if batch is not None:
            where = self._others.position
            if batch.upto != batch.top or not where or _reaches(batch.top, where):
                self._take(behind, cursor, batch)
                return
            # There is more by now: who gets it with this needs no read for each piece that came.
            self._lately_held -= _held(self._lately.pop(cursor))
        behind.reads = True
        waiting = self._reading.get(cursor)
        if waiting is not None:
            waiting.append(behind)
            return
        self._reading[cursor] = [behind]
        receipt = self._backplane.read(self._stream, cursor, self._chunk)
        receipt.then(partial(self._answered, cursor))

    def _answered(self, cursor: Position, receipt: Receipt[Batch]) -> None:
        asked, *_ = waiting = self._reading.pop(cursor)
        if receipt.error is None:
            self._keep(cursor, receipt.value)

        def answer(behind: _Behind[M]) -> None:
            behind.reads = False  # and not before, as those before it may make it ask for more
            if not self._is_here(behind):
                return
            if receipt.error is None:
                if receipt.value.why == "above-top" and behind is not asked:
                    self._read(behind, cursor)  # it may have been below, when this one came
                else:
                    self._take(behind, cursor, receipt.value)
            elif behind.receipt.done:
                self.stuck[behind] = None
            else:
                self._refuse(behind, receipt.error)

        call_each((answer, behind) for behind in waiting)

    def _keep(self, cursor: Position, batch: Batch) -> None:
        if batch.entries:  # otherwise it says nothing that stays true
            self._lately[cursor] = batch
            self._lately_held += _held(batch)
            while self._lately_held > self._room:
                _, oldest = self._lately.popitem(last=False)
                self._lately_held -= _held(oldest)

    def _take(self, behind: _Behind[M], cursor: Position, batch: Batch) -> None:
        if batch.why == "above-top":
            items: list[Entry | Missing] = [Missing(cursor, batch.top)]
        else:
            items = self._chunk_of(in_order(cursor, completed(batch, self._recent), batch.upto))
        if behind.receipt.done:
            if items:
                self._give(behind, items)
                self._serve(behind)
            elif cursor == self._others.position or self._delivered_after(cursor):
                self._serve(behind)  # the others have moved meanwhile
            else:
                self.stuck[behind] = None
                self._others.repair()
        elif items and isinstance(items[0], Missing):
            self._begin_at(behind, items[0].to, recovered=False)
        else:
            self._begin_at(behind, cursor, recovered=True)


def _reaches(top: Position, where: Position) -> bool:
    return top.epoch == where.epoch and top.offset >= where.offset


def _held(batch: Batch) -> int:
    return sum(ENTRY + entry.size for entry in batch.entries)
