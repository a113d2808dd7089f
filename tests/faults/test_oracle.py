"""The oracle finds each kind of error, and none where there is none."""

from __future__ import annotations

import random

import pytest

from tests.faults.oracle import KINDS, Finding, Oracle

BOTH = ("x", "y")


def published(count: int, recipients: tuple[str, ...] = ("x",)) -> Oracle:
    """An oracle after `a` has sent that many messages."""
    oracle = Oracle()
    for number in range(count):
        assert oracle.sends("a", recipients) == number + 1
    return oracle


def take(oracle: Oracle, *numbers: int, receiver: str = "x") -> None:
    for number in numbers:
        oracle.received(receiver, "a", number)


def test_everything_in_order_is_nothing_to_report() -> None:
    oracle = published(3, BOTH)
    for receiver in BOTH:
        take(oracle, 1, 2, 3, receiver=receiver)
    assert oracle.complete()
    assert oracle.finish() == []
    assert (oracle.sent, oracle.delivered, oracle.excused) == (3, 6, 0)


@pytest.mark.parametrize(
    ("came", "kind", "number"),
    [
        ((1, 3), "gap", 2),
        ((2, 3), "gap", 1),
        ((1, 2), "gap", 3),
        ((1, 2, 2, 3), "duplicate", 2),
        ((1, 2, 3, 1), "duplicate", 1),
        ((1, 3, 2), "reordered", 2),
        ((1, 2, 3, 4), "wrong recipient", 4),
        ((0, 1, 2, 3), "wrong recipient", 0),
    ],
)
def test_each_kind_of_error_is_found(came: tuple[int, ...], kind: str, number: int) -> None:
    oracle = published(3)
    take(oracle, *came)
    assert oracle.finish() == [Finding(kind, "a", "x", number)]
    assert oracle.found == {kind: 1}


def test_who_is_not_meant_is_a_wrong_recipient() -> None:
    oracle = published(1)
    take(oracle, 1)
    take(oracle, 1, receiver="y")
    assert oracle.finish() == [Finding("wrong recipient", "a", "y", 1)]


def test_what_nobody_sent_is_found() -> None:
    oracle = Oracle()
    oracle.received("x", "nobody", 1)
    assert oracle.finish() == [Finding("wrong recipient", "nobody", "x", 1)]


def test_who_gets_nothing_at_all_is_missed() -> None:
    oracle = published(2, BOTH)
    take(oracle, 1, 2)
    assert not oracle.complete()
    assert oracle.finish() == [Finding("gap", "a", "y", 1), Finding("gap", "a", "y", 2)]


def test_what_was_for_others_alone_is_no_gap() -> None:
    oracle = published(1)
    oracle.sends("a", ("y",))
    oracle.sends("a", ("x",))
    take(oracle, 1, 3)
    take(oracle, 2, receiver="y")
    assert oracle.finish() == []


def test_a_gap_while_the_receiver_was_away_is_excused() -> None:
    oracle = published(3)
    take(oracle, 1)
    oracle.receives_anew("x")
    take(oracle, 3)
    assert oracle.finish() == []
    assert oracle.excused == 1


def test_a_gap_after_the_receiver_is_back_is_none() -> None:
    oracle = published(4)
    take(oracle, 1)
    oracle.receives_anew("x")
    take(oracle, 2, 4)
    assert oracle.finish() == [Finding("gap", "a", "x", 3)]


def test_the_end_of_what_a_publisher_sent_before_it_was_cut_off_is_excused() -> None:
    oracle = published(3)
    oracle.sends_anew("a")
    oracle.sends("a", ("x",))
    take(oracle, 1, 4)
    assert oracle.finish() == []
    assert oracle.excused == 2


def test_the_middle_of_what_it_sent_is_not_excused() -> None:
    oracle = published(3)
    oracle.sends_anew("a")
    oracle.sends("a", ("x",))
    take(oracle, 1, 3, 4)
    assert oracle.finish() == [Finding("gap", "a", "x", 2)]


def test_order_holds_beyond_the_end_of_a_connection() -> None:
    oracle = published(2)
    take(oracle, 2)
    oracle.receives_anew("x")
    take(oracle, 1)
    assert oracle.finish() == [Finding("reordered", "a", "x", 1)]


def test_what_comes_again_over_a_new_connection_is_a_duplicate() -> None:
    oracle = published(1)
    take(oracle, 1)
    oracle.receives_anew("x")
    take(oracle, 1)
    assert oracle.finish() == [Finding("duplicate", "a", "x", 1)]


def test_publishers_are_told_apart() -> None:
    oracle = published(2)
    assert oracle.sends("b", ("x",)) == 1
    oracle.received("x", "b", 1)
    take(oracle, 1, 2)
    assert oracle.finish() == []


@pytest.mark.parametrize("kind", KINDS)
def test_one_error_among_thousands_is_found(kind: str) -> None:
    rng = random.Random(kind)
    oracle = published(5000)
    numbers = list(range(1, 5001))
    at = rng.randrange(1, 4998)
    if kind == "gap":
        del numbers[at]
    elif kind == "duplicate":
        numbers.insert(at + 1, numbers[at])
    elif kind == "reordered":
        numbers[at], numbers[at + 1] = numbers[at + 1], numbers[at]
    else:
        numbers.insert(at, 5001)
    take(oracle, *numbers)
    oracle.finish()
    assert oracle.found == {kind: 1}


def test_findings_without_end_are_counted_and_not_kept() -> None:
    oracle = published(1)
    take(oracle, 1, *[1] * 1000)
    assert len(oracle.finish()) < 100
    assert oracle.found == {"duplicate": 1000}
