"""A node with clients on a feed, who hold it to the rules of docs/protocol.md, section 2."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from sono_core.messaging.lossless.history import DEFAULT_HISTORY, History
from sono_core.messaging.lossless.positions import Position


class Truth:
    """What was published, and what can still be had."""

    def __init__(self, memory: Any, stream: str) -> None:
        self.memory = memory
        self.stream = stream
        self.bodies: dict[Position, Any] = {}
        self.epochs: list[str] = []
        memory.subscribe(stream, self.published)
        self.epochs.append(self.top.epoch)

    @property
    def top(self) -> Position:
        (top,) = self.memory.streams.tops([self.stream]).values()
        assert isinstance(top, Position)
        return top

    def published(self, entry: Any) -> None:
        self.bodies[entry.at] = entry.body

    def restart(self) -> None:
        """The backplane loses the stream; what comes is another life of it."""
        self.memory.streams.free(self.stream)
        self.memory.streams.pin(self.stream, 0.0)
        self.epochs.append(self.top.epoch)

    def kept(self) -> set[Position]:
        """Positions of what can be had. What cannot, never can again."""
        start = Position(self.top.epoch, 0)
        return {entry.at for entry in self.memory.read(self.stream, start).value.entries}


class Client:
    """Takes nothing but what follows its position, or is told to be missing."""

    def __init__(self, node: Node, name: str, position: Position | None) -> None:
        self.node = node
        self.name = name
        self.position = position
        self.live = False
        self.eager = False
        """Whether it is ready for more as soon as it gets something."""
        self.got: list[Position] = []
        self.missed: list[Any] = []

    def begins(self, receipt: Any) -> None:
        """The feed says where it begins."""
        if receipt.error is not None:
            del self.node.clients[self.name]
            return
        start = receipt.value
        wanted, truth = self.position, self.node.truth
        if start.recovered:
            assert start.at == wanted
        elif wanted is not None and wanted.epoch == start.at.epoch:
            skipped = range(wanted.offset + 1, start.at.offset + 1)
            assert not {Position(wanted.epoch, offset) for offset in skipped} & truth.kept()
        self.position = start.at
        if self.eager:
            self.node.feed.ready(self.name)

    def take(self, item: Any) -> None:
        position, truth = self.position, self.node.truth
        assert position is not None
        if isinstance(item, self.node.parts.Missing):
            assert item.after == position, "a gap elsewhere"
            if item.to.epoch != position.epoch:
                if position.epoch in truth.epochs:
                    order = truth.epochs.index
                    assert order(item.to.epoch) > order(position.epoch), "back in time"
                assert item.extent is None
                lost = {Position(item.to.epoch, n) for n in range(1, item.to.offset + 1)}
            else:
                first, last = item.extent
                assert (first, last) == (position.offset + 1, item.to.offset)
                lost = {Position(position.epoch, n) for n in range(first, last + 1)}
            assert not lost & truth.kept(), "not missing"
            self.missed.append(item)
            self.position = item.to
        else:
            expected = Position(position.epoch, position.offset + 1)
            assert item.at == expected, f"{item.at} follows {position}"
            assert truth.bodies[item.at] == item.body
            self.got.append(item.at)
            self.position = item.at


class Node:
    """An `Audience` with its feed."""

    def __init__(
        self,
        parts: SimpleNamespace,
        backplane: Any,
        truth: Truth,
        history: History = DEFAULT_HISTORY,
        **options: Any,
    ) -> None:
        self.parts = parts
        self.backplane = backplane
        self.truth = truth
        self.clients: dict[str, Client] = {}
        self.history = history
        self.deliveries = 0
        self.echo = 0  # how often something is published, and happens, amid a delivery
        self.feed = parts.Feed(truth.stream, backplane, self, **options)

    def amid(self) -> None:
        """Other things happen while the audience is told something."""
        if self.echo:
            self.echo -= 1
            self.publish("echo")
            for name in list(self.clients):
                self.feed.ready(name)
            for _ in range(3):
                self.backplane.step()

    # -- the audience ---------------------------------------------------------------------------

    def deliver(self, entry: Any) -> None:
        self.deliveries += 1
        for client in list(self.clients.values()):
            if client.live:
                client.take(entry)
            self.amid()

    def gap(self, missing: Any) -> None:
        for client in list(self.clients.values()):
            if client.live:
                client.take(missing)
            self.amid()

    def replay(self, member: str, items: Sequence[Any], caught_up: bool) -> None:
        client = self.clients[member]
        assert not client.live
        for item in items:
            client.take(item)
        client.live = caught_up
        self.amid()
        if not caught_up and client.eager:
            self.feed.ready(member)

    # -- what happens ---------------------------------------------------------------------------

    def publish(self, body: Any, size: int = 10, **options: Any) -> Any:
        return self.backplane.publish(self.truth.stream, body, size, self.history, **options)

    def join(self, name: str, position: Position | None, *, eager: bool = False) -> Client:
        client = self.clients[name] = Client(self, name, position)
        client.eager = eager
        self.feed.catch_up(name, position).then(client.begins)
        return client

    def leave(self, name: str) -> Position | None:
        client = self.clients.pop(name)
        self.feed.drop(name)
        return client.position

    def check(self) -> None:
        """As a node does at least every 10 s."""

        def compare(receipt: Any) -> None:
            if receipt.error is None:
                self.feed.check(receipt.value[self.truth.stream].at)

        self.backplane.tops([self.truth.stream]).then(compare)
