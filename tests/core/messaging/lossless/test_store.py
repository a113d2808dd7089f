"""All streams of a process, and the memory that they take together."""

from __future__ import annotations

import itertools
import tracemalloc

import pytest

from sono_core.messaging.lossless.history import History
from sono_core.messaging.lossless.positions import Position
from sono_core.messaging.lossless.store import StreamStore
from sono_core.messaging.lossless.streams import ENTRY, KEY_AGE, STREAM

ALL = History(count=1000, size=1 << 30)
ONE = ENTRY + 100  # what an entry of 100 bytes takes


def store_of(budget: int) -> StreamStore:
    numbers = itertools.count(1)
    return StreamStore(budget, lambda: f"e{next(numbers)}")


def put(store: StreamStore, name: str, count: int = 1, now: float = 0.0, size: int = 100) -> None:
    for _ in range(count):
        store.publish(name, b"", size, ALL, now)


def kept(store: StreamStore, name: str, now: float = 0.0) -> int:
    """Entries of a stream that there is; asking uses it."""
    (top,) = store.tops([name]).values()
    return len(store.since(name, Position(top.epoch, 0), now).entries)


@pytest.mark.parametrize("spare", [-1, 0, 1])
def test_the_budget_holds_and_beyond_it_the_oldest_entry_goes(spare: int) -> None:
    store = store_of(STREAM + 3 * ONE + spare)
    put(store, "a", 3)
    assert kept(store, "a") == (2 if spare < 0 else 3)
    assert store.held <= STREAM + 3 * ONE + spare


def test_the_streams_that_were_used_least_recently_are_cut_first() -> None:
    store = store_of(3 * STREAM + 6 * ONE)
    for name in "abc":
        store.pin(name, 0.0)
        put(store, name, 2)
    kept(store, "a")  # used again
    put(store, "c")
    assert [kept(store, name) for name in "bac"] == [1, 2, 3]
    put(store, "c", 2)  # b is the one again
    assert [kept(store, name) for name in "bac"] == [0, 2, 5]


def test_a_stream_that_nobody_follows_goes_with_its_last_entry() -> None:
    store = store_of(2 * (STREAM + ONE))
    put(store, "idle")
    before = store.tops(["idle"])["idle"]
    store.pin("followed", 0.0)
    put(store, "followed", 2)
    assert store.tops(["idle"]) == {}
    assert kept(store, "followed") == 2
    put(store, "idle")
    assert store.tops(["idle"])["idle"].epoch != before.epoch


def test_a_stream_that_is_followed_keeps_its_position_without_entries() -> None:
    store = store_of(STREAM + 2 * ONE)
    store.pin("followed", 0.0)
    put(store, "followed")
    top = store.tops(["followed"])["followed"]
    put(store, "other", 2)
    assert store.tops(["followed"])["followed"] == top
    assert kept(store, "followed") == 0
    assert store.held <= STREAM + 2 * ONE


def test_what_exceeds_the_budget_alone_is_numbered_and_not_kept() -> None:
    store = store_of(STREAM)
    store.pin("a", 0.0)
    put(store, "a", size=5000)
    assert store.held == 0
    assert store.tops(["a"])["a"].offset == 1


def test_streams_that_keep_nothing_count_unless_they_are_followed() -> None:
    store = store_of(10 * STREAM)
    for number in range(20):
        store.since(f"{number}", Position("x", 0), 0.0)
    assert (len(store), store.held) == (10, 10 * STREAM)
    for number in range(20, 40):
        store.pin(f"{number}", 0.0)
    assert (len(store), store.held) == (30, 10 * STREAM)
    for number in range(20, 40):
        store.unpin(f"{number}", 0.0)
    assert (len(store), store.held) == (10, 10 * STREAM)


def test_to_unpin_what_is_not_there_is_harmless() -> None:
    store = store_of(STREAM)
    store.unpin("nowhere", 0.0)
    store.free("nowhere")
    assert (len(store), store.held) == (0, 0)


def test_a_stream_that_is_freed_counts_no_more_and_has_a_new_epoch() -> None:
    store = store_of(1 << 20)
    put(store, "a", 3)
    before = store.tops(["a"])["a"]
    store.free("a")
    assert (len(store), store.held) == (0, 0)
    put(store, "a")
    after = store.tops(["a"])["a"]
    assert (before.offset, after.offset) == (3, 1)
    assert before.epoch != after.epoch


def test_a_key_gives_the_same_position_and_no_entry() -> None:
    store = store_of(1 << 20)
    first, entry = store.publish("a", b"", 1, ALL, 0.0, key="k")
    assert entry is not None
    assert store.publish("a", b"", 1, ALL, KEY_AGE, key="k") == (first, None)
    second, entry = store.publish("a", b"", 1, ALL, KEY_AGE + 1, key="k")
    assert entry is not None
    assert second.offset == first.offset + 1


def test_what_is_too_old_goes_when_it_is_looked_at() -> None:
    store = store_of(1 << 20)
    store.pin("followed", 0.0)
    store.publish("followed", b"", 1, History(age=400), 0.0)
    put(store, "idle")
    store.expire(KEY_AGE)
    assert len(store) == 2
    store.expire(KEY_AGE + 1)
    assert len(store) == 1
    assert store.held == STREAM + ENTRY + 1
    store.expire(401)
    assert (len(store), store.held) == (1, 0)
    store.expire(402)


def test_a_stream_that_nobody_follows_stays_for_its_age() -> None:
    store = store_of(1 << 20)
    store.publish("long", b"", 1, History(age=1000), 0.0)
    store.expire(1000)
    assert len(store) == 1
    store.expire(1001)
    assert len(store) == 0


def test_all_streams_are_looked_at_in_rotation() -> None:
    store = store_of(1 << 20)
    for number in range(10):
        put(store, f"{number}")
    store.expire(1000, most=4)
    assert len(store) == 6
    for name in list(store.tops([str(number) for number in range(10)]))[:1]:
        store.free(name)
    store.expire(1000, most=4)
    store.expire(1000, most=4)
    assert len(store) == 0


@pytest.mark.parametrize("streams", [1, 200])
def test_what_is_held_is_at_least_what_is_taken(streams: int) -> None:
    store = store_of(1 << 30)
    names = [f"#room {number}" for number in range(streams)]
    put(store, "warm", 2)
    before = store.held
    tracemalloc.start()
    for turn in range(2000 // streams):
        for name in names:
            key = f"session:{turn}"
            store.publish(name, b"x" * 100, 100, ALL, float(turn), key=key)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken <= store.held - before
