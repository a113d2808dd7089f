"""A client's session: what it makes of the server's packets. docs/protocol.md, 2, 4 and 5."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from sono_core.errors import OutboxFull
from sono_core.messaging.lossless import (
    MAX_NUMBER,
    OWN,
    Position,
    channel_of,
    stream_of,
)
from sono_core.messaging.lossless.packets import (
    Ack,
    Asked,
    Begun,
    Error,
    Event,
    Failure,
    FromClient,
    FromServer,
    Gap,
    Join,
    Joined,
    Leave,
    Left,
    Members,
    Move,
    Presence,
    Renew,
    Reply,
    Request,
    Result,
    Skip,
    Welcome,
)

from .cursor import Verdict
from .limits import ClientLimits
from .outbox import OF_MEMBERSHIPS, UNNUMBERED, Item, Outbox
from .pending import INVALID, UNKNOWN, Done, Outcome
from .presence import Mirrors, Snapshot
from .requests import Questions
from .streams import Resumption, Streams
from .told import Departed, Entered, Opened, Refused, Settled, TokenWanted, Told

_DEFAULT_BEAT = 25.0  # seconds; as for the server that says no other
_BEATS = (1.0, 3600.0)  # seconds, the least and the most that a server may say
_MEMBERS = "sono.members"
_NO_MEMBER = "not-a-member"

Kind = TypeVar("Kind")


class ClientSession:
    """Streams, memberships, packets on their way and presence, over any number of connections.

    Args:
        limits: how much is kept.
        tell: tells the application something.
        say: writes a packet without a number.
    """

    def __init__(
        self,
        limits: ClientLimits,
        *,
        tell: Callable[[Told], None],
        say: Callable[[FromClient], None],
    ) -> None:
        self._limits = limits
        self._tell = tell
        self.streams: Streams = Streams(limits.max_streams, tell=tell, read=say)
        self.outbox: Outbox = Outbox(limits, self._settle)
        self.questions: Questions = Questions(limits.max_asked, limits.max_age)
        self.mirrors: Mirrors = Mirrors(limits, tell=tell, ask=self._ask_members)
        self.open: bool = False
        """Whether the welcome of the present connection has come."""
        self.key: str | None = None
        """What opens the session again; None before the first welcome."""
        self.id: str | None = None
        """The client's public id."""
        self.channel: str | None = None
        """The current channel."""
        self.beat: float = _DEFAULT_BEAT
        """Seconds after which the server gives a sign of life."""
        self.at_odds: bool = False
        """Whether the server knows other numbers or memberships. A resume mends that."""
        self._own_channel: str | None = (
            None  # the current channel, as far as the own stream has said it
        )
        self._late_to = 0  # a result of a higher number says that the own stream has caught up
        self._doubtful = False  # whether memberships may have changed in a gap
        self._now = 0.0  # of the packet that is taken

    @property
    def channels(self) -> list[str]:
        """The channels that the client is a member of."""
        return [name for name in map(channel_of, self.streams.positions) if name is not None]

    def receive(self, packet: FromServer, now: float) -> None:
        """Take a packet of the server's. One that fits nowhere is ignored."""
        self._now = now
        take = _TAKE.get(type(packet))
        if take is not None and (self.open or type(packet) in _BEFORE_WELCOME):
            take(self, packet)

    def lost(self) -> None:
        """The connection has ended."""
        self.open = self.at_odds = False

    def end(self) -> None:
        """There will be no connection any more."""
        self.outbox.end()
        self.questions.clear()
        self.mirrors.clear()

    # -- welcome --------------------------------------------------------------------------------

    def _take_welcome(self, welcome: Welcome) -> None:
        if self.open or not 0 <= welcome.seq < MAX_NUMBER:
            return
        first, self.key, self.id = self.key is None, welcome.key, welcome.id
        self._late_to = welcome.seq
        resumed = welcome.resumed and not first
        self.open = True
        least, most = _BEATS
        self.beat = welcome.beat if least <= welcome.beat <= most else _DEFAULT_BEAT
        self._tell(Opened(welcome.id, resumed, first, welcome.limits))
        if resumed:
            self.outbox.resume(welcome.seq)
        else:
            self.questions.clear()
            self.outbox.begin(welcome.seq)
        found = self.streams.resume(welcome.streams, resumed=resumed)
        whole = resumed and not (self._doubtful or OWN in found.missed or OWN in found.gone)
        self._doubtful = False
        if not whole or self._own_channel is None:
            self._own_channel = welcome.channel
        if not whole:
            self.outbox.doubt_accepted()  # 5.14
            self.streams.doubt()
        self._be_member(welcome, found)
        self._restore_presence(watched=whole)

    def _be_member(self, welcome: Welcome, found: Resumption) -> None:
        """Tell the memberships that a welcome has begun and ended."""
        codes = {denied.channel: denied.error.code for denied in welcome.denied}
        for channel in map(channel_of, found.gone):
            if channel is not None:
                self._depart(channel, codes.get(channel))
        self.channel = welcome.channel
        for channel in map(channel_of, found.began):
            if channel is not None:
                self._tell(Entered(channel, channel == welcome.channel))

    def _restore_presence(self, *, watched: bool) -> None:
        """Catch up with who came and went while there was no connection.

        Args:
            watched: whether the server still knows that the client wants to be told.
        """
        self.outbox.withdraw()
        for mirror in self.mirrors:
            if stream_of(mirror.channel) not in self.streams:
                continue  # the channel is being joined
            mirror.asking = False  # an answer that is under way may be too old
            mirror.expect()
            mirror.watched &= watched
            if not mirror.watched:
                packet = Join(seq=UNNUMBERED, channel=mirror.channel, presence=True)
                due = self._now + self._limits.max_age
                self.outbox.add(Item(packet, 0, due, members_of=mirror.channel))

    # -- entries --------------------------------------------------------------------------------

    def _take_event(self, event: Event) -> None:
        if event.at is None:
            if event.stream in self.streams:
                self._tell(event)
        elif self._is_next(event.stream, event.at):
            self._tell(event)

    def _take_skip(self, skip: Skip) -> None:
        self._is_next(skip.stream, skip.at)

    def _take_gap(self, gap: Gap) -> None:
        if self.streams.skip(gap.stream, gap.at):
            self._note_missed(gap.stream)

    def _is_next(self, stream: str, at: Position) -> bool:
        """Whether an entry is to be taken; the stream goes on then."""
        verdict = self.streams.take(stream, at, self._now)
        if verdict is Verdict.NEW_LIFE:
            self._note_missed(stream)
        elif verdict is Verdict.ASK and stream == OWN:
            self._late_to = self.outbox.last
            self.streams.fall_behind()
        return verdict in (Verdict.TAKE, Verdict.NEW_LIFE)

    def _note_missed(self, stream: str) -> None:
        """A gap was told."""
        channel = channel_of(stream)
        if stream == OWN:
            self.outbox.doubt_all()  # 5.14
            self.streams.doubt()
            self.at_odds = self._doubtful = True
        elif channel is not None:
            self.mirrors.lapse(channel)

    def _is_own(self, entry: Result | Asked | Joined | Left) -> bool:
        return entry.stream == OWN and self._is_next(OWN, entry.at)

    def _take_asked(self, asked: Asked) -> None:
        if not self._is_own(asked) or asked.id in self.questions:
            return
        if self.questions.ask(asked.id, self._now):
            self._tell(asked)
            return
        packet = answer(asked.id, None, _BUSY)
        try:
            self.outbox.require_room(0, request=False)
        except OutboxFull:
            return  # then it hears nothing
        self.outbox.add(Item(packet, 0, self._now + self._limits.max_age))

    def _take_joined(self, joined: Joined) -> None:
        if self._is_own(joined):
            begun = Begun(stream_of(joined.channel), joined.position, recovered=False)
            self._enter(joined.channel, begun, None, current=joined.current)

    def _take_left(self, left: Left) -> None:
        if self._is_own(left):
            self._leave(left.channel, left.code)

    # -- results --------------------------------------------------------------------------------

    def _take_result(self, result: Result) -> None:
        if not self._is_own(result):
            return
        if result.re > self._late_to:
            self.streams.catch_up()
        item = self.outbox.result(result.re)
        if item is None:
            return
        packet = item.packet
        outcome: Outcome = result.error or Done(result.data, result.published)
        if isinstance(outcome, Done) and isinstance(packet, (Join, Move)):
            outcome = self._be_let_in(packet, outcome)
        elif isinstance(outcome, Done) and isinstance(packet, Leave):
            self._leave(packet.channel, None)
        elif item.channel is not None and _is(outcome, _NO_MEMBER):
            self._leave(item.channel, _NO_MEMBER)  # what ended the membership was lost in a gap
        elif isinstance(packet, OF_MEMBERSHIPS) and _is(outcome, UNKNOWN.code):
            # 5.14: a welcome says where the client is
            self.at_odds, self._own_channel = True, None
        self._settle(item, outcome)

    def _be_let_in(self, packet: Join | Move, done: Done) -> Outcome:
        begun = _converted(done.data, Begun)
        if begun is None or begun.stream != stream_of(packet.channel):
            return INVALID
        self._enter(packet.channel, begun, packet.at, current=isinstance(packet, Move))
        if isinstance(packet, Join) and packet.presence:
            self.mirrors.watch(packet.channel)
        return done

    def _settle(self, item: Item, outcome: Outcome) -> None:
        packet = item.packet
        if item.members_of is not None:
            data = outcome.data if isinstance(outcome, Done) else None
            self.mirrors.take_answer(item.members_of, _converted(data, Snapshot))
        elif isinstance(packet, Join) and isinstance(outcome, Failure):
            self.mirrors.give_up(packet.channel)
        if item.pending is not None:
            item.pending.outcome = outcome
            self._tell(Settled(item.pending))

    # -- memberships ----------------------------------------------------------------------------

    def _enter(self, channel: str, begun: Begun, at: Position | None, *, current: bool) -> None:
        known = begun.stream in self.streams
        if not self.streams.begin(begun, at):
            self._tell(Departed(channel, "too-many-channels"))
            return
        shown = self.channel
        if current:
            before, self._own_channel, self.channel = self._own_channel, channel, channel
            if before is not None and before != channel:
                self._leave(before, None)
        if not known or self.channel != shown:
            self._tell(Entered(channel, self.channel == channel))

    def _leave(self, channel: str, code: str | None) -> None:
        if self.streams.end(stream_of(channel)):
            self._depart(channel, code)

    def _depart(self, channel: str, code: str | None) -> None:
        self.mirrors.remove(channel)
        if channel == self.channel:
            self.channel = None
        self._tell(Departed(channel, code))

    # -- the rest -------------------------------------------------------------------------------

    def _take_members(self, members: Members) -> None:
        self.mirrors.take_members(members)

    def _take_presence(self, presence: Presence) -> None:
        self.mirrors.take_presence(presence)

    def _ask_members(self, channel: str) -> None:
        packet = Request(seq=UNNUMBERED, name=_MEMBERS, data={"channel": channel})
        due = self._now + self._limits.request_timeout
        self.outbox.add(Item(packet, 0, due, members_of=channel))

    def _take_ack(self, ack: Ack) -> None:
        self.outbox.ack(ack.seq)

    def _take_renew(self, renew: Renew) -> None:
        self._tell(TokenWanted(renew.seconds))

    def _take_error(self, error: Error) -> None:
        self._tell(Refused(error.code, error.message))
        self.at_odds |= error.code == "bad-seq"


_BUSY = Failure("too-many-requests", "too many requests are open", temporary=True)


def answer(request: int, data: Any, error: Failure | None) -> Reply:
    """A reply to a request of the server's, without a number."""
    return Reply(seq=UNNUMBERED, re=request, data=UNSET if error else data, error=error)


def _is(outcome: Outcome, code: str) -> bool:
    return isinstance(outcome, Failure) and outcome.code == code


def _converted(data: Any, kind: type[Kind]) -> Kind | None:
    """What a result says, if it says it."""
    try:
        return msgspec.convert(data, kind)
    except (msgspec.ValidationError, RecursionError):
        return None


_TAKE: dict[type, Callable[[ClientSession, Any], None]] = {
    Ack: ClientSession._take_ack,
    Asked: ClientSession._take_asked,
    Error: ClientSession._take_error,
    Event: ClientSession._take_event,
    Gap: ClientSession._take_gap,
    Joined: ClientSession._take_joined,
    Left: ClientSession._take_left,
    Members: ClientSession._take_members,
    Presence: ClientSession._take_presence,
    Renew: ClientSession._take_renew,
    Result: ClientSession._take_result,
    Skip: ClientSession._take_skip,
    Welcome: ClientSession._take_welcome,
}
_BEFORE_WELCOME = frozenset((Welcome, Error))
