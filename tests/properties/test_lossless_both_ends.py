"""Clients and a node of `sono.v2`, over connections that are cut with whatever is under way.

What each application hears has no hole that it is not told of, and nothing comes twice. At the end
both ends know the same memberships, positions and members, and every packet has its outcome.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from sono_core.errors import OutboxFull
from sono_core.limits import DEFAULT_LIMITS
from sono_core.messaging.lossless import OWN, Data, Position, packets, stream_of
from sono_core.messaging.lossless.client import (
    ClientMachine,
    Departed,
    Missed,
    Opened,
    Pending,
)
from sono_core.messaging.lossless.client.cursor import is_ahead
from sono_core.messaging.lossless.history import Histories, History
from sono_core.messaging.v2.codec import JSON
from tests.core.messaging.lossless.house import House, Line

ROOMS = ("Home", "a", "b")
WATCHED = "a"


def kept(packet: Any) -> tuple[Any, int]:
    if getattr(packet, "data", UNSET) is not UNSET:
        packet = replace(packet, data=Data.of(packet.data))
    return packet, len(JSON.write(packet))


class Peer:
    """A client with its application, and what is under way to its server."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.client = ClientMachine(keep=kept)
        self.line: Line | None = None
        self.up: list[Any] = []
        self.heard: Counter[tuple[str, Position]] = Counter()
        self.last: dict[str, Position] = {}
        self.pending: list[Pending] = []
        self.asked: list[int] = []

    def connect(self) -> None:
        self.line, self.up = self.house.line(), []
        self.client.connected(self.house.now)
        self.flush()

    def cut(self) -> None:
        assert self.line
        if self.line.closed is None:
            self.line.lose()
        self.line = None
        self.client.lost(self.house.now, 1.0)

    @property
    def over(self) -> bool:
        """Whether one side has given the connection up, and the other has heard everything."""
        assert self.line
        return self.client.dead or (self.line.closed is not None and not self.line.got)

    def flush(self) -> None:
        self.up += map(JSON.write, self.client.packets_to_send())

    def say(self) -> None:
        assert self.line
        packet = JSON.from_client(self.up.pop(0), DEFAULT_LIMITS)
        if self.line.closed is None:
            self.line.send(packet)

    def hear(self) -> None:
        assert self.line
        packet = JSON.from_server(JSON.write(self.line.got.pop(0)))
        assert packet is not None
        # A read may cross the end of its membership.
        assert not isinstance(packet, packets.Error) or packet.code == "not-a-member"
        self.client.receive(packet, self.house.now)
        for told in self.client.events():
            self.note(told)

    def note(self, told: Any) -> None:
        match told:
            case packets.Event():
                self.take(told.stream, told.at)
            case packets.Asked():
                self.asked.append(told.id)
            case Missed():
                last = self.last.get(told.stream)
                if last is None or is_ahead(last, told.at):  # one may be told late
                    self.last[told.stream] = told.at
            case Departed():
                self.last.pop(stream_of(told.channel), None)
            case Opened(resumed=False):
                self.last.pop(OWN, None)
                self.asked.clear()

    def take(self, stream: str, at: Position | None) -> None:
        assert at is not None
        self.heard[stream, at] += 1
        assert self.heard[stream, at] == 1, "it came twice"
        last = self.last.get(stream)
        if stream != OWN and last is not None:  # there results are in between
            assert at == Position(last.epoch, last.offset + 1), "nobody was told of a hole"
        self.last[stream] = at


class Town:
    """A node and three clients."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        history = History(count=rng.choice((0, 3, 20, 100)))
        self.house = House(histories=Histories(default=history))
        self.peers = [Peer(self.house) for _ in range(3)]

    def step(self) -> None:
        rng = self.rng
        peer, chance = rng.choice(self.peers), rng.random()
        if peer.line is None:
            if chance < 0.5:
                peer.connect()
                return
        elif peer.over or chance < 0.02:
            peer.cut()
            return
        elif chance < 0.35 and peer.up:
            peer.say()
            return
        elif chance < 0.7 and peer.line.got:
            peer.hear()
            return
        elif chance < 0.75:
            peer.flush()
            return
        try:
            self.act(peer)
        except OutboxFull:
            pass

    def act(self, peer: Peer) -> None:
        """Somebody says something, or time goes by."""
        rng, client, now = self.rng, peer.client, self.house.now
        room, chance = rng.choice(ROOMS), rng.random()
        other = rng.choice(self.peers).client.id
        if chance < 0.5:
            harmless = rng.random() < 0.2
            peer.pending.append(client.publish(room, "e", 1, now=now, harmless=harmless))
        elif chance < 0.6:
            peer.pending.append(client.join(room, now=now, presence=room == WATCHED))
        elif chance < 0.65:
            peer.pending.append(client.leave(room, now=now))
        elif chance < 0.7:
            peer.pending.append(client.move(room, now=now))
        elif chance < 0.75:
            peer.pending.append(client.request("echo", 1, now=now))
        elif chance < 0.8 and other is not None:
            peer.pending.append(client.send(other, "e", 1, now=now))
        elif chance < 0.85:
            peer.pending.append(client.present(WATCHED, rng.random(), now=now))
        elif chance < 0.9:
            self.house.emit(None, "e", 1)
        elif chance < 0.93:
            self.wait(rng.choice((1, 11, 70)))
        elif peer.asked:
            client.reply(peer.asked.pop(0), 1, now=now)

    def wait(self, seconds: float) -> None:
        self.house.wait(seconds)
        for peer in self.peers:
            peer.client.tick(self.house.now)

    def run_dry(self) -> None:
        busy = True
        while busy:
            busy = False
            for peer in self.peers:
                if peer.line is None:
                    peer.connect()
                peer.flush()
                assert peer.line
                if peer.over:
                    peer.cut()
                elif peer.up:
                    peer.say()
                elif peer.line.got:
                    peer.hear()
                else:
                    continue
                busy = True

    def settle(self) -> None:
        self.run_dry()
        self.house.wait(11)  # what was lost on its way is noticed
        self.run_dry()
        for peer in self.peers:
            self.compare(peer)

    def compare(self, peer: Peer) -> None:
        client, house = peer.client, self.house
        assert client.id is not None
        assert set(client.channels) == set(house.hub.channels_of(client.id))
        assert client.channel == house.hub.channel_of(client.id)
        for stream, at in client.positions.items():
            if stream != OWN:
                assert at == house.node._following.position(stream)
        assert all(pending.outcome is not None for pending in peer.pending)
        if any(client._session.mirrors) and WATCHED in client.channels:
            there = house.node.presence.snapshot(WATCHED).members
            assert client.members(WATCHED) == {id: plain(data) for id, data in there}


def plain(data: Any) -> Any:
    return data.value() if isinstance(data, Data) else data


def live(seed: int, steps: int) -> None:
    town = Town(Random(seed))
    for _ in range(steps):
        town.step()
    town.settle()


@pytest.mark.once
@pytest.mark.parametrize("seed", range(20))
def test_a_long_life(seed: int) -> None:
    live(seed, 1000)


@given(st.integers(0, 2**32), st.integers(0, 300))
def test_lives(seed: int, steps: int) -> None:
    live(seed, steps)
