"""Streams: positions, bounds of what is kept, and what is said of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from sono_core.messaging.lossless.history import History
from sono_core.messaging.lossless.positions import Position
from sono_core.messaging.lossless.streams import (
    ENTRY,
    KEY,
    KEY_AGE,
    MAX_KEYS,
    Entry,
    Missing,
    Stream,
    completed,
    in_order,
)


def at(offset: int, epoch: str = "e") -> Position:
    return Position(epoch, offset)


def filled(history: History, *sizes: int, now: float = 0.0) -> Stream:
    stream = Stream("e", history)
    for size in sizes:
        stream.append(f"body of {size}", size, now)
    return stream


def offsets(stream: Stream, now: float = 0.0) -> list[int]:
    return [entry.at.offset for entry in stream.since(at(0), now).entries]


@pytest.mark.parametrize("count", [1, 2, 100])
def test_as_many_are_kept_as_the_count_says(count: int) -> None:
    for number, first in ((count - 1, 1), (count, 1), (count + 1, 2)):
        stream = filled(History(count=count), *([1] * number))
        assert offsets(stream) == list(range(first, number + 1))
        assert (stream.first, len(stream)) == (first, min(count, number))


@pytest.mark.parametrize(
    ("sizes", "kept"),
    [
        ([5, 4], [1, 2]),
        ([5, 5], [1, 2]),
        ([5, 6], [2]),
        ([1, 2, 3, 9], [4]),
        ([1, 2, 3, 10], [4]),
        ([1, 2, 3, 11], [1, 2, 3]),
        ([11], []),
        ([0, 10, 0], [1, 2, 3]),
    ],
)
def test_as_many_bytes_are_kept_as_the_size_says(sizes: list[int], kept: list[int]) -> None:
    stream = filled(History(size=10), *sizes)
    assert offsets(stream) == kept
    assert stream.size == sum(sizes[offset - 1] for offset in kept) <= 10
    assert stream.held == stream.size + ENTRY * len(kept)
    assert stream.top == at(len(sizes))


@pytest.mark.parametrize(("age", "kept"), [(9.9, [1, 2]), (10.0, [1, 2]), (10.1, [2])])
def test_entries_are_kept_as_long_as_the_age_says(age: float, kept: list[int]) -> None:
    stream = filled(History(age=10), 1)
    stream.append("x", 1, 5.0)
    assert offsets(stream, age) == kept
    assert stream.first == kept[0]


def test_a_history_that_shrinks_counts_at_once() -> None:
    stream = filled(History(), 1, 1, 1)
    stream.history = History(count=1)
    assert offsets(stream) == [3]
    stream.history = History(count=0)
    assert offsets(stream) == []
    assert (stream.first, stream.held) == (4, 0)


def test_why_says_what_is_missing_in_what_it_speaks_of() -> None:
    stream = filled(History(size=10), 4, 11, 4)
    assert stream.since(at(0), 0, limit=4).why is None  # the first entry alone
    assert stream.since(at(0), 0, limit=8).why == "trimmed"
    assert stream.since(at(2), 0).why is None
    assert stream.since(at(4), 0).why == "above-top"
    assert stream.since(at(1, "other"), 0).why == "other-epoch"


def test_a_limit_of_bytes_never_stops_everything() -> None:
    stream = filled(History(), 7, 7)
    batch = stream.since(at(0), 0, limit=1)
    assert [entry.at for entry in batch.entries] == [at(1)]
    assert (batch.upto, batch.top) == (at(1), at(2))


@pytest.mark.parametrize(
    ("before", "count", "expected", "more"),
    [
        (None, 2, [3, 4], True),
        (None, 9, [1, 2, 3, 4], False),
        (at(3), 1, [2], True),
        (at(3), 2, [1, 2], False),
        (at(1), 2, [], False),
        (at(9), 1, [4], True),
        (at(3, "other"), 2, [], False),
    ],
)
def test_a_page_ends_before_a_position(
    before: Position | None, count: int, expected: list[int], more: bool
) -> None:
    page = filled(History(), 1, 1, 1, 1).before(before, 0.0, count)
    assert [entry.at.offset for entry in page.entries] == expected
    assert page.more is more


# -- keys -----------------------------------------------------------------------------------------


def test_a_key_is_remembered_for_its_age() -> None:
    stream = Stream("e")
    stream.remember("k", at(7), 0.0)
    assert stream.held == KEY + 4
    assert stream.remembered("k", KEY_AGE) == at(7)
    assert stream.remembered("other", KEY_AGE) is None
    assert stream.remembered("k", KEY_AGE + 0.1) is None
    assert stream.held == 0


@pytest.mark.parametrize("number", [MAX_KEYS - 1, MAX_KEYS, MAX_KEYS + 1])
def test_so_many_keys_are_remembered(number: int) -> None:
    stream = Stream("e")
    for key in range(number):
        stream.remember(f"{key:04}", at(key), 0.0)
    assert stream.remembered("0000", 0.0) == (at(0) if number <= MAX_KEYS else None)
    assert stream.remembered("0001", 0.0) == at(1)
    assert stream.held == min(number, MAX_KEYS) * (KEY + 16)


def test_what_is_cut_is_entries_first_and_then_keys() -> None:
    stream = filled(History(), 10, 10, 10)
    stream.remember("k", at(1), 0.0)
    stream.remember("l", at(2), 0.0)
    stream.cut(1)
    assert offsets(stream) == [2, 3]
    stream.cut(ENTRY + 11)
    assert offsets(stream) == []
    assert stream.held == 2 * (KEY + 4)
    stream.cut(1)
    assert stream.remembered("k", 0.0) is None
    assert stream.remembered("l", 0.0) == at(2)
    stream.cut(10_000)
    assert stream.held == 0
    stream.cut(1)


def test_generations_of_sessions_are_cut_last() -> None:
    stream = Stream("e")
    stream.remember("k", at(1), 0.0)
    for session in "ab":
        assert stream.admits(session, 3, 0.0)
    stream.cut(KEY + 4)
    assert stream.remembered("k", 0.0) is None
    assert not stream.admits("a", 2, 0.0)
    stream.cut(1)
    assert stream.admits("a", 2, 0.0)
    assert not stream.admits("b", 2, 0.0)


# -- what follows a position ----------------------------------------------------------------------


def entries(*numbers: int, epoch: str = "e") -> list[Entry]:
    return [Entry(at(number, epoch), None, 0) for number in numbers]


def described(after: Position, found: list[Entry], upto: Position) -> list[Any]:
    return [
        item if isinstance(item, Missing) else item.at.offset
        for item in in_order(after, found, upto)
    ]


@pytest.mark.parametrize(
    ("found", "upto", "expected"),
    [
        ([], 2, []),
        ([3, 4], 4, [3, 4]),
        ([1, 2, 3], 3, [3]),
        ([], 4, [Missing(at(2), at(4))]),
        ([4], 4, [Missing(at(2), at(3)), 4]),
        ([3, 6], 8, [3, Missing(at(3), at(5)), 6, Missing(at(6), at(8))]),
        ([], 1, []),
    ],
)
def test_what_is_missing_is_told_where_it_is(
    found: list[int], upto: int, expected: list[Any]
) -> None:
    assert described(at(2), entries(*found), at(upto)) == expected


def test_holes_are_filled_with_what_others_have_of_the_same_part() -> None:
    stream = filled(History(size=10), 4, 11, 4, 11)
    batch = stream.since(at(0), 0.0, limit=8)
    others = {
        entry.at: entry
        for entry in [*entries(2, 4, 5), *entries(2, epoch="other"), *entries(1, epoch="other")]
    }
    assert [entry.at for entry in completed(batch, others)] == [at(1), at(2), at(3), at(4)]
    whole = stream.since(at(4), 0.0)
    assert completed(whole, others) == ()
    assert completed(batch, {}) is batch.entries


def test_another_life_begins_with_a_gap() -> None:
    assert described(at(2, "old"), entries(1, 2), at(2)) == [Missing(at(2, "old"), at(0)), 1, 2]
    assert described(at(2, "old"), [], at(0)) == [Missing(at(2, "old"), at(0))]


@pytest.mark.parametrize(
    ("after", "to", "extent"),
    [
        (at(2), at(4), (3, 4)),
        (at(2), at(3), (3, 3)),
        (at(2), at(4, "new"), None),
        (at(4), at(2), None),
    ],
)
def test_an_extent_is_known_within_one_life(
    after: Position, to: Position, extent: tuple[int, int] | None
) -> None:
    assert Missing(after, to).extent == extent


def test_reprs_do_not_show_what_is_said() -> None:
    stream = filled(History(), 6)
    (entry,) = stream.since(at(0), 0.0).entries
    shown = f"{entry} {stream.since(at(0), 0.0)} {stream.before(None, 0.0, 1)}"
    assert "body" not in shown
    assert "offset=1" in shown
