"""One connection of a client: what is answered at once, and what the application is asked first.

docs/protocol.md, sections 3 and 5. The owner carries out `Work` in order, one after the other, and
says what came of it; whatever needs no application is done at once, also while it is busy.
"""

from collections.abc import Iterable
from typing import Any

from sono_core.messaging import Deliver
from sono_core.messaging import Publish as Publication
from sono_core.messaging.lossless import Data, Receipt, packets
from sono_core.messaging.lossless.packets import Failure
from sono_core.quoting import Discreet

from . import enquiries
from .arrivals import Replaced
from .failures import NO_MEMBER, NO_STREAMS, UNAVAILABLE, unknown_client
from .handing_over import ELSEWHERE, REPLACED
from .node import Foreign, Node, Opening
from .sessions import Session

NO_HELLO = (4010, "no hello in time")
NO_WELCOME = (1013, "the application has not decided in time")
REFUSED = (4011, "the identity is refused")
ENDED = (1000, "")


class Work(Discreet, frozen=True):
    """Something that the application has a say in; see `Conversation.receive`."""

    packet: packets.FromClient

    def shown(self) -> Iterable[tuple[str, object]]:
        """See `Discreet`."""
        yield "packet", type(self.packet).__name__


class Identify(Work, frozen=True):
    """Who is it? `Conversation.identified` takes the answer, `refused` that it is nobody."""


class Authorise(Work, frozen=True):
    """May it become a member? `Conversation.authorised` takes the answer."""

    channel: str


class Hear(Work, frozen=True):
    """The handlers of the event get the payload. Then `Conversation.heard`."""

    event: str
    payload: Any


class Answer(Work, frozen=True):
    """The handler of requests of that name. Then `Conversation.answered`."""

    name: str
    payload: Any


class Enumerate(Work, frozen=True):
    """Which of the channels that are `Node.listed`, once the node has `look_elsewhere`, may it
    join? `Conversation.enumerated` takes them."""


class Do(Work, frozen=True):
    """Nothing is asked; it has its turn. Then `Conversation.do`."""


_WHY = {Foreign: REFUSED, Replaced: REPLACED}
_LOST: Any = object()
"""Stands for a connection that has ended; no session has it."""


class Conversation:
    """What is said on one connection.

    Args:
        node: the process's.
        connection: what the node's host knows it by.
        address: the client's.
    """

    __slots__ = (
        "_address",
        "_connection",
        "_fetched",
        "_node",
        "_opening",
        "_said_hello",
        "session",
    )

    def __init__(self, node: Node, connection: Any, address: str) -> None:
        self.session: Session | None = None
        """Once there is one; a newer connection may have it meanwhile."""
        self._node = node
        self._connection = connection
        self._address = address
        self._said_hello = False
        self._opening: Opening | None = None
        self._fetched: Receipt[bool] | None = None

    # -- what comes -------------------------------------------------------------------------------

    def receive(self, packet: packets.FromClient) -> Work | None:
        """A packet has come; what the owner has to do in its turn, or None."""
        session, node = self.session, self._node
        if isinstance(packet, packets.Hello):
            if self._said_hello:
                self._error("invalid-packet", "hello was said already")
                return None
            self._said_hello = True
            return Identify(packet)
        if session is None or session.attached is not self._connection:
            self._error("hello-first", "the first packet is hello")
            return None
        if session.confirm():
            node.save(session)  # the former key opens it nowhere
        match packet:
            case packets.Beat():
                node.host.send(self._connection, packets.Beat())
            case packets.Bye():
                node.end(session, *ENDED)
            case packets.Read():
                node.read(session, packet)
            case packets.Token():
                return Identify(packet)
            case packets.Publish() | packets.Send() if packet.seq is None:
                return self._work(session, packet)
            case _:
                assert packet.seq is not None
                if node.accept(session, packet.seq):
                    return self._work(session, packet)
        return None

    def _work(self, session: Session, packet: packets.Numbered) -> Work | None:
        match packet:
            case packets.Reply():
                self._node.reply(session, packet)
                return None
            case packets.Join() | packets.Move():
                return Authorise(packet, packet.channel)
            case packets.Publish() | packets.Send():
                return Hear(packet, packet.event, packet.data)
            case packets.Request() if packet.name == enquiries.CHANNELS:
                waits = self._node.await_answer(session, packet)
                return Enumerate(packet) if waits else None
            case packets.Request() if not packet.name.startswith(enquiries.PREFIX):
                waits = self._node.await_answer(session, packet)
                return Answer(packet, packet.name, packet.data) if waits else None
        return Do(packet)

    def bad(self, code: str, message: str, seq: int | None) -> None:
        """What came is refused, whatever it was; if it had a number, that is accepted."""
        session = self.session
        if seq is None or session is None or session.attached is not self._connection:
            self._error(code, message)
        else:
            if session.confirm():
                self._node.save(session)
            if self._node.accept(session, seq):
                self._node.refuse(session, seq, Failure(code, message))

    def ack(self) -> None:
        """Say which numbers are accepted, if that is news; once for all that came in a turn.

        Where sessions may go on elsewhere only results say it: what a node alone knows to be
        accepted, and is lost with it, the client must be able to say again.
        """
        session = self.session
        if session is None or self._node.shared or session.attached is not self._connection:
            return
        if session.accepted > session.settled:
            session.settled = session.accepted
            self._node.host.send(self._connection, packets.Ack(seq=session.accepted))

    @property
    def opening(self) -> Opening | None:
        """What `welcome` will open."""
        return self._opening

    # -- opening ----------------------------------------------------------------------------------

    def fetch(self, work: Identify, identity: Any) -> Receipt[bool] | None:
        """The application knows who it is: `identified` has to wait for this, unless it is None."""
        packet = work.packet
        if isinstance(packet, packets.Hello) and packet.key is not None:
            self._fetched = self._node.fetch(packet.key, identity)
        return self._fetched

    def identified(
        self, work: Identify, identity: Any, lasts: float | None = None
    ) -> list[str] | None:
        """The application knows who it is.

        Args:
            lasts: seconds for which it is that; None: without end.

        Returns:
            Channels that it must still allow, for `welcome`; None if there is nothing to do.
        """
        node, session = self._node, self.session
        if isinstance(work.packet, packets.Token):
            assert session is not None
            if not session.belongs_to(identity):
                self.refused(work)
            elif session.id in node.sessions:
                node.renewed(session, identity, lasts)
            return None
        assert isinstance(work.packet, packets.Hello)
        if self._connection is _LOST:
            return None
        if why := self._unfetched(work.packet.key):
            node.host.close(self._connection, *why)
            return None
        try:
            opening = node.open(work.packet, self._connection, identity, self._address, lasts)
        except Foreign:
            node.host.close(self._connection, *REFUSED)
            return None
        self._opening = opening
        if opening.resumed:
            self.session = opening.session
        return opening.wanted

    def _unfetched(self, key: str | None) -> tuple[int, str] | None:
        """Why the client cannot have its session now, if it has one; None: it can."""
        fetched = self._fetched
        if fetched is None:
            return ELSEWHERE if key is not None and self._node.departs(key) else None
        if fetched.error is not None:
            return _WHY.get(type(fetched.error), NO_STREAMS)
        # Another node may have claimed it since.
        return ELSEWHERE if fetched.value and not self._node.has(key) else None

    def refused(self, work: Identify) -> None:
        """The application does not know who it is."""
        session = self.session
        if session is not None and session.attached is self._connection:
            self._node.end(session, *REFUSED)
        elif self._connection is not _LOST:
            self._node.host.close(self._connection, *REFUSED)

    def welcome(self, denied: dict[str, Failure]) -> bool:
        """Let the client in; it may not enter these channels.

        Returns:
            Whether it has a new session, of which the application has not heard.
        """
        opening, self._opening = self._opening, None
        assert opening is not None
        opening.denied.update(denied)
        if not self._node.welcome(opening):
            return False
        self.session = opening.session
        return not opening.resumed

    # -- what came of it --------------------------------------------------------------------------

    def authorised(self, work: Authorise, failure: Failure | None) -> None:
        """The application allows a membership, or says why it does not."""
        packet, session = work.packet, self._living
        if session is None:
            return
        assert isinstance(packet, (packets.Join, packets.Move))
        if failure is not None:
            self._node.refuse(session, packet.seq, failure)
        elif isinstance(packet, packets.Join):
            self._node.join(session, packet)
        else:
            self._node.move(session, packet)

    def heard(self, work: Hear, failure: Failure | None) -> Publication | Deliver | None:
        """The handlers have returned, or one has failed or declined.

        Returns:
            What the packet causes; `Conversation.publish` does it, in this turn or a later one.
        """
        packet, session = work.packet, self._living
        if session is None:
            return None
        assert isinstance(packet, (packets.Publish, packets.Send))
        failure = failure or self.objection(work)
        if failure is not None:
            if packet.seq is None:
                self._error(failure.code, failure.message)
            else:
                self._node.refuse(session, packet.seq, failure)
            return None
        data = Data.of(packet.data)
        if isinstance(packet, packets.Send):
            return Deliver(packet.to, packet.event, data, session.id)
        skip = None if packet.to_self else session.id
        return Publication(packet.channel, packet.event, data, session.id, skip)

    def objection(self, work: Hear) -> Failure | None:
        """Why nobody may get what a client says; then the application need not hear it."""
        packet, session = work.packet, self.session
        assert session is not None
        if isinstance(packet, packets.Publish):
            if not self._node.is_member(session.id, packet.channel):
                return Failure(NO_MEMBER, f"you are not in {packet.channel}")
        elif isinstance(packet, packets.Send) and not self._node.is_client(packet.to):
            return unknown_client(packet.to)
        return None

    def publish(self, work: Hear, effect: Publication | Deliver) -> None:
        """Do what a packet causes."""
        packet, session = work.packet, self.session
        assert isinstance(packet, (packets.Publish, packets.Send))
        assert session is not None
        if session.id in self._node.sessions and self._living is None:
            return  # it has gone and come back: its client says again what has a number
        if isinstance(effect, Deliver):
            self._node.direct(effect, packet.seq, volatile=packet.seq is None)
        elif packet.seq is None:
            self._node.publish_volatile(effect)
        else:
            self._node.publish(effect, packet.seq)

    def answered(self, work: Answer, data: Data | None, failure: Failure | None) -> None:
        """The handler of a request has returned, or failed; nothing happens if it was too late."""
        packet, session = work.packet, self._living
        assert isinstance(packet, packets.Request)
        if session is None or not self._node.awaits_answer(session, packet):
            return
        if failure is not None:
            self._node.refuse(session, packet.seq, failure)
        else:
            self._node.answer(session, packet.seq, data)

    def enumerated(self, work: Enumerate, channels: list[str] | None) -> None:
        """The application has said which channels it may join; None: nobody knows which there
        are."""
        packet, session = work.packet, self._living
        assert isinstance(packet, packets.Request)
        if session is None or not self._node.awaits_answer(session, packet):
            return
        if channels is None:
            self._node.refuse(session, packet.seq, UNAVAILABLE)
        else:
            self._node.list_channels(session, packet.seq, channels)

    def do(self, work: Do) -> None:
        """It is its turn."""
        packet, session = work.packet, self._living
        if session is None:
            return
        match packet:
            case packets.Leave():
                self._node.leave(session, packet)
            case packets.Present():
                self._node.present(session, packet)
            case _:
                assert isinstance(packet, packets.Request)
                self._node.enquire(session, packet)

    # -- the end ----------------------------------------------------------------------------------

    def late(self) -> None:
        """The time for a hello is over, or that for a welcome; nothing happens after that."""
        if self._connection is not _LOST and (self.session is None or self._opening is not None):
            why = NO_WELCOME if self._said_hello else NO_HELLO
            self._node.host.close(self._connection, *why)

    def lost(self, code: int, size: int) -> None:
        """The connection has ended.

        Args:
            code: of its close.
            size: bytes that the application keeps for the session.
        """
        connection, self._connection = self._connection, _LOST  # they hold each other no longer
        session = self.session or (self._opening.session if self._opening else None)
        if session is None:
            return
        has_it = connection in (session.attached, session.opening)
        if code == ENDED[0] and has_it and session.id in self._node.sessions:
            self._node.end(session, *ENDED)
        else:
            self._node.lost(session, connection, size)

    @property
    def _living(self) -> Session | None:
        """The session, unless it has ended while the application was busy, or has gone and come
        back."""
        session = self.session
        return session if session is not None and self._node.sessions.has(session) else None

    def _error(self, code: str, message: str) -> None:
        if self._connection is not _LOST:
            self._node.host.send(self._connection, packets.Error(code=code, message=message))
