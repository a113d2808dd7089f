"""Sessions that come from other nodes: claimed in the backplane, and waited for.

A claim makes this node the owner at once, and so the next claim wait for it. The session is here
when the former owner has let it go, or is there no more; until a client is welcome in it, it is
nobody's who is connected, and has no place in any channel.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from sono_core.errors import SonoError
from sono_core.messaging.lossless import (
    OWN,
    Backplane,
    Data,
    Entry,
    Page,
    Position,
    Receipt,
    SavedSession,
    channel_of,
    packets,
)
from sono_core.messaging.lossless.nodes import LetGo, LetGone, control

from .identities import Written, same
from .records import NOWHERE, Record, key_of, read
from .sessions import Session, parts_of

FIRST_LOOK, LOOK = 0.125, 1.0
"""Seconds after which the former owner is asked again, and whether it is there: at first, then
twice as many each time, and at last. At one pace each could be lost to what fails at that pace."""
_ALL = 1 << 20  # entries: as many as there are


class Foreign(SonoError):  # noqa: N818 - a refusal
    """A key opens a session that belongs to somebody else."""


class Replaced(SonoError):  # noqa: N818 - a refusal
    """Another node has claimed the session since."""


class Arrived(NamedTuple):
    """A session that is here."""

    session: Session
    record: Record
    """It as it was saved."""
    doubtful: list[int]
    """Numbers of which nobody knows what became of them, as their node was lost."""
    said: int
    """What the former owner said was accepted, and all with results; 0: nothing."""
    told: set[str]
    """Channels that its stream says that it is in, as far as it is kept, where that may not be what
    was saved."""
    until: float


class _Coming:
    __slots__ = ("claimants", "delay", "former", "key", "look_at", "receipt", "record", "saved")

    def __init__(self, key: str, saved: SavedSession, record: Record, look_at: float) -> None:
        self.key = key
        self.saved = saved
        self.record = record
        self.former = saved.owner
        self.look_at = look_at
        self.delay = FIRST_LOOK
        self.receipt: Receipt[bool] = Receipt()
        self.claimants: list[LetGo] = []  # who have claimed it since


class Arrivals:
    """The sessions that are coming to a node, and those that are here and wait for their clients.

    Args:
        backplane: a shared one.
        age: seconds for which a session waits for its client.
    """

    def __init__(self, backplane: Backplane, age: float) -> None:
        self._backplane = backplane
        self._age = age
        self._now = 0.0
        self._coming: dict[str, _Coming] = {}
        self._here: dict[str, Arrived] = {}

    def fetch(self, key: str, identity: Any, now: float) -> Receipt[bool]:
        """Have a session come that may be elsewhere.

        Returns:
            Whether it is here, or else nowhere. It fails with `Foreign` if it belongs to another
            identity, and then stays where it is; with `Replaced`.
        """
        self._now = now
        id, secret = parts_of(key)
        receipt: Receipt[bool] = Receipt()
        if id in self._here:
            return Receipt.of(True)
        loading = self._backplane.load_session(id, key_of(secret))
        loading.then(partial(self._loaded, id, key_of(secret), identity, receipt))
        return receipt

    def _loaded(
        self,
        id: str,
        key: str,
        identity: Any,
        receipt: Receipt[bool],
        loaded: Receipt[SavedSession | None],
    ) -> None:
        saved = loaded.value if loaded.error is None else None
        record = read(saved.record) if saved is not None else None
        if loaded.error is not None:
            receipt.fail(loaded.error)
        elif record is None:
            receipt.complete(False)
        elif not same(identity, Written(record.identity)):
            receipt.fail(Foreign("the session belongs to another identity"))
        elif coming := self._coming.get(id):
            coming.receipt.then(receipt.settle)
        elif id in self._here:
            receipt.complete(True)
        else:
            claiming = self._backplane.claim_session(id, key, self._backplane.node)
            claiming.then(partial(self._claimed, key, receipt))

    def _claimed(
        self, key: str, receipt: Receipt[bool], claimed: Receipt[SavedSession | None]
    ) -> None:
        saved = claimed.value if claimed.error is None else None
        record = read(saved.record) if saved is not None else None
        if claimed.error is not None:
            receipt.fail(claimed.error)
        elif saved is None or record is None:
            receipt.complete(False)
        elif former := self._coming.get(saved.id):  # it was claimed here twice at once
            former.saved = saved
            former.receipt.then(receipt.settle)
        else:
            coming = self._coming[saved.id] = _Coming(key, saved, record, self._now)
            coming.receipt.then(receipt.settle)
            if coming.former in ("", self._backplane.node):
                self._begin(coming, 0)
            else:
                self._look(coming)

    def _look(self, coming: _Coming) -> None:
        """Ask the former owner to let go, and the backplane whether it is there."""
        coming.look_at = self._now + coming.delay
        coming.delay = min(2 * coming.delay, LOOK)
        saved = coming.saved
        letting = LetGo(saved.id, saved.generation, self._backplane.node)
        self._backplane.tell(control(coming.former), letting)
        self._backplane.alive(coming.former).then(partial(self._seen, coming))

    def _seen(self, coming: _Coming, alive: Receipt[bool]) -> None:
        if alive.error is None and not alive.value:
            self._begin(coming, 0)

    def let_gone(self, said: LetGone) -> None:
        """A node says nothing more for a session."""
        coming = self._coming.get(said.session)
        if coming is not None and said.generation <= coming.saved.generation:
            self._begin(coming, said.accepted)

    def _begin(self, coming: _Coming, accepted: int) -> None:
        """The former owner is out of the way."""
        if coming.former is not _GONE:
            coming.former = _GONE
            own = f"{OWN}{coming.saved.id}"
            fencing = self._backplane.fence(own, coming.saved.id, coming.saved.generation)
            fencing.then(partial(self._fenced, coming, accepted, own))

    def _fenced(self, coming: _Coming, said: int, own: str, fenced: Receipt[Position]) -> None:
        """Nothing that the former owner may still say comes into the session's stream."""
        if fenced.error is not None:
            self._fail(coming, fenced.error)
        else:
            page = self._backplane.page(own, None, _ALL)
            page.then(partial(self._paged, coming, said, fenced.value))

    def _fail(self, coming: _Coming, error: SonoError) -> None:
        del self._coming[coming.saved.id]
        coming.receipt.fail(error)

    def _paged(self, coming: _Coming, said: int, top: Position, page: Receipt[Page]) -> None:
        saved, record = coming.saved, coming.record
        if page.error is not None:
            self._fail(coming, page.error)
            return
        del self._coming[saved.id]
        entries = page.value.entries
        if not (said or record.at is None or _whole_since(record.at, top, entries)):
            self._backplane.drop_session(saved.id, saved.generation)
            coming.receipt.complete(False)  # it is gone: nobody knows which numbers were accepted
            return
        results = {entry.body.re for entry in entries if isinstance(entry.body, packets.Result)}
        session = record.session(saved.id, saved.generation)
        session.accepted = session.answered = max(record.accepted, said, *results, 0)
        session.at = top
        doubtful = [] if said else _doubtful(record, results)
        if coming.claimants:
            for claimant in coming.claimants:
                self.say_gone(claimant, said)
            coming.receipt.fail(Replaced("another node has claimed the session"))
        else:
            until, told = self._now + self._age, set() if said else _told(entries)
            self._here[saved.id] = Arrived(session, record, doubtful, said, told, until)
            coming.receipt.complete(True)

    def say_gone(self, to: LetGo, accepted: int) -> None:
        """Answer another node: this one says nothing for the session, or does so by a later claim.
        Who waits for the answer to an earlier one would wait for ever, and others for that node.

        Args:
            accepted: numbers up to this one are, and have their results; 0: nobody knows.
        """
        said = LetGone(to.session, to.generation, accepted)
        self._backplane.tell(control(to.claimant), said)

    def pass_on(self, said: LetGo) -> Session | None:
        """Another node has claimed a session; it gets it, if it is on its way here.

        Returns:
            The session, if it was here.
        """
        coming, arrived = self._coming.get(said.session), self._here.get(said.session)
        if coming is not None and said.generation > coming.saved.generation:
            if said not in coming.claimants:
                coming.claimants.append(said)
        elif arrived is not None and said.generation > arrived.session.generation:
            del self._here[said.session]
            self.say_gone(said, arrived.said)
            return arrived.session
        else:
            self.say_gone(said, 0)
        return None

    def get(self, id: str) -> Arrived | None:
        """One that is here."""
        return self._here.get(id)

    def find(self, key: str) -> tuple[Session, str] | None:
        """The one that a key opens, and the secret in it; see `Sessions.find`."""
        id, secret = parts_of(key)
        arrived = self._here.get(id)
        return (arrived.session, secret) if arrived and arrived.session.opens(secret) else None

    def take(self, id: str) -> Arrived | None:
        """One whose client is welcome now."""
        return self._here.pop(id, None)

    def all(self) -> list[Arrived]:
        """Those that are here."""
        return list(self._here.values())

    @property
    def deadline(self) -> float | None:
        """When `tick` has something to do; None if nothing is to come."""
        looks = [coming.look_at for coming in self._coming.values() if coming.former is not _GONE]
        ends = [one.until for one in self._here.values() if one.session.opening is None]
        return min([*looks, *ends], default=None)

    def tick(self, now: float) -> list[Session]:
        """Look after what is due, and say which sessions were waited for in vain."""
        self._now = now
        for coming in list(self._coming.values()):
            if coming.former is not _GONE and coming.look_at <= now:
                self._look(coming)
        over = [
            one.session
            for one in self._here.values()
            if one.until <= now and one.session.opening is None
        ]
        for session in over:
            del self._here[session.id]
        return over


_GONE = "-"  # in the place of a former owner that is waited for no more


def _told(entries: Iterable[Entry]) -> set[str]:
    """The channels that a client believes to be in that has read all of that."""
    channels: set[str] = set()
    for body in (entry.body for entry in entries):
        if isinstance(body, packets.Joined):
            channels.add(body.channel)
        elif isinstance(body, packets.Left):
            channels.discard(body.channel)
        elif isinstance(body, packets.Result) and isinstance(body.data, Data):
            begun = body.data.value()
            name = begun.get("stream") if isinstance(begun, dict) else None
            if isinstance(name, str) and (channel := channel_of(name)):
                channels.add(channel)
    return channels


def _whole_since(at: Position, top: Position, entries: Sequence[Entry]) -> bool:
    """Whether all that came in a stream after a position is among the entries."""
    return at.epoch in (top.epoch, NOWHERE.epoch) and top.offset - len(entries) <= at.offset


def _doubtful(record: Record, results: Iterable[int]) -> list[int]:
    """Numbers that were accepted, and of which no result was kept although later ones were."""
    known = set(results)
    later = range(record.accepted + 1, max(known, default=0))
    return [number for number in (*record.owed, *later) if number not in known]
