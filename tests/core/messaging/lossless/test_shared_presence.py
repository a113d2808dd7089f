"""Who is here, when the members are connected to several nodes."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from random import Random
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from sono_core.messaging.lossless import Data, packets, stream_of
from sono_core.messaging.lossless.backplane import BackplaneError, Receipt
from sono_core.messaging.lossless.memory import MemoryBackplane
from sono_core.messaging.lossless.server.presence import COALESCE
from sono_core.messaging.lossless.server.shared_presence import NOTHING, SharedPresence
from tests.backplane.delayed import DelayedBackplane
from tests.backplane.each_backplane import Clock, epochs
from tests.helpers import SOME_LIVES

GRACE = 15.0
ROOM = "a"


class Node:
    """One of several, with members in one channel, and a watcher that applies what it is told."""

    def __init__(self, backplane: Any, clock: Clock, name: str, most: int = 100) -> None:
        self.backplane = backplane
        self.clock = clock
        self.here: dict[str, None] = {}
        self.presence = SharedPresence(
            backplane, clock, lambda _: None, lambda name: self.here.keys(), GRACE, most, 1 << 20
        )
        self.watcher = f"{name}-watcher"
        self.seen: dict[str, Any] = {}
        self.version = -1
        self.noted = 0
        self.presence.noted = self._note
        backplane.subscribe(stream_of(ROOM), print, on_change=partial(self.presence.changed, ROOM))

    def _note(self) -> None:
        self.noted += 1

    def enter(self, member: str) -> None:
        if member not in self.here:
            self.here[member] = None
            self.presence.entered(ROOM, member, self.clock())

    def leave(self, member: str) -> None:
        if member in self.here:
            del self.here[member]
            self.presence.left(ROOM, member, self.clock())
            self.presence.ended(member)

    def watch(self) -> None:
        self.enter(self.watcher)
        if (snapshot := self.presence.watch(ROOM, self.watcher)) is not None:
            self.take(snapshot)

    def compare(self) -> None:
        def compared(receipt: Receipt[Any]) -> None:
            if top := receipt.value.get(stream_of(ROOM)):
                self.presence.compared(ROOM, top.roster)

        self.backplane.tops([stream_of(ROOM)]).then(compared)

    def of(self, member: str) -> Collection[str]:
        return [ROOM] if member in self.here else []

    def tick(self) -> None:
        for packet, watchers in self.presence.tick(self.of, self.clock()):
            assert watchers == [self.watcher]
            self.take(packet)

    def take(self, packet: packets.Members | packets.Presence) -> None:
        if isinstance(packet, packets.Members):
            self.seen = dict(packet.members)
        else:
            assert packet.version == self.version + 1
            for member in packet.gone:
                del self.seen[member]  # and it was there
            self.seen.update(packet.entered)
        self.version = packet.version
        assert packet.count == len(self.seen)


class Everywhere(RuleBasedStateMachine):
    """Whenever all has come that is under way, watchers on all nodes know who is there."""

    @initialize(seed=st.integers(0, 1 << 20), lost=st.sampled_from([0.0, 0.3, 1.0]))
    def begin(self, seed: int, lost: float) -> None:
        self.clock = Clock()
        memory = MemoryBackplane(self.clock, epochs())
        self.backplane = DelayedBackplane(memory, Random(seed), lost=lost)
        self.nodes = [Node(self.backplane, self.clock, name) for name in "AB"]
        self.data: dict[str, Any] = {}
        self.lost: dict[str, float] = {}
        for node in self.nodes:
            node.watch()

    numbers = st.sampled_from([0, 1])
    members = st.sampled_from("uvw")

    @rule(number=numbers, member=members)
    def enter(self, number: int, member: str) -> None:
        self.nodes[number].enter(f"{member}{number}")

    @rule(number=numbers, member=members)
    def leave(self, number: int, member: str) -> None:
        name = f"{member}{number}"
        self.nodes[number].leave(name)
        self.data.pop(name, None)
        self.lost.pop(name, None)

    @rule(number=numbers, member=members, value=st.integers(0, 2))
    def present(self, number: int, member: str, value: int) -> None:
        node, name = self.nodes[number], f"{member}{number}"
        if name in node.here:
            node.presence.present(ROOM, name, Data.of(value), self.clock())
            self.data[name] = Data.of(value)

    @rule(number=numbers, member=members)
    def lose(self, number: int, member: str) -> None:
        node, name = self.nodes[number], f"{member}{number}"
        if name in node.here and name not in self.lost:
            node.presence.suspended(name, self.clock())
            self.lost[name] = self.clock()

    @rule(number=numbers, member=members)
    def come_back(self, number: int, member: str) -> None:
        node, name = self.nodes[number], f"{member}{number}"
        if self.lost.pop(name, None) is not None:
            node.presence.resumed(name, node.of(name), self.clock())

    @rule(count=st.integers(1, 20), seconds=st.sampled_from([0.0, COALESCE, GRACE]))
    def pass_time(self, count: int, seconds: float) -> None:
        self.clock.now += seconds
        for _ in range(count):
            self.backplane.step()
        for node in self.nodes:
            node.tick()

    @rule()
    def settle(self) -> None:
        for node in self.nodes:
            node.tick()
        self.backplane.settle()
        for node in self.nodes:
            node.compare()
        self.backplane.settle()
        self.clock.now += COALESCE
        for node in self.nodes:
            node.tick()
        self.backplane.settle()
        expected = {
            name: self.data.get(name, NOTHING)
            for node in self.nodes
            for name in node.here
            if self.clock() < self.lost.get(name, self.clock()) + GRACE
        }
        for node in self.nodes:
            assert node.seen == expected


TestEverywhere = Everywhere.TestCase
TestEverywhere.settings = SOME_LIVES


def a_node(most: int = 100) -> tuple[Node, Node, DelayedBackplane]:
    clock = Clock()
    memory = MemoryBackplane(clock, epochs())
    far = DelayedBackplane(memory, Random(1), doubled=0.0)
    return Node(far, clock, "here", most), Node(memory, clock, "there"), far


def test_a_watcher_is_told_once_it_is_known_who_is_there() -> None:
    node, other, far = a_node()
    other.enter("x")
    node.watch()
    assert node.seen == {}
    assert node.presence.deadline is None
    far.settle()
    assert node.noted
    assert node.presence.deadline == 0.0
    node.tick()
    assert node.seen == {"x": NOTHING, "here-watcher": NOTHING}
    assert node.presence.deadline is None
    node.presence.unwatch(ROOM, node.watcher)
    node.seen = {}
    node.watch()
    node.presence.unwatch(ROOM, node.watcher)  # before it is known
    far.settle()
    node.tick()
    assert node.seen == {}


def test_a_second_watcher_is_told_at_once() -> None:
    node, _, far = a_node()
    node.watch()
    far.settle()
    snapshot = node.presence.watch(ROOM, node.watcher)
    assert snapshot is not None
    assert [member for member, _ in snapshot.members] == ["here-watcher"]


@pytest.mark.parametrize("watched", [False, True])
def test_whoever_asks_is_told_of_all_nodes_and_of_no_more_than_wanted(watched: bool) -> None:
    node, other, far = a_node(most=2)
    for member in "xyz":
        other.enter(member)
    if watched:
        node.watch()
        far.settle()
    expected = 4 if watched else 3
    for most, number in ((None, 2), (1000, expected)):
        asked = node.presence.ask(ROOM, most)
        far.settle()
        assert (len(asked.value.members), asked.value.count) == (number, expected)


def test_nobody_knows_who_is_there_while_the_backplane_is_away() -> None:
    node, _, far = a_node()
    far.failing = 1.0
    asked = node.presence.ask(ROOM)
    far.settle()
    assert isinstance(asked.error, BackplaneError)


def test_changes_of_channels_that_nobody_watches_are_nobodys_business() -> None:
    node, other, far = a_node()
    other.enter("x")
    far.settle()
    node.presence.compared(ROOM, None)
    assert node.presence.deadline is None
    assert node.presence.snapshot(ROOM).members == []


def test_a_roster_is_looked_at_once_changes_are_told() -> None:
    node, other, far = a_node()
    begun: Receipt[Any] = Receipt()
    node.presence._follow = lambda channel: begun
    other.enter("x")
    far.settle()
    assert node.presence.watch(ROOM, node.watcher) is None
    far.settle()
    assert node.presence.deadline is None
    begun.complete(None)
    far.settle()
    node.tick()
    assert set(node.seen) == {"x"}


def test_an_answer_is_given_again_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    node, other, far = a_node()
    asked = node.presence.ask(ROOM)
    far.settle()
    other.enter("x")
    again = node.presence.ask(ROOM)
    assert asked.value.count == again.value.count == 0
    node.clock.now += 1.0
    later = node.presence.ask(ROOM)
    far.settle()
    assert later.value.count == 1
