"""A node's view of one stream: between a backplane that may lose, and members that must not.

The backplane tells live entries in any order, twice, or never. A `Feed` passes each on once and in
order, or says what is missing. That costs nothing for each member that is not behind: their node
knows them, and the feed does not.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Generic

from sono_core.limits import KIB

from .backplane import Backplane, BackplaneError, Change, Receipt
from .positions import Position
from .replay import Audience, M, Replays, Start
from .streams import ENTRY, Batch, Entry, Missing, completed, in_order

_STOPPED = "the stream is not followed any more"


class Feed(Generic[M]):
    """Follows a stream from `start` to `stop`.

    Args:
        stream: its name.
        backplane: tells its entries, and is asked for those that it did not tell.
        audience: gets them.
        chunk: bytes of the entries that are read at once, and that a member gets at once while it
            is behind; one entry may have more.
        room: bytes of memory for entries that came too early, again for what was delivered while
            members are behind, and again for what they read. An entry that has more is kept alone.
    """

    __slots__ = (
        "_again",
        "_answer",
        "_arrivals",
        "_asked",
        "_audience",
        "_backplane",
        "_behind",
        "_checked",
        "_chunk",
        "_early",
        "_early_held",
        "_foreign",
        "_former",
        "_owed",
        "_reading",
        "_repairing",
        "_replays",
        "_room",
        "_stopped",
        "_stuck",
        "busy",
        "position",
        "stream",
    )

    def __init__(
        self,
        stream: str,
        backplane: Backplane,
        audience: Audience[M],
        *,
        chunk: int = 64 * KIB,
        room: int = 256 * KIB,
    ) -> None:
        self.stream: str = stream
        self.position: Position | None = None
        """What members have that are not behind; None until the feed has started."""
        self._backplane = backplane
        self._audience = audience
        self._chunk = chunk
        self._room = room
        self._replays: Replays[M] = Replays(stream, backplane, self, chunk, room)
        self._behind = self._replays.behind
        self._stuck = self._replays.stuck
        self._stopped = False
        self.busy: bool = False
        """Whether the audience is being told something."""
        self._former: str | None = None  # the epoch before this one: it is over
        self._checked: Position | None = None  # the position at the last check
        self._early: dict[Position, Entry] = {}  # live entries that cannot be delivered yet
        self._early_held = 0
        self._arrivals = 0  # how many there ever were of them
        self._asked = 0  # how many when the last read began
        self._owed = False  # whether something may be missing beside what is before those
        self._reading = False
        self._answer: Receipt[Batch] | None = None  # it came while the audience was being told
        self._again = False  # whether to read again after that
        self._repairing = False
        self._foreign: set[Position] = set()  # entries of other epochs that a read will judge

    @property
    def held(self) -> int:
        """Bytes of memory that entries take which the feed keeps."""
        return self._early_held + self._replays.held

    @property
    def behind(self) -> Collection[M]:
        """Members that are behind."""
        return self._behind

    def start(
        self,
        *,
        on_change: Callable[[Change], object] | None = None,
        on_volatile: Callable[[Any], object] | None = None,
    ) -> Receipt[Position]:
        """Follow the stream. If that fails, it may be tried again.

        Args:
            on_change: is told changes of the roster, as the backplane tells them.
            on_volatile: is told what is volatile, likewise.

        Returns:
            The position from which on entries are delivered.
        """
        started: Receipt[Position] = Receipt()
        self._backplane.subscribe(
            self.stream, self._arrived, on_change=on_change, on_volatile=on_volatile
        ).then(lambda receipt: self._subscribed(receipt, started))
        return started

    def stop(self) -> Receipt[None]:
        """Follow the stream no longer; nobody is told anything any more."""
        if not self._stopped:
            self._stopped = True
            self._drop_early()
            self._replays.stop(BackplaneError(_STOPPED))
        return self._backplane.unsubscribe(self.stream, self._arrived)

    def check(self, top: Position) -> None:
        """Compare with the backplane's top, and read what was lost. Call it at least every 10 s.

        Nothing but this shows that the last entry was lost on its way.

        Args:
            top: from `Backplane.tops`, asked after the check before.
        """
        position, before = self.position, self._checked
        if position is None or self._stopped:
            return
        self._checked = position
        if top.epoch == position.epoch:
            # Below the position it is an old answer, or the backplane has lost what it had. It is
            # no old answer if it is below what the feed had before it was asked.
            lost = before is not None and top.epoch == before.epoch and top.offset < before.offset
            differs = lost or top.offset > position.offset
        else:
            differs = top.epoch != self._former
        self._replays.forget()
        self._owed = self._owed or differs
        self._go_on()

    # -- members that are behind ------------------------------------------------------------------

    def catch_up(self, member: M, position: Position | None) -> Receipt[Start]:
        """A member comes that has a position, or none. It is behind until it has caught up.

        When the receipt is done, tell the member where it begins, and then call `ready`. What comes
        meanwhile is not lost.

        Returns:
            Where it begins. If that cannot be known, the member is as if it had never come.
        """
        if self._stopped:
            receipt: Receipt[Start] = Receipt()
            receipt.fail(BackplaneError(_STOPPED))
            return receipt
        return self._replays.add(member, position)

    def ready(self, member: M) -> None:
        """A member that is behind has room for more: `Audience.replay` is called, maybe later.

        It is ignored if the member is not behind, or does not know where it begins.
        """
        self._replays.ready(member)

    def drop(self, member: M) -> None:
        """A member goes. If it is not behind, that is its node's business alone."""
        self._replays.drop(member)

    # -- live entries ---------------------------------------------------------------------------

    def _subscribed(self, receipt: Receipt[Position], started: Receipt[Position]) -> None:
        if self._stopped:
            started.fail(BackplaneError(_STOPPED))
        elif receipt.error is not None:
            self._replays.refuse(receipt.error)
            started.fail(receipt.error)
        else:
            self.position = receipt.value
            self._sort_out()
            # Who came before begins here: what has come early is behind it, and may be its own.
            self._replays.moved()
            started.complete(receipt.value)
            self._go_on()

    def _arrived(self, entry: Entry) -> None:
        if self._stopped:
            return
        at, position = entry.at, self.position
        if position is not None:
            if at.epoch == position.epoch:
                if at.offset <= position.offset:
                    return
                if at.offset == position.offset + 1 and not self.busy:
                    self._deliver(entry)
                    if self._early or self._owed or self._stuck:
                        self._go_on()
                    return
            elif at.epoch == self._former:
                return
        if at in self._early:
            return
        self._arrivals += 1
        held = ENTRY + entry.size
        if self._early and self._early_held + held > self._room:
            self._owed = True
        else:
            self._early[at] = entry
            self._early_held += held
        self._go_on()

    def _deliver(self, entry: Entry) -> None:
        self.position = entry.at
        if self._behind:
            self._replays.delivered(entry)
        self.busy = True
        try:
            self._audience.deliver(entry)
        finally:
            self.busy = False

    def _skip(self, missing: Missing) -> None:
        self.position = missing.to
        self.busy = True
        try:
            self._audience.gap(missing)
        finally:
            self.busy = False

    def replay(self, member: M, items: Sequence[Entry | Missing], caught_up: bool) -> None:
        """See `Audience.replay`."""
        busy, self.busy = self.busy, True
        try:
            self._audience.replay(member, items, caught_up)
        finally:
            self.busy = busy
        if self._early or self._owed:
            self._go_on()

    def _go_on(self) -> None:
        """Deliver what can be delivered, and see to the rest."""
        if self.busy or self.position is None:
            return  # whoever is busy goes on afterwards
        self._flush()
        while self._answer is not None:
            answer, self._answer = self._answer, None
            self._answered(answer)
            self._flush()
        if (self._early or self._owed) and not self._stopped:
            self.repair()

    def _flush(self) -> None:
        """Deliver what came early and follows now."""
        while self._early and self.position is not None:
            following = Position(self.position.epoch, self.position.offset + 1)
            entry = self._early.pop(following, None)
            if entry is None:
                break
            self._early_held -= ENTRY + entry.size
            self._deliver(entry)
        self._replays.moved()

    def _sort_out(self) -> None:
        """Let go what came early and is not needed any more."""
        position = self.position
        assert position is not None
        for at in list(self._early):
            had = at.epoch == position.epoch and at.offset <= position.offset
            if had or at.epoch == self._former or at in self._foreign:
                self._early_held -= ENTRY + self._early.pop(at).size

    def _drop_early(self) -> None:
        self._early.clear()
        self._early_held = 0

    # -- what was lost --------------------------------------------------------------------------

    def repair(self) -> None:
        """Read what follows the position, until there is nothing more."""
        self._again = True
        if self._repairing:
            return
        self._repairing = True
        try:
            while self._again and not self._reading and not self._stopped:
                self._read()
        finally:
            self._repairing = False

    def _read(self) -> None:
        asked = self.position
        assert asked is not None
        self._again = self._owed = False
        self._reading = True
        self._asked = self._arrivals
        self._foreign = {at for at in self._early if at.epoch != asked.epoch}
        receipt = self._backplane.read(self.stream, asked, self._chunk)
        receipt.then(self._answered)

    def _answered(self, receipt: Receipt[Batch]) -> None:
        if self.busy:
            self._answer = receipt
            self._owed = True
            return
        try:
            more = not self._stopped and self._take(receipt)
        finally:
            self._reading = False
        if more:
            self.repair()

    def _take(self, receipt: Receipt[Batch]) -> bool:
        """Deliver what was read; returns whether more should be read at once."""
        self._owed = True  # if this fails, or the audience does
        if receipt.error is not None:
            self._again = False
            return False
        batch, position = receipt.value, self.position
        assert position is not None
        if batch.top.epoch != position.epoch:
            self._former = position.epoch
        if batch.why == "above-top":
            self._rewind(Missing(position, batch.top))
        else:
            self._catch_up(position, batch)
        if self._stopped:
            return False
        self._owed = False
        self._foreign = {at for at in self._foreign if at.epoch != batch.top.epoch}
        self._sort_out()
        self._foreign.clear()
        self._flush()
        came = bool(self._early) and self._arrivals != self._asked
        return self._again or came or batch.upto != batch.top

    def _rewind(self, missing: Missing) -> None:
        """The backplane has less of the same epoch than it had: nobody knows what is lost."""
        self._drop_early()
        self._replays.rewound(missing.to)
        self._skip(missing)

    def _catch_up(self, position: Position, batch: Batch) -> None:
        for item in in_order(position, completed(batch, self._early), batch.upto):
            if self._stopped:
                return
            if isinstance(item, Missing):
                self._skip(item)
            else:
                self._deliver(item)
