"""Real nodes, real clients of `sono.v2`, and all that can go wrong between them.

Connections are cut on one side before the other knows, clients come back to another node, nodes are
lost or stand still, handlers take their time, the backplane is far away, histories are short,
sessions are forgotten. A ledger knows every entry that was ever appended, and each client's tale is
held against it: `check` after each step, `settle` in the end.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

from msgspec.structs import replace

from sono_core.errors import OutboxFull
from sono_core.messaging import Publish
from sono_core.messaging.lossless import (
    OWN,
    Backplane,
    Data,
    Position,
    Receipt,
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
from sono_core.messaging.lossless.memory import MemoryBackplane
from sono_core.messaging.lossless.packets import Failure
from tests.properties.lossless_ledger import Ledger
from tests.properties.lossless_town import Town, Wire

ROOMS = ("a", "b")
CHANNELS = ("Home", *ROOMS, "forbidden")
REFUSALS = {
    "not-a-member",
    "forbidden",
    "unknown-client",
    "declined",
    "too-many-channels",
    *("unavailable", "too-many-requests"),
}
UNCERTAIN = {"unknown", "timeout"}
NOTHING_DONE = REFUSALS | {"not-sent"}


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
        self.away_since = math.inf  # when it lost the last connection on which it was welcome

    def depart(self, stream: str) -> None:
        """It may become a member again a little earlier, where the backplane is slow."""
        self.last.pop(stream, None)
        for name, at in list(self.heard):
            if name == stream:
                del self.heard[name, at]


class Country:
    """See the module.

    Args:
        nodes: how many. One is alone; several share the backplane.
    """

    def __init__(self, rng: Random, *, distant: bool, short: bool, nodes: int = 1) -> None:
        self.random = rng
        self.now = 1000.0
        self.distant = distant
        self.short = short
        self.number = count(1)
        self.ids = count(1)
        self.alive: set[str] = set()
        self.clients = [Client() for _ in range(3)]
        self.former: list[Client] = []
        self.zombies: list[Wire] = []
        self.handled: Counter[int] = Counter()
        self.questions: dict[int, list[tuple[Any, Failure | None]]] = {}
        self.left_at: dict[str, float] = {}
        self.sent_to: dict[int, str] = {}
        self.ended: set[str] = set()
        self.spoiled = False  # whether something may be missed although histories are long
        self.lost = 0  # nodes that were lost, or stood still
        self.renewals = 0  # streams that were lost, and what was known of their publications
        self.names = count(1)
        self.shared = nodes > 1
        self.keep()
        self.towns = [self.built() for _ in range(nodes)]

    def keep(self) -> None:
        """Begin a backplane and its ledger, in memory."""
        epochs = count(1)
        self.memory = MemoryBackplane(lambda: self.now, lambda: f"e{next(epochs)}")
        self.ledger = self.memory.streams = Ledger(1 << 30, lambda: f"e{next(epochs)}")
        self.memory.drop_session = self.dropping(  # type: ignore[method-assign]
            self.memory.drop_session
        )

    def backplane(self, name: str | None) -> Backplane:
        """What a node has of it."""
        return self.memory

    def forget(self, town: Town) -> None:
        """A node was killed: nothing is told to it any more."""
        backplane: Any = town.backplane
        for (stream, _), heard in backplane._heard_by.items():
            known = town.distant._wrapped.get((stream, heard)) if town.distant else heard
            if known is not None:
                self.memory.unsubscribe(stream, known)

    def built(self) -> Town:
        if not self.shared:
            return Town(self, None)
        name = f"n{next(self.names)}"
        self.alive.add(name)
        return Town(self, name)

    def count_handled(self, name: str, payload: Any) -> Any:
        self.handled[payload] += 1
        return payload

    def dropping(self, drop: Callable[..., Receipt[bool]]) -> Callable[..., Receipt[bool]]:
        """A session that waits in vain at a node that it came to ends as well."""

        def dropped(session: str, generation: int) -> Receipt[bool]:
            receipt = drop(session, generation)
            if receipt.value:
                self.ended.add(session)
            return receipt

        return dropped

    def spoil(self) -> bool:
        self.spoiled = True
        return True

    @property
    def working(self) -> list[Town]:
        """Those that do not stand still."""
        return [town for town in self.towns if not town.stopped]

    # -- the truth -------------------------------------------------------------------------------

    def body(self, client: str | None, stream: str, at: Position) -> Any:
        name = f"{OWN}{client}" if stream == OWN else stream
        bodies = self.ledger.written.get((name, at.epoch), [])
        assert 1 <= at.offset <= len(bodies), f"{stream} never had {at}"
        return bodies[at.offset - 1]

    def renew(self, stream: str) -> None:
        """What keeps the streams has lost one, and begins another life of it."""
        self.ledger.free(stream)
        self.renewals += 1
        self.random.choice(self.working).emit_something(channel_of(stream))
        self.spoiled = True

    # -- nodes -----------------------------------------------------------------------------------

    def lose(self, town: Town) -> None:
        """A node is killed, and another one starts."""
        self.lost += 1
        self.towns[self.towns.index(town)] = self.built()
        self.alive.discard(town.backplane.node)
        self.forget(town)
        self.zombies = [wire for wire in self.zombies if wire.town is not town]
        for client in self.clients:
            if client.wire and client.wire.town is town:
                client.wire.reached = True
                self.cut(client, None)
                self.zombies.pop()

    def stop(self, town: Town) -> None:
        """It does nothing until it goes on, and the others may take it for lost."""
        self.lost += 1
        town.stopped = True
        if self.random.random() < 0.5:
            self.alive.discard(town.backplane.node)

    def go_on(self, town: Town) -> None:
        town.stopped = False
        town.now = self.now
        self.alive.add(town.backplane.node)

    # -- connections -----------------------------------------------------------------------------

    def connect(self, client: Client) -> None:
        client.wire = Wire(self.random.choice(self.working))
        if self.random.random() < 0.3:
            client.wire.room = self.random.randrange(1, 4)
        client.machine.connected(self.now)
        self.flush(client)

    def flush(self, client: Client) -> None:
        if client.wire:
            client.wire.up.extend(client.machine.packets_to_send())
            self.listen(client)

    def cut(self, client: Client, code: int | None) -> None:
        """The client loses its connection; the server learns it now or later."""
        wire, client.wire = client.wire, None
        assert wire
        client.machine.lost(self.now, 1.0)
        self.listen(client)
        client.away_since = min(client.away_since, self.now)
        if code is None or wire.town.stopped:
            self.zombies.append(wire)
        else:
            wire.town.reach(wire, code)

    def deliver_one(self, client: Client) -> None:
        """A packet reaches the client."""
        wire = client.wire
        assert wire
        packet = plain(wire.got.pop(0))
        machine = client.machine
        before = machine.positions
        if isinstance(packet, packets.Welcome):
            assert packet.key != machine._session.key, "an old key"
            gone = self.short or machine.id in self.ended or self.now - client.away_since > 50
            assert packet.resumed or machine.id is None or gone, "it lives"
            client.away_since = math.inf
        machine.receive(packet, self.now)
        self.listen(client, before, begins=isinstance(packet, (packets.Result, packets.Joined)))

    def wait(self, seconds: float) -> None:
        """Time goes by at all nodes that work."""
        until = self.now + seconds
        while True:
            town = min(self.working, key=lambda one: one.node.deadline)
            if town.node.deadline > until:
                break
            self.now = max(self.now, town.node.deadline)
            for one in self.working:
                one.now = self.now
            town.node.tick()
        self.now = until
        for one in self.working:
            one.now = until

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
                self.sent_to[number] = to
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
        for town in self.towns:
            if town.stopped:
                self.go_on(town)
        # Not so long that clients believe their servers to be dead.
        for seconds in (6.0,) * 6 if self.shared else (11.0,) * 3:
            self.run_dry()
            self.let_time_pass(seconds)
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
                zombie.town.serve(zombie)
            else:
                zombie.town.reach(self.zombies.pop(0))
            return True
        return any(town.one_more() for town in self.towns) or any(
            self.serve_client(client) for client in self.clients
        )

    def serve_client(self, client: Client) -> bool:
        wire = client.wire
        if wire is None:
            self.connect(client)
            return True
        self.flush(client)
        if wire.up:
            wire.town.serve(wire)
        elif wire.got:
            self.deliver_one(client)
        elif client.machine.dead or wire.closed:
            self.cut(client, wire.closed[0] if wire.closed else 1006)
        elif wire.room < 10**8:
            wire.town.drain(wire, 10**9)
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
            assert client.wire
            hub = client.wire.town.hub
            members = hub.channels_of(id)
            assert set(machine.channels) >= set(members)
            if not client.doubtful:  # a gap may have hidden the end of one
                assert set(machine.channels) == set(members)
                assert machine.channel == hub.channel_of(id)
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
        for town in self.towns:
            town.compare(
                {
                    client.machine.id
                    for client in self.clients
                    if client.wire and client.wire.town is town and client.machine.id
                }
            )

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
            # A node that was lost may have carried out a request, and nobody knows.
            most = 1 + (self.lost if kind == "request" else self.renewals if self.shared else 0)
            most += self.sent_to.get(number) in self.ended  # its stream is another one then
            assert harmless or times <= most, f"{kind} {number} was done {times} times"
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
                to = self.sent_to.get(number)  # it may have ended between two attempts
                over = to is not None and to not in {one.machine.id for one in self.clients}
                # Handlers hear it again where a node was lost that had done it, and may decline it.
                again = harmless or over or (self.lost and outcome.code != "not-sent")
                assert again or not times, f"{kind} {number} was done all the same"
            else:
                assert outcome.code in UNCERTAIN, outcome


def plain(packet: packets.FromServer) -> packets.FromServer:
    """As a client reads it."""
    data = getattr(packet, "data", None)
    return replace(packet, data=data.value()) if isinstance(data, Data) else packet
