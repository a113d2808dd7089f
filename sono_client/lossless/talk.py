"""A client's side of `sono.v2`: its machine, the messages on the wire, and who is told what.

A client opens connections, writes what `written` gives, hands over what comes, and calls `tick`
when `next_deadline` says so. After each call it does the `jobs`. Nothing here moves bytes.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from sono_core.errors import LocalProtocolError, OutboxFull, RequestFailed
from sono_core.limits import Limits
from sono_core.messaging import Content, size_of
from sono_core.messaging.classic import Callback, ClientState, Incoming, Listing
from sono_core.messaging.lossless import Data, Position, channel_of, packets
from sono_core.messaging.lossless.client import (
    ClientMachine,
    Departed,
    Done,
    Entered,
    Missed,
    Opened,
    Pending,
    PresenceChanged,
    Refused,
    Settled,
    State,
    Status,
    TokenWanted,
    Told,
)
from sono_core.messaging.v2 import LOSSLESS, PacketError

from .channels import ChannelView
from .hooks import Handlers, Hooks
from .options import LosslessOptions
from .tickets import Job, Question, Renewal, Ticket
from .values import (
    About,
    Channels,
    ClientSession,
    ClientStatus,
    Gap,
    History,
    Members,
    Received,
    StateName,
)

Result = TypeVar("Result")
Said = TypeVar("Said", bound=packets.FromClient)
View = TypeVar("View", bound=ChannelView)


class Talk(Generic[View]):
    """What is said over any number of connections.

    Args:
        options: how.
        limits: what the server accepts.
        callbacks: of the events of any stream.
        hooks: of what is no event: `connect`, `gap`, `join`, `session` and `status`.
        handlers: of the server's requests.
        view: makes a channel, of its name.
        time: seconds of a clock that never steps.
    """

    def __init__(
        self,
        options: LosslessOptions,
        limits: Limits,
        callbacks: Callable[[str], list[Callback]],
        hooks: Hooks,
        handlers: Handlers,
        view: Callable[[str], View],
        time: Callable[[], float],
    ) -> None:
        self._codec = options.codec
        self._limits = limits
        self._callbacks = callbacks
        self._hooks = hooks
        self._view = view
        self._time = time
        self._handlers = handlers
        self._machine = ClientMachine(
            keep=self._keep, client_limits=options.client_limits, limits=limits
        )
        self._views: dict[str, View] = {}
        self._joining: list[tuple[Pending, str]] = []  # what the application asked for itself
        self._moves: list[tuple[Pending, str]] = []
        self._unwatched: dict[Pending, None] = {}  # nobody waits for their outcomes
        self._grabs: dict[Pending, str] = {}  # the kinds of the listings that are asked for
        self._leaving = False
        self.welcomed: bool = False
        """Whether there was a session ever."""
        self.received: int = 0
        """How many messages have come."""

    # -- connections ----------------------------------------------------------------------------

    def connecting(self) -> None:
        """Another attempt begins."""
        if not self.ended:
            self._machine.connecting()

    def opened(self, protocol: str, token: str | None) -> None:
        """There is a connection, with this subprotocol.

        Raises:
            TypeError: the token is not a str.
        """
        if not self.ended:
            self._codec = LOSSLESS[protocol].codec
            self._machine.connected(self._time(), token)

    def receive(self, message: Content) -> None:
        """A message has come."""
        self.received += 1
        packet = self._codec.from_server(message)
        if packet is not None:
            self._machine.receive(packet, self._time())

    def lost(self, retry_in: float | None) -> None:
        """The connection has ended, or could not be made; see `ClientMachine.lost`."""
        if self._machine.status.state is not State.CLOSED:
            self._machine.lost(self._time(), retry_in)

    def bye(self) -> None:
        """End the session, after what waits was written. Nothing can be said any more."""
        if not self.ended:
            self._leaving = True
            self._machine.bye()

    def written(self) -> list[Content]:
        """The messages to write to the connection now, in order."""
        return [self._codec.write(packet) for packet in self._machine.packets_to_send()]

    def next_deadline(self) -> float:
        """When `tick` has something to do."""
        return self._machine.next_deadline()

    def tick(self) -> None:
        """Give up what has taken too long."""
        self._machine.tick(self._time())

    def dead(self, behind: bool) -> bool:
        """Whether to cut the connection off and come back.

        Args:
            behind: whether something has come that was not received yet: a sign of life.
        """
        return self._machine.at_odds or (self._machine.dead and not behind)

    # -- what is known --------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Whether there is a connection that is welcome."""
        return self._machine.status.state is State.OPEN

    @property
    def over(self) -> bool:
        """Whether there will be no connection any more."""
        return self._machine.status.state is State.CLOSED

    @property
    def ended(self) -> bool:
        """Whether nothing can be said any more."""
        return self._leaving or self.over

    @property
    def owes(self) -> bool:
        """Whether outcomes are missing for which nobody waits."""
        return bool(self._unwatched)

    @property
    def id(self) -> str | None:
        """The client's public id."""
        return self._machine.id

    @property
    def channel(self) -> str | None:
        """The current channel."""
        return self._machine.channel

    @property
    def channels(self) -> list[str]:
        """The channels that the client is a member of."""
        return self._machine.channels

    @property
    def positions(self) -> dict[str, Position]:
        """The position in each stream."""
        return self._machine.positions

    @property
    def status(self) -> ClientStatus:
        """How the client stands."""
        return self._shown(self._machine.status)

    def members(self, channel: str) -> dict[str, Any]:
        """Those that are known."""
        return self._machine.members(channel)

    def view(self, channel: str) -> View:
        """A channel, the same for as long as the client is a member."""
        found = self._views.get(channel)
        if found is None:
            found = self._views[channel] = self._view(channel)
        return found

    # -- the application's words ----------------------------------------------------------------
    #
    # All raise TypeError and ValueError for wrong arguments, LocalProtocolError for data that the
    # server would refuse and after the end, and OutboxFull.

    def join(self, channel: str, *, at: Position | None, presence: bool) -> Ticket[View]:
        """Become a member of a channel."""
        pending = self._machine.join(channel, now=self._time(), at=at, presence=presence)
        _note(self._joining, pending, channel)
        return Ticket(pending, lambda done: self._joined(channel))

    def move(self, channel: str, *, at: Position | None = None) -> Ticket[View]:
        """Make a channel the current one."""
        pending = self._machine.move(channel, now=self._time(), at=at)
        _note(self._joining, pending, channel)
        _note(self._moves, pending, channel)
        return Ticket(pending, lambda done: self._joined(channel))

    def _joined(self, channel: str) -> View:
        return self._views.get(channel) or self._view(channel)  # it may have been left again

    def leave(self, channel: str) -> Ticket[None]:
        """Be no member of a channel any more."""
        return Ticket(self._machine.leave(channel, now=self._time()), _nothing)

    def publish(
        self, channel: str, event: str, data: Any, *, to_self: bool, harmless: bool
    ) -> Ticket[Position | None]:
        """Say something to all members of a channel."""
        pending = self._machine.publish(
            channel, event, data, now=self._time(), to_self=to_self, harmless=harmless
        )
        return Ticket(pending, lambda done: done.published)

    def publish_volatile(self, channel: str, event: str, data: Any, *, to_self: bool) -> None:
        """The same, now or not at all."""
        self._machine.publish(
            channel, event, data, now=self._time(), volatile=True, to_self=to_self
        )

    def send(self, to: str, event: str, data: Any, *, harmless: bool) -> Ticket[None]:
        """Say something to one client."""
        pending = self._machine.send(to, event, data, now=self._time(), harmless=harmless)
        return Ticket(pending, _nothing)

    def send_volatile(self, to: str, event: str, data: Any) -> None:
        """The same, now or not at all."""
        self._machine.send(to, event, data, now=self._time(), volatile=True)

    def request(self, name: str, data: Any, *, timeout: float | None) -> Ticket[Any]:
        """Ask the server."""
        pending = self._machine.request(name, data, now=self._time(), timeout=timeout)
        return Ticket(pending, _data)

    def present(self, channel: str, data: Any) -> Ticket[None]:
        """Set the client's public data in a channel."""
        return Ticket(self._machine.present(channel, data, now=self._time()), _nothing)

    def history(
        self, channel: str, *, before: Position | None, limit: int | None
    ) -> Ticket[History]:
        """Ask for a page of a channel's history."""
        asked: dict[str, Any] = {"channel": channel}
        if before is not None:
            asked["before"] = before
        if limit is not None:
            asked["limit"] = limit
        pending = self._machine.request("sono.history", asked, now=self._time())
        return Ticket(pending, partial(_converted, kind=History))

    def reply(self, question: int, data: Any = None, error: packets.Failure | None = None) -> None:
        """Answer a request of the server's.

        Nobody is told what becomes of it; where the outbox is full, the server hears nothing.
        """
        if not self.ended:
            with suppress(OutboxFull):
                self._machine.reply(question, data, now=self._time(), error=error)

    def token(self, token: str) -> None:
        """Give the server a fresh token."""
        if not self.ended:
            self._machine.token(token)

    # -- the words of the classic dialect -------------------------------------------------------

    def message(self, content: object, event: str, *, to_self: bool) -> None:
        """Publish in the current channel, without waiting. A failure is an event `error`."""
        channel = self._target
        if channel is None:
            raise RequestFailed("not-a-member", "the client is in no channel")
        ticket = self.publish(channel, event, content, to_self=to_self, harmless=False)
        self._unwatched[ticket.pending] = None

    def direct_message(self, content: object, to: str, event: str) -> None:
        """Send to one client, without waiting."""
        ticket = self.send(to, event, content, harmless=False)
        self._unwatched[ticket.pending] = None

    def change_channel(self, name: str) -> None:
        """Move, without waiting."""
        self._unwatched[self.move(name).pending] = None

    def grab(self, kind: str) -> Ticket[Listing]:
        """Ask for a listing: the answer comes after all that was said before."""
        ClientState(self._limits).grab(kind)  # raises if it is wrong
        if kind == "mychannelclients":
            asked = {"channel": self._target}
            pending = self._machine.request("sono.members", asked, now=self._time())
        else:
            pending = self._machine.request("sono.channels", now=self._time())
        self._grabs[pending] = kind
        return Ticket(pending, lambda done: self._listing(kind, done))

    def _listing(self, kind: str, done: Done) -> Listing:
        if kind == "mychannelclients":
            found = _converted(done, Members)
            listing = Listing(member for member, _ in found.members)
            listing.truncated = found.count > len(listing)
            return listing
        known = {"myid": self.id, "mychannel": self.channel}
        if kind == "channels":
            channels = _converted(done, Channels)
            listing = Listing(channels.channels)
            listing.truncated = channels.truncated
            return listing
        return Listing([known[kind] or ""] if kind in known else ["invalid grab request"])

    @property
    def _target(self) -> str | None:
        """The channel that is the current one when what is said now arrives."""
        self._moves = [(move, name) for move, name in self._moves if move.outcome is None]
        return self._moves[-1][1] if self._moves else self._machine.channel

    # -- who is told ----------------------------------------------------------------------------

    def jobs(self) -> list[Job]:
        """What there is to do since the last call, in order."""
        return [job for told in self._machine.events() for job in self._jobs_of(told)]

    def _jobs_of(self, told: Told) -> Iterable[Job]:
        return _JOBS[type(told)](self, told)

    def _event(self, incoming: Incoming) -> Iterator[Job]:
        yield incoming
        for callback in self._callbacks(incoming.event):
            yield partial(callback, incoming.payload)

    def _received(self, event: packets.Event) -> Iterator[Job]:
        channel = channel_of(event.stream)
        if channel is not None and channel in self._views:
            about = About(event.event, event.stream, event.at, event.sender)
            for callback in self._views[channel].hearers(event.event):
                yield partial(callback, event.data, about)
        payload = {"message": event.data}
        if event.sender is not None:
            payload["from"] = event.sender
        yield from self._event(Received(event.event, payload, event.stream, event.at))

    def _asked(self, asked: packets.Asked) -> Iterator[Job]:
        handler = self._handlers.of(asked.name)
        if handler is None:
            self.reply(
                asked.id, error=packets.Failure("unknown-request", f"nobody answers {asked.name}")
            )
        else:
            yield Question(asked.id, handler, asked.data)

    def _opened(self, opened: Opened) -> Iterator[Job]:
        self.welcomed = True
        session = ClientSession(opened.id, opened.resumed, self.channel or "")
        for function in self._hooks.of("session"):
            yield partial(function, session)
        if not opened.first:
            yield from self._hooks.of("connect")

    def _missed(self, missed: Missed) -> Iterator[Job]:
        gap = Gap(missed.stream, missed.first, missed.at)
        channel = channel_of(missed.stream)
        told = self._views[channel].told_of_gaps() if channel in self._views else []
        for function in (*told, *self._hooks.of("gap")):
            yield partial(function, gap)

    def _entered(self, entered: Entered) -> Iterator[Job]:
        self._joining = [one for one in self._joining if one[0].outcome is None]
        view = self.view(entered.channel)
        own = any(channel == entered.channel for _, channel in self._joining)
        if not own and not entered.current:
            for function in self._hooks.of("join"):
                yield partial(function, view)

    def _departed(self, departed: Departed) -> Iterator[Job]:
        view = self._views.pop(departed.channel, None)
        if view is not None and departed.code is not None:
            for function in view.told_of_the_end():
                yield partial(function, departed.code)

    def _members_changed(self, changed: PresenceChanged) -> Iterator[Job]:
        if changed.channel in self._views:
            for function in self._views[changed.channel].told_of_presence():
                yield partial(function, changed)

    def _settled(self, settled: Settled) -> Iterator[Job]:
        pending, outcome = settled.pending, settled.pending.outcome
        kind = self._grabs.pop(pending, None)
        if kind is not None and isinstance(outcome, Done):
            with suppress(msgspec.ValidationError):
                yield from self._listed(kind, self._listing(kind, outcome))
        yield settled
        if pending in self._unwatched:
            del self._unwatched[pending]
            if isinstance(outcome, packets.Failure):
                yield from self._error(outcome)

    def _listed(self, kind: str, listing: Listing) -> Iterator[Job]:
        """The event that an answered question is, beside its answer."""
        payload: dict[str, Any] = {"message": list(listing), "type": kind}
        if listing.truncated:
            payload["truncated"] = True
        yield from self._event(Incoming("grab", payload))

    def _error(self, error: packets.Failure | Refused) -> Iterator[Job]:
        yield from self._event(Incoming("error", {"code": error.code, "message": error.message}))

    def _renewal(self, wanted: TokenWanted) -> Iterator[Job]:
        yield Renewal()

    def _status(self, status: Status) -> Iterator[Job]:
        for function in self._hooks.of("status"):
            yield partial(function, self._shown(status))

    def _shown(self, status: Status) -> ClientStatus:
        name: StateName = status.state.value
        at = status.retry_at
        return ClientStatus(name, None if at is None else max(0.0, at - self._time()))

    # -- the machine's codec --------------------------------------------------------------------

    def _keep(self, packet: Said) -> tuple[Said, int]:
        """A packet with data that no longer changes; the server's own rules refuse it."""
        data = getattr(packet, "data", UNSET)
        if data is not UNSET:
            packet = replace(packet, data=Data.of(data))
        content = self._codec.write(packet)
        size = size_of(content)
        if size > self._limits.max_message:
            raise LocalProtocolError(f"message: more than {self._limits.max_message} bytes")
        try:
            self._codec.weigh(content, self._limits)
        except PacketError as error:
            raise LocalProtocolError(f"message: {error.text}") from None
        return packet, size


_JOBS: dict[type, Callable[[Any, Any], Iterable[Job]]] = {
    packets.Asked: Talk._asked,
    Departed: Talk._departed,
    Entered: Talk._entered,
    packets.Event: Talk._received,
    Missed: Talk._missed,
    Opened: Talk._opened,
    PresenceChanged: Talk._members_changed,
    Refused: Talk._error,
    Settled: Talk._settled,
    Status: Talk._status,
    TokenWanted: Talk._renewal,
}


def _note(noted: list[tuple[Pending, str]], pending: Pending, channel: str) -> None:
    noted[:] = [one for one in noted if one[0].outcome is None]
    noted.append((pending, channel))


def _nothing(done: Done) -> None:
    return None


def _data(done: Done) -> Any:
    return None if done.data is UNSET else done.data


def _converted(done: Done, kind: type[Result]) -> Result:
    return msgspec.convert(_data(done), kind)
