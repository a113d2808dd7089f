"""Calls the application when clients come, speak and go, and delivers what follows.

`sono_core.messaging.Hub` decides who is in which channel, and the dialect of the sender decides
what a packet means.
"""

import logging
import math
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any

import msgspec

from sono_core import BinaryMessage, Limits, Prepared, TextMessage, Timeouts
from sono_core.errors import RequestFailed
from sono_core.events import Close
from sono_core.messaging import (
    CHANNELS,
    Content,
    Deliver,
    Dialect,
    Effect,
    Hub,
    MessagingError,
    Publish,
    Reply,
    SharedTurn,
    size_of,
)
from sono_core.messaging.lossless import (
    Backplane,
    BackplaneError,
    Data,
    Histories,
    Position,
    Receipt,
)
from sono_core.messaging.lossless.server import ENDED, UNAVAILABLE, Terms, unknown_client
from sono_core.messaging.v2 import Speech
from sono_server.serving import Alarm, Loop, WebSocket, logger

from .away import Away
from .calls import Calls
from .clients import Client, Ways
from .lossless import Lossless
from .receipts import Promise
from .trampoline import Steps

_POSTPONED = 3600.0  # seconds: at most, until a turn has room for what a packet causes


_Sockets = dict[Dialect | Speech, list[WebSocket | Away]]


class Act(msgspec.Struct, frozen=True):
    """What a packet of `sono.v2` causes."""

    publication: Publish | None
    """What others get, if it is something for a channel."""
    act: Callable[[], object]


class Dispatcher(Calls):
    """The clients of one `Sono`, and what they and the application cause.

    Its generators are run by the trampoline.

    Args:
        hub: an empty one.
        limits: of packets and sessions.
        timeouts: of sessions.
        dialects: all dialects that clients may speak.
        histories: of channels.
        backplane: see `Lossless`.
    """

    loop: Loop | None
    lossless: Lossless

    def __init__(
        self,
        hub: Hub,
        limits: Limits,
        timeouts: Timeouts,
        dialects: Iterable[Dialect],
        histories: Histories,
        backplane: Backplane | None = None,
    ) -> None:
        super().__init__(hub, limits, tuple(dialects))
        self.withheld: int = 0
        """See `Sono.withheld`."""
        self._delivered = 0  # messages to members of channels, in all
        self._size = 0  # bytes of the last one
        self._turn = SharedTurn(limits)
        self._renewing = False  # whether `_next_turn` is about to be called
        self._waiting: deque[tuple[Client, Sequence[Effect | Reply | Act]]] = deque()
        """Clients whose packets wait for a later turn, with what those cause."""
        self._caused: dict[str, int] = {}  # deliveries in this turn, by those that cause many
        self._wanting: deque[set[str]] = deque([set()], maxlen=3)
        """Those that would have caused more, in each of the last turns; they share a turn."""
        self._terms = Terms(0.0)  # of clients without sessions
        self._alarm = Alarm(self._expire)
        self.lossless = Lossless(self, limits, timeouts, histories, backplane)
        self._node_left = hub.left
        hub.left = self._left

    def serve_on(self, loop: Loop) -> None:
        """The server that has the clients from now on."""
        if loop is not self.loop:
            with self._starting:
                self.loop = loop
            self._alarm.scheduled = math.inf  # the loop before may have ended, and call nobody
            self.lossless.serve_on(loop)

    def begin(self, loop: Loop) -> None:
        """A server begins: what is shared with others is connected before its first client."""
        if self.lossless.shared:
            loop.call_soon(self.serve_on, loop)

    def add(self, client: Client) -> None:
        """Let a new client in, to the home channel."""
        self.clients[client.id] = client
        self.hub.add(client.id)

    def limit(self, client: Client, lasts: float | None) -> None:
        """A client's identity ends after so many seconds; None: it does not."""
        if lasts is not None and self.loop:
            now = self.loop.time()
            self._terms.begin(client.id, now + lasts, now)
            self._schedule()

    def _schedule(self) -> None:
        deadline = self._terms.deadline
        if deadline is not None and self.loop and deadline < self._alarm.scheduled:
            self.loop.schedule(self._alarm, deadline)

    def _expire(self, now: float) -> None:
        for id, _ in self._terms.tick(now):
            self.clients[id]._socket.close(*ENDED)
        self._schedule()

    # -- what happens, in steps -----------------------------------------------------------------

    def greet(self, socket: WebSocket, _: object) -> Steps:
        """Call the application for a client that has come, once others can reach it."""
        if (followed := self.lossless.node.came(socket.data.id)) is not None:
            promise: Promise[None] = Promise(self.loop)
            followed.then(lambda _: promise.complete(None))
            yield promise
        yield from self.connected(socket.data)

    def receive(self, socket: WebSocket, message: Content) -> Steps:
        """Show a client's message to the application, and carry it out."""
        client: Client = socket.data
        dialect = client._dialect
        assert isinstance(dialect, Dialect)
        delivered = self._delivered
        cost = asked = hidden = present = None
        try:
            cost = dialect.weigh(message, self._limits)
            self._charge(client, cost)
            packet = dialect.parse(message, self._limits)
            if self.hub.elsewhere and (wanted := dialect.lists(packet)):
                present = yield from self._look_elsewhere(client, wanted)
            if self.on_join.functions:
                if (channel := dialect.enters(packet)) is not None:
                    allowed = yield from self.may_enter(client, channel)
                    if not allowed:
                        raise MessagingError("forbidden", f"you may not enter {channel}")
                elif dialect.lists(packet) == CHANNELS:
                    hidden = yield from self.hidden_from(client)
            if self.on_publish.functions and dialect.publishes(packet):
                asked = yield from self._require_permission(client, dialect.said(packet))
            if self.handlers and (said := dialect.said(packet)):
                passed = yield from self.hear(client, *said)
                if not passed:
                    return
            if asked is not None and asked != self.hub.channel_of(client.id):
                raise MessagingError("forbidden", f"you are not in {asked} any more")
            if hidden:
                self.hub.hidden = hidden
            self.hub.present = present
            effects = dialect.receive(self.hub, client.id, packet, self._limits)
        except (MessagingError, RequestFailed) as error:
            if cost is None:
                self._charge(client, size_of(message))
            socket.send(dialect.error(error.code, error.text))
        else:
            if self._turn.spent and not self._asks_for_little(client, effects, len(message)):
                self._postpone(client, effects)
            else:
                for effect in effects:
                    self._perform(client, effect)
        finally:
            if hidden:
                self.hub.hidden = ()
            self.hub.present = None
            self._caused_by(client, delivered)

    def _look_elsewhere(self, client: Client, wanted: str) -> Steps:
        """Find out what other processes know of what a packet asks; returns who is present, if it
        asks that.

        Raises:
            MessagingError: that cannot be known now.
        """
        node = self.lossless.node
        promise: Promise[Any] = Promise(self.loop)
        channel = self.hub.channel_of(client.id)
        if wanted == CHANNELS:
            node.look_elsewhere().then(promise.settle)
        else:
            node.presence.ask(channel, sys.maxsize).then(promise.settle)
        try:
            found = yield promise
        except BackplaneError:
            raise MessagingError(UNAVAILABLE.code, UNAVAILABLE.message) from None
        if wanted == CHANNELS or channel != self.hub.channel_of(client.id):
            return None  # the application has moved it meanwhile: it is told who is here
        return [member for member, _ in found.members]

    def _require_permission(self, client: Client, said: tuple[str, object] | None) -> Steps:
        """Ask the application whether a client may say that where it is, and return the channel.

        Raises:
            MessagingError: it may not.
        """
        assert said
        event, payload = said
        channel = self.hub.channel_of(client.id)
        if not (yield from self.may_publish(client, channel, event, payload)):
            raise MessagingError("forbidden", f"you may not publish in {channel}")
        return channel

    def leave(self, socket: WebSocket, close: Close) -> Steps:
        """Let a client go, and call the application for it."""
        client: Client = socket.data
        self._terms.forget(client.id)
        self.hub.remove(client.id)
        self.lossless.node.went(client.id)
        del self.clients[client.id]
        yield from self.depart(socket, None)
        yield from self.gone(client, close)

    def depart(self, socket: WebSocket, _: object) -> Steps:
        """Call the application for the channels that a client has left."""
        client: Client = socket.data
        while client._left:
            yield from self.departed(client, client._left.pop(0))

    def _left(self, channel: str, id: str) -> None:
        """A client has left a channel; the application hears of it when all this is done."""
        self._node_left(channel, id)
        if not self.on_leave.functions:
            return
        client = self.clients.get(id)
        if client is None:
            return
        if not isinstance(client._dialect, Dialect):
            self.lossless.departed(client, channel)
            return
        ways = client._ways
        assert self.loop
        assert ways
        if client._left:
            client._left.append(channel)
        else:
            client._left = [channel]
            self.loop.call_next_turn(lambda: self._tell_departures(client, ways))

    def _tell_departures(self, client: Client, ways: Ways) -> None:
        if client._left:  # else it is gone, and all was told
            client._socket.call(ways.depart, None)

    def _charge(self, client: Client, size: int) -> None:
        """Count what a client sent or asked for, and pause it if it exceeds its rates."""
        assert self.loop
        if wait := client._rate_limiter.take(size, self.loop.time()):
            client._socket.pause(wait)

    # -- delivery -------------------------------------------------------------------------------

    def cause(self, client: Client, publication: Publish | None, act: Callable[[], object]) -> None:
        """Do what a packet of `sono.v2` causes, in this turn or a later one."""
        delivered = self._delivered
        effects: list[Effect | Reply | Act] = [Act(publication, act)]
        size = publication.payload.size if publication else 0
        if self._turn.spent and not self._asks_for_little(client, effects, size):
            self._postpone(client, effects)
        else:
            self._perform(client, effects[0])
        self._caused_by(client, delivered)

    def _caused_by(self, client: Client, delivered: int) -> None:
        # The application may have emitted much. Others deliver while a handler is awaited, so a
        # turn may end early, but never late.
        caused = self._delivered - delivered
        if caused > self._turn.share(len(self.clients)) and self._has_had_enough(client, caused):
            client._socket.end_turn()

    def _perform(self, client: Client, effect: Effect | Reply | Act) -> None:
        """Carry out an effect of a packet of that client's."""
        if isinstance(effect, (Publish, Act)):
            delivered = self._delivered
            if isinstance(effect, Publish):
                self.lossless.node.publish(effect)
            else:
                effect.act()
            assert self.loop
            deliveries = self._delivered - delivered
            limiter, now = client._rate_limiter, self.loop.time()
            if deliveries > 1 and (wait := limiter.deliver(deliveries, self._size, now)):
                client._socket.pause(wait)
        elif isinstance(effect, Deliver):
            self._direct(client, effect)
        else:
            client._socket.send(effect.content)
            # it may be much larger than the question
            self._charge(client, size_of(effect.content) + effect.cost)

    def _direct(self, client: Client, delivery: Deliver) -> None:
        receiver = self.clients.get(delivery.client)  # it may have gone meanwhile
        if receiver is not None and isinstance(receiver._dialect, Dialect):
            receiver._socket.send(receiver._dialect.written(delivery))
        elif receiver is not None or self.hub.elsewhere:
            data = Data.parsed(delivery.payload)
            delivery = msgspec.structs.replace(delivery, payload=data)
            self.lossless.node.direct(delivery).then(partial(self._directed, client, delivery))

    def _directed(self, client: Client, delivery: Deliver, receipt: Receipt[bool]) -> None:
        """It is known whether what a classic client says reaches somebody elsewhere."""
        dialect = client._dialect
        assert isinstance(dialect, Dialect)
        if receipt.error is not None:
            client._socket.send(dialect.error(UNAVAILABLE.code, UNAVAILABLE.message))
        elif not receipt.value:
            unknown = unknown_client(delivery.client)
            client._socket.send(dialect.error(unknown.code, unknown.message))

    def deliver(
        self, publication: Publish, stream: str, at: Position | None, behind: Collection[str]
    ) -> None:
        """Send a publication to its recipients here; each dialect's frame is encoded once."""
        number = size = 0
        for dialect, sockets in self._sockets(publication, behind).items():
            number += len(sockets)
            if isinstance(dialect, Dialect) and publication.payload.binary:
                self.withhold(publication.event, len(sockets))
                continue
            frame = _prepared(dialect.event(publication, stream, at))
            size = max(size, len(frame.payload))
            for socket in sockets:  # a line here takes its time a thousand times over
                socket.send(frame)
        self._delivered += number
        publication.__dict__.clear()  # it is kept, and what was written of it need not be
        self._size = size
        if number and self._turn.take(number, size):
            self._renew_soon()
            if self.loop and self.loop.context.look():
                self._turn.spent = True

    def _sockets(self, publication: Publish, behind: Collection[str]) -> _Sockets:
        """The connections of a publication's recipients here, by what they speak."""
        hub, skip = self.hub, publication.skip
        if behind:
            members = [each for each in hub.recipients(publication) if each not in behind]
            return self._grouped(members)
        key = "sockets", publication.channel
        found: _Sockets | None = hub.written.get(key)
        if found is None:
            everybody = Publish(publication.channel, "", None, None)
            found = hub.written[key] = self._grouped(hub.recipients(everybody))
        client = self.clients.get(skip) if skip is not None else None
        if client is None or client._socket not in found.get(client._dialect, ()):
            return found
        others = found[client._dialect].copy()
        others.remove(client._socket)
        return found | {client._dialect: others}

    def _grouped(self, members: Collection[str]) -> _Sockets:
        found: _Sockets = {}
        for client in map(self.clients.__getitem__, members):
            found.setdefault(client._dialect, []).append(client._socket)
        return found

    def withhold(self, event: str, number: int) -> None:
        """So many classic clients do not get an event, as it holds binary data."""
        level = logging.DEBUG if self.withheld else logging.WARNING
        self.withheld += number
        text = "%d classic clients do not get the event %a, as it holds binary data; %d so far"
        logger.log(level, text, number, event, self.withheld)

    # -- the loop's turn ------------------------------------------------------------------------

    def _asks_for_little(
        self, client: Client, effects: Sequence[Effect | Reply | Act], size: int
    ) -> bool:
        said = [effect.publication if isinstance(effect, Act) else effect for effect in effects]
        reached = sum(self.hub.audience(each) for each in said if isinstance(each, Publish))
        return self._turn.grant(client.id, reached, size, len(self.clients))

    def _postpone(self, client: Client, effects: Sequence[Effect | Reply | Act]) -> None:
        """Keep what a packet causes for a later turn; its client's others wait behind it."""
        self._waiting.append((client, effects))
        self._wanting[0].add(client.id)
        client._socket.pause(_POSTPONED)
        self._renew_soon()

    def _has_had_enough(self, client: Client, deliveries: int) -> bool:
        """Whether a client has caused its part of this turn, or all of it is used up."""
        caused = self._caused[client.id] = self._caused.get(client.id, 0) + deliveries
        rivals = max(map(len, self._wanting))
        if self._turn.spent or caused * rivals >= self._limits.max_turn_deliveries:
            self._wanting[0].add(client.id)
            return True
        return False

    def _renew_soon(self) -> None:
        if not self._renewing:
            assert self.loop
            self._renewing = True
            self.loop.call_next_turn(self._next_turn)

    def _next_turn(self) -> None:
        """Begin a turn with what waits, in rotation."""
        loop, turn, waiting = self.loop, self._turn, self._waiting
        assert loop
        self._renewing = False
        if (
            loop.context.to_flush and not loop.ended
        ):  # what the last turn delivered is still being written
            self._renew_soon()
            return
        turn.renew()
        self._caused.clear()
        self._wanting.appendleft(set())
        while waiting and not turn.spent:
            client, effects = waiting.popleft()
            delivered = self._delivered
            for effect in effects:
                self._perform(client, effect)
            self._has_had_enough(client, self._delivered - delivered)
            client._socket.unpause(client._rate_limiter.owed(loop.time()))
            turn.spent = loop.context.look() or turn.spent
        if waiting:
            self._renew_soon()


def _prepared(content: Content) -> Prepared:
    return Prepared(TextMessage(content) if isinstance(content, str) else BinaryMessage(content))
