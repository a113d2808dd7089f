"""Who is in which channel, and from where on it follows that channel's stream.

docs/protocol.md, section 3.
"""

from collections.abc import Collection
from functools import partial
from itertools import islice
from typing import Any

from sono_core.messaging import MessagingError
from sono_core.messaging.lossless import (
    EVERYBODY,
    OWN,
    Data,
    Page,
    Position,
    Receipt,
    Start,
    channel_of,
    packets,
    stream_of,
)
from sono_core.messaging.lossless.packets import Failure

from . import enquiries
from .delivery import Delivery, named
from .failures import LEAVING, NO_MEMBER, NO_STREAMS, UNAVAILABLE
from .following import Overtaken
from .kept import Turn
from .records import NOWHERE
from .sessions import Session
from .shared_presence import SURVEY

_QUOTED = 128  # characters of a name


class Memberships(Delivery):
    """Carries out what clients may do with channels, and tells who is there."""

    _moving: str | None = None
    """A client that just leaves for another node: it follows the same streams there."""

    # -- packets ----------------------------------------------------------------------------------

    def join(self, session: Session, packet: packets.Join) -> None:
        """Carry out a `join` that the application allows."""
        if self.leaves(session):
            self.refuse(session, packet.seq, LEAVING)
            return
        hub, client, channel = self._hub, session.id, packet.channel
        begins = client not in self._members(channel)
        if begins:
            if len(hub.channels_of(client)) > self._settings.max_joined:
                text = f"a client may be in {self._settings.max_joined} channels beside its own"
                self.refuse(session, packet.seq, Failure("too-many-channels", text, True))
                return
            try:
                hub.join(client, channel)
            except MessagingError as error:
                self.refuse(session, packet.seq, failure_of(error))
                return
            session.joined = True
        if packet.presence:
            kept = self._kept[client]
            kept.watched = {**(kept.watched or {}), channel: None}
        if begins:
            self._changed(session, packet.seq - 1)
        elif packet.presence:
            self._changed(session)
        self._begin(session, packet.seq, channel, packet.at, begins)
        if packet.presence and client in self._members(channel):
            self._watch(session, channel)

    def move(self, session: Session, packet: packets.Move) -> None:
        """Carry out a `move` that the application allows."""
        if self.leaves(session):
            self.refuse(session, packet.seq, LEAVING)
            return
        client, channel = session.id, packet.channel
        begins = client not in self._members(channel)
        try:
            self._hub.move(client, channel)
        except MessagingError as error:
            self.refuse(session, packet.seq, failure_of(error))
            return
        session.joined = True
        self._changed(session, packet.seq - 1)
        self._begin(session, packet.seq, channel, packet.at, begins)

    def _begin(
        self, session: Session, seq: int, channel: str, at: Position | None, begins: bool
    ) -> None:
        """A client follows a channel's stream: from now on, or again from a position on."""
        name = stream_of(channel)
        if begins or at is not None:
            receipt = self._following.begin(name, session.id, at)
        else:
            here = Receipt.of(Start(self._following.position(name) or NOWHERE, True))
            receipt = self._following.beginning(name, session.id) or here
        turn = Turn(self._kept[session.id])
        receipt.then(partial(self._begun, session, seq, name, begins, turn))

    def _begun(
        self,
        session: Session,
        seq: int,
        name: str,
        begins: bool,
        turn: Turn,
        receipt: Receipt[Start],
    ) -> None:
        if receipt.error is None:
            start = receipt.value
        elif not isinstance(receipt.error, Overtaken):
            turn.come(partial(self.refuse, session, seq, UNAVAILABLE))
            self._not_begun(session, name, begins)
            return
        elif again := self._following.beginning(name, session.id):
            again.then(partial(self._begun, session, seq, name, begins, turn))
            return
        else:  # it has left
            start = Start(NOWHERE, False)
        if session.attached is None and session.opening is None:
            self._following.leave(name, session.id)  # a resume begins there
        else:
            self._following.go_on_after(name, session.id, seq)
        begun = Data.of(packets.Begun(name, start.at, start.recovered))
        turn.come(partial(self.answer, session, seq, begun))

    def _not_begun(self, session: Session, name: str, begins: bool) -> None:
        """A client is in a channel whose stream it cannot follow."""
        client, channel = session.id, name[1:]
        if begins and channel != self._hub.channel_of(client):
            self._leave(client, channel)
        elif session.attached is not None:  # a resume says where it is, and what it missed
            self.host.close(session.attached, *NO_STREAMS)

    def leave(self, session: Session, packet: packets.Leave) -> None:
        """Carry out a `leave`."""
        if packet.channel == self._hub.channel_of(session.id):
            failure = Failure("forbidden", "the current channel can only be changed for another")
            self.refuse(session, packet.seq, failure)
            return
        if self.leaves(session):
            self.refuse(session, packet.seq, LEAVING)
            return
        if session.id in self._members(packet.channel):
            self._leave(session.id, packet.channel, packet.seq - 1)
        Turn(self._kept[session.id]).come(partial(self.answer, session, packet.seq))

    def read(self, session: Session, packet: packets.Read) -> None:
        """Send again what follows a position."""
        stream, channel = packet.stream, channel_of(packet.stream)
        member = channel is not None and session.id in self._members(channel)
        if member or stream in (OWN, EVERYBODY):
            receipt = self._following.begin(named(session.id, stream), session.id, packet.at)
            receipt.then(partial(self._read, session, stream))
        else:
            text = f"you do not follow {stream[:_QUOTED]}"
            self._send(session, packets.Error(code="not-a-member", message=text))

    def _read(self, session: Session, stream: str, receipt: Receipt[Start]) -> None:
        if receipt.error is None:
            if not receipt.value.recovered:
                self._send(session, packets.Gap(stream=stream, at=receipt.value.at))
            self._following.go_on(session.id, [named(session.id, stream)])
        elif not isinstance(receipt.error, Overtaken):
            error = packets.Error(code=UNAVAILABLE.code, message=UNAVAILABLE.message)
            self._send(session, error)

    def present(self, session: Session, packet: packets.Present) -> None:
        """Carry out a `present`."""
        data = Data.of(packet.data)
        if session.id not in self._members(packet.channel):
            failure = Failure(NO_MEMBER, f"you are not in {packet.channel[:_QUOTED]}")
            self.refuse(session, packet.seq, failure)
        elif data.size > self._settings.max_present:
            text = f"public data has at most {self._settings.max_present} bytes"
            self.refuse(session, packet.seq, Failure("invalid-packet", text))
        elif self.presence.present(packet.channel, session.id, data, self._clock()):
            self.answer(session, packet.seq)
        else:
            failure = Failure("unavailable", "there is too much public data already", True)
            self.refuse(session, packet.seq, failure)

    def enquire(self, session: Session, packet: packets.Request) -> None:
        """Answer a request to the server itself."""
        try:
            self._enquire(session, packet)
        except enquiries.Unanswerable as refused:
            self.refuse(session, packet.seq, refused.failure)

    def _enquire(self, session: Session, packet: packets.Request) -> None:
        if packet.name == enquiries.HISTORY:
            query = enquiries.read(enquiries.HistoryQuery, packet.data)
            self._require_member(session, query.channel)
            receipt = self._backplane.page(stream_of(query.channel), query.before, query.limit)
            receipt.then(partial(self._paged, session, packet.seq))
        elif packet.name == enquiries.MEMBERS:
            query = enquiries.read(enquiries.MembersQuery, packet.data)
            self._require_member(session, query.channel)
            asked = self.presence.ask(query.channel)
            asked.then(partial(self._counted, session, packet.seq))
        else:
            raise enquiries.Unanswerable("unknown-request", f"there is no {packet.name[:_QUOTED]}")

    def _require_member(self, session: Session, channel: str) -> None:
        if session.id not in self._members(channel):
            raise enquiries.Unanswerable(NO_MEMBER, f"you are not in {channel[:_QUOTED]}")

    def _watch(self, session: Session, channel: str) -> None:
        """Tell a client who is in a channel, from now on."""
        snapshot = self.presence.watch(channel, session.id)
        if snapshot is not None:
            self._send(session, snapshot)

    def _counted(self, session: Session, seq: int, receipt: Receipt[packets.Members]) -> None:
        if receipt.error is not None:
            self.refuse(session, seq, UNAVAILABLE)
        else:
            self.answer(session, seq, enquiries.members(receipt.value))

    def look_elsewhere(self) -> Receipt[Any]:
        """Find out which channels there are on other nodes: `Hub.others`. What is known stays so
        for SURVEY seconds, as it takes a while to find out."""
        now = self._clock()
        if self._survey is None or self._surveyed + SURVEY <= now:
            self._surveyed = now
            self._survey = self._backplane.announced()
            self._survey.then(self._found_elsewhere)
        return self._survey

    def _found_elsewhere(self, receipt: Receipt[Collection[str]]) -> None:
        if receipt.error is None:
            names = islice(map(channel_of, receipt.value), self._settings.max_channels)
            may_be_entered = self._hub.may_be_entered
            self._hub.others = dict.fromkeys(
                name for name in names if name and may_be_entered(name)
            )

    def _paged(self, session: Session, seq: int, receipt: Receipt[Page]) -> None:
        if receipt.error is not None:
            self.refuse(session, seq, UNAVAILABLE)
        else:
            self.answer(session, seq, enquiries.history(receipt.value, self._settings.max_listing))

    def page(self, channel: str, before: Position | None, most: int) -> Receipt[Page]:
        """What was said in a channel, for the application; the newest last."""
        return self._backplane.page(stream_of(channel), before, most)

    # -- what the server decides ------------------------------------------------------------------

    def admit(self, session: Session, channel: str) -> None:
        """Make a client a member of a channel; nothing happens if it is one, or has just gone on at
        another node.

        Raises:
            MessagingError: `unknown-channel` or `too-many-channels`; nothing was changed.
        """
        client = session.id
        if client not in self._members(channel) and not self.leaves(session):
            self._hub.join(client, channel)
            session.joined = True
            self._changed(session, session.accepted)
            if not self.sessions.has(session):
                return  # another node has claimed it
            name = stream_of(channel)
            self._admit(session, name)

    def _admit(self, session: Session, name: str) -> None:
        change = self._kept[session.id].changes
        receipt = self._following.begin(name, session.id, None)
        receipt.then(partial(self._admitted, session, name, change))

    def _admitted(self, session: Session, name: str, change: int, receipt: Receipt[Start]) -> None:
        if receipt.error is None:
            at = receipt.value.at
            joined = packets.Joined(stream=OWN, at=NOWHERE, channel=name[1:], position=at)
            self.tell(session, joined, change=change)
            self._following.go_on(session.id, [name])
        elif not isinstance(receipt.error, Overtaken):
            self._not_begun(session, name, True)

    def expel(self, session: Session, channel: str, code: str) -> None:
        """End a membership; nothing happens if there is none, or if the client has just gone on at
        another node, which asks the application about all of them.

        Args:
            code: why, for the client's program.
        """
        if session.id in self._members(channel) and not self.leaves(session):
            home = self._hub.home
            moved = channel == self._hub.channel_of(session.id) != home
            self._leave(session.id, channel)
            if not self.sessions.has(session):
                return  # another node has claimed it
            left = packets.Left(stream=OWN, at=NOWHERE, channel=channel, code=code)
            self.tell(session, left, change=self._kept[session.id].changes)
            if moved:
                self._admit(session, stream_of(home))

    # -- members ----------------------------------------------------------------------------------

    def entered(self, channel: str, client: str) -> None:
        """See `Hub.entered`."""
        self._following.follow(stream_of(channel))
        self.presence.entered(channel, client, self._clock())
        self._backplane.announce(stream_of(channel), self._hub.is_listed(channel))

    def unlisted(self, channel: str) -> None:
        """See `Hub.unlisted`."""
        self._backplane.announce(stream_of(channel), False)

    def left(self, channel: str, client: str) -> None:
        """See `Hub.left`."""
        kept = self._kept.get(client)
        if kept is not None and kept.watched is not None:
            kept.watched.pop(channel, None)
        self._following.leave(stream_of(channel), client)
        self.presence.left(channel, client, self._clock())
        if not self._members(channel):
            self._following.unfollow(stream_of(channel))
            if channel not in self._hub.channels:
                self._backplane.announce(stream_of(channel), False)
                if not self._backplane.shared:
                    # Or else its members may be on their way to another node, and have positions:
                    # it expires there.
                    self._backplane.free(stream_of(channel))

    def _changed(self, session: Session, before: int = 0) -> None:
        """Its memberships have changed, behind the packets up to that number."""
        session.answered = max(session.answered, before)
        self._kept[session.id].changes += 1
        self.save(session)

    def _leave(self, client: str, channel: str, before: int | None = None) -> None:
        """End a membership; the current channel is changed for the home channel.

        Args:
            before: see `_changed`; None: behind all that was accepted.
        """
        if channel == self._hub.channel_of(client):
            self._hub.move(client, self._hub.home)
        else:
            self._hub.leave(client, channel)
        session = self._kept[client].session
        self._changed(session, session.accepted if before is None else before)


def failure_of(error: MessagingError) -> Failure:
    """Why a membership is refused."""
    return Failure(error.code, error.text, error.code == "too-many-channels")
