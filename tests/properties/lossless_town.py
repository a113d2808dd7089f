"""A real node, real clients of `sono.v2`, and all that can go wrong between them.

Connections are cut on one side before the other knows, handlers take their time, the backplane is
far away, histories are short, sessions are forgotten. A ledger knows every entry that was ever
appended, and each client's tale is held against it: `check` after each step, `settle` in the end.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

from msgspec.structs import replace

from sono_core.errors import OutboxFull
from sono_core.messaging import Deliver, Publish
from sono_core.messaging.lossless import (
    OWN,
    Data,
    Position,
    channel_of,
    packets,
    stream_of,
)
from sono_core.messaging.lossless.client import (
    ClientLimits,
    ClientMachine,
    Departed,
    Done,
    Missed,
    Opened,
    Pending,
    Settled,
)
from sono_core.messaging.lossless.history import Histories, History
from sono_core.messaging.lossless.memory import MemoryBackplane
from sono_core.messaging.lossless.packets import Failure
from sono_core.messaging.lossless.server.conversation import Identify, Work
from sono_core.messaging.lossless.server.sessions import Bounds
from tests.backplane.delayed import DelayedBackplane
from tests.core.messaging.lossless.house import SETTINGS, House, Line
from tests.properties.lossless_ledger import Ledger

ROOMS = ("a", "b")
CHANNELS = ("Home", *ROOMS, "forbidden")
REFUSALS = {"not-a-member", "forbidden", "unknown-client", "declined", "too-many-channels"}
UNCERTAIN = {"unknown", "timeout"}
NOTHING_DONE = REFUSALS | {"not-sent"}


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
                assert self.town.body(self.client, packet.stream, packet.at).skip == self.client


class Client:
    """An application with its client machine."""

    def __init__(self) -> None:
        self.machine = ClientMachine(
            keep=lambda packet: (packet, 8),
            client_limits=ClientLimits(max_packets=30, request_timeout=200.0),
        )
        self.wire: Wire | None = None
        self.heard: Counter[tuple[str, Position]] = Counter()
        self.numbers: Counter[int] = Counter()
        self.last: dict[str, Position] = {}
        self.pending: dict[int, tuple[Pending, str, bool]] = {}  # by number: kind, and if harmless
        self.settled: Counter[int] = Counter()
        self.asked: list[packets.Asked] = []
        self.doubtful = False  # whether something is missing in its own stream

    def depart(self, stream: str) -> None:
        """It may become a member again a little earlier, where the backplane is slow."""
        self.last.pop(stream, None)
        for name, at in list(self.heard):
            if name == stream:
                del self.heard[name, at]


class Town(House):
    """See the module."""

    def __init__(self, rng: Random, *, distant: bool, short: bool) -> None:
        self.random = rng
        self.distant: DelayedBackplane | None = None

        def make(clock: Callable[[], float], new_epoch: Callable[[], str]) -> Any:
            memory = MemoryBackplane(clock, new_epoch)
            self.ledger = memory.streams = Ledger(1 << 30, new_epoch)
            if distant:
                self.distant = DelayedBackplane(memory, rng, lost=0.1, doubled=0.2)
            return self.distant or memory

        super().__init__(
            make,
            replace(SETTINGS, sessions=Bounds(age=60.0, count=3, count_of_address=3, size=1 << 20)),
            Histories(default=History(count=4 if short else 1000)),
        )
        self.short = short
        self.number = count(1)
        self.clients = [Client() for _ in range(3)]
        self.former: list[Client] = []
        self.zombies: list[Wire] = []
        self.work: dict[str, deque[tuple[Wire, Work]]] = {}
        self.opening: list[Callable[[], object]] = []
        self.handled: Counter[int] = Counter()
        self.questions: dict[int, list[tuple[Any, Failure | None]]] = {}
        self.left_at: dict[str, float] = {}
        self.spoiled = False  # whether something may be missed although histories are long
        self.handle = self.count_handled

    def count_handled(self, name: str, payload: Any) -> Any:
        self.handled[payload] += 1
        return payload

    # -- the truth -------------------------------------------------------------------------------

    def body(self, client: str | None, stream: str, at: Position) -> Any:
        name = f"{OWN}{client}" if stream == OWN else stream
        bodies = self.ledger.written.get((name, at.epoch), [])
        assert 1 <= at.offset <= len(bodies), f"{stream} never had {at}"
        return bodies[at.offset - 1]

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
        wanted = wire.conversation.identified(work, None)
        if wanted is not None:
            denied = {
                name: Failure("forbidden", "no")
                for name in wanted
                if name == "forbidden" or (self.random.random() < 0.05 and self.spoil())
            }
            self.opening.append(lambda: wire.conversation.welcome(denied))

    def spoil(self) -> bool:
        self.spoiled = True
        return True

    def work_on(self, client: str) -> None:
        wire, work = self.work[client].popleft()
        if not self.work[client]:
            del self.work[client]
        super().carry_out(wire, work)

    def detached(self, client: str) -> None:
        super().detached(client)
        self.left_at[client] = self.now

    def ended(self, client: str, code: int) -> None:
        super().ended(client, code)
        self.spoiled = True
        assert code != 1006 or self.now - self.left_at.get(client, 0.0) >= 59.9, "it ended early"

    def publish(self, publication: Publish) -> None:
        self.node.publish(publication)

    def emit_something(self, channel: str | None) -> None:
        self.publish(Publish(channel, "e", Data.of(next(self.number)), None))

    def renew(self, stream: str) -> None:
        """What keeps the streams has lost one, and begins another life of it."""
        self.ledger.free(stream)
        self.emit_something(channel_of(stream))
        self.spoiled = True

    def direct_something(self, client: str) -> None:
        self.node.direct(Deliver(client, "e", Data.of(next(self.number)), None))

    def ask_something(self, client: str) -> None:
        number = next(self.number)
        answers = self.questions[number] = []
        session = self.node.sessions[client]
        asked = self.node._kept[client].questions
        if asked is None or len(asked) < SETTINGS.max_requests:
            self.node.ask(
                session, "q", Data.of(number), 40.0, lambda *answer: answers.append(answer)
            )
        else:
            del self.questions[number]

    # -- connections -----------------------------------------------------------------------------

    def connect(self, client: Client) -> None:
        client.wire = Wire(self)
        if self.random.random() < 0.3:
            client.wire.room = self.random.randrange(1, 4)
        client.machine.connected(self.now)
        self.flush(client)

    def flush(self, client: Client) -> None:
        if client.wire:
            client.wire.up.extend(client.machine.packets_to_send())
            self.listen(client)

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

    def cut(self, client: Client, code: int | None) -> None:
        """The client loses its connection; the server learns it now or later."""
        wire, client.wire = client.wire, None
        assert wire
        client.machine.lost(self.now, 1.0)
        self.listen(client)
        if code is None:
            self.zombies.append(wire)
        else:
            self.reach(wire, code)

    def reach(self, wire: Wire, code: int = 1006) -> None:
        wire.reached = True
        wire.conversation.lost(code, 10)

    def deliver_one(self, client: Client) -> None:
        """A packet reaches the client."""
        wire = client.wire
        assert wire
        packet = plain(wire.got.pop(0))
        machine = client.machine
        before = machine.positions
        if isinstance(packet, packets.Welcome):
            assert packet.key != machine._session.key, "an old key"
            ended = {id for id, _ in self.over}
            assert packet.resumed or machine.id is None or machine.id in ended, "it lives"
        machine.receive(packet, self.now)
        self.listen(client, before, begins=isinstance(packet, (packets.Result, packets.Joined)))

    def drain(self, wire: Wire, room: int) -> None:
        wire.room = room
        if wire.client and self.lines.get(wire.client) is wire:
            self.node.drained(wire.client)

    def let_time_pass(self, seconds: float) -> None:
        if self.distant or seconds > 50:
            self.spoiled = True
        self.wait(seconds)
        for client in self.clients:
            client.machine.tick(self.now)
            self.listen(client)

    # -- the clients' applications ---------------------------------------------------------------

    def listen(
        self,
        client: Client,
        before: dict[str, Position] | None = None,
        *,
        begins: bool = False,
    ) -> None:
        """What the machine tells, held against the ledger."""
        machine = client.machine
        heard: dict[str, list[Position]] = {}
        gaps: dict[str, list[Missed]] = {}
        for told in machine.events():
            if isinstance(told, packets.Event) and told.at:
                self.hear(client, told)
                heard.setdefault(told.stream, []).append(told.at)
            elif isinstance(told, packets.Asked):
                client.asked.append(told)
                heard.setdefault(told.stream, []).append(told.at)
            elif isinstance(told, Missed):
                gaps.setdefault(told.stream, []).append(told)
                client.doubtful |= told.stream == OWN
                without_need = not self.short and not self.spoiled and told.first is not None
                assert not without_need, f"{told} without need"
            elif isinstance(told, Settled):
                assert told.pending.outcome is not None
                client.settled[id(told.pending)] += 1
            elif isinstance(told, Departed):
                client.depart(stream_of(told.channel))
                if before:
                    before.pop(stream_of(told.channel), None)
            elif isinstance(told, Opened) and not told.resumed:
                client.asked.clear()
                if before:
                    before.pop(OWN, None)
        if before is not None:
            for stream, at in before.items():
                now = machine.positions.get(stream)
                back = now is not None and now.epoch == at.epoch and now.offset < at.offset
                if back:
                    assert begins, f"back to {now}"  # it was a member before the welcome said so
                elif now is not None and now != at:
                    self.account(client, stream, at, now, heard.get(stream, []), gaps.get(stream))

    def hear(self, client: Client, event: packets.Event) -> None:
        at, stream = event.at, event.stream
        assert at is not None
        body = self.body(client.machine.id, stream, at)
        if isinstance(body, Publish):
            assert body.payload.value() == event.data  # type: ignore[attr-defined]
            assert (body.sender, body.event) == (event.sender, event.event)
            assert body.skip != client.machine.id, "one's own broadcast"
        else:
            assert body.data.value() == event.data
        client.heard[stream, at] += 1
        client.numbers[event.data] += 1
        assert client.heard[stream, at] == 1, f"{stream} {at} came twice"
        last = client.last.get(stream)
        assert last is None or last.epoch != at.epoch or last.offset < at.offset, "out of order"
        client.last[stream] = at

    def account(
        self,
        client: Client,
        stream: str,
        before: Position,
        now: Position,
        heard: list[Position],
        gaps: list[Missed] | None,
    ) -> None:
        """Whatever is between two positions was heard, or told as a gap, or not for this client."""
        if now.epoch != before.epoch:
            assert gaps, f"another life of {stream}, in silence"
            return
        for offset in range(before.offset + 1, now.offset + 1):
            at = Position(now.epoch, offset)
            told = any(
                gap.at.epoch == at.epoch
                and offset <= gap.at.offset
                and (gap.first is None or gap.first <= offset)
                for gap in gaps or ()
            )
            if at in heard:
                assert not told
            elif not told:
                body = self.body(client.machine.id, stream, at)
                silent = isinstance(body, (packets.Result, packets.Joined, packets.Left)) or (
                    isinstance(body, Publish) and body.skip == client.machine.id
                )
                assert silent, f"{stream} {at} was lost in silence"

    def say(self, client: Client, kind: str) -> None:
        machine, rng, number = client.machine, self.random, next(self.number)
        harmless = rng.random() < 0.2
        channel = rng.choice(CHANNELS if rng.random() < 0.2 else machine.channels or ["Home"])
        now = self.now
        try:
            if kind == "publish":
                event = rng.choice(("e", "e", "e", "unwanted"))
                pending = machine.publish(
                    channel,
                    event,
                    number,
                    now=now,
                    harmless=harmless,
                    to_self=rng.random() < 0.6,
                )
            elif kind == "send":
                to = rng.choice([other.machine.id or "nobody" for other in self.clients])
                pending = machine.send(to, "e", number, now=now, harmless=harmless)
            elif kind == "request":
                harmless = False
                pending = machine.request("r", number, now=now)
            elif kind == "reply":
                asked = client.asked.pop(rng.randrange(len(client.asked)))
                pending = machine.reply(asked.id, asked.data, now=now)
            else:
                channel = rng.choice(CHANNELS)
                method = {"join": machine.join, "move": machine.move, "leave": machine.leave}[kind]
                pending = method(channel, now=now)
        except OutboxFull:
            return
        client.pending[number] = pending, kind, harmless

    def volatile(self, client: Client) -> None:
        channel = (client.machine.channels or ["Home"])[0]
        client.machine.publish(channel, "v", 0, now=self.now, volatile=True)

    def bye(self, client: Client) -> None:
        """It ends its session, and another comes."""
        if client.wire is None:
            return
        client.machine.bye()
        self.flush(client)
        wire = client.wire
        client.machine.lost(self.now, None)
        self.listen(client)
        client.wire = None
        self.zombies.append(wire)
        self.former.append(client)
        self.clients[self.clients.index(client)] = Client()

    # -- in the end ------------------------------------------------------------------------------

    def settle(self) -> None:
        """Mend everything, and compare the tales with the truth."""
        for _ in range(3):
            self.run_dry()
            self.let_time_pass(11.0)
        self.run_dry()
        self.compare()

    def run_dry(self) -> None:
        for _ in range(50_000):
            if not self.one_more():
                return
        raise AssertionError("this does not end")

    def one_more(self) -> bool:
        """One of the things that are still to be done; False if there are none."""
        if self.zombies:
            zombie = self.zombies[0]
            if zombie.up:
                self.serve(zombie)
            else:
                self.reach(self.zombies.pop(0))
            return True
        if self.opening:
            self.opening.pop(0)()
            return True
        for id in self.work:
            self.work_on(id)
            return True
        if self.distant and self.distant.step():
            return True
        return any(self.serve_client(client) for client in self.clients)

    def serve_client(self, client: Client) -> bool:
        wire = client.wire
        if wire is None:
            self.connect(client)
            return True
        self.flush(client)
        if wire.up:
            self.serve(wire)
        elif wire.got:
            self.deliver_one(client)
        elif client.machine.dead or wire.closed:
            self.cut(client, wire.closed[0] if wire.closed else 1006)
        elif wire.room < 10**8:
            self.drain(wire, 10**9)
        elif client.asked:
            self.say(client, "reply")
        else:
            return self.acknowledge(wire)
        return True

    def acknowledge(self, wire: Wire) -> bool:
        before = len(wire.got)
        wire.conversation.ack()
        return len(wire.got) > before

    def compare(self) -> None:
        for client in self.clients:
            machine, id = client.machine, client.machine.id
            assert id is not None
            members = self.hub.channels_of(id)
            assert set(machine.channels) >= set(members)
            if not client.doubtful:  # a gap may have hidden the end of one
                assert set(machine.channels) == set(members)
                assert machine.channel == self.hub.channel_of(id)
            for stream in (OWN, "*", *map(stream_of, members)):
                at = machine.positions[stream]
                name = f"{OWN}{id}" if stream == OWN else stream
                top = self.ledger.tops([name]).get(name, at)
                empty = top.offset == 0 and at.epoch != top.epoch  # a new life, not met yet
                assert at == top or empty, f"{stream} is not complete"
        for client in self.clients + self.former:
            self.compare_results(client)
        for answers in self.questions.values():
            assert len(answers) <= 1, "a question was answered twice"
            for data, failure in answers:
                assert data is None or failure is None
        self.compare_node()

    def compare_results(self, client: Client) -> None:
        told: Counter[int] = Counter()
        for bodies in self.ledger.written.values():
            for body in bodies:
                if isinstance(body, Publish):
                    told[body.payload.value()] += 1  # type: ignore[attr-defined]
                elif isinstance(body, packets.Event):
                    told[body.data.value()] += 1
        for number, (pending, kind, harmless) in client.pending.items():
            outcome = pending.outcome
            assert outcome is not None, f"{kind} {number} has no outcome"
            assert client.settled[id(pending)] == 1, f"{kind} {number} was settled again"
            if kind not in ("publish", "send", "request"):
                continue
            times = (self.handled if kind == "request" else told)[number]
            assert harmless or times <= 1, f"{kind} {number} was done {times} times"
            if isinstance(outcome, Done):
                assert times, f"{kind} {number} was not done"
                if kind == "publish":
                    assert outcome.published is not None
                    bodies = [
                        all[outcome.published.offset - 1]
                        for (_, epoch), all in self.ledger.written.items()
                        if epoch == outcome.published.epoch
                    ]
                    assert bodies[0].payload.value() == number
                elif kind == "request":
                    assert outcome.data == number
            elif outcome.code in NOTHING_DONE:
                assert harmless or not times, f"{kind} {number} was done all the same"
            else:
                assert outcome.code in UNCERTAIN, outcome

    def compare_node(self) -> None:
        """Nothing is kept that is not needed."""
        node = self.node
        following = node._following
        assert not following._places
        assert not following._starting
        here = {client.machine.id for client in self.clients}
        expected = {"*", *(f"@{id}" for id in here)}
        expected |= {f"#{name}" for name in self.hub.channels if self.hub.members(name)}
        assert set(following._feeds) <= expected | {"#Home"}
        assert not any(feed.behind for feed in following._feeds.values())
        assert set(node._kept) == set(self.hub.clients)
        assert len(node._kept) == len(node.sessions)
        assert here <= set(node._kept)
        assert set(node._asked._waiting) <= set(node._kept)
        assert set(self.lines) == here


def plain(packet: packets.FromServer) -> packets.FromServer:
    """As a client reads it."""
    data = getattr(packet, "data", None)
    return replace(packet, data=data.value()) if isinstance(data, Data) else packet
