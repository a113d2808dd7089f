"""One node of the country: a real one, with its connections, its handlers and its application."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from sono_core.messaging import Deliver, Publish
from sono_core.messaging.lossless import Data, channel_of, packets, stream_of
from sono_core.messaging.lossless.history import Histories, History
from sono_core.messaging.lossless.nodes import control
from sono_core.messaging.lossless.packets import Failure
from sono_core.messaging.lossless.server.conversation import Identify, Work
from sono_core.messaging.lossless.server.orders import CONTROL
from sono_core.messaging.lossless.server.sessions import Bounds
from tests.backplane.delayed import DelayedBackplane
from tests.core.messaging.lossless.house import SETTINGS, House, Line
from tests.core.messaging.lossless.shared import Face

if TYPE_CHECKING:
    from tests.properties.lossless_country import Country


class Got(list[packets.FromServer]):
    """What the server has sent on a wire; looked at when it is."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire

    def append(self, packet: packets.FromServer) -> None:
        self._wire.sending(packet)
        super().append(packet)


class Wire(Line):
    """A connection with what is in transit."""

    def __init__(self, town: Town) -> None:
        super().__init__(town)
        self.town = town
        self.got = Got(self)
        self.up: deque[packets.FromClient] = deque()
        self.known: set[str] = set()  # streams that a packet has begun
        self.reached = False  # whether the server has lost it

    def sending(self, packet: packets.FromServer) -> None:
        """2.11, and nobody gets what is for others."""
        if isinstance(packet, packets.Welcome):
            assert not self.known, "a second welcome"
            self.known = {begun.stream for begun in packet.streams}
            assert not self.known & {stream_of(denied.channel) for denied in packet.denied}
        elif isinstance(packet, packets.Result):
            data = packet.data.value() if isinstance(packet.data, Data) else None
            if isinstance(data, dict) and "recovered" in data:
                self.known.add(data["stream"])
        if isinstance(packet, (packets.Event, packets.Skip, packets.Gap)) and packet.at:
            assert packet.stream in self.known, f"{packet.stream} has not begun"
            channel = channel_of(packet.stream)
            assert channel is None or self.client in self.town.hub.members(channel), "not a member"
            if isinstance(packet, packets.Skip):
                body = self.town.country.body(self.client, packet.stream, packet.at)
                assert body.skip == self.client


class Town(House):
    """See the module.

    Args:
        country: whose backplane it shares.
        name: among the others; None: it is alone.
    """

    def __init__(self, country: Country, name: str | None) -> None:
        self.country = country
        self.random: Random = country.random
        self.distant: DelayedBackplane | None = None
        self.stopped = False
        """Whether it does nothing, for now."""

        def make(*_: Any) -> Any:
            backplane = country.backplane(name)
            if country.distant:
                backplane = self.distant = DelayedBackplane(
                    backplane, self.random, lost=0.1, doubled=0.2
                )
            return backplane if name is None else Face(backplane, name, country.alive)

        super().__init__(
            make,
            replace(SETTINGS, sessions=Bounds(age=60.0, count=3, count_of_address=3, size=1 << 20)),
            Histories(default=History(count=4 if country.short else 1000)),
            numbers=country.ids,
        )
        self.now = country.now
        self.work: dict[str, deque[tuple[Wire, Work]]] = {}
        self.opening: list[Callable[[], object]] = []
        self.handle = country.count_handled
        self.node.begin()

    # -- the application at the server -----------------------------------------------------------

    def carry_out(self, line: Line, work: Work) -> None:
        assert isinstance(line, Wire)
        if isinstance(work, Identify):
            self.opening.append(lambda: self.identify(line, work))
        elif getattr(work.packet, "seq", None) is None:
            super().carry_out(line, work)
        else:
            session = line.conversation.session
            assert session is not None
            self.work.setdefault(session.id, deque()).append((line, work))

    def identify(self, wire: Wire, work: Identify) -> None:
        fetched = wire.conversation.fetch(work, None)
        if fetched is None:
            self.let_in(wire, work)
        else:
            fetched.then(lambda _: self.opening.append(lambda: self.let_in(wire, work)))

    def let_in(self, wire: Wire, work: Identify) -> None:
        wanted = wire.conversation.identified(work, None)
        if wanted is not None:
            denied = {
                name: Failure("forbidden", "no")
                for name in wanted
                if name == "forbidden" or (self.random.random() < 0.05 and self.country.spoil())
            }
            self.opening.append(lambda: wire.conversation.welcome(denied))

    def work_on(self, client: str) -> None:
        wire, work = self.work[client].popleft()
        if not self.work[client]:
            del self.work[client]
        super().carry_out(wire, work)

    def detached(self, client: str) -> None:
        super().detached(client)
        self.country.left_at[client] = self.now

    def ended(self, client: str, code: int) -> None:
        super().ended(client, code)
        self.country.spoil()
        self.country.ended.add(client)
        left_at = self.country.left_at.get(client, 0.0)
        assert code != 1006 or self.now - left_at >= 59.9, "it ended early"

    def publish(self, publication: Publish) -> None:
        self.node.publish(publication)

    def emit_something(self, channel: str | None) -> None:
        self.publish(Publish(channel, "e", Data.of(next(self.country.number)), None))

    def direct_something(self, client: str) -> None:
        self.node.direct(Deliver(client, "e", Data.of(next(self.country.number)), None))

    def ask_something(self, client: str) -> None:
        number = next(self.country.number)
        answers = self.country.questions[number] = []
        session = self.node.sessions[client]
        asked = self.node._kept[client].questions
        if asked is None or len(asked) < SETTINGS.max_requests:
            self.node.ask(
                session, "q", Data.of(number), 40.0, lambda *answer: answers.append(answer)
            )
        else:
            del self.country.questions[number]

    # -- connections -----------------------------------------------------------------------------

    def serve(self, wire: Wire) -> None:
        """The server takes a packet; of a connection that it has closed as well."""
        if wire.reached:
            wire.up.clear()
            return
        session, closed = wire.conversation.session, wire.closed
        accepted = session.accepted if session else 0
        packet = wire.up.popleft()
        if getattr(packet, "seq", None) is not None and self.random.random() < 0.03:
            wire.up.appendleft(packet)  # 3.2
        if work := wire.conversation.receive(packet):
            assert not closed or isinstance(work, Identify), "an old connection is heard"
            self.carry_out(wire, work)
        assert not closed or not session or session.accepted == accepted
        if self.random.random() < 0.8:
            wire.conversation.ack()

    def reach(self, wire: Wire, code: int = 1006) -> None:
        wire.reached = True
        wire.conversation.lost(code, 10)

    def drain(self, wire: Wire, room: int) -> None:
        wire.room = room
        if wire.client and self.lines.get(wire.client) is wire:
            self.node.drained(wire.client)

    # -- in the end ------------------------------------------------------------------------------

    def one_more(self) -> bool:
        """One of the things that are still to be done here; False if there are none."""
        if self.opening:
            self.opening.pop(0)()
        elif self.work:
            self.work_on(next(iter(self.work)))
        else:
            return bool(self.distant and self.distant.step())
        return True

    def compare(self, here: set[str]) -> None:
        """Nothing is kept that is not needed, and everything of the clients that are here."""
        node = self.node
        following = node._following
        assert not following._places
        assert not following._starting
        expected = {"*", *(f"@{id}" for id in here)}
        expected |= {f"#{name}" for name in self.hub.channels if self.hub.members(name)}
        if node.shared:
            expected |= {CONTROL, control(self.backplane.node)}
        assert set(following._feeds) <= expected | {"#Home"}
        assert not any(feed.behind for feed in following._feeds.values())
        assert set(node._kept) == set(self.hub.clients)
        assert len(node._kept) == len(node.sessions)
        assert here <= set(node._kept)
        assert set(node._asked._waiting) <= set(node._kept)
        assert set(self.lines) == here
