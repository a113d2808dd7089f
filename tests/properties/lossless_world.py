"""A tiny server of `sono.v2` and an application, with everything between them that can go wrong.

The server numbers entries, trims history, forgets sessions and loses entries; connections are cut
with what is in transit. The world knows what happened, and holds against it what the application
was told: `check` after each step, `settle` at the end, when all has been mended.
"""

from __future__ import annotations

from collections import Counter, deque
from itertools import count
from random import Random
from typing import Any

import msgspec

from sono_core.errors import OutboxFull
from sono_core.messaging.lossless import OWN, Position, packets, stream_of
from sono_core.messaging.lossless.client import (
    ClientMachine,
    Departed,
    Done,
    Missed,
    Opened,
    Pending,
    Settled,
)
from sono_core.messaging.lossless.packets import Failure

HOME = "Home"
ROOMS = ("a", "b")
WATCHED = "a"  # the room whose presence is watched
Item = tuple[str, str, int]
"""A stream, an epoch and an offset."""


def kept(packet: Any) -> tuple[Any, int]:
    """As a codec keeps it: a copy, and its size."""
    text = msgspec.json.encode(packet)
    return msgspec.json.decode(text, type=type(packet)), len(text)


class Stream:
    """Entries with positions, of which the last are kept."""

    def __init__(self, name: str, epoch: str) -> None:
        self.name = name
        self.epoch = epoch
        self.top = 0
        self.kept: dict[int, Any] = {}

    @property
    def at(self) -> Position:
        return Position(self.epoch, self.top)

    def add(self, make: Any) -> Any:
        self.top += 1
        entry = make(self.name, self.at)
        self.kept[self.top] = entry
        return entry

    def trim(self, most: int) -> None:
        for offset in sorted(self.kept)[: max(0, len(self.kept) - most)]:
            del self.kept[offset]

    def since(self, at: Position | None) -> tuple[Position, list[Any]]:
        """Where the entries that follow a position begin, and they."""
        offset = at.offset if at and at.epoch == self.epoch and at.offset <= self.top else 0
        first = min(self.kept, default=self.top + 1)
        offset = max(offset, first - 1)
        return Position(self.epoch, offset), [self.kept[o] for o in range(offset + 1, self.top + 1)]


class Session:
    """What the server knows of the client, beside its connection."""

    def __init__(self, number: int) -> None:
        self.id = f"client{number}"
        self.own = Stream(OWN, f"own{number}")
        self.key: str | None = None
        self.former: str | None = None
        self.opened_with: str | None = None  # the key of a session that was gone
        self.known = False  # whether the client has its key
        self.current = HOME
        self.members = {HOME}
        self.accepted = 0
        self.watching = False
        self.asked: set[int] = set()
        self.waiting: list[packets.Request] = []  # requests that are handled later


class Line:
    """A connection: what is in transit, in order within each stream and otherwise in none."""

    def __init__(self) -> None:
        self.up: deque[Any] = deque()
        self.down: dict[str, deque[Any]] = {}
        self.barrier: dict[str, Any] = {}  # what must come before the entries of a stream
        self.welcomed = False
        self.confirmed = False
        self.read: set[str] = set()  # the streams that were read again

    def push(self, lane: str, packet: Any) -> None:
        self.down.setdefault(lane, deque()).append(packet)

    def lanes(self) -> list[str]:
        """Those that something can come out of now."""
        if self.down.get("control"):
            first = self.down["control"][0]
            if isinstance(first, packets.Welcome):
                return ["control"]
        return [
            lane for lane, queue in self.down.items() if queue and self.barrier.get(lane) is None
        ]

    def pull(self, lane: str) -> Any:
        packet = self.down[lane].popleft()
        for stream, barrier in list(self.barrier.items()):
            if barrier is packet:
                self.barrier[stream] = None
        return packet


class World:
    """A server, a client and the truth."""

    def __init__(self) -> None:
        self.client = ClientMachine(keep=kept)
        self.now = 0.0
        self.numbers = count(1)
        self.line: Line | None = None
        self.session: Session | None = None
        self.streams = {
            name: Stream(name, f"{name}.1") for name in ("*", *map(stream_of, (HOME, *ROOMS)))
        }
        self.present: dict[str, int] = {}  # who is in the watched room
        self.version = 0
        # -- the truth
        self.written: dict[Item, Any] = {}  # entries that carry an event
        self.begun: dict[str, int] = {}  # where in `order` the client began to follow a stream
        self.order: dict[str, list[Item]] = {}  # all entries, by stream
        self.handled: Counter[int] = Counter()  # how often the server did each thing
        # -- what the application was told
        self.heard: Counter[Item] = Counter()
        self.missed: list[Missed] = []
        self.pending: dict[int, tuple[Pending, bool]] = {}  # by the number in the data
        self.open_requests: list[int] = []
        self.aged = False  # whether packets were given up because they waited for too long

    # -- the server ------------------------------------------------------------------------------

    def stream(self, name: str) -> Stream:
        if name == OWN:
            assert self.session
            return self.session.own
        return self.streams[name]

    def add(self, name: str, make: Any) -> Any:
        """Another entry, sent if the client follows the stream."""
        stream = self.stream(name)
        entry = stream.add(make)
        item = (name, stream.epoch, stream.top)
        self.order.setdefault(name, []).append(item)
        self.written[item] = entry
        if self.line and self.line.welcomed and name in self.followed():
            self.line.push(name, entry)
        return entry

    def followed(self) -> list[str]:
        assert self.session
        return [OWN, "*", *map(stream_of, sorted(self.session.members))]

    def say(self, name: str) -> None:
        """An event of another client's, or for this client alone."""
        number = next(self.numbers)
        self.add(
            name, lambda stream, at: packets.Event(stream=stream, event="e", data=number, at=at)
        )

    def begin(self, name: str) -> None:
        self.begun[name] = len(self.order.setdefault(name, []))

    def enter(self, channel: str) -> None:
        assert self.session
        if channel not in self.session.members:
            self.session.members.add(channel)
            self.begin(stream_of(channel))
            if self.line:
                self.line.down.pop(stream_of(channel), None)

    def exit(self, channel: str) -> None:
        assert self.session
        self.session.members.discard(channel)
        self.begun.pop(stream_of(channel), None)
        if channel == WATCHED:
            self.session.watching = False
        if self.line:
            self.line.down.pop(stream_of(channel), None)

    def serve(self, rng: Random) -> None:
        """Take one packet of the client's."""
        assert self.line
        packet = self.line.up.popleft()
        if isinstance(packet, packets.Hello):
            self.greet(packet, rng)
            return
        assert self.line.welcomed, "something came before the welcome"
        assert self.session
        if not self.line.confirmed:
            self.line.confirmed = True
            self.session.former = None
            self.session.known = True
        if isinstance(packet, packets.Read):
            self.read(packet)
            return
        seq = packet.seq
        assert seq <= self.session.accepted + 1, "a number is missing"
        assert seq == self.session.accepted + 1, "a number came twice, after it was accepted"
        self.session.accepted = seq
        if rng.random() < 0.7:
            self.line.push("control", packets.Ack(seq))
        self.handle(packet)

    def read(self, packet: packets.Read) -> None:
        assert self.line
        assert packet.stream in self.followed() or packet.stream.startswith("#")
        if packet.stream not in self.followed():
            return
        self.line.read.add(packet.stream)
        stream = self.stream(packet.stream)
        at, entries = stream.since(packet.at)
        if at != packet.at:
            self.line.push(packet.stream, packets.Gap(packet.stream, at))
        for entry in entries:
            self.line.push(packet.stream, entry)

    def greet(self, hello: packets.Hello, rng: Random) -> None:
        session, line = self.session, self.line
        assert line
        if session and hello.key == session.opened_with and not session.known:
            session = None  # its welcome was lost: the client still has the key of another one
        resumed = session is not None
        if session is None:
            session = self.session = Session(next(self.numbers))
            session.opened_with = hello.key
            session.key = f"key{next(self.numbers)}"
            if hello.channel is not None:
                session.current = hello.channel
            session.members = {session.current, *hello.joined}
            for name in self.followed():
                if name not in hello.streams or name not in self.begun or name == OWN:
                    self.begin(name)
        else:
            assert hello.key in (session.key, session.former), "the key was forgotten"
            session.known = True
            if hello.key == session.key:
                session.former, session.key = session.key, f"key{next(self.numbers)}"
        streams = []
        replays = []
        for name in self.followed():
            stream = self.stream(name)
            given = hello.streams.get(name) if resumed or name != OWN else None
            at, entries = stream.since(given)
            if given is None or (at != given and rng.random() < 0.5):
                at, entries = stream.at, []
            streams.append(packets.Begun(name, at, at == given))
            replays.append((name, entries))
        line.welcomed = True
        line.push(
            "control",
            packets.Welcome(
                id=session.id,
                key=session.key,  # type: ignore[arg-type]
                resumed=resumed,
                seq=session.accepted,
                channel=session.current,
                streams=streams,
            ),
        )
        if session.watching:
            self.push_members()
        for name, entries in replays:
            for entry in entries:
                line.push(name, entry)

    def result(self, seq: int, **fields: Any) -> Any:
        return self.add(OWN, lambda name, at: packets.Result(stream=name, at=at, re=seq, **fields))

    def handle(self, packet: Any) -> None:
        session = self.session
        assert session
        if isinstance(packet, packets.Publish):
            self.handled[packet.data] += 1
            name = stream_of(packet.channel)
            if packet.channel not in session.members:
                self.result(packet.seq, error=Failure("not-a-member", ""))  # type: ignore[arg-type]
                return
            self.add(
                name,
                lambda stream, at: (
                    packets.Event(stream=stream, event="e", data=packet.data, at=at)
                    if packet.to_self
                    else packets.Skip(stream, at)
                ),
            )
            self.result(packet.seq, published=self.stream(name).at)  # type: ignore[arg-type]
        elif isinstance(packet, (packets.Join, packets.Move)):
            self.let_in(packet)
        elif isinstance(packet, packets.Leave):
            if packet.channel == session.current:
                self.result(packet.seq, error=Failure("forbidden", ""))
            else:
                self.exit(packet.channel)
                self.result(packet.seq)
        elif isinstance(packet, packets.Reply) and packet.re == 0:  # 5.13
            self.result(packet.seq, error=Failure("no-such-request", ""))
        elif isinstance(packet, packets.Reply):
            assert packet.re in session.asked, "nobody asked for this reply"
            session.asked.discard(packet.re)
            self.result(packet.seq)
        elif packet.name == "sono.members":
            data = {"version": self.version, "members": list(self.present.items())}
            self.result(packet.seq, data={**data, "count": len(self.present)})
        else:
            session.waiting.append(packet)

    def let_in(self, packet: packets.Join | packets.Move) -> None:
        assert self.session
        channel, before = packet.channel, self.session.current
        name = stream_of(channel)
        fresh = channel not in self.session.members
        self.enter(channel)
        if isinstance(packet, packets.Move):
            self.session.current = channel
            if before != channel:
                self.exit(before)
        begun = {"stream": name, "at": list(msgspec.to_builtins(self.stream(name).at))}
        result = self.result(packet.seq, data={**begun, "recovered": False})
        if self.line and fresh:
            self.line.barrier[name] = result
        if isinstance(packet, packets.Join) and packet.presence and channel == WATCHED:
            self.session.watching = True
            self.push_members()

    def push_members(self) -> None:
        if self.line:
            members = list(self.present.items())
            self.line.push("control", packets.Members(WATCHED, self.version, members, len(members)))

    def answer(self) -> None:
        """The handler of a request returns."""
        assert self.session
        packet = self.session.waiting.pop(0)
        self.handled[packet.data] += 1
        self.result(packet.seq, data=packet.data)

    def ask(self) -> None:
        """The server's own request."""
        assert self.session
        number = next(self.numbers)
        self.session.asked.add(number)
        self.add(
            OWN,
            lambda name, at: packets.Asked(stream=name, at=at, id=number, name="r", data=number),
        )

    def force(self, channel: str, *, current: bool) -> None:
        """The server makes the client a member."""
        session = self.session
        assert session
        if channel in session.members:
            return
        self.enter(channel)
        before = session.current
        if current:
            session.current = channel
            self.exit(before)
        position = self.stream(stream_of(channel)).at
        entry = self.add(
            OWN,
            lambda name, at: packets.Joined(
                stream=name, at=at, channel=channel, position=position, current=current
            ),
        )
        if self.line and self.line.welcomed:
            self.line.barrier[stream_of(channel)] = entry

    def expel(self, channel: str) -> None:
        assert self.session
        if channel in self.session.members and channel != self.session.current:
            self.exit(channel)
            self.add(
                OWN, lambda name, at: packets.Left(stream=name, at=at, channel=channel, code="x")
            )

    def renew(self, name: str) -> None:
        """A stream begins another life."""
        number = next(self.numbers)
        self.streams[name] = Stream(name, f"{name}.{number}")
        self.say(name)  # an empty life that nobody is told of is not met

    def come_and_go(self, member: str, *, lost: bool) -> None:
        """Somebody else enters or leaves the watched room."""
        self.version += 1
        if member in self.present:
            del self.present[member]
            change = packets.Presence(WATCHED, self.version, len(self.present), gone=[member])
        else:
            self.present[member] = self.version
            change = packets.Presence(
                WATCHED, self.version, len(self.present), entered=[(member, self.version)]
            )
        if self.line and self.line.welcomed and self.session and self.session.watching and not lost:
            self.line.push("control", change)

    # -- the line --------------------------------------------------------------------------------

    def connect(self) -> None:
        self.line = Line()
        self.client.connected(self.now)
        self.flush()

    def cut(self) -> None:
        self.line = None
        self.client.lost(self.now, 1.0)
        self.check()

    def flush(self) -> None:
        """What the client has to say is written."""
        if self.line:
            self.line.up.extend(kept(packet)[0] for packet in self.client.packets_to_send())
        self.check()

    def deliver(self, lane: str) -> None:
        assert self.line
        self.client.receive(self.line.pull(lane), self.now)
        self.check()

    def lose(self, lane: str) -> None:
        """A live entry is lost on the server's side; what is read again comes whole."""
        assert self.line
        queue = self.line.down[lane]
        if lane not in self.line.read and queue[-1] not in self.line.barrier.values():
            queue.pop()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.client.tick(self.now)
        self.aged |= seconds > 300
        self.check()

    # -- the application -------------------------------------------------------------------------

    def publish(self, channel: str, *, harmless: bool, to_self: bool = True) -> None:
        number = next(self.numbers)
        try:
            pending = self.client.publish(
                channel, "e", number, now=self.now, harmless=harmless, to_self=to_self
            )
        except OutboxFull:
            return
        self.pending[number] = pending, harmless

    def request(self) -> None:
        number = next(self.numbers)
        try:
            pending = self.client.request("r", number, now=self.now)
        except OutboxFull:
            return
        self.pending[number] = pending, False

    def reply(self) -> None:
        self.client.reply(self.open_requests.pop(0), "yes", now=self.now)
        self.check()

    # -- truth and tale --------------------------------------------------------------------------

    def check(self) -> None:
        """Nothing that the application is told is wrong."""
        for told in self.client.events():
            if isinstance(told, packets.Event):
                assert told.at is not None
                item = (told.stream, told.at.epoch, told.at.offset)
                assert self.written[item] == told
                self.heard[item] += 1
                assert self.heard[item] == 1, f"{item} was told twice"
            elif isinstance(told, packets.Asked):
                self.open_requests.append(told.id)
            elif isinstance(told, Missed):
                self.missed.append(told)
            elif isinstance(told, Opened):
                if not told.resumed:
                    self.open_requests.clear()
            elif isinstance(told, Settled):
                assert told.pending.outcome is not None
            elif isinstance(told, Departed):
                assert told.code != "too-many-channels"

    def settle(self, rng: Random) -> None:
        """Mend everything, and compare the tale with the truth."""
        self.run_dry(rng)
        assert self.session
        for name in self.followed():
            self.say(name)  # behind a lost last entry nothing shows it
        if self.session.watching:
            self.come_and_go("last", lost=False)
        self.run_dry(rng)
        self.compare()

    def run_dry(self, rng: Random) -> None:
        for _ in range(10_000):
            if self.line is None:
                self.connect()
            assert self.line
            self.flush()
            if self.client.dead:
                self.cut()
            elif self.line.up:
                self.serve(rng)
            elif lanes := self.line.lanes():
                self.deliver(rng.choice(lanes))
            elif self.session and self.session.waiting:
                self.answer()
            else:
                return
        raise AssertionError("this does not end")

    def compare(self) -> None:
        assert self.session
        assert self.client.channel == self.session.current
        assert set(self.client.channels) >= self.session.members
        if all(gap.stream != OWN for gap in self.missed):  # it may have hidden the end of one
            assert set(self.client.channels) == self.session.members
        for name in self.followed():
            assert self.client.positions[name] == self.stream(name).at
            for item in self.order[name][self.begun[name] :]:
                self.require_told(item)
        for number, (pending, harmless) in self.pending.items():
            self.require_done(number, pending, harmless)
        assert set(self.open_requests) <= self.session.asked
        mirrored = any(self.client._session.mirrors)  # not after a join that ended unknown
        if mirrored and WATCHED in self.session.members:
            assert self.session.watching
            assert self.client.members(WATCHED) == self.present, "presence is wrong"

    def require_told(self, item: Item) -> None:
        name, epoch, offset = item
        if self.heard[item] or not isinstance(self.written[item], packets.Event):
            return
        for gap in self.missed:
            same = gap.stream == name and gap.at.epoch == epoch and gap.at.offset >= offset
            if same and (gap.first is None or gap.first <= offset):
                return
            later = self.order[name][self.order[name].index(item) :]
            after = any(epoch != other[1] == gap.at.epoch and gap.first is None for other in later)
            if gap.stream == name and (after or (gap.first is None and gap.at.offset == 0)):
                return
        raise AssertionError(f"{item} was lost, and nobody was told")

    def require_done(self, number: int, pending: Pending, harmless: bool) -> None:
        outcome, times = pending.outcome, self.handled[number]
        assert outcome is not None, f"{number} has no outcome"
        assert harmless or times <= 1, f"{number} was done {times} times"
        if isinstance(outcome, Done):
            assert times >= 1, f"{number} was not done"
        elif outcome.code == "not-sent":
            assert times == 0, f"{number} was done all the same"
        else:
            assert outcome.code in ("unknown", "not-a-member", "timeout")
            excused = self.aged or outcome.code == "not-a-member"
            assert not harmless or excused, f"{number} was given up"
