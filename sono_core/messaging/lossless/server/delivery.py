"""What is said to clients: into which stream it goes, and who gets what of each stream.

docs/protocol.md, sections 2 to 4.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET

from sono_core.errors import LocalProtocolError
from sono_core.messaging import Deliver, Hub
from sono_core.messaging import Publish as Publication
from sono_core.messaging.lossless import (
    EVERYBODY,
    OWN,
    Backplane,
    Change,
    Data,
    Entry,
    Fenced,
    Histories,
    Missing,
    Origin,
    Page,
    Position,
    Receipt,
    Top,
    channel_of,
    packets,
    stream_of,
)
from sono_core.messaging.lossless.packets import Failure

from .failures import LEAVING, NO_MEMBER, UNAVAILABLE, UNKNOWN, unknown_client
from .following import Following
from .host import Host, Settings
from .kept import Kept
from .orders import CONTROL, Order
from .pending import Pending
from .presence import Presence
from .questions import GONE, Answered, Questions
from .records import NOWHERE
from .sessions import Numbering, Session, Sessions
from .shared_presence import SharedPresence
from .untaken import Told, Untaken

FULL = (1013, "there are too many sessions")
_ENVELOPE = 256  # bytes of a packet beside its data, about
_ASKED = 32
"""Bits for the requests of one node: those of the next have other ids, as the client knows both."""
_ALL = 1 << 20  # entries: as many as there are


class Delivery:
    """The streams, and those who get what is in them.

    Args:
        hub: who is a member of what; also of those who speak other dialects.
        backplane: keeps the streams.
        host: has the connections.
        settings: bounds.
        histories: of channels.
        clock: the time, in seconds; it never steps.
    """

    def __init__(
        self,
        hub: Hub,
        backplane: Backplane,
        host: Host,
        settings: Settings,
        histories: Histories,
        clock: Callable[[], float],
    ) -> None:
        self.sessions: Sessions = Sessions(settings.sessions)
        bounds = settings.grace, settings.max_members, settings.max_presence
        self.presence: Presence = (
            SharedPresence(backplane, clock, self._follow, self._members, *bounds)
            if backplane.shared
            else Presence(self._members, *bounds)
        )
        self.host: Host = host
        self._hub = hub
        self._backplane = backplane
        self._following = Following(backplane, self)
        self._settings = settings
        self._histories = histories
        self._clock = clock
        self._kept: dict[str, Kept] = {}  # by the session's id
        self.shared: bool = backplane.shared
        """Whether sessions may go on at other nodes."""
        self._pending = Pending(settings.max_requests)  # what clients ask
        self._asked = Pending(settings.max_requests)  # what they are asked
        self.untaken: Untaken = Untaken()
        hub.elsewhere = backplane.shared
        self._following.follow(EVERYBODY)
        if backplane.shared:
            self._following.follow(CONTROL)
        hub.entered, hub.left, hub.unlisted = self.entered, self.left, self.unlisted
        self._survey: Receipt[Collection[str]] | None = None  # of channels of other nodes
        self._surveyed = 0.0

    def _follow(self, channel: str) -> Receipt[Position] | None:
        return self._following.follow(stream_of(channel))

    def _members(self, channel: str) -> Collection[str]:
        return self._hub.members(channel) if channel in self._hub.channels else ()

    def _end(self, session: Session, code: int) -> None:
        """Tidy up after a session that is forgotten already."""
        raise NotImplementedError

    def save(self, session: Session) -> None:
        """Something about it has changed that another node must know to go on with it."""

    def leaves(self, session: Session) -> bool:
        """Whether another node has claimed it, so that nothing about it changes here any more."""
        raise NotImplementedError

    def settled(self, session: Session) -> None:
        """All that was accepted in it has its result."""

    def outrun(self, session: Session) -> None:
        """It goes on at another node, and what was said for it here was refused."""
        raise NotImplementedError

    def entered(self, channel: str, client: str) -> None:
        """A client, of whatever dialect, is a member of a channel now."""
        raise NotImplementedError

    def left(self, channel: str, client: str) -> None:
        """It is none any more."""
        raise NotImplementedError

    def unlisted(self, channel: str) -> None:
        """Clients are told of a channel no longer."""
        raise NotImplementedError

    def ordered(self, order: Order) -> None:
        """A node wants something done with a client."""
        raise NotImplementedError

    # -- numbers ----------------------------------------------------------------------------------

    def accept(self, session: Session, seq: int) -> bool:
        """A numbered packet has come; whether it is to be handled.

        If not, it was answered: it is repeated, or others before it are missing.
        """
        numbering = session.number(seq)
        if numbering is Numbering.LEAP:
            text = f"the next number is {session.accepted + 1}"
            self._send(session, packets.Error(code="bad-seq", message=text))
        elif numbering is Numbering.REPEATED:
            receipt = self._backplane.page(named(session.id, OWN), None, _ALL)
            receipt.then(partial(self._repeat, session, seq))
        elif self.shared:
            if session.owed is None:
                session.owed = set()
            session.owed.add(seq)
        return numbering is Numbering.NEXT

    def _repeat(self, session: Session, seq: int, receipt: Receipt[Page]) -> None:
        """Give a result again, if it is still known."""
        if receipt.error is None:
            for entry in receipt.value.entries:
                if isinstance(entry.body, packets.Result) and entry.body.re == seq:
                    self._send(session, _placed(entry.body, entry.at))

    def refuse(
        self, session: Session, seq: int, failure: Failure, *, change: int = 0
    ) -> Receipt[Any]:
        """The result of a packet that was not carried out."""
        if failure.code == NO_MEMBER and (kept := self._kept.get(session.id)):
            change = kept.changes  # by which it is none; the client believes it
        result = packets.Result(stream=OWN, at=NOWHERE, re=seq, error=failure)
        return self.tell(session, result, change=change)

    def answer(
        self, session: Session, seq: int, data: Data | None = None, *, change: int = 0
    ) -> Receipt[Any]:
        """The result of one that was."""
        value = UNSET if data is None else data
        result = packets.Result(stream=OWN, at=NOWHERE, re=seq, data=value)
        return self.tell(session, result, data.size if data else 0, change=change)

    # -- what clients and the application say -----------------------------------------------------

    def is_member(self, client: str, channel: str) -> bool:
        """Whether a client may publish in a channel."""
        return self._hub.is_member(client, channel)

    def is_client(self, client: str) -> bool:
        """Whether somebody has that id, of whatever dialect, with a connection or without; or may
        have it elsewhere."""
        return self._hub.may_have(client)

    def publish(self, publication: Publication, seq: int | None = None) -> Receipt[Position]:
        """Give a publication its place in its stream.

        Args:
            publication: its payload is `Data`.
            seq: of the packet that said it; its sender gets the result.
        """
        channel = publication.channel
        if channel is None:
            stream, history = EVERYBODY, self._histories.default
        else:
            stream, history = stream_of(channel), self._histories.of(channel)
        size = publication.payload.size + _ENVELOPE
        sender = publication.sender
        key, origin = self._mark(publication, seq)
        receipt = self._backplane.publish(stream, publication, size, history, key, origin)
        if seq is not None and (session := self._session_of(sender)):
            receipt.then(partial(self._published, session, seq))
        return receipt

    def _session_of(self, client: str | None) -> Session | None:
        kept = self._kept.get(client) if client is not None else None
        return None if kept is None else kept.session

    def _mark(
        self, said: Publication | Deliver, seq: int | None
    ) -> tuple[str | None, Origin | None]:
        """The key that makes a packet one that is carried out twice, and whose it is.

        A client gives a number that no node accepted to another packet, if it has given up the
        first; a node that was lost may have carried out that one.
        """
        sender = said.sender
        if sender is None:
            return None, None
        author = self.host.author(sender)
        if seq is None:
            return None, Origin(author=author) if author else None
        kept = self._kept.get(sender)
        key = f"{sender}:{seq}:{said.payload.checksum:x}" if self.shared else f"{sender}:{seq}"
        return key, self._origin(kept.session, author) if kept else None

    def _origin(self, session: Session, author: bytes = b"") -> Origin | None:
        if self.shared:
            return Origin(session.id, session.generation, author)
        return Origin(author=author) if author else None

    def _refused(self, session: Session, receipt: Receipt[Any]) -> None:
        """What was said for a session is done, or was refused."""
        if isinstance(receipt.error, Fenced) and self.sessions.has(session):
            self.outrun(session)

    def tell_again(self, told: Told) -> None:
        """The backplane did not take a result."""
        session = told.session
        if not self.sessions.has(session):
            return
        if told.change and told.change < self._kept[session.id].changes:
            # Behind what was told since it would be wrong; a welcome says where the client is.
            self.refuse(session, told.seq, UNKNOWN)
        else:
            self._put(session, told.publish).then(partial(self._answered, told))

    def _answered(self, told: Told, receipt: Receipt[Any]) -> None:
        """A result is in its stream, where another node would find it, or was refused."""
        session = told.session
        if receipt.error is not None:
            if not isinstance(receipt.error, Fenced):
                self.untaken.add(told, self._clock())
            self._refused(session, receipt)
            return
        session.answered = max(session.answered, told.seq)
        if session.owed:
            session.owed.discard(told.seq)
            if not session.owed:
                session.owed = None
                self.settled(session)

    def _published(self, session: Session, seq: int, receipt: Receipt[Position]) -> None:
        if isinstance(receipt.error, Fenced):
            self._refused(session, receipt)
        elif receipt.error is not None:
            self.refuse(session, seq, UNAVAILABLE)
        else:
            result = packets.Result(stream=OWN, at=NOWHERE, re=seq, published=receipt.value)
            self.tell(session, result)

    def erase(self, author: bytes) -> Receipt[int]:
        """Let go what an identity has said, in all histories; see `Backplane.erase`.

        Raises:
            LocalProtocolError: it is nobody's, as what the application says.
        """
        if not author:
            raise LocalProtocolError("nobody is no author")
        return self._backplane.erase(author)

    def publish_volatile(self, publication: Publication) -> None:
        """Give it to whoever is there, without a place."""
        self._backplane.tell(_stream(publication), publication)

    def direct(
        self, delivery: Deliver, seq: int | None = None, *, volatile: bool = False
    ) -> Receipt[bool]:
        """Give something to one client, of whatever dialect; its payload is `Data`.

        Args:
            seq: of the packet that said it; its sender gets the result, once it is in a stream.
            volatile: whether it is lost if the client has no connection.

        Returns:
            Whether there is such a client. If it is volatile, and there is none here, nobody knows.
        """
        client, data = delivery.client, delivery.payload
        kept = self._kept.get(client)
        packet = packets.Event(stream=OWN, event=delivery.event, data=data, sender=delivery.sender)
        done: Receipt[Any] = Receipt.of(True)
        if kept is not None:
            if volatile:
                self._send(kept.session, packet)
            else:
                done = self.tell(kept.session, packet, data.size, self._mark(delivery, seq))
        elif client in self._hub.clients or not self._hub.elsewhere:
            self.host.direct(delivery)
        elif volatile:
            self._backplane.tell(named(client, OWN), packet)
        else:
            size, history = data.size + _ENVELOPE, self._histories.default
            mark = self._mark(delivery, seq)
            done = self._backplane.send(named(client, OWN), packet, size, history, *mark)
        there: Receipt[bool] = Receipt()
        sender = self._session_of(delivery.sender)
        done.then(partial(self._directed, delivery.client, sender, seq, there))
        return there

    def _directed(
        self,
        client: str,
        sender: Session | None,
        seq: int | None,
        there: Receipt[bool],
        receipt: Receipt[Any],
    ) -> None:
        if receipt.error is not None:
            if sender is not None and isinstance(receipt.error, Fenced):
                self._refused(sender, receipt)
            elif sender is not None and seq is not None:
                self.refuse(sender, seq, UNAVAILABLE)
            there.fail(receipt.error)
            return
        found = receipt.value is not None
        if sender is not None and seq is not None:
            if found:
                self.answer(sender, seq)
            else:
                self.refuse(sender, seq, unknown_client(client))
        there.complete(found)

    def tell(
        self,
        session: Session,
        packet: packets.Entry,
        size: int = 0,
        mark: tuple[str | None, Origin | None] | None = None,
        change: int = 0,
    ) -> Receipt[Any]:
        """Put a packet into the stream of a session; its `at` comes there. Nothing happens if the
        session has ended, or has gone and come back: then its client says again what has no result.

        Args:
            size: bytes of its data.
            mark: of somebody else who says it; None: the session itself is told something.
            change: the number of the change of its memberships that it tells; 0: it tells none.
        """
        if not self.sessions.has(session):
            return Receipt.of(None)
        size += _ENVELOPE
        history = self._histories.default
        marked = mark or (None, self._origin(session))
        publication = named(session.id, OWN), packet, size, history, *marked
        receipt: Receipt[Any]
        if mark is not None or not self.shared:
            receipt = self._backplane.publish(*publication)
        else:
            publish = partial(self._tell_change, session, change, *publication)
            receipt = self._put(session, publish)
            if isinstance(packet, packets.Result):
                told = Told(session, packet.re, change, size, publish)
                receipt.then(partial(self._answered, told))
            else:
                receipt.then(partial(self._refused, session))
        for ended in self.sessions.charge(session, size, history.size):
            self._end(ended, FULL[0])
        return receipt

    def _tell_change(
        self, session: Session, change: int, stream: str, packet: packets.Entry, *rest: Any
    ) -> Receipt[Any]:
        """Tell a session what has become of its memberships, if another node would find that: one
        that claimed the session before does not."""
        if self.leaves(session) and change > self._kept[session.id].saved_changes:
            if not isinstance(packet, packets.Result):
                return Receipt.of(None)
            packet = packets.Result(stream=OWN, at=NOWHERE, re=packet.re, error=LEAVING)
        return self._backplane.publish(stream, packet, *rest)

    def _put(self, session: Session, publish: Callable[[], Receipt[Any]]) -> Receipt[Any]:
        """Tell a session something behind what is being saved of it: if the node were lost between
        them, its client would believe to be where another node does not know that it is."""
        kept = self._kept[session.id]
        if not kept.saving:
            return publish()
        receipt: Receipt[Any] = Receipt()
        kept.untold += ((publish, receipt),)
        return receipt

    def _tell_untold(self, kept: Kept) -> None:
        """Nothing is being saved any more: all of it, in its order."""
        session = kept.session
        untold, kept.untold = kept.untold, ()
        for publish, receipt in untold:
            if self.sessions.has(session):
                publish().then(receipt.settle)
            else:
                receipt.complete(None)

    def ask(
        self, session: Session, name: str, data: Data, timeout: float, answered: Answered
    ) -> None:
        """Ask a client, whether it has a connection or not.

        Args:
            timeout: seconds.
            answered: is told at once if the session has ended.

        Raises:
            TooManyRequests: nothing was asked.
        """
        kept = self._kept.get(session.id)
        if kept is None:
            answered(None, GONE)
            return
        deadline = self._clock() + timeout
        if kept.questions is None:
            first = (session.generation - 1) << _ASKED
            kept.questions = Questions(self._settings.max_requests, first)
        id = kept.questions.ask(deadline, answered)
        self._asked.begin(session.id, id, deadline)
        packet = packets.Asked(stream=OWN, at=NOWHERE, id=id, name=name, data=data)
        self.tell(session, packet, data.size)

    # -- delivery: what streams tell their followers ----------------------------------------------

    def delivered(self, name: str, entry: Entry, behind: Collection[str]) -> None:
        """See `Listener.delivered`."""
        if name == CONTROL:
            self.ordered(entry.body)
        elif not name.startswith(OWN):
            self.host.deliver(entry.body, name, entry.at, behind)
        elif (client := name[1:]) not in behind:
            if client in self.sessions:
                session = self.sessions[client]
                self._send(session, _placed(entry.body, entry.at))
                self.passed(session, entry)
            else:
                self._direct_here(client, entry.body)

    def _direct_here(self, client: str, event: packets.Event) -> None:
        """A client of another dialect is told something from elsewhere."""
        self.host.direct(Deliver(client, event.event, event.data, event.sender))

    def told(self, name: str, body: Any) -> None:
        """See `Listener.told`."""
        if name == CONTROL:
            self.ordered(body)
        elif not name.startswith(OWN):
            self.host.deliver(body, name, None, ())
        elif kept := self._kept.get(name[1:]):
            self._send(kept.session, body)
        else:
            self._direct_here(name[1:], body)

    def changed(self, name: str, change: Change) -> None:
        """See `Listener.changed`."""
        if channel := channel_of(name):
            self.presence.changed(channel, change)

    def compared(self, name: str, top: Top) -> None:
        """See `Listener.compared`."""
        if channel := channel_of(name):
            self.presence.compared(channel, top.roster)

    def came(self, client: str) -> Receipt[Position] | None:
        """A client of another dialect has come: what is for it alone may come from elsewhere.

        Returns:
            What is done when it would get that; None if it is already, or nobody knows when, as
            the backplane is away.
        """
        if not self._hub.elsewhere:
            return None
        followed = self._following.follow(named(client, OWN))
        return followed if self._backplane.ready else None

    def went(self, client: str) -> None:
        """It has gone."""
        if self._hub.elsewhere:
            self._following.unfollow(named(client, OWN))
            self._backplane.free(named(client, OWN))

    def missed(self, name: str, missing: Missing, behind: Collection[str]) -> None:
        """See `Listener.missed`."""
        if name == CONTROL:
            self.host.missed_orders()
            return
        channel = channel_of(name)
        members: Collection[str]
        if name.startswith(OWN):
            members = (name[1:],)
        else:
            members = tuple(self._kept if channel is None else self._members(channel))
        packet = packets.Gap(stream=called(name), at=missing.to)
        for client in members:
            if client not in behind and (kept := self._kept.get(client)):
                self._send(kept.session, packet)

    def replayed(self, name: str, member: str, item: Entry | Missing) -> bool:
        """See `Listener.replayed`."""
        session = self.sessions[member]
        stream = called(name)
        if isinstance(item, Missing):
            return self.host.replay(session.attached, packets.Gap(stream=stream, at=item.to))
        body = item.body
        if isinstance(body, Publication):
            packet: packets.Event | packets.Skip = (
                packets.Skip(stream=stream, at=item.at)
                if body.skip == member
                else event(body, stream, item.at)
            )
            return self.host.replay(session.attached, packet)
        room = self.host.replay(session.attached, _placed(body, item.at))
        self.passed(session, item)
        return room

    def passed(self, session: Session, entry: Entry) -> None:
        """A client has got an entry of its own stream. A result says that its number was accepted,
        and where streams begin."""
        body = entry.body
        if isinstance(body, packets.Result):
            if body.re == session.settled + 1:
                session.settled += 1
            self._following.passed(session.id, body.re)

    def _send(self, session: Session, packet: packets.FromServer) -> None:
        if session.attached is not None:
            self.host.send(session.attached, packet)


def event(publication: Publication, stream: str, at: Position | None) -> packets.Event:
    """A publication as its receivers get it."""
    return packets.Event(
        stream=stream,
        at=at,
        event=publication.event,
        data=publication.payload,
        sender=publication.sender,
    )


def named(client: str, stream: str) -> str:
    """The backplane's name of a stream that a client calls so."""
    return f"{OWN}{client}" if stream == OWN else stream


def called(name: str) -> str:
    """What clients call a stream of the backplane's."""
    return OWN if name.startswith(OWN) else name


def _stream(publication: Publication) -> str:
    return EVERYBODY if publication.channel is None else stream_of(publication.channel)


def _placed(body: packets.Entry, at: Position) -> packets.Entry:
    return msgspec.structs.replace(body, at=at)
