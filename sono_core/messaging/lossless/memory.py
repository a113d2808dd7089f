"""The backplane of one process: in its memory, and done at once."""

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from sono_core.limits import DEFAULT_LIMITS, MAX_UTF8, MIB, Limits

from .backplane import (
    Backplane,
    BackplaneError,
    Change,
    Fenced,
    Origin,
    Receipt,
    Roster,
    SavedSession,
    Top,
)
from .history import History
from .nodes import control
from .positions import Position
from .store import StreamStore
from .streams import Batch, Entry, Page

RECORD = 1024
"""Bytes of memory that a member or a session takes beside its data."""
_NOBODY = Origin()


class _Subscription(msgspec.Struct, frozen=True, eq=False):
    on_entry: Callable[[Entry], object]
    on_change: Callable[[Change], object] | None
    on_volatile: Callable[[Any], object] | None


class _Roster:
    __slots__ = ("members", "version")

    def __init__(self, epoch: str) -> None:
        self.version = Position(epoch, 0)
        self.members: dict[str, tuple[Any, int]] = {}  # data, and bytes that are counted for it


class _Session(msgspec.Struct, frozen=True):
    saved: SavedSession
    keys: tuple[str, ...]
    until: float
    charge: int


class MemoryBackplane(Backplane):
    """Keeps everything in this process: it is lost with it. All calls come from one thread.

    Args:
        clock: the time, in seconds; it never steps.
        new_epoch: makes a text of 1 to 64 characters that it never made before, in this process
            or another.
        limits: `max_histories` counts.
        presence: bytes that the members of all rosters may take; beyond it nobody more can enter.
        sessions: bytes that saved sessions may take; beyond it those go first that were saved
            longest ago.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        new_epoch: Callable[[], str],
        limits: Limits = DEFAULT_LIMITS,
        *,
        presence: int = 64 * MIB,
        sessions: int = 64 * MIB,
    ) -> None:
        self._clock = clock
        self._new_epoch = new_epoch
        self.streams: StreamStore = StreamStore(limits.max_histories, new_epoch)
        self._subscriptions: dict[str, list[_Subscription]] = {}
        self._rosters: dict[str, _Roster] = {}
        self._presence = presence
        self._present = 0  # bytes of it
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._max_saved = sessions
        self._saved = 0  # bytes of it
        # What is told while something is being told comes after it, for all.
        self._to_tell: deque[tuple[Callable[[Any], object], Any]] = deque()
        self._telling = False

    @property
    def held(self) -> int:
        """Bytes of all that is kept."""
        return self.streams.held + self._present + self._saved

    def alive(self, node: str) -> Receipt[bool]:
        """See `Backplane.alive`: as long as it hears what it is told."""
        return Receipt.of(control(node) in self._subscriptions)

    # -- streams --------------------------------------------------------------------------------

    def publish(
        self,
        stream: str,
        body: Any,
        size: int,
        history: History,
        key: str | None = None,
        origin: Origin | None = None,
    ) -> Receipt[Position]:
        """See `Backplane.publish`; carries any body."""
        now = self._clock()
        session, generation, author = origin or _NOBODY
        if session and not self.streams.admits(stream, session, generation, now):
            return _fenced()
        position, entry = self.streams.publish(stream, body, size, history, now, key, author)
        if entry is not None:
            for subscription in self._subscriptions.get(stream, ()):
                self._to_tell.append((subscription.on_entry, entry))
            self._tell()
        return Receipt.of(position)

    def send(
        self,
        stream: str,
        body: Any,
        size: int,
        history: History,
        key: str | None = None,
        origin: Origin | None = None,
    ) -> Receipt[Position | None]:
        """See `Backplane.send`."""
        if stream not in self.streams:
            return Receipt.of(None)
        receipt: Receipt[Any] = self.publish(stream, body, size, history, key, origin)
        return receipt

    def tell(self, stream: str, body: Any) -> Receipt[None]:
        """See `Backplane.tell`; carries any body."""
        for subscription in self._subscriptions.get(stream, ()):
            if subscription.on_volatile is not None:
                self._to_tell.append((subscription.on_volatile, body))
        self._tell()
        return Receipt.of(None)

    def read(self, stream: str, after: Position, limit: int | None = None) -> Receipt[Batch]:
        """See `Backplane.read`."""
        return Receipt.of(self.streams.since(stream, after, self._clock(), limit))

    def page(self, stream: str, before: Position | None, count: int) -> Receipt[Page]:
        """See `Backplane.page`."""
        return Receipt.of(self.streams.before(stream, before, self._clock(), count))

    def subscribe(
        self,
        stream: str,
        on_entry: Callable[[Entry], object],
        *,
        on_change: Callable[[Change], object] | None = None,
        on_volatile: Callable[[Any], object] | None = None,
    ) -> Receipt[Position]:
        """See `Backplane.subscribe`."""
        subscription = _Subscription(on_entry, on_change, on_volatile)
        others = self._subscriptions.get(stream, ())
        self._subscriptions[stream] = [
            *(other for other in others if other.on_entry != on_entry),
            subscription,
        ]
        return Receipt.of(self.streams.pin(stream, self._clock()))

    def unsubscribe(self, stream: str, on_entry: Callable[[Entry], object]) -> Receipt[None]:
        """See `Backplane.unsubscribe`."""
        subscriptions = self._subscriptions.get(stream, [])
        remaining = [one for one in subscriptions if one.on_entry != on_entry]
        if remaining:
            self._subscriptions[stream] = remaining
        elif subscriptions:
            del self._subscriptions[stream]
            self.streams.unpin(stream, self._clock())
            self._end_roster(stream)
        return Receipt.of(None)

    def tops(self, streams: Sequence[str]) -> Receipt[dict[str, Top]]:
        """See `Backplane.tops`. What is too old goes on this occasion."""
        now = self._clock()
        self.streams.expire(now)
        self._expire_sessions(now)
        rosters = self._rosters
        return Receipt.of(
            {
                name: Top(at, rosters[name].version if name in rosters else None)
                for name, at in self.streams.tops(streams).items()
            }
        )

    def fence(self, stream: str, session: str, generation: int) -> Receipt[Position]:
        """See `Backplane.fence`."""
        self.streams.admits(stream, session, generation, self._clock())
        return Receipt.of(self.streams.tops([stream])[stream])

    def free(self, stream: str) -> Receipt[bool]:
        """See `Backplane.free`."""
        followed = stream in self._subscriptions
        if not followed:
            self.streams.free(stream)
        return Receipt.of(not followed)

    def erase(self, author: bytes) -> Receipt[int]:
        """See `Backplane.erase`."""
        return Receipt.of(self.streams.erase(author))

    def _tell(self) -> None:
        waiting = self._to_tell
        if self._telling:
            return
        failure: Exception | None = None
        self._telling = True
        try:
            while waiting:
                call, argument = waiting.popleft()
                try:
                    call(argument)
                except Exception as error:  # the others must be told all the same
                    failure = failure or error
        finally:
            self._telling = False
        if failure is not None:
            raise failure

    # -- presence -------------------------------------------------------------------------------

    def enter(
        self, stream: str, member: str, data: Any, size: int, *, keep: bool = False
    ) -> Receipt[Position]:
        """See `Backplane.enter`; carries any data."""
        roster = self._rosters.get(stream)
        known = roster.members.get(member) if roster else None
        if known and keep:
            data, size = known[0], known[1] - RECORD
        charge = RECORD + size
        added = charge - (known[1] if known else 0)
        if added > 0 and self._present + added > self._presence:
            receipt: Receipt[Position] = Receipt()
            receipt.fail(BackplaneError("too much is present already"))
            return receipt
        if roster is None:
            roster = self._rosters[stream] = _Roster(self._new_epoch())
        elif known and known[0] == data:
            return Receipt.of(roster.version)
        self._present += added
        roster.members[member] = data, charge
        return Receipt.of(self._changed(stream, roster, member, data, present=True))

    def exit(self, stream: str, member: str) -> Receipt[Position | None]:
        """See `Backplane.exit`."""
        roster = self._rosters.get(stream)
        if roster is None:
            return Receipt.of(None)
        if member not in roster.members:
            return Receipt.of(roster.version)
        self._present -= roster.members.pop(member)[1]
        version = self._changed(stream, roster, member, None, present=False)
        self._end_roster(stream)
        return Receipt.of(version)

    def members(self, stream: str) -> Receipt[Roster]:
        """See `Backplane.members`."""
        roster = self._rosters.get(stream)
        if roster is None:
            roster = _Roster(self._new_epoch())
            if stream in self._subscriptions:
                self._rosters[stream] = roster
        members = {member: data for member, (data, _) in roster.members.items()}
        return Receipt.of(Roster(roster.version, members))

    def _changed(
        self, stream: str, roster: _Roster, member: str, data: Any, *, present: bool
    ) -> Position:
        version = Position(roster.version.epoch, roster.version.offset + 1)
        roster.version = version
        change = Change(version, member, data, present, len(roster.members))
        for subscription in self._subscriptions.get(stream, ()):
            if subscription.on_change is not None:
                self._to_tell.append((subscription.on_change, change))
        self._tell()
        return version

    def _end_roster(self, stream: str) -> None:
        """Forget a roster that has nobody in it and that nobody looks at."""
        roster = self._rosters.get(stream)
        if roster and not roster.members and stream not in self._subscriptions:
            del self._rosters[stream]

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
        known = self._lasting(session)
        if known is not None and known.saved.generation > generation:
            return _fenced()
        saved = SavedSession(session, record, generation, owner)
        self._save(saved, tuple(keys), self._clock() + age)
        return Receipt.of(None)

    def _save(self, saved: SavedSession, keys: tuple[str, ...], until: float) -> None:
        self._drop(saved.id)
        charge = RECORD * (1 + len(keys)) + len(saved.record) + MAX_UTF8 * sum(map(len, keys))
        self._sessions[saved.id] = _Session(saved, keys, until, charge)
        self._saved += charge
        while self._saved > self._max_saved:
            self._drop(next(iter(self._sessions)))

    def _lasting(self, session: str) -> _Session | None:
        found = self._sessions.get(session)
        return found if found is not None and self._clock() < found.until else None

    def load_session(self, session: str, key: str) -> Receipt[SavedSession | None]:
        """See `Backplane.load_session`."""
        found = self._lasting(session)
        return Receipt.of(found.saved if found is not None and key in found.keys else None)

    def claim_session(self, session: str, key: str, owner: str) -> Receipt[SavedSession | None]:
        """See `Backplane.claim_session`."""
        found = self._lasting(session)
        if found is None or key not in found.keys:
            return Receipt.of(None)
        claimed = msgspec.structs.replace(found.saved, generation=found.saved.generation + 1)
        self._save(msgspec.structs.replace(claimed, owner=owner), found.keys, found.until)
        return Receipt.of(claimed)

    def drop_session(self, session: str, generation: int) -> Receipt[bool]:
        """See `Backplane.drop_session`."""
        found = self._sessions.get(session)
        if found is not None and found.saved.generation > generation:
            return Receipt.of(False)
        self._drop(session)
        return Receipt.of(True)

    def _drop(self, id: str) -> None:
        session = self._sessions.pop(id, None)
        if session is not None:
            self._saved -= session.charge

    def _expire_sessions(self, now: float) -> None:
        over = [id for id, session in self._sessions.items() if now >= session.until]
        for id in over:
            self._drop(id)


def _fenced() -> Receipt[Any]:
    receipt: Receipt[Any] = Receipt()
    receipt.fail(Fenced("the session goes on elsewhere"))
    return receipt
