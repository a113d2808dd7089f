"""Clients that speak `sono.v2`: their connections, and what is written there.

`sono_core.messaging.lossless.server` decides; `handling` calls the application. docs/protocol.md.
"""

import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from itertools import islice
from typing import Any

from sono_core import CloseCode, Limits, Timeouts
from sono_core.events import Close
from sono_core.messaging import (
    Content,
    Deliver,
    Publish,
    size_of,
)
from sono_core.messaging.lossless import (
    Backplane,
    Histories,
    MemoryBackplane,
    Position,
    Receipt,
    packets,
)
from sono_core.messaging.lossless.server import (
    Answer,
    Bounds,
    Conversation,
    Enumerate,
    Node,
    Settings,
    author_of,
    same,
    written,
)
from sono_core.messaging.v2 import PacketError, Speech
from sono_server.serving import Alarm, Loop, WebSocket, logger

from .away import Away
from .beats import Beats
from .clients import new_id
from .handling import Handling
from .lines import Line
from .owner import Owner
from .works import NO_PACKET, Gone, Resumed, Suspended

_TOLD = ("max_message", "max_name", "max_depth", "max_containers", "max_joined", "max_presence")
"""Limits that clients are told."""
_PART = 4  # of a server's memory: histories take no more than the fourth part
_WAITING = 64  # bytes that count for each packet that waits for its turn, beside its own
_LOOKS = 500  # clients of which it is seen at once whether they have room
_USUAL = 256  # characters of a request's path that are in what any session takes
_SOONEST = 0.001
"""Seconds after which it is ticked again, at the earliest."""


def settings_of(limits: Limits, timeouts: Timeouts) -> Settings:
    """What a node needs of them."""
    return Settings(
        sessions=Bounds(
            age=timeouts.session,
            count=limits.max_suspended,
            count_of_address=limits.max_suspended_of_address,
            size=limits.max_suspended_bytes,
        ),
        max_joined=limits.max_joined,
        max_requests=limits.max_requests,
        max_members=limits.max_members,
        max_channels=limits.max_channels,
        max_listing=limits.max_listing,
        max_present=limits.max_presence,
        max_presence=limits.max_presence_bytes,
        grace=timeouts.grace,
        beat=timeouts.beat,
        request=timeouts.request,
        renew=timeouts.renew,
        limits={name: getattr(limits, name) for name in _TOLD},
    )


class Lossless(Handling):
    """The host of a `Node`.

    Args:
        owner: has the application.
        limits: of packets and sessions.
        timeouts: of sessions.
        histories: of channels.
        backplane: that of several processes; None: this one has its own, in its memory.
    """

    def __init__(
        self,
        owner: Owner,
        limits: Limits,
        timeouts: Timeouts,
        histories: Histories,
        backplane: Backplane | None = None,
    ) -> None:
        super().__init__(owner, limits)
        self._timeouts = timeouts
        memory = MemoryBackplane(time.monotonic, lambda: new_id(9), limits)
        self._backplane: Backplane = memory if backplane is None else backplane
        self.shared: bool = self._backplane.shared
        """Whether other processes have the same backplane."""
        self._look_after_at = 0.0 if self.shared else math.inf  # when it looks after itself
        self.node: Node = Node(
            owner.hub,
            self._backplane,
            self,
            settings_of(limits, timeouts),
            histories,
            time.monotonic,
            new_id,
            lambda: secrets.token_urlsafe(18),
        )
        self.alarm: Alarm = Alarm(self._tick)
        self._time: Callable[[], float] = time.monotonic
        """Of the loop, once there is one."""
        self.node.presence.noted = self.schedule
        self._beats = Beats(timeouts.beat, owner.hub, owner.clients)
        self._said = self._beats.said
        # Clients that get what they missed when they have room.
        self._full: OrderedDict[str, None] = OrderedDict()
        self._look_at = 0.0  # when it is seen who has
        self._complained = False  # of an identity that cannot be written
        self._author: tuple[Any, bytes] = None, b""  # the last one's identity, and its name

    def serve_on(self, loop: Loop) -> None:
        """The server that has the clients from now on."""
        self._time = loop.time
        self.alarm.scheduled = math.inf  # the loop before may have ended, and call nobody any more
        loop.memory.count(lambda: self.held)
        if isinstance(self._backplane, MemoryBackplane):
            most = loop.memory.limit // _PART
            self._backplane.streams.budget = min(self._limits.max_histories, most)
        self._backplane.start()
        self.node.begin()
        loop.at_end(self.end)
        if self.shared:
            self.schedule()

    @property
    def ready(self) -> bool:
        """Whether what is said here reaches everybody."""
        return self._backplane.ready

    @property
    def held(self) -> int:
        """Bytes for all clients: histories, public data, packets that wait for the application."""
        return self._backplane.held + self.node.presence.held + self._waiting

    def end(self) -> None:
        """The server has ended: so have the sessions that wait for their clients, unless these may
        go on elsewhere."""
        self.node.close(CloseCode.GOING_AWAY)
        self.node.elsewhere.end_all()
        self._backplane.close()

    # -- connections ------------------------------------------------------------------------------

    def opened(self, line: Line, loop: Loop) -> None:
        """A connection is open; its client has to say hello."""
        address = line.request.client
        host = address[0] if isinstance(address, tuple) else str(address)
        line.conversation = Conversation(self.node, line, host)
        line.since = loop.time()
        self._silent[line] = None
        self.schedule()

    def receive(self, socket: WebSocket, message: Content) -> None:
        """A message has come; the socket's data is its line."""
        line: Line = socket.data
        codec, limits = line.speech.codec, self._limits
        cost = None
        try:
            cost = codec.weigh(message, limits)
            self._charge(line, cost)
            packet = codec.from_client(message, limits)
        except PacketError as error:
            if cost is None:
                self._charge(line, size_of(message))
            line.conversation.bad(error.code, error.text, error.seq)
        else:
            if work := line.conversation.receive(packet):
                if line in self._silent:  # the application has as long to answer
                    line.since = self._time()
                    self._silent.move_to_end(line)
                self.take(line, work, len(message) + _WAITING)
                if isinstance(work, (Answer, Enumerate)):
                    self.schedule()  # its time-out
        line.conversation.ack()

    def disconnect(self, identity: Any, code: int, reason: str) -> None:
        """End connections of an identity that are just being opened."""
        self._close_silent(lambda one: same(one, identity), code, reason)

    def _close_silent(self, is_theirs: Callable[[Any], bool], code: int, reason: str) -> None:
        for line in list(self._silent):
            if line.client is not None and is_theirs(line.client.identity):
                line.socket.close(code, reason)

    def closed(self, socket: WebSocket, close: Close) -> None:
        """A connection has ended."""
        line: Line = socket.data
        socket.data = None  # or they would hold each other
        self._silent.pop(line, None)
        line.conversation.lost(close.code, max(0, len(line.request.path) - _USUAL))
        if not line.welcomed:
            line.turns.cancel()
        client = line.client
        if client is not None:
            if client._line is line:  # it was never attached, so it is not suspended either
                client._line = None
                self._let_go(client, line.socket)
            elif isinstance(away := client._socket, Away) and away.opening is line.request.event:
                away.opening = None  # it came to nothing
            client._turns.begin()  # now, as the loop may be about to end
        self.schedule()

    def _charge(self, line: Line, size: int) -> None:
        loop = self._owner.loop
        assert loop
        if wait := line.limiter.take(size, loop.time()):
            line.socket.pause(wait)

    # -- what the node asks of its host -----------------------------------------------------------

    def deliver(
        self, publication: Publish, stream: str, at: Position | None, behind: Collection[str]
    ) -> None:
        """See `Host`."""
        self._said[stream] = self._time()
        self._owner.deliver(publication, stream, at, behind)
        if publication.skip is not None and at is not None and publication.skip not in behind:
            self._skipped(publication.skip, publication.channel, stream, at)

    def _skipped(self, id: str, channel: str | None, stream: str, at: Position) -> None:
        """A client does not get what has that position, if it is there."""
        client = self._owner.clients.get(id)
        if client is None or not isinstance(client._dialect, Speech):
            return
        if channel is None or self.node.is_member(id, channel):
            skipped = packets.Skip(stream=stream, at=at)
            client._socket.send(client._dialect.codec.write(skipped))

    def author(self, client: str) -> bytes:
        """See `Host`."""
        known = self._owner.clients.get(client)
        if known is None or (identity := known.identity) is None:
            return b""
        if self._author[0] is not identity:  # who says something says more
            self._author = identity, author_of(identity)
        return self._author[1]

    def direct(self, delivery: Deliver) -> None:
        """See `Host`."""
        client = self._owner.clients.get(delivery.client)
        if client is not None and not isinstance(client._dialect, Speech):
            if delivery.payload.binary:
                self._owner.withhold(delivery.event, 1)
            else:
                client._socket.send(client._dialect.written(delivery))

    def missed_orders(self) -> None:
        """See `Host`."""
        text = "this process was cut off from the backplane: clients of identities that others have"
        logger.error("%s disconnected meanwhile may still be connected here", text)

    def disconnect_elsewhere(self, identity: bytes, code: int, reason: str) -> None:
        """Tell all other nodes of an identity that is disconnected, until they know it."""

        def told(receipt: Receipt[Position]) -> None:
            if receipt.error is not None:
                text = "other processes do not know yet which identity is disconnected: %s"
                logger.error(text, receipt.error)
                self.schedule()

        self.node.elsewhere.disconnect(identity, code, reason).then(told)

    def end_client(self, client: str, code: int, reason: str) -> None:
        """See `Host`."""
        self._owner.close(self._owner.clients[client], code, reason)

    def disconnect_clients(self, identity: bytes, code: int, reason: str) -> None:
        """See `Host`."""

        def is_theirs(one: Any) -> bool:
            try:
                return written(one) == identity
            except TypeError:  # so nobody can have named it
                return False

        for client in list(self._owner.clients.values()):
            if is_theirs(client.identity):
                self._owner.close(client, code, reason)
        self._close_silent(is_theirs, code, reason)

    def attached(self, client: str, connection: Line) -> None:
        """See `Host`."""
        known = self._owner.clients[client]
        resumed = known._turns is not connection.turns
        connection.turns = known._turns  # what it has still to do comes first
        connection.welcomed = True
        known._socket, known._dialect = connection.socket, connection.speech
        known._rate_limiter, known._line = connection.limiter, connection
        self._owner.hub.written.clear()  # it has another socket
        self._beats.begin(client, connection, self._time())
        if resumed:
            self.later(Resumed(NO_PACKET, known))

    def detached(self, client: str) -> None:
        """See `Host`."""
        self._full.pop(client, None)
        known = self._owner.clients[client]
        known._line = None
        sessions = self.node.sessions
        self._beats.forget_outdated(len(sessions) - sessions.suspended)
        if client in sessions:  # else it has ended
            self.later(Suspended(NO_PACKET, known, known._socket))

    def ended(self, client: str, code: int) -> None:
        """See `Host`."""
        known = self._owner.clients.pop(client)
        self.tell(Gone(NO_PACKET, known, Close(code, "", True)))

    def moved(self, client: str) -> None:
        """See `Host`. What was asked of it here has its end; `on_disconnect` runs where it ends."""
        self._owner.clients.pop(client, None)

    def stays(self, client: str) -> None:
        """See `Host`."""
        if not self._complained:
            self._complained = True
            logger.warning(
                "the session of client %s, and of others like it, cannot go on in another process: "
                "what `authenticate` returned for it cannot be written",
                client,
            )

    def send(self, connection: Line, packet: packets.FromServer) -> None:
        """See `Host`."""
        connection.sent = self._time()
        connection.socket.send(connection.speech.codec.write(packet))
        if connection.turns.holding and isinstance(packet, packets.Asked):
            self._hold(connection, connection.turns)  # its reply has to come

    def replay(self, connection: Line, packet: packets.FromServer) -> bool:
        """See `Host`."""
        content = connection.speech.codec.write(packet)
        connection.sent = self._time()
        connection.socket.send(content)
        self._charge(connection, size_of(content))
        client = connection.client
        assert client
        if self._has_room(connection):
            return True
        if not self._full:
            self._look_at = self._time() + self._timeouts.replay
        self._full[client.id] = None
        self.schedule()
        return False

    def _has_room(self, line: Line) -> bool:
        loop = self._owner.loop
        assert loop
        return line.socket.queued < self._limits.pause_reading_at and not line.limiter.owed(
            loop.time()
        )

    def close(self, connection: Line, code: int, reason: str) -> None:
        """See `Host`."""
        connection.socket.close(code, reason)

    # -- time -------------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        while self._silent:
            line = next(iter(self._silent))
            if line.since + self._timeouts.hello > now:
                break
            del self._silent[line]
            line.conversation.late()
        if self._full and self._look_at <= now:
            self._look_at = now + self._timeouts.replay
            for client in list(islice(self._full, _LOOKS)):
                if self._has_room(self._owner.clients[client]._line):
                    del self._full[client]
                    self.node.drained(client)
                else:
                    self._full.move_to_end(client)
        for line in self._beats.tick(now):
            self.send(line, packets.Beat())
        if self._look_after_at <= now:
            self._look_after_at = now + self._backplane.interval
            self._backplane.tick()
        self.node.tick()
        self.schedule()

    def schedule(self) -> None:
        """Have `_tick` called when something is due."""
        loop = self._owner.loop
        assert loop
        due = min(self.node.deadline, self._look_after_at)
        if (beat := self._beats.deadline) is not None:
            due = min(due, beat)
        if self._silent:
            due = min(due, next(iter(self._silent)).since + self._timeouts.hello)
        if self._full:
            due = min(due, self._look_at)
        due = max(due, loop.time() + _SOONEST)  # a loop calls until nothing is due
        if due < self.alarm.scheduled:
            loop.schedule(self.alarm, due)
