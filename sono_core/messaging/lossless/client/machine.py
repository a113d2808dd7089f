"""`ClientMachine`: the client's side of `sono.v2`, without connections and clocks.

A driver connects, writes what `packets_to_send` gives, hands over what comes, and calls `tick` when
`next_deadline` says so. After each call it takes `events`. Whatever the server says raises nothing,
and what is kept has bounds; an exception is the caller's own mistake, and nothing was changed then.
docs/protocol.md, second part.
"""

from typing import Any, Literal, Protocol, TypeVar, overload

from msgspec.structs import replace

from sono_core.arguments import require_type
from sono_core.errors import LocalProtocolError
from sono_core.limits import DEFAULT_LIMITS, Limits, require_positive
from sono_core.messaging import check_channel, check_event, check_name
from sono_core.messaging.lossless import Position
from sono_core.messaging.lossless.packets import (
    Bye,
    Failure,
    FromClient,
    FromServer,
    Hello,
    Join,
    Leave,
    Move,
    Numbered,
    Present,
    Publish,
    Request,
    Send,
    Token,
)

from .limits import DEFAULT_CLIENT_LIMITS, ClientLimits
from .outbox import UNNUMBERED, Item
from .pending import NO_SUCH_REQUEST, Pending
from .session import ClientSession, answer
from .status import State, Status
from .told import Settled, Told

Said = TypeVar("Said", bound=FromClient)


class Keep(Protocol):
    """Gives a packet as it can be kept, with data that the application no longer changes, and how
    many bytes it has when it is written.

    Raises what its codec raises for data that cannot be written.
    """

    def __call__(self, packet: Said, /) -> tuple[Said, int]: ...


class ClientMachine:
    """A client's session, over any number of connections.

    Times are in seconds of a clock that never steps.

    Args:
        keep: see `Keep`.
        client_limits: how much the client keeps.
        limits: what names the server accepts: `max_name`.
    """

    def __init__(
        self,
        *,
        keep: Keep,
        client_limits: ClientLimits = DEFAULT_CLIENT_LIMITS,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._keep = keep
        self._client_limits = client_limits
        self._limits = limits
        self._told: list[Told] = []
        self._ready: list[FromClient] = []  # to be written before those of the outbox
        self._session = ClientSession(client_limits, tell=self._tell, say=self._say)
        self._attached = False  # whether there is a connection
        self._leaving = False  # whether the application has said bye
        self._parted = False  # whether that was handed out: nothing may follow
        self._hopeless = False  # whether the server gave no sign of life, or not what was read
        self._heard = 0.0  # when anything came last
        self.status: Status = Status(State.CONNECTING)

    # -- connections ----------------------------------------------------------------------------

    def connecting(self) -> None:
        """Another attempt begins.

        Raises:
            LocalProtocolError: there is a connection, or the session has ended.
        """
        self._require_detached()
        self._be(Status(State.CONNECTING))

    def connected(self, now: float, token: str | None = None) -> None:
        """There is a connection; the client says hello.

        Raises:
            LocalProtocolError: there is one already, or the session has ended.
            TypeError: the token is not a str.
        """
        require_type("token", token, str, None)
        self.connecting()
        self._attached = True
        self._heard = now
        session = self._session
        hello = Hello(
            token=token,
            key=session.key,
            streams=session.streams.positions,
            channel=session.channel,
            joined=[channel for channel in session.channels if channel != session.channel],
        )
        self._say(hello)

    def receive(self, packet: FromServer, now: float) -> None:
        """Take a packet of the server's. One that fits nowhere is ignored."""
        if not self._attached or self.status.state is State.CLOSED:
            return
        self._heard = now
        self._session.receive(packet, now)
        if self._session.open:
            self._be(Status(State.OPEN))

    def lost(self, now: float, retry_in: float | None) -> None:
        """The connection has ended, or could not be made.

        Args:
            now: when.
            retry_in: seconds to the next attempt; None if there will be none. Then whatever has
                no outcome ends, and this is of no further use.
        """
        self._attached = self._hopeless = False
        self._ready = []
        self._session.lost()
        if self._leaving or retry_in is None:
            self._end()
        else:
            self._be(Status(State.WAITING, now + retry_in))

    @property
    def dead(self) -> bool:
        """Whether to cut the connection off and come back: nothing comes, or a resume must say what
        has become of memberships and numbers."""
        return self._hopeless or self.at_odds

    @property
    def at_odds(self) -> bool:
        """Whether it is a resume that is needed: `dead`, although something comes."""
        return self._session.at_odds

    def _require_detached(self) -> None:
        self._require_session()
        if self._attached:
            raise LocalProtocolError("there is a connection already")

    def _require_session(self) -> None:
        if self._leaving or self.status.state is State.CLOSED:
            raise LocalProtocolError("the session has ended")

    def _end(self) -> None:
        self._session.end()
        self._be(Status(State.CLOSED))

    def _be(self, status: Status) -> None:
        if status != self.status:
            self.status = status
            self._tell(status)

    # -- time -----------------------------------------------------------------------------------

    def next_deadline(self) -> float:
        """When `tick` has something to do; infinity if nothing waits."""
        due = self._session.outbox.next_due
        return min(due, self._hopeless_at) if self._attached and not self._hopeless else due

    def tick(self, now: float) -> None:
        """Give up what has taken too long."""
        self._session.outbox.tick(now)
        self._hopeless = self._attached and now >= self._hopeless_at

    @property
    def _hopeless_at(self) -> float:
        silent_at = self._heard + 2 * self._session.beat  # 4.9
        asked_at = self._session.streams.asked_at
        if asked_at is None:
            return silent_at
        return min(silent_at, asked_at + self._client_limits.request_timeout)

    # -- output ---------------------------------------------------------------------------------

    def packets_to_send(self) -> list[FromClient]:
        """The packets to write to the connection now, in order; they count as written."""
        packets, self._ready = self._ready, []
        if self._parted:
            return []
        if self._session.open:
            packets += self._session.outbox.take()
            if self._leaving:
                self._parted = True
                packets.append(Bye())
        return packets

    def events(self) -> list[Told]:
        """What the application is to be told, in order, since the last call."""
        told, self._told = self._told, []
        return told

    def _tell(self, told: Told) -> None:
        self._told.append(told)

    def _say(self, packet: FromClient) -> None:
        self._ready.append(packet)

    # -- what is known --------------------------------------------------------------------------

    @property
    def id(self) -> str | None:
        """The client's public id; None before the first welcome."""
        return self._session.id

    @property
    def channel(self) -> str | None:
        """The current channel."""
        return self._session.channel

    @property
    def channels(self) -> list[str]:
        """The channels that the client is a member of."""
        return self._session.channels

    @property
    def positions(self) -> dict[str, Position]:
        """The client's position in each of its streams."""
        return self._session.streams.positions

    def members(self, channel: str) -> dict[str, Any]:
        """The members of a channel that was joined with `presence`, with their public data."""
        return self._session.mirrors.members(channel)

    # -- the application's words ----------------------------------------------------------------
    #
    # All raise TypeError and ValueError for wrong arguments, what `keep` raises for data that
    # cannot be written, OutboxFull, and LocalProtocolError after the end of the session.

    def join(
        self, channel: str, *, now: float, at: Position | None = None, presence: bool = False
    ) -> Pending:
        """Become a member of a channel beside the current one.

        Args:
            channel: its name.
            now: the time.
            at: from where on, if that can be had.
            presence: whether to be told who is there.
        """
        self._check_channel(channel)
        require_type("at", at, Position, None)
        require_type("presence", presence, bool)
        packet = Join(seq=UNNUMBERED, channel=channel, at=at, presence=presence)
        pending = self._add(packet, now)
        if presence:
            self._session.mirrors.add(channel)
        return pending

    def move(self, channel: str, *, now: float, at: Position | None = None) -> Pending:
        """Make a channel the current one, instead of the one that is."""
        self._check_channel(channel)
        require_type("at", at, Position, None)
        return self._add(Move(seq=UNNUMBERED, channel=channel, at=at), now)

    def leave(self, channel: str, *, now: float) -> Pending:
        """Be no member of a channel any more; of any but the current one."""
        self._check_channel(channel)
        return self._add(Leave(seq=UNNUMBERED, channel=channel), now)

    @overload
    def publish(
        self,
        channel: str,
        event: str,
        data: Any,
        *,
        now: float,
        volatile: Literal[False] = False,
        to_self: bool = True,
        harmless: bool = False,
    ) -> Pending: ...
    @overload
    def publish(
        self,
        channel: str,
        event: str,
        data: Any,
        *,
        now: float,
        volatile: Literal[True],
        to_self: bool = True,
    ) -> bool: ...
    def publish(
        self,
        channel: str,
        event: str,
        data: Any,
        *,
        now: float,
        volatile: bool = False,
        to_self: bool = True,
        harmless: bool = False,
    ) -> Pending | bool:
        """Say something to all members of a channel.

        Args:
            channel: its name.
            event: the event's name.
            data: what is said.
            now: the time.
            volatile: whether it may be lost. Then there is no outcome, but at once whether there
                is a connection that it is written to.
            to_self: whether this client gets it as well.
            harmless: whether it may arrive twice. Then it is sent again where its outcome would
                be `unknown`.
        """
        self._check_channel(channel)
        check_event(event, self._limits)
        require_type("to_self", to_self, bool)
        return self._speak(
            Publish(channel=channel, event=event, data=data, to_self=to_self, seq=UNNUMBERED),
            now,
            volatile=volatile,
            harmless=harmless,
        )

    @overload
    def send(
        self,
        to: str,
        event: str,
        data: Any,
        *,
        now: float,
        volatile: Literal[False] = False,
        harmless: bool = False,
    ) -> Pending: ...
    @overload
    def send(
        self, to: str, event: str, data: Any, *, now: float, volatile: Literal[True]
    ) -> bool: ...
    def send(
        self,
        to: str,
        event: str,
        data: Any,
        *,
        now: float,
        volatile: bool = False,
        harmless: bool = False,
    ) -> Pending | bool:
        """Say something to one client, by its id; the rest is as for `publish`."""
        require_type("to", to, str)
        check_event(event, self._limits)
        return self._speak(
            Send(to=to, event=event, data=data, seq=UNNUMBERED),
            now,
            volatile=volatile,
            harmless=harmless,
        )

    def request(
        self, name: str, data: Any = None, *, now: float, timeout: float | None = None
    ) -> Pending:
        """Ask the server.

        Args:
            name: of the request.
            data: what it is about.
            now: the time.
            timeout: seconds until the outcome is `timeout`; None stands for `request_timeout`.
        """
        require_type("name", name, str)
        check_name(name, "name", self._limits)
        if timeout is not None:
            require_positive("timeout", timeout, float)
        packet = Request(seq=UNNUMBERED, name=name, data=data, timeout=timeout)
        wait = self._client_limits.request_timeout if timeout is None else timeout
        return self._add(packet, now, due=now + wait)

    def reply(
        self, request: int, data: Any = None, *, now: float, error: Failure | None = None
    ) -> Pending:
        """Answer a request of the server's, by `data` or by `error`, once.

        If nobody waits for it any more, the outcome is `no-such-request` at once.
        """
        self._require_session()
        require_type("request", request, int)
        require_type("error", error, Failure, None)
        if request not in self._session.questions:
            pending = Pending()
            pending.outcome = NO_SUCH_REQUEST
            self._tell(Settled(pending))
            return pending
        pending = self._add(answer(request, data, error), now)
        self._session.questions.answer(request)
        return pending

    def present(self, channel: str, data: Any, *, now: float) -> Pending:
        """Set the client's public data in a channel."""
        self._check_channel(channel)
        return self._add(Present(seq=UNNUMBERED, channel=channel, data=data), now)

    def token(self, token: str) -> bool:
        """Give the server a fresh token; whether there is a connection that it is written to."""
        require_type("token", token, str)
        self._require_session()
        if self._session.open:
            self._say(Token(token))
        return self._session.open

    def bye(self) -> None:
        """End the session, after what waits was written. The driver then closes with 1000."""
        self._require_session()
        self._leaving = True
        if not self._session.open:
            self._ready = []
            self._end()

    def _check_channel(self, channel: str) -> None:
        check_channel(channel, self._limits)

    def _speak(
        self, packet: Publish | Send, now: float, *, volatile: bool, harmless: bool
    ) -> Pending | bool:
        require_type("volatile", volatile, bool)
        require_type("harmless", harmless, bool)
        if not volatile:
            return self._add(packet, now, harmless=harmless)
        self._require_session()
        kept, _ = self._keep(replace(packet, seq=None))
        if self._session.open:
            self._say(kept)
        return self._session.open

    def _add(
        self, packet: Numbered, now: float, *, due: float | None = None, harmless: bool = False
    ) -> Pending:
        self._require_session()
        kept, size = self._keep(packet)
        self._session.outbox.require_room(size, request=due is not None)
        pending = Pending()
        due = now + self._client_limits.max_age if due is None else due
        self._session.outbox.add(Item(kept, size, due, harmless=harmless, pending=pending))
        return pending
