"""The backplane in memory: done at once, bounded, and in order. The rest: tests/backplane."""

from __future__ import annotations

from typing import Any

import pytest

from sono_core.messaging.lossless.backplane import BackplaneError
from sono_core.messaging.lossless.history import History
from sono_core.messaging.lossless.memory import RECORD, MemoryBackplane
from sono_core.messaging.lossless.positions import Position
from sono_core.messaging.lossless.streams import KEY_AGE
from tests.backplane.each_backplane import Clock, epochs

ALL = History()


def backplane(clock: Clock | None = None, **options: Any) -> MemoryBackplane:
    return MemoryBackplane(clock or Clock(), epochs(), **options)


def test_what_is_published_amid_telling_comes_after_it_for_all() -> None:
    memory = backplane()
    told: list[tuple[str, int]] = []

    def answers(entry: Any) -> None:
        told.append(("a", entry.body))
        if entry.body == 1:
            assert memory.publish("#room", 2, 1, ALL).value.offset == 2

    memory.subscribe("#room", answers)
    memory.subscribe("#room", lambda entry: told.append(("b", entry.body)))
    memory.publish("#room", 1, 1, ALL)
    assert told == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]


def test_a_follower_that_fails_harms_no_other() -> None:
    memory = backplane()
    told: list[int] = []

    def fails(_: Any) -> None:
        raise KeyError("follower")

    memory.subscribe("#room", fails)
    memory.subscribe("#room", lambda entry: told.append(entry.body))
    for body in (1, 2):
        with pytest.raises(KeyError, match="follower"):
            memory.publish("#room", body, 1, ALL)
    assert told == [1, 2]
    assert memory.streams.tops(["#room"])["#room"].offset == 2


def test_to_follow_twice_is_to_follow_once() -> None:
    memory = backplane()
    told: list[Any] = []
    for _ in range(2):
        memory.subscribe("#room", told.append)
    memory.publish("#room", 1, 1, ALL)
    assert len(told) == 1
    memory.unsubscribe("#room", told.append)
    assert memory.free("#room").value


def test_who_follows_entries_alone_is_told_nothing_else() -> None:
    memory = backplane()
    told: list[Any] = []
    memory.subscribe("#room", told.append)
    memory.tell("#room", "volatile")
    memory.enter("#room", "a", None, 1)
    assert told == []


def test_what_is_too_old_goes_when_tops_are_asked() -> None:
    clock = Clock()
    memory = backplane(clock)
    memory.publish("#room", 1, 1, ALL)
    memory.save_session("s", b"record", ["k"], 60)
    assert memory.held > 0
    clock.now += KEY_AGE + 1
    memory.tops([])
    assert memory.held == 0


@pytest.mark.parametrize(("size", "fits"), [(99, True), (100, True), (101, False)])
def test_presence_has_a_bound(size: int, fits: bool) -> None:
    memory = backplane(presence=2 * RECORD + 200)
    assert memory.enter("#room", "a", "data", 100).error is None
    receipt = memory.enter("#other", "b", "data", size)
    assert isinstance(receipt.error, BackplaneError) is not fits
    assert ("b" in memory.members("#other").value.members) is fits
    assert memory.held == RECORD + 100 + (RECORD + size if fits else 0)
    assert isinstance(memory.enter("#room", "a", "more", 2000).error, BackplaneError)
    assert memory.members("#room").value.members == {"a": "data"}
    assert memory.enter("#room", "a", "less", 50).error is None
    memory.exit("#room", "a")
    memory.exit("#other", "b")
    assert memory.held == 0


def test_who_may_not_enter_leaves_no_roster_behind() -> None:
    memory = backplane(presence=1)
    assert memory.enter("#room", "a", None, 1).error is not None
    assert memory.exit("#room", "a").value is None


@pytest.mark.parametrize(("size", "first_stays"), [(99, True), (100, True), (101, False)])
def test_sessions_have_a_bound_and_the_oldest_goes(size: int, first_stays: bool) -> None:
    each = 2 * RECORD + 4  # with one key of one character
    memory = backplane(sessions=2 * each + 200)
    memory.save_session("s", bytes(100), ["k"], 60)
    memory.save_session("t", bytes(size), ["l"], 60)
    assert (memory.load_session("s", "k").value is not None) is first_stays
    assert memory.load_session("t", "l").value is not None
    assert memory.held == each + size + (each + 100 if first_stays else 0)


def test_a_session_larger_than_the_bound_is_not_saved() -> None:
    memory = backplane(sessions=RECORD)
    memory.save_session("s", b"record", ["k"], 60)
    assert memory.load_session("s", "k").value is None
    assert memory.held == 0


def test_the_histories_have_the_budget_of_the_limits() -> None:
    memory = backplane()
    position = memory.publish("#room", b"", 1 << 26, History(size=1 << 27)).value
    batch = memory.read("#room", Position(position.epoch, 0)).value
    assert batch.entries == ()
