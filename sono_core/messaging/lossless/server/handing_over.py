"""Sessions that go on at another node, and those that this one lets go for that.

Nothing here does anything unless several nodes share the backplane. docs/architecture.md.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec.structs import replace

from sono_core.messaging import Hub
from sono_core.messaging.lossless import (
    OWN,
    Backplane,
    Entry,
    Fenced,
    Histories,
    Position,
    Receipt,
)
from sono_core.messaging.lossless.nodes import LetGo, LetGone, control
from sono_core.messaging.lossless.packets import Failure

from .arrivals import Arrivals
from .delivery import named
from .host import Host, Settings
from .kept import Kept
from .memberships import Memberships
from .records import NOWHERE, Records
from .sessions import Session, parts_of

REPLACED = (4012, "a newer connection has the session")
ELSEWHERE = (1013, "the session is just going elsewhere")
_LOST = Failure("unknown", "the session went on elsewhere before that was done")
PATIENCE = 5.0
"""Seconds that a session has, before it goes elsewhere, for the results of what was accepted."""


class _Departure:
    __slots__ = ("claimants", "given_up", "receipt", "until")

    def __init__(self, until: float) -> None:
        self.claimants: list[LetGo] = []
        self.until = until
        self.given_up = False  # whether what was owed was refused
        self.receipt: Receipt[None] = Receipt()  # done when it has gone


class HandingOver(Memberships):
    """Saves sessions, fetches them, and lets them go."""

    def __init__(
        self,
        hub: Hub,
        backplane: Backplane,
        host: Host,
        settings: Settings,
        histories: Histories,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(hub, backplane, host, settings, histories, clock)
        age = settings.sessions.age
        self._records = Records(backplane, age, self._described, clock)
        self._arrivals = Arrivals(backplane, age)
        self._leaving: dict[str, _Departure] = {}
        self._control = ""

    def begin(self) -> None:
        """The backplane has started: hear what other nodes have to say."""
        if self.shared and self._control != (name := control(self._backplane.node)):
            self._following.unfollow(self._control)
            self._control = name
            self._following.follow(name)

    def told(self, name: str, body: Any) -> None:
        """See `Listener.told`."""
        if name != self._control:
            super().told(name, body)
        elif isinstance(body, LetGo):
            self._let_go(body)
        else:
            assert isinstance(body, LetGone)
            self._arrivals.let_gone(body)

    # -- saving -----------------------------------------------------------------------------------

    def _described(self, session: Session) -> tuple[list[str], list[str], Position]:
        watched = self._kept[session.id].watched
        at = self._following.position(named(session.id, OWN)) or session.at or NOWHERE
        return self._hub.channels_of(session.id), list(watched or ()), at

    def save(self, session: Session) -> None:
        """See `Delivery.save`."""
        if self.shared and self.sessions.has(session) and session.id not in self._leaving:
            self._save(session)

    def _save(self, session: Session) -> Receipt[None]:
        saving = self._records.save(session)
        if saving is None:
            self.host.stays(session.id)
            return Receipt.of(None)
        kept = self._kept[session.id]
        kept.saving += 1
        saving.then(partial(self._saved_or_claimed, kept, kept.changes))
        return saving

    def passed(self, session: Session, entry: Entry) -> None:
        """See `Delivery.passed`."""
        super().passed(session, entry)
        if self.shared and session.id not in self._leaving:
            history = self._histories.default
            share = max(1 / max(1, history.count), entry.size / max(1, history.size))
            if self._records.note(session, share):
                self.save(session)

    def saved(self, session: Session) -> Receipt[None]:
        """The same, for whoever has to wait for it."""
        return self._save(session) if self.shared else Receipt.of(None)

    def drop(self, session: Session) -> None:
        """It has ended, and its stream with it; unless another node has just claimed it."""
        own = named(session.id, OWN)

        def dropped(receipt: Receipt[bool]) -> None:
            if receipt.error is None and receipt.value:
                self._backplane.free(own)

        if self.shared:
            self._records.drop(session).then(dropped)
        else:
            self._backplane.free(own)

    # -- coming -----------------------------------------------------------------------------------

    def fetch(self, key: str, identity: Any) -> Receipt[bool] | None:
        """Have a session come that may be at another node; see `Arrivals.fetch`.

        Returns:
            None: there is nothing to wait for.
        """
        id, _ = parts_of(key)
        if not self.shared:
            return None
        if departure := self._leaving.get(id):
            whole: Receipt[bool] = Receipt()
            fetch = partial(self._arrivals.fetch, key, identity)
            departure.receipt.then(lambda _: fetch(self._clock()).then(whole.settle))
            return whole
        if self.sessions.find(key) is not None:
            return None
        return self._arrivals.fetch(key, identity, self._clock())

    def departs(self, key: str) -> bool:
        """Whether the session of a key just goes elsewhere."""
        return parts_of(key)[0] in self._leaving

    def has(self, key: str | None) -> bool:
        """Whether a session is here that this key opens."""
        return (
            key is not None
            and not self.departs(key)
            and (self.sessions.find(key) or self._arrivals.find(key)) is not None
        )

    # -- going ------------------------------------------------------------------------------------

    def _let_go(self, said: LetGo) -> None:
        """Another node has claimed a session."""
        client = said.session
        departure = self._leaving.get(client)
        if departure is None and client not in self.sessions:
            session = self._arrivals.pass_on(said)
            if session is not None and session.opening is not None:
                opening, session.opening = session.opening, None  # it is not welcome any more
                self.host.close(opening, *REPLACED)
            return
        if departure is None:
            session = self.sessions[client]
            if said.generation <= session.generation:
                self._arrivals.say_gone(said, 0)
                return
            self._depart(session, said)
        elif said not in departure.claimants:
            departure.claimants.append(said)

    def _saved_or_claimed(self, kept: Kept, changes: int, receipt: Receipt[None]) -> None:
        """A session was to be saved, up to that change of its memberships.

        That is refused if another node has claimed it, which may be here before that node's word.
        Its stream still takes results until that node has been answered.
        """
        session = kept.session
        kept.saving -= 1
        if receipt.error is None:
            kept.saved_changes = max(kept.saved_changes, changes)
        is_here = self.sessions.has(session) and session.id not in self._leaving
        if isinstance(receipt.error, Fenced) and is_here:
            self._depart(session)
        if not kept.saving:
            self._tell_untold(kept)

    def _depart(self, session: Session, *claimants: LetGo) -> None:
        client = session.id
        departure = self._leaving[client] = _Departure(self._clock() + PATIENCE)
        departure.claimants.extend(claimants)
        self._records.forget(client)
        self._cut(session)
        if questions := self._kept[client].questions:
            questions.end()  # no reply comes here, and handlers may wait for one
        if not session.owed and self.sessions.has(session):
            self._leave_now(session)

    def leaves(self, session: Session) -> bool:
        """See `Delivery.leaves`."""
        return session.id in self._leaving

    def settled(self, session: Session) -> None:
        """See `Delivery.settled`."""
        if session.id in self._leaving:
            self._leave_now(session)

    def _cut(self, session: Session) -> None:
        attached, opening = session.attached, session.opening
        self._detach(session)
        if attached is not None:
            self.host.close(attached, *REPLACED)
        if opening is not None:
            self.host.close(opening, *ELSEWHERE)

    def _leave_now(self, session: Session) -> None:
        """All that was accepted has its result: nothing more is said for the session here."""
        self._forget(session)
        self._left_for(session.id, session.accepted)

    def _left_for(self, client: str, accepted: int) -> None:
        if departure := self._leaving.pop(client, None):
            for said in departure.claimants:
                self._arrivals.say_gone(said, accepted)
            departure.receipt.complete(None)

    def _give_up(self, session: Session, departure: _Departure) -> None:
        """What was accepted and has no result will have none. If the backplane does not take even
        that, whoever has claimed the session finds out from what was saved."""
        if departure.given_up:
            self._forget(session)
            self._left_for(session.id, 0)
            return
        departure.given_up, departure.until = True, self._clock() + PATIENCE
        self.untaken.forget(session)
        for number in sorted(session.owed or ()):
            self.refuse(session, number, _LOST)

    def outrun(self, session: Session) -> None:
        """See `Delivery.outrun`."""
        self._cut(session)
        self._forget(session)
        self._left_for(session.id, 0)

    def _forget(self, session: Session) -> None:
        """A session goes on elsewhere: it has not ended, and nobody is told that it went."""
        client = session.id
        self.sessions.end(session)
        self._records.forget(client)
        kept = self._kept.pop(client)
        self._asked.forget(client)
        self._pending.forget(client)
        if kept.questions is not None:
            kept.questions.end()
        self.presence.moved(client)
        self.host.moved(client)
        self._moving = client
        self._hub.remove(client)
        self._moving = None
        self.presence.ended(client)

    def close(self, code: int) -> None:
        """The node ends in good order: its sessions go on elsewhere, or end.

        What has no result yet counts as not accepted, so that it is said again there: whatever is
        just being published is published once, and nobody waits for a handler any more.

        Args:
            code: with which they end that cannot go on.
        """
        leaving, self._leaving = self._leaving, {}
        for session in self.sessions.all():
            if not self.sessions.has(session):
                continue
            self._cut(session)
            if session.id in leaving or self._saved_for_others(session):
                self._forget(session)
            else:
                self.end(session, code)
        self._leaving = leaving
        for client in list(leaving):
            self._left_for(client, 0)
        for session, record, doubtful, *_ in self._arrivals.all():
            self._arrivals.take(session.id)
            session.opening = None
            known = replace(record, accepted=session.accepted, owed=doubtful, at=None)
            self._records.put(session, known, free=True)
        self._following.unfollow(self._control)
        self._control = ""

    def _saved_for_others(self, session: Session) -> bool:
        return self.shared and self._records.save(session, free=True) is not None

    # -- time -------------------------------------------------------------------------------------

    @property
    def _due(self) -> float | None:
        leaving = [
            departure.until
            for client, departure in self._leaving.items()
            if client in self.sessions
        ]
        others = [part.deadline for part in (self._records, self._arrivals, self.untaken)]
        return min([*leaving, *(at for at in others if at is not None)], default=None)

    def _look_after_sessions(self, now: float) -> None:
        for told in self.untaken.due(now):
            self.tell_again(told)
        for client in self._records.due(now):
            self.save(self.sessions[client])
        for session in self._arrivals.tick(now):
            self.drop(session)
        for client, departure in list(self._leaving.items()):
            if departure.until <= now and client in self.sessions:
                self._give_up(self.sessions[client], departure)

    def _detach(self, session: Session) -> None:
        raise NotImplementedError

    def end(self, session: Session, code: int, reason: str = "") -> None:
        """End a session, and its connection if it has one."""
        raise NotImplementedError
