"""Who is here: snapshots, changes told together, and a grace period for lost connections."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sono_core.messaging.lossless import Data, packets
from sono_core.messaging.lossless.server.presence import COALESCE, RECORD, Presence
from tests.helpers import SOME_LIVES

GRACE = 15.0


class Room:
    """Channels with members, as a hub has them, and what watchers were told."""

    def __init__(self, most: int = 100, size: int = 1 << 20) -> None:
        self.channels: dict[str, dict[str, None]] = {}
        members = lambda name: self.channels.get(name, {}).keys()  # noqa: E731
        self.presence = Presence(members, GRACE, most, size)
        self.now = 0.0

    def of(self, member: str) -> Collection[str]:
        return [name for name, members in self.channels.items() if member in members]

    def enter(self, member: str, channel: str = "a") -> None:
        self.channels.setdefault(channel, {})[member] = None
        self.presence.entered(channel, member, self.now)

    def leave(self, member: str, channel: str = "a") -> None:
        del self.channels[channel][member]
        self.presence.left(channel, member, self.now)

    def tick(self, seconds: float = COALESCE) -> list[tuple[packets.Presence, list[str]]]:
        self.now += seconds
        return self.presence.tick(self.of, self.now)


def change(
    version: int, count: int, entered: list[tuple[str, Any]] | None = None, gone: str = ""
) -> packets.Presence:
    return packets.Presence(
        channel="a", version=version, count=count, entered=entered or [], gone=gone.split()
    )


def test_who_waits_for_the_deadline_hears_of_the_first_change_alone() -> None:
    room, heard = Room(), []
    room.presence.noted = lambda: heard.append(room.presence.deadline)
    room.enter("watcher")
    assert heard == []  # nobody watches
    room.presence.watch("a", "watcher")
    room.enter("b")
    room.enter("c")
    assert room.presence.present("a", "b", Data.of(1), room.now)
    assert heard == [COALESCE]
    room.tick()
    assert room.presence.present("a", "b", Data.of(2), room.now)
    assert heard == [COALESCE, room.now + COALESCE]


def test_a_watcher_gets_who_is_there_and_then_who_comes_and_goes() -> None:
    room = Room()
    room.enter("x")
    room.enter("y")
    snapshot = room.presence.watch("a", "x")
    assert snapshot == packets.Members(
        channel="a", version=0, members=[("x", None), ("y", None)], count=2
    )
    room.enter("z")
    assert room.tick(0.05) == []  # more may come
    assert room.tick(0.05) == [(change(1, 3, [("z", None)]), ["x"])]
    room.leave("y")
    assert room.tick() == [(change(2, 2, gone="y"), ["x"])]
    assert room.presence.deadline is None


def test_who_went_again_is_told_to_those_who_saw_it_come() -> None:
    """In a snapshot, before the change was told."""
    room = Room()
    room.enter("x")
    room.presence.watch("a", "x")
    room.enter("b")
    assert ("b", None) in room.presence.watch("a", "x").members
    room.leave("b")
    assert room.tick() == [(change(1, 1, gone="b"), ["x"])]


def test_a_crowd_is_one_packet_and_who_came_and_went_is_in_none() -> None:
    room = Room()
    room.enter("x")
    room.presence.watch("a", "x")
    for member in "bcd":
        room.enter(member)
    room.leave("c")
    assert room.tick() == [(change(1, 3, [("b", None), ("d", None)]), ["x"])]
    room.enter("e")
    room.leave("e")
    assert room.tick() == []
    room.leave("b")
    room.enter("b")
    assert room.tick() == [(change(2, 3, [("b", None)]), ["x"])]


def test_public_data_is_told_and_goes_with_the_membership() -> None:
    room = Room()
    room.enter("x")
    room.presence.watch("a", "x")
    room.presence.present("a", "x", Data.of({"name": "Ann"}), room.now)
    assert room.tick() == [(change(1, 1, [("x", Data.of({"name": "Ann"}))]), ["x"])]
    room.enter("y")
    room.presence.present("a", "y", Data.of(1), room.now)
    room.enter("y", "b")
    room.presence.present("b", "y", Data.of(2), room.now)
    assert room.tick() == [(change(2, 2, [("y", Data.of(1))]), ["x"])]
    room.leave("y")
    room.enter("y")
    assert room.tick() == [(change(3, 2, [("y", None)]), ["x"])]
    assert room.presence.watch("b", "y").members == [("y", Data.of(2))]
    room.leave("y", "b")
    room.enter("y", "b")
    assert room.presence.snapshot("b").members == [("y", None)]


def test_who_comes_back_in_time_was_never_gone() -> None:
    room = Room()
    room.enter("x")
    room.enter("y")
    room.presence.watch("a", "x")
    room.presence.suspended("y", room.now)
    assert room.presence.deadline == GRACE
    assert room.tick(GRACE - 1) == []
    room.presence.resumed("y", room.of("y"), room.now)
    assert room.tick(2 * GRACE) == []
    assert room.presence.deadline is None


def test_who_does_not_is_gone_until_it_does() -> None:
    room = Room()
    room.enter("x")
    room.enter("y")
    room.presence.present("a", "y", Data.of(7), room.now)
    room.presence.watch("a", "x")
    room.presence.suspended("y", room.now)
    assert room.tick(GRACE) == []
    assert room.tick() == [(change(1, 1, gone="y"), ["x"])]
    room.presence.present("a", "y", Data.of(8), room.now)  # by the application
    assert room.tick() == []
    assert room.presence.snapshot("a").members == [("x", None)]
    room.presence.resumed("y", room.of("y"), room.now)
    assert room.tick() == [(change(2, 2, [("y", Data.of(8))]), ["x"])]


def test_who_ends_while_away_is_told_once() -> None:
    room = Room()
    room.enter("x")
    room.enter("y")
    room.presence.watch("a", "x")
    room.presence.suspended("y", room.now)
    room.tick(GRACE)
    room.tick()
    room.leave("y")
    room.presence.ended("y")
    assert room.tick() == []
    room.enter("y")  # another one of that name
    assert room.tick() == [(change(2, 2, [("y", None)]), ["x"])]


def test_who_ends_within_the_grace_period_is_gone_at_once() -> None:
    room = Room()
    room.enter("x")
    room.enter("y")
    room.presence.watch("a", "x")
    room.presence.suspended("y", room.now)
    room.leave("y")
    room.presence.ended("y")
    assert room.tick() == [(change(1, 1, gone="y"), ["x"])]
    assert room.presence.deadline is None


def test_a_snapshot_has_a_bound_and_says_how_many_there_are() -> None:
    room = Room(most=2)
    for member in "xyz":
        room.enter(member)
    snapshot = room.presence.watch("a", "x")
    assert [member for member, _ in snapshot.members] == ["x", "y"]
    assert snapshot.count == 3


def test_nobody_is_told_who_does_not_want_to_know() -> None:
    room = Room()
    room.enter("x")
    room.enter("y")
    room.presence.watch("a", "x")
    room.presence.watch("a", "y")
    room.presence.unwatch("a", "y")
    room.presence.unwatch("a", "y")
    room.presence.unwatch("nowhere", "y")
    room.enter("z")
    assert [watchers for _, watchers in room.tick()] == [["x"]]
    room.presence.unwatch("a", "x")
    room.leave("z")
    room.presence.present("a", "x", Data.of(1), room.now)
    assert room.presence.deadline is None
    assert room.presence.snapshot("nowhere").count == 0


class Watching(RuleBasedStateMachine):
    """A watcher that applies what it is told knows who is there whenever all has been told."""

    def __init__(self) -> None:
        super().__init__()
        self.room = Room()
        self.room.enter("watcher")
        snapshot = self.room.presence.watch("a", "watcher")
        self.seen = dict(snapshot.members)
        self.version = snapshot.version
        self.data: dict[str, Data] = {}
        self.lost: dict[str, float] = {}

    members = st.sampled_from("uvwxyz")

    @rule(member=members)
    def enter(self, member: str) -> None:
        if member not in self.room.channels["a"]:
            self.room.enter(member)

    @rule(member=members)
    def leave(self, member: str) -> None:
        if member in self.room.channels["a"]:
            self.room.leave(member)
            self.data.pop(member, None)

    @rule(member=members, data=st.integers(0, 3))
    def present(self, member: str, data: int) -> None:
        if member in self.room.channels["a"]:
            self.room.presence.present("a", member, Data.of(data), self.room.now)
            self.data[member] = Data.of(data)

    @rule(member=members)
    def lose(self, member: str) -> None:
        if member not in self.lost:
            self.room.presence.suspended(member, self.room.now)
            self.lost[member] = self.room.now

    @rule(member=members)
    def come_back(self, member: str) -> None:
        if self.lost.pop(member, None) is not None:
            self.room.presence.resumed(member, self.room.of(member), self.room.now)

    @rule(member=members)
    def end(self, member: str) -> None:
        self.leave(member)
        self.room.presence.ended(member)
        self.lost.pop(member, None)

    @rule(seconds=st.sampled_from([0.01, COALESCE, 1.0, GRACE]))
    def wait(self, seconds: float) -> None:
        for packet, watchers in self.room.tick(seconds):
            assert watchers == ["watcher"]
            assert packet.version == self.version + 1
            self.version = packet.version
            for member in packet.gone:
                del self.seen[member]  # and it was there
            self.seen.update(packet.entered)
            assert packet.count == len(self.seen)

    @invariant()
    def it_knows(self) -> None:
        if self.room.presence.deadline is None or not self._changed():
            here = {
                member: self.data.get(member)
                for member in self.room.channels["a"]
                if self.room.now < self.lost.get(member, self.room.now) + GRACE
            }
            assert self.seen == here

    def _changed(self) -> bool:
        deadline = self.room.presence.deadline
        return deadline is not None and deadline <= self.room.now + COALESCE


TestWatching = Watching.TestCase
TestWatching.settings = SOME_LIVES


def test_the_public_data_of_all_is_bounded() -> None:
    room = Room(size=2 * RECORD + 5)
    for member in ("x", "y"):
        room.enter(member)
    presence = room.presence
    assert presence.present("a", "x", Data.of(1), room.now)
    assert not presence.present("a", "y", Data.of(12345), room.now)
    assert presence.present("a", "y", Data.of(1234), room.now)
    assert presence.held == 2 * RECORD + 5
    assert not presence.present("a", "x", Data.of(12), room.now)
    assert presence.present("a", "x", Data.of(2), room.now)  # it takes no more than before
    room.leave("y")
    room.enter("x", "b")
    room.leave("x", "b")  # where it has none
    assert presence.held == RECORD + 1
    assert presence.present("a", "x", Data.of(12345), room.now)
    presence.ended("x")
    assert presence.held == 0
