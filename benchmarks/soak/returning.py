"""Clients of `sono.v2` that lose their connections again and again: one process of `returns`.

    python -m benchmarks.soak.returning PLAN

PLAN is a `Plan` as JSON. The last line of the output is a `Report` as JSON. What a client hears is
checked at once: the entries of a stream in order, none twice, and whatever is missing told.
"""

import asyncio
import contextlib
import math
import os
import random
import sys
import time
from typing import Any

import msgspec
from msgspec import UNSET, field

from benchmarks.peers.common import more_descriptors
from sono_core import Accept, Close, Connection, Request, Role, TextMessage
from sono_core.limits import MIB
from sono_core.messaging.lossless import Data, Position, packets, stream_of
from sono_core.messaging.lossless.client import (
    ClientLimits,
    ClientMachine,
    Departed,
    Done,
    Missed,
    Opened,
    Settled,
    State,
)
from sono_core.messaging.v2 import JSON

_LEAST, _RANGE = 0.5, 0.5  # seconds that a client waits before it comes back, as 8.1 says
_LOOK = 0.1  # seconds between two looks at deadlines, and at whether all has arrived
_STALE = 10.0  # seconds after which a connection that is not welcome is given up
_LIMITS = ClientLimits(max_packets=100_000, max_bytes=64 * MIB)


class Plan(msgspec.Struct, frozen=True):
    """What the clients of one process do."""

    ports: list[int]
    """Of the servers; a client goes on to the next one whenever it comes back."""
    path: str
    first: int
    """Number of the first client, of all processes."""
    clients: int
    channels: list[str]
    """A client is a member of some of them."""
    memberships: int
    drops: int
    """Connections that each client loses."""
    stay: float
    """Seconds for which it keeps one on average."""
    rate: float
    """Messages a second that the clients publish together."""
    settle: float
    """Seconds within which everything must have arrived after that."""


class Report(msgspec.Struct):
    """What they saw."""

    drops: int = 0
    resumed: int = 0
    anew: list[str] = field(default_factory=list)
    """Clients whose session was gone, and how long they had been away."""
    published: dict[str, tuple[str, Position]] = field(default_factory=dict)
    """Channel and position by message, of those whose result came."""
    outcomes: dict[str, int] = field(default_factory=dict)
    """How many of the others ended how."""
    entries: dict[str, dict[str, str]] = field(default_factory=dict)
    """By channel and position: the message that was heard there."""
    heard: int = 0
    """Entries, of all clients."""
    told: list[tuple[str, Position, int, float]] = field(default_factory=list)
    """Gaps that clients were told: stream, last position, first offset, and when that was."""
    unknown: dict[str, int] = field(default_factory=dict)
    """Gaps of unknown extent, by stream."""
    reads: int = 0
    """How often clients asked again for what they had missed within a connection."""
    waits: list[float] = field(default_factory=list)
    """Seconds from the beginning of each connection but the first to its welcome."""
    longest: float = 0.0
    """Seconds from when a message was made until a client had it, at most."""
    cpu: float = 0.0
    """Seconds of the process."""
    wrong: list[str] = field(default_factory=list)
    """Every broken promise."""


def text_of(position: Position) -> str:
    """A position as a key of JSON."""
    return f"{position.epoch}:{position.offset}"


def made_at(message: str) -> float:
    """When a message was made, by the clock that all processes of a machine share."""
    return int(message.rpartition(".")[2]) / 1e6


def _kept(packet: Any) -> tuple[Any, int]:
    if getattr(packet, "data", UNSET) is not UNSET:
        packet = msgspec.structs.replace(packet, data=Data.of(packet.data))
    return packet, len(JSON.write(packet))


class _Wire(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, client: "Client") -> None:
        self.client = client
        self.transport: asyncio.Transport | None = None
        self.since = time.monotonic()
        self.ended = asyncio.Event()
        self._connection = Connection(Role.CLIENT, random=os.urandom)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        host = f"127.0.0.1:{self.client.port}"
        request = Request(self.client.plan.path, host=host, subprotocols=("sono.v2",))
        self._connection.send(request)
        self.flush()

    def data_received(self, data: bytes) -> None:
        for event in self._connection.receive_data(data):
            if self.client.wire is not self:  # it was replaced
                if isinstance(event, Close):
                    self._end()
                return
            match event:
                case Accept():
                    self.client.machine.connected(time.monotonic())
                    self.client.flush()
                case TextMessage():
                    self.client.hear(event.text)
                case Close():
                    self.flush()
                    self._end()
        self.flush()

    def send(self, content: str | bytes) -> None:
        assert isinstance(content, str)
        self._connection.send(TextMessage(content))

    def flush(self) -> None:
        if self.transport is not None and (data := self._connection.data_to_send()):
            self.transport.write(data)

    def _end(self) -> None:
        assert self.transport is not None
        self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.ended.set()


class Client:
    """One client, over all its connections."""

    def __init__(self, plan: Plan, number: int, report: Report) -> None:
        self.plan = plan
        self._connections = 0
        self.machine = ClientMachine(keep=_kept, client_limits=_LIMITS)
        self.wire: _Wire | None = None
        self.open = False
        self.at: dict[str, Position] = {}
        """Up to where it has heard of each channel."""
        self.rng = random.Random(number)
        self.channels: list[str] = self.rng.sample(plan.channels, plan.memberships)
        self._number = number
        self._report = report
        self._waiting: dict[int, tuple[str, str]] = {}  # channel and message, by its Pending
        self._asking: dict[
            int, str
        ] = {}  # channel, by the Pending of a question for its last entry
        self._last: dict[str, Position] = {}  # of each channel, as the server says in the end
        self._connecting = asyncio.Lock()
        self._lost = 0.0  # when it had a session last
        self._count = 0
        self._joining: dict[int, str] = {}  # channel, by the Pending of its join
        for channel in self.channels:
            self._joining[id(self.machine.join(channel, now=time.monotonic()))] = channel

    def __repr__(self) -> str:
        return f"client {self._number}"

    # -- connections ------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """Of the server that it is at, or about to be."""
        ports = self.plan.ports
        return ports[(self._number + self._connections) % len(ports)]

    async def live(self) -> None:
        """Come, and come back as often as the plan says; the last connection stays."""
        await self._connect()
        for _ in range(self.plan.drops):
            await asyncio.sleep(self.rng.uniform(0.5, 1.5) * self.plan.stay)
            self._drop(self.rng.choice(("reset", "end", "replaced")))
            self._report.drops += 1
            await asyncio.sleep(_LEAST + self.rng.uniform(0, _RANGE))
            await self._connect()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        address = f"127.{1 + self._number // 62500}.{self._number // 250 % 250}"
        async with self._connecting:
            while self.wire is None:
                with contextlib.suppress(OSError):
                    self._connections += 1
                    self.wire = wire = _Wire(self)
                    await loop.create_connection(
                        lambda wire=wire: wire,  # type: ignore[misc]
                        "127.0.0.1",
                        self.port,
                        local_addr=(f"{address}.{1 + self._number % 250}", 0),
                    )
                    return
                self.wire = None
                await asyncio.sleep(_LEAST + self.rng.uniform(0, _RANGE))

    def _drop(self, how: str) -> None:
        wire, self.wire, self.open = self.wire, None, False
        now = time.monotonic()
        if self.machine.status.state is State.OPEN:
            self._lost = now
        self.machine.lost(now, _LEAST)
        if wire is None or wire.transport is None:
            return
        if how == "reset":
            wire.transport.abort()
        elif how == "end":
            wire.transport.close()
        # or else the server finds out when the next one has the session

    async def look(self) -> None:
        """Give up connections that the server has ended, or that are dead."""
        now, wire = time.monotonic(), self.wire
        self.machine.tick(now)
        if wire is None:
            return
        stale = not self.open and now > wire.since + _STALE
        if wire.ended.is_set() or self.machine.dead or stale:
            self._drop("reset")
            await asyncio.sleep(_LEAST + self.rng.uniform(0, _RANGE))
            await self._connect()

    # -- what is said and heard -------------------------------------------------------------------

    def publish(self) -> None:
        """Say something in one of its channels, with a connection or without."""
        self._count += 1
        channel = self.rng.choice(self.channels)
        message = f"{self._number}.{self._count}.{math.floor(time.monotonic() * 1e6)}"
        pending = self.machine.publish(channel, "said", message, now=time.monotonic())
        self._waiting[id(pending)] = channel, message
        self.flush()

    def ask(self) -> None:
        """Ask for the last entry of each of its channels, all of which it must have by then."""
        for channel in self.channels:
            data = {"channel": channel, "limit": 1}
            pending = self.machine.request("sono.history", data, now=time.monotonic())
            self._asking[id(pending)] = channel
        self.flush()

    def flush(self) -> None:
        """Write what the machine wants to say."""
        if self.wire is None:
            return
        packets_to_send = self.machine.packets_to_send()
        for packet in packets_to_send:
            self._report.reads += isinstance(packet, packets.Read)
            self.wire.send(JSON.write(packet))
        if packets_to_send:
            self.wire.flush()

    def hear(self, text: str) -> None:
        """Take a packet of the server's."""
        packet = JSON.from_server(text)
        if packet is None:
            self._wrong(f"no packet: {text[:200]}")
            return
        if isinstance(packet, packets.Error):
            self._wrong(f"refused: {packet.code}: {packet.message}")
        self.machine.receive(packet, time.monotonic())
        for told in self.machine.events():
            self._note(told)
        self.flush()

    def _note(self, told: object) -> None:
        match told:
            case packets.Event():
                self._take(told)
            case Missed():
                self._miss(told)
            case Opened():
                self.open = True
                if not told.first and self.wire is not None:
                    self._report.waits.append(time.monotonic() - self.wire.since)
                if told.resumed:
                    self._report.resumed += 1
                elif not told.first:
                    self._report.anew.append(f"{self} after {time.monotonic() - self._lost:.1f} s")
            case Settled():
                self._settle(told)
            case Departed():
                self._wrong(f"it had to leave {told.channel}: {told.code}")

    def _take(self, event: packets.Event) -> None:
        at, stream = event.at, event.stream
        if at is None:
            self._wrong("an event without a position")
            return
        last = self.at.get(stream)
        if last is not None and at != Position(last.epoch, last.offset + 1):
            self._wrong(f"after {text_of(last)} of {stream} came {text_of(at)}")
        self.at[stream] = at
        self._report.heard += 1
        waited = time.monotonic() - made_at(event.data)
        self._report.longest = max(self._report.longest, waited)
        known = self._report.entries.setdefault(stream, {}).setdefault(text_of(at), event.data)
        if known != event.data:
            self._wrong(f"{text_of(at)} of {stream} is {event.data}, and was {known}")

    def _miss(self, missed: Missed) -> None:
        stream, last = missed.stream, self.at.get(missed.stream)
        self.at[stream] = missed.at
        if missed.first is None:
            self._report.unknown[stream] = self._report.unknown.get(stream, 0) + 1
            return
        if last is not None and (last.epoch != missed.at.epoch or missed.first != last.offset + 1):
            self._wrong(f"after {text_of(last)} of {stream} a gap from {missed.first} was told")
        self._report.told.append((stream, missed.at, missed.first, time.monotonic()))

    def _settle(self, settled: Settled) -> None:
        id_, outcome = id(settled.pending), settled.pending.outcome
        if asked := self._asking.pop(id_, None):
            self._compare(asked, outcome)
        if joined := self._joining.pop(id_, None):
            self._join(joined, outcome)
        if id_ not in self._waiting:
            return
        channel, message = self._waiting.pop(id_)
        if isinstance(outcome, Done) and outcome.published is not None:
            self._report.published[message] = channel, outcome.published
        else:
            said = str(getattr(outcome, "code", outcome))
            self._report.outcomes[said] = self._report.outcomes.get(said, 0) + 1

    def _join(self, channel: str, outcome: object) -> None:
        if isinstance(outcome, Done):  # after a resume it may have heard something before that
            self.at.setdefault(stream_of(channel), Position(*outcome.data["at"]))
        else:
            self._wrong(f"it is no member of {channel}: {outcome}")

    def _compare(self, channel: str, outcome: object) -> None:
        here = self.at.get(stream_of(channel))
        if not isinstance(outcome, Done) or here is None:
            self._wrong(f"the last entry of {channel} is not known: {outcome}")
            return
        for entry in outcome.data["entries"]:
            self._last[stream_of(channel)] = Position(*entry["at"])

    @property
    def missing(self) -> list[str]:
        """What has still to arrive."""
        waits = [f"the result of {message}" for _, message in self._waiting.values()]
        waits += [f"the last entry of {channel}" for channel in self._asking.values()]
        for stream, last in self._last.items():  # its answer may overtake what is sent again
            here = self.at[stream]
            if here.epoch != last.epoch or here.offset < last.offset:
                waits.append(f"{text_of(last)} of {stream}, as it has {text_of(here)}")
        return waits if self.open else ["a session", *waits]

    def _wrong(self, what: str) -> None:
        self._report.wrong.append(f"{self}: {what}")


async def _publish(clients: list[Client], rate: float) -> None:
    """Have clients say something, in turn, at that rate."""
    rng = random.Random(len(clients))
    due = time.monotonic()
    while True:
        due += 1 / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        rng.choice(clients).publish()


async def _look(clients: list[Client]) -> None:
    while True:
        await asyncio.gather(*(client.look() for client in clients))
        await asyncio.sleep(_LOOK)


async def _settled(clients: list[Client], report: Report, given_up: float) -> None:
    """Wait until all have a connection, and all that they wait for."""
    while late := [client for client in clients if client.missing]:
        if time.monotonic() > given_up:
            report.wrong += [f"{client} waits for {client.missing[0]}" for client in late]
            return
        await asyncio.sleep(_LOOK)


async def run(plan: Plan) -> Report:
    """Let the clients live, until everything has arrived."""
    report = Report()
    clients = [Client(plan, plan.first + n, report) for n in range(plan.clients)]
    lives = [asyncio.create_task(client.live()) for client in clients]
    others = [
        asyncio.create_task(_publish(clients, plan.rate)),
        asyncio.create_task(_look(clients)),
    ]
    await asyncio.gather(*lives)
    others[0].cancel()
    given_up = time.monotonic() + plan.settle
    await _settled(clients, report, given_up)
    for client in clients:
        client.ask()
    await _settled(clients, report, given_up)
    others[1].cancel()
    for client in clients:
        if client.wire is not None and client.wire.transport is not None:
            client.wire.transport.close()
    await asyncio.gather(*others, return_exceptions=True)
    report.cpu = time.process_time()
    return report


def main(arguments: list[str]) -> None:
    """See the module."""
    more_descriptors()
    plan = msgspec.json.decode(arguments[0], type=Plan)
    print(msgspec.json.encode(asyncio.run(run(plan))).decode(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
