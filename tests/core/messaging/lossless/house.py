"""A server in memory: a node, connections that keep what they get, and a small application."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import count
from typing import Any

import msgspec

from sono_core.limits import Limits
from sono_core.messaging import Deliver, Hub, Publish
from sono_core.messaging.lossless import Position, packets
from sono_core.messaging.lossless.backplane import Backplane
from sono_core.messaging.lossless.data import Data
from sono_core.messaging.lossless.history import Histories, History
from sono_core.messaging.lossless.memory import MemoryBackplane
from sono_core.messaging.lossless.packets import Failure
from sono_core.messaging.lossless.server.conversation import (
    Answer,
    Authorise,
    Conversation,
    Do,
    Enumerate,
    Hear,
    Identify,
    Work,
)
from sono_core.messaging.lossless.server.identities import author_of
from sono_core.messaging.lossless.server.node import Node, Settings, event
from sono_core.messaging.lossless.server.sessions import Bounds

SETTINGS = Settings(
    sessions=Bounds(age=60.0, count=1000, count_of_address=1000, size=1 << 20),
    max_joined=8,
    max_requests=4,
    max_members=100,
    max_present=4096,
    max_listing=4096,
    grace=15.0,
    beat=25.0,
    limits={},
)


class Line:
    """One connection."""

    def __init__(self, house: House, address: str = "here") -> None:
        self.house = house
        self.got: list[packets.FromServer] = []
        self.closed: tuple[int, str] | None = None
        self.room = 10**9
        """Packets that are sent again and for which there is room."""
        self.client = ""
        self.conversation = Conversation(house.node, self, address)

    def send(self, *sent: packets.FromClient) -> list[packets.FromServer]:
        """What comes back at once."""
        before = len(self.got)
        for packet in sent:
            assert self.closed is None
            if work := self.conversation.receive(packet):
                self.house.carry_out(self, work)
        self.conversation.ack()
        return self.got[before:]

    def hello(self, **fields: Any) -> packets.Welcome:
        """Say hello, and be welcome."""
        self.send(packets.Hello(**fields))
        (welcome,) = [packet for packet in self.got if isinstance(packet, packets.Welcome)]
        return welcome

    def lose(self, code: int = 1006) -> None:
        """The connection ends."""
        self.closed = self.closed or (code, "")
        self.conversation.lost(code, 0)

    def taken(self) -> list[packets.FromServer]:
        """What came since this was last asked."""
        got, self.got = self.got, []
        return got


class House:
    """See the module."""

    def __init__(
        self,
        backplane: Callable[[Callable[[], float], Callable[[], str]], Backplane] | None = None,
        settings: Settings = SETTINGS,
        histories: Histories | None = None,
        open_channels: bool = True,
        limits: Limits | None = None,
        numbers: Iterator[int] | None = None,
    ) -> None:
        self.now = 1000.0
        numbers = numbers or count(1)
        epochs = count(1)
        self.hub = Hub("Home", open_channels=open_channels, limits=limits or Limits())
        make = backplane or MemoryBackplane
        self.backplane = make(lambda: self.now, lambda: f"e{next(epochs)}")
        self.lines: dict[str, Line] = {}
        self.over: list[tuple[str, int]] = []
        self.away: list[str] = []
        self.staying: list[str] = []
        self.directed: list[Deliver] = []
        self.missed = 0
        self.disconnected: list[tuple[bytes, int, str]] = []
        self.asked: list[tuple[str, str]] = []
        self.heard: list[tuple[str, str, Any]] = []
        self.may_join: Callable[[str, str], bool] = lambda client, channel: (
            not channel.startswith("forbidden")
        )
        self.identity: Callable[[str | None], Any] = lambda token: None
        """Raises ValueError: nobody."""
        self.classic: Callable[[str], bytes] = lambda client: b""
        """What histories call clients of the other dialect."""
        self.lasts: float | None = None
        """Seconds for which an identity holds."""
        self.handle: Callable[[str, Any], Any] = lambda name, payload: payload
        """Raises ValueError: it fails."""
        self.node = Node(
            self.hub,
            self.backplane,
            self,
            settings,
            histories or Histories(default=History()),
            lambda: self.now,
            lambda: f"c{next(numbers)}",
            lambda: f"secret{next(numbers)}",
        )

    def line(self, address: str = "here") -> Line:
        return Line(self, address)

    def wait(self, seconds: float) -> None:
        """Time goes by."""
        until = self.now + seconds
        while self.node.deadline <= until:
            self.now = max(self.now, self.node.deadline)
            self.node.tick()
        self.now = until

    def emit(self, channel: str | None, name: str, payload: Any) -> Position:
        """The application says something."""
        return self.node.publish(Publish(channel, name, Data.of(payload), None)).value

    # -- the application --------------------------------------------------------------------------

    def carry_out(self, line: Line, work: Work) -> None:
        conversation = line.conversation
        match work:
            case Identify():
                token = work.packet.token  # type: ignore[union-attr]
                try:
                    identity = self.identity(token)
                except ValueError:
                    conversation.refused(work)
                    return
                fetched = conversation.fetch(work, identity)
                if fetched is None:
                    self.identified(line, work, identity)
                else:
                    fetched.then(lambda _: self.identified(line, work, identity))
            case Authorise():
                allowed = self.allowed(line.client, work.channel)
                conversation.authorised(work, None if allowed else Failure("forbidden", "no"))
            case Hear():
                self.heard.append((line.client, work.event, work.payload))
                failure = Failure("declined", "no") if work.event == "unwanted" else None
                if effect := conversation.heard(work, failure):
                    conversation.publish(work, effect)
            case Answer():
                try:
                    data = Data.of(self.handle(work.name, work.payload))
                except ValueError as error:
                    conversation.answered(work, None, Failure("failed", str(error), True))
                else:
                    conversation.answered(work, data, None)
            case Enumerate():
                listed = self.node.listed()
                names = [name for name in listed if self.may_join(line.client, name)]
                conversation.enumerated(work, names)
            case Do():
                conversation.do(work)

    def identified(self, line: Line, work: Identify, identity: Any) -> None:
        wanted = line.conversation.identified(work, identity, self.lasts)
        if wanted is not None:
            client = line.client
            line.conversation.welcome(
                {
                    channel: Failure("forbidden", "no")
                    for channel in wanted
                    if not self.allowed(client, channel)
                }
            )

    def allowed(self, client: str, channel: str) -> bool:
        self.asked.append((client, channel))
        return self.may_join(client, channel)

    # -- what the node asks of its host -----------------------------------------------------------

    def end_client(self, client: str, code: int, reason: str) -> None:
        self.over.append((client, code))

    def missed_orders(self) -> None:
        self.missed += 1

    def disconnect_clients(self, identity: bytes, code: int, reason: str) -> None:
        self.disconnected.append((identity, code, reason))

    def deliver(
        self, publication: Publish, stream: str, at: Position | None, behind: Collection[str]
    ) -> None:
        for client in self.hub.recipients(publication):
            if client in self.lines and client not in behind:
                self.lines[client].got.append(event(publication, stream, at))
        skip = publication.skip
        members = self.hub.recipients(msgspec.structs.replace(publication, skip=None))
        if skip in self.lines and skip in members and skip not in behind and at is not None:
            self.lines[skip].got.append(packets.Skip(stream=stream, at=at))

    def author(self, client: str) -> bytes:
        known = client in self.node.sessions
        return author_of(self.node.sessions[client].identity) if known else self.classic(client)

    def direct(self, delivery: Deliver) -> None:
        self.directed.append(delivery)

    def attached(self, client: str, connection: Line) -> None:
        connection.client = client
        self.lines[client] = connection

    def detached(self, client: str) -> None:
        del self.lines[client]

    def ended(self, client: str, code: int) -> None:
        self.over.append((client, code))

    def moved(self, client: str) -> None:
        self.away.append(client)

    def stays(self, client: str) -> None:
        self.staying.append(client)

    def send(self, connection: Line, packet: packets.FromServer) -> None:
        connection.got.append(packet)

    def replay(self, connection: Line, packet: packets.FromServer) -> bool:
        connection.got.append(packet)
        connection.room -= 1
        return connection.room > 0

    def close(self, connection: Line, code: int, reason: str) -> None:
        connection.closed = code, reason
