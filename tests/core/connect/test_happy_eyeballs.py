"""happy_eyeballs.py: which address is tried when, on a clock that the test moves. RFC 8305."""

from __future__ import annotations

import itertools

import pytest

from sono_core.connect.happy_eyeballs import AddressInfo, HappyEyeballs

V4, V6 = 2, 10


def v4(last: int) -> AddressInfo:
    return V4, 1, 6, "", (f"192.0.2.{last}", 80)


def v6(last: int, scope: int = 0) -> AddressInfo:
    return V6, 1, 6, "", (f"2001:db8::{last}", 80, 0, scope)


def order(*found: AddressInfo) -> list[AddressInfo]:
    """In which order they are tried, if each one hangs."""
    race = HappyEyeballs(found, 0.0, 1000.0)
    tried: list[AddressInfo] = []
    while (race.wake) < 1000.0:
        info = race.begin(race.wake)
        assert info is not None
        tried.append(info)
    return tried


@pytest.mark.parametrize(
    ("found", "tried"),
    [
        ([v6(1), v6(2), v4(1), v4(2)], [v6(1), v4(1), v6(2), v4(2)]),
        ([v4(1), v4(2), v6(1)], [v4(1), v6(1), v4(2)]),
        ([v6(1), v6(2), v6(3), v4(1)], [v6(1), v4(1), v6(2), v6(3)]),
        ([v4(1), v4(1), v4(2)], [v4(1), v4(2)]),
        ([v6(1, 2), v6(1, 3)], [v6(1, 2), v6(1, 3)]),
        ([], []),
    ],
    ids=["6644", "446", "6664", "twice", "scopes", "none"],
)
def test_the_families_take_turns_and_each_address_has_one(
    found: list[AddressInfo], tried: list[AddressInfo]
) -> None:
    assert order(*found) == tried


def test_the_next_attempt_is_due_after_a_quarter_of_a_second() -> None:
    race = HappyEyeballs([v4(1), v4(2), v4(3)], 7.0, 10.0)
    assert race.wake == 7.0
    assert race.begin(7.0) == v4(1)
    assert race.begin(7.0) is None
    assert race.wake == 7.25
    assert race.begin(7.24) is None
    assert race.begin(7.25) == v4(2)
    assert race.wake == 7.5
    assert race.begin(8.0) == v4(3), "late, and the next would be due from then on"
    assert race.wake == 17.0, "nothing is left but the end of the time"
    assert race.begin(16.0) is None


def test_the_next_attempt_is_due_at_once_when_one_fails() -> None:
    race = HappyEyeballs([v4(1), v4(2)], 0.0, 10.0)
    race.begin(0.0)
    race.failed(v4(1), "refused", 0.1)
    assert race.wake == 0.1
    assert race.begin(0.1) == v4(2)


def test_all_attempts_together_have_one_time() -> None:
    race = HappyEyeballs(map(v4, range(100)), 0.0, 1.0)
    assert not race.over(0.999)
    assert race.over(1.0)
    tried = list(itertools.takewhile(bool, (race.begin(race.wake) for _ in range(4))))
    assert len(tried) == 4
    assert race.wake == 1.0


def test_it_is_over_when_all_have_failed() -> None:
    race = HappyEyeballs([v4(1), v6(1)], 0.0, 10.0)
    for info in (v4(1), v6(1)):
        assert not race.over(0.0)
        assert race.begin(0.0) == info
        race.failed(info, "refused", 0.0)
    assert race.over(0.0)
    assert HappyEyeballs([], 0.0, 10.0).over(0.0)


@pytest.mark.parametrize(
    ("found", "failing", "pending", "reason"),
    [
        ([], 0, 0, "the host has no address"),
        ([v4(1)], 0, 0, "connecting took too long"),
        ([v4(1)], 0, 1, "connecting took too long"),
        ([v4(1)], 1, 0, "refused"),
        ([v4(1), v4(2)], 0, 1, "connecting took too long"),
        ([v4(1), v4(2)], 2, 0, "192.0.2.1: refused; 192.0.2.2: refused"),
        ([v4(1), v6(1)], 1, 1, "192.0.2.1: refused; 2001:db8::1: took too long"),
        ([v6(1, 3), v6(1, 4)], 2, 0, "2001:db8::1%3: refused; 2001:db8::1%4: refused"),
    ],
)
def test_the_reason_names_each_address_that_was_tried_if_there_were_several(
    found: list[AddressInfo], failing: int, pending: int, reason: str
) -> None:
    race = HappyEyeballs(found, 0.0, 10.0)
    for _ in range(failing):
        info = race.begin(0.0)
        assert info
        race.failed(info, "refused", 0.0)
    for _ in range(pending):
        assert race.begin(0.0)
    assert race.reason == reason


def test_the_reason_names_some_of_very_many_addresses() -> None:
    race = HappyEyeballs(map(v4, range(100)), 0.0, 10.0)
    while info := race.begin(0.0):
        race.failed(info, "refused", 0.0)
    assert race.reason.endswith("; 192.0.2.7: refused; and 92 more")
