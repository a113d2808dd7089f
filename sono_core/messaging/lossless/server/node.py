"""A node: the sessions that one process serves.

Who knows connections and the application drives it (`Host`): authorises, calls handlers, writes
packets. docs/protocol.md, section 5.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET

from sono_core.messaging import Hub, MessagingError
from sono_core.messaging.lossless import (
    EVERYBODY,
    OWN,
    Backplane,
    BackplaneError,
    Data,
    Histories,
    Receipt,
    Start,
    packets,
    stream_of,
)
from sono_core.messaging.lossless.packets import Failure

from . import enquiries, identities
from .arrivals import Arrived, Foreign
from .delivery import FULL, event, named
from .elsewhere import Elsewhere
from .failures import NO_STREAMS, UNKNOWN
from .following import Starting
from .handing_over import REPLACED, HandingOver
from .host import Host, Settings
from .kept import Kept, Turn
from .memberships import failure_of
from .orders import Order
from .questions import Answered, TooManyRequests
from .records import NOWHERE
from .sessions import Session

__all__ = ["Foreign", "Host", "Node", "Opening", "Settings", "event"]

_EXPIRED = 1006
_CLASSIC = Failure("unknown-request", "a client of the classic dialect cannot be asked")
_UNANSWERED = Failure("timeout", "the application has not answered in time", True)

_ELSEWHERE: Receipt[Any] = Receipt()
"""Stands for what another node has told last of memberships, which may come still."""
_ELSEWHERE.fail(BackplaneError("another node told it"))


class Opening(msgspec.Struct, eq=False):
    """A session that is being opened."""

    session: Session
    resumed: bool
    connection: Any
    hello: packets.Hello
    wanted: list[str]
    """Channels that the application must allow."""
    denied: dict[str, Failure]
    """Those that it did not, and why; filled by the owner."""
    saving: Receipt[None] | None = None
    """Done when other nodes would find the session; None: they do."""
    expelled: list[str] = []
    """Channels in which it was, and is no longer unless it has joined them since."""


class Node(HandingOver):
    """The sessions of one process.

    Args:
        hub, backplane, host, settings, histories, clock: see `Delivery`.
        new_id: makes public ids; they have no dot.
        new_secret: makes at least 128 random bits as text.
    """

    def __init__(
        self,
        hub: Hub,
        backplane: Backplane,
        host: Host,
        settings: Settings,
        histories: Histories,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        new_secret: Callable[[], str],
    ) -> None:
        super().__init__(hub, backplane, host, settings, histories, clock)
        self._new_id = new_id
        self._new_secret = new_secret
        self._terms = identities.Terms(settings.renew)
        name = new_secret() if backplane.shared else ""
        self.elsewhere: Elsewhere = Elsewhere(backplane, name, clock, self)
        self._timed = (
            self.sessions,
            self.presence,
            self.elsewhere,
            self._terms,
            self._pending,
            self._asked,
        )

    # -- connections ------------------------------------------------------------------------------

    def open(
        self,
        hello: packets.Hello,
        connection: Any,
        identity: Any,
        address: str,
        lasts: float | None = None,
    ) -> Opening:
        """A client has said hello, and the application knows who it is.

        The owner asks the application about the channels that are `wanted`, and then calls
        `welcome`.

        Args:
            lasts: seconds for which it is that; None: without end.

        Raises:
            Foreign: the key is somebody else's; nothing was changed.
        """
        home = self._hub.home
        found = None
        if hello.key is not None:
            found = self.sessions.find(hello.key) or self._arrivals.find(hello.key)
        if found is None:
            session = Session(self._new_id(), self._new_secret(), identity, address)
            session.opening = connection
            session.ends = self._ends(lasts)
            names = [hello.channel, *hello.joined] if hello.channel else hello.joined
            known = list(dict.fromkeys(names))[: self._settings.max_joined + 1]
            wanted = [channel for channel in known if channel != home]
            return Opening(session, False, connection, hello, wanted, {})
        session, secret = found
        if not session.belongs_to(identity):
            raise Foreign("the session belongs to another identity")
        for former in (session.attached, session.opening):
            if former is not None:
                self.host.close(former, *REPLACED)
        self._detach(session)
        session.renew(secret, self._new_secret())
        session.opening = connection
        session.identity, session.ends = identity, self._ends(lasts)
        if arrived := self._arrivals.get(session.id):
            session.address = address
            channels = [arrived.record.channel, *arrived.record.joined]
        else:
            self.sessions.open(session)
            channels = self._hub.channels_of(session.id)
        wanted = [channel for channel in channels if channel != home]
        return Opening(session, True, connection, hello, wanted, {})

    def _ends(self, lasts: float | None) -> float | None:
        return None if lasts is None else self._clock() + lasts

    def renewed(self, session: Session, identity: Any, lasts: float | None = None) -> None:
        """A client has shown a fresh token; it is who it was.

        Args:
            lasts: as for `open`.
        """
        session.identity, session.ends = identity, self._ends(lasts)
        if session.attached is not None:
            self._terms.begin(session.id, session.ends, self._clock())

    def welcome(self, opening: Opening) -> bool:
        """Let the client in that the application has been asked about.

        Returns:
            False if it has gone meanwhile, or a newer connection has its session.
        """
        session, client = opening.session, opening.session.id
        if session.opening is not opening.connection:
            return False
        if arrived := self._arrivals.take(client):
            self._arrive(opening, arrived)
        elif opening.resumed:
            for channel, why in opening.denied.items():
                if client in self._members(channel):
                    self._expel(opening, channel, why.code)
            self.presence.resumed(client, self._hub.channels_of(client), self._clock())
        else:
            self.sessions.add(session)
            self._kept[client] = Kept(session)
            self._hub.add(client)
            self._enter_again(opening)
        if arrived is None:
            opening.saving = self.saved(session)
        if not self.sessions.has(session):
            return False  # another node has claimed it
        # At once: what the application says to the client from now on is behind that.
        self._begin_streams(opening, {})
        return True

    def _saved(self, opening: Opening, begun: dict[str, Start], receipt: Receipt[None]) -> None:
        """The session would be found elsewhere, if this node were lost now."""
        session, opening.saving = opening.session, None
        if session.opening is opening.connection:  # or else it is lost, or elsewhere
            if receipt.error is None:
                self._begin_streams(opening, begun)
            else:
                self.host.close(opening.connection, *NO_STREAMS)  # then it is `lost`

    def _arrive(self, opening: Opening, arrived: Arrived) -> None:
        """A session goes on here that was elsewhere."""
        session, record, _home = opening.session, arrived.record, self._hub.home
        client = session.id
        if client in self._kept:  # it was here before, and this node has not heard that it went
            self.outrun(self._kept[client].session)
        self.sessions.add(session)
        kept = self._kept[client] = Kept(session)
        kept.latest = _ELSEWHERE
        kept.watched = dict.fromkeys(record.watched) or None
        kept.changes = 1  # its memberships may be others here than was saved
        self._hub.add(client)
        expelled: list[tuple[str, bool]] = []
        for channel in [record.channel, *record.joined]:
            moves = channel == record.channel
            if channel not in opening.denied:
                try:
                    (self._hub.move if moves else self._hub.join)(client, channel)
                    continue
                except MessagingError as error:
                    opening.denied[channel] = failure_of(error)
            if kept.watched:
                kept.watched.pop(channel, None)
            expelled.append((channel, moves))
            opening.expelled.append(channel)
        session.owed = set(arrived.doubtful) or None
        opening.saving = self.saved(session)
        if not self.sessions.has(session):
            return  # another node has claimed it
        for channel, moves in expelled:
            self._tell_expelled(session, channel, opening.denied[channel].code, moves)
        if arrived.told:  # behind all that: it may have heard more than was saved, or less
            self._tell_current(session, self._hub.channel_of(client))
            for channel in arrived.told.difference(self._hub.channels_of(client)):
                self._tell_left(session, channel, UNKNOWN.code)
        for number in arrived.doubtful:
            self.refuse(session, number, UNKNOWN)

    def _begin_streams(self, opening: Opening, begun: dict[str, Start]) -> None:
        """Find out where each stream begins. Memberships may change meanwhile."""
        client = opening.session.id
        streams = [OWN, EVERYBODY, *map(stream_of, self._hub.channels_of(client))]
        begun = {stream: begun[stream] for stream in streams if stream in begun}
        others = [stream for stream in streams if stream not in begun]
        if not others:
            if opening.saving is None:
                self._welcomed(opening, begun)
            else:
                opening.saving.then(partial(self._saved, opening, begun))
            return
        starting = Starting(others, partial(self._began, opening, begun))
        for stream in others:
            known = opening.hello.streams.get(stream)
            if stream == OWN and not opening.resumed:
                known = None
            receipt = self._following.begin(named(client, stream), client, known)
            receipt.then(partial(starting.started, stream))

    def _began(
        self, opening: Opening, begun: dict[str, Start], starts: dict[str, Start] | None
    ) -> None:
        if opening.session.opening is not opening.connection:
            return
        if starts is None:
            self.host.close(opening.connection, *NO_STREAMS)  # then it is `lost`
        else:
            self._begin_streams(opening, begun | starts)

    def _expel(self, opening: Opening, channel: str, code: str) -> None:
        """End a membership. If the client has still to hear of others, it hears of this one after
        them."""
        session, client = opening.session, opening.session.id
        opening.expelled.append(channel)
        kept = self._kept[client]
        moves = channel == self._hub.channel_of(client)
        knows_all = kept.knows_all(opening.hello.streams.get(OWN))
        self._leave(client, channel)
        is_here = self.sessions.has(session)  # or else another node has claimed it
        if is_here and (moves or not knows_all):  # else the welcome says it
            self._tell_expelled(session, channel, code, moves)

    def _tell_expelled(self, session: Session, channel: str, code: str, moves: bool) -> None:
        if moves:
            self._tell_current(session, self._hub.home)
        self._tell_left(session, channel, code)

    def _tell_current(self, session: Session, channel: str) -> None:
        position = self._following.position(stream_of(channel)) or NOWHERE
        joined = packets.Joined(
            stream=OWN, at=NOWHERE, channel=channel, position=position, current=True
        )
        Turn(self._kept[session.id]).come(partial(self.tell, session, joined))

    def _tell_left(self, session: Session, channel: str, code: str) -> None:
        left = packets.Left(stream=OWN, at=NOWHERE, channel=channel, code=code)
        Turn(self._kept[session.id]).come(partial(self.tell, session, left))

    def _enter_again(self, opening: Opening) -> None:
        """In a new session: the channels where the client was."""
        client, hello, home = opening.session.id, opening.hello, self._hub.home
        for channel in opening.wanted:
            if channel in opening.denied:
                continue
            current = channel == hello.channel
            try:
                (self._hub.move if current else self._hub.join)(client, channel)
            except MessagingError as error:
                opening.denied[channel] = failure_of(error)
                continue
            opening.session.joined = True
            if current and home in hello.joined:
                self._hub.join(client, home)

    def _welcomed(self, opening: Opening, starts: dict[str, Start]) -> None:
        session, client = opening.session, opening.session.id
        session.opening = None
        session.attached = opening.connection
        session.settled = session.accepted
        self._terms.begin(client, session.ends, self._clock())
        self.host.attached(client, opening.connection)
        welcome = packets.Welcome(
            id=client,
            key=session.key,
            resumed=opening.resumed,
            seq=session.accepted,
            channel=self._hub.channel_of(client),
            streams=[
                packets.Begun(stream, start.at, start.recovered) for stream, start in starts.items()
            ],
            denied=[
                packets.Denied(channel, why)
                for channel, why in opening.denied.items()
                if channel not in opening.expelled or stream_of(channel) not in starts
            ],
            beat=self._settings.beat,
            limits=dict(self._settings.limits),
        )
        self._send(session, welcome)
        for channel in self._kept[client].watched or ():
            self._watch(session, channel)
        self._following.go_on(client, [named(client, stream) for stream in starts])

    def lost(self, session: Session, connection: Any, size: int) -> None:
        """A connection has ended, and its session is to be suspended.

        Args:
            size: bytes that the application keeps for the session.
        """
        if connection is not session.attached and connection is not session.opening:
            return
        self._detach(session)
        if session.id in self.sessions:
            self.presence.suspended(session.id, self._clock())
            for ended in self.sessions.suspend(session, size, self._clock()):
                self._end(ended, FULL[0])
            self.save(session)

    def end(self, session: Session, code: int, reason: str = "") -> None:
        """End a session, and its connection if it has one."""
        if session.id in self.sessions:
            connections = session.attached, session.opening
            self.sessions.end(session)
            self._end(session, code)
            for connection in connections:
                if connection is not None:
                    self.host.close(connection, code, reason)

    def _end(self, session: Session, code: int) -> None:
        client = session.id
        self._detach(session)
        kept = self._kept.pop(client)
        self._asked.forget(client)
        self._pending.forget(client)
        self._hub.remove(client)
        self.presence.ended(client)
        if kept.questions is not None:
            kept.questions.end()
        self.drop(session)
        self.host.ended(client, code)
        self._left_for(client, 0)

    def _expire(self, session: Session) -> None:
        """It has waited for its client for too long; unless that is at another node, of which this
        one has not heard."""
        if not self.shared:
            self._end(session, _EXPIRED)
            return
        kept = self._kept[session.id]

        def dropped(receipt: Receipt[bool]) -> None:
            if self._kept.get(session.id) is not kept:
                return  # it has come back from there
            if receipt.error is None and not receipt.value:
                self.outrun(session)
            else:
                self._end(session, _EXPIRED)

        self._records.drop(session).then(dropped)

    def _detach(self, session: Session) -> None:
        """A session has no connection: nothing is sent to it."""
        attached, session.attached, session.opening = session.attached, None, None
        session.at = self._following.position(named(session.id, OWN)) or session.at
        if attached is not None:
            self._terms.forget(session.id)
            self.host.detached(session.id)
        self._following.forget(session.id)
        self._following.unfollow(named(session.id, OWN))  # without a connection it needs none

    # -- requests ---------------------------------------------------------------------------------

    def reply(self, session: Session, packet: packets.Reply) -> None:
        """A reply has come."""
        data = None if packet.data is UNSET else packet.data
        self._asked.end(session.id, packet.re)
        questions = self._kept[session.id].questions
        if questions is not None and questions.answer(packet.re, data, packet.error):
            self.answer(session, packet.seq)
        else:
            failure = Failure("no-such-request", "nobody waits for that reply")
            self.refuse(session, packet.seq, failure)

    def asks(self, client: str) -> bool:
        """Whether a reply of a client is waited for."""
        kept = self._kept.get(client)
        return bool(kept and kept.questions)

    def await_answer(self, session: Session, packet: packets.Request) -> bool:
        """A request is to be answered by the application; False if that is refused: too many are.

        If it takes too long, the result is `timeout`.
        """
        time = self._settings.request if packet.timeout is None else packet.timeout
        if self._pending.begin(session.id, packet.seq, self._clock() + time):
            return True
        text = f"{self._settings.max_requests} of your requests wait already"
        self.refuse(session, packet.seq, Failure("too-many-requests", text, True))
        return False

    def awaits_answer(self, session: Session, packet: packets.Request) -> bool:
        """Whether a request still waits; from now on it does not."""
        return self._pending.end(session.id, packet.seq)

    def listed(self) -> list[str]:
        """Channels that clients may be told of, if they may join them."""
        return list(self._hub.channels_listed)

    def list_channels(self, session: Session, seq: int, names: Iterable[str]) -> None:
        """Tell a client which channels it may join."""
        self.answer(session, seq, enquiries.channels(names, self._settings.max_listing))

    # -- what nodes have each other do ------------------------------------------------------------

    def ordered(self, order: Order) -> None:
        """See `Delivery`."""
        self.elsewhere.ordered(order)

    def end_client(self, client: str, code: int, reason: str) -> bool:
        """See `Here`."""
        if client in self.sessions:
            self.end(self.sessions[client], code, reason)
        elif client in self._hub.clients:
            self.host.end_client(client, code, reason)
        else:
            return False
        return True

    def ask_client(
        self, client: str, name: str, data: Data, timeout: float, answered: Answered
    ) -> None:
        """See `Here`."""
        if client in self.sessions:
            try:
                self.ask(self.sessions[client], name, data, timeout, answered)
            except TooManyRequests as error:
                answered(None, Failure("too-many-requests", str(error), True))
        elif client in self._hub.clients:
            answered(None, _CLASSIC)

    def disconnect_clients(self, identity: bytes, code: int, reason: str) -> None:
        """See `Here`."""
        self.host.disconnect_clients(identity, code, reason)

    # -- time -------------------------------------------------------------------------------------

    def drained(self, client: str) -> None:
        """A client's connection has room again."""
        self._following.go_on(client)

    @property
    def deadline(self) -> float:
        """When `tick` has something to do."""
        due = self._following.deadline
        if self.shared and (time := self._due) is not None and time < due:
            due = time
        for part in self._timed:
            time = part.deadline
            if time is not None and time < due:
                due = time
        return due

    def tick(self) -> None:
        """Do what is due."""
        now = self._clock()
        for session in self.sessions.expire(now):
            self._expire(session)
        for client, left in self._terms.tick(now):
            session = self.sessions[client]
            if left:
                self._send(session, packets.Renew(seconds=left))
            else:
                connection = session.attached
                self.lost(session, connection, 0)  # a fresh token opens it again
                self.host.close(connection, *identities.ENDED)
        for client, number in self._pending.expire(now):
            if kept := self._kept.get(client):
                self.refuse(kept.session, number, _UNANSWERED)
        for client, _ in self._asked.expire(now):
            kept = self._kept.get(client)  # an answer may have ended its session
            if kept is not None and kept.questions is not None:
                kept.questions.expire(now)
        for packet, watchers in self.presence.tick(self._hub.channels_of, now):
            for client in watchers:
                if kept := self._kept.get(client):
                    self._send(kept.session, packet)
        self.elsewhere.tick(now)
        self._following.tick(now)
        if self.shared:
            self._look_after_sessions(now)
