"""Whether and when a client connects again, with chance and time as numbers."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sono_core import Close, CloseCode
from sono_core.connect.backoff import (
    ADVICE,
    Advice,
    Backoff,
    Reconnection,
    advice,
    retry_after,
    retryable,
)
from sono_core.errors import ConnectError


def at_most() -> float:
    """Nearly the longest delay each time."""
    return math.nextafter(1.0, 0.0)


def half() -> float:
    return 0.5


def untimely(end: ConnectError | Close) -> bool:
    return True


# -- back-off ---------------------------------------------------------------------------------


def test_each_delay_may_be_twice_as_long_as_the_last_up_to_the_cap() -> None:
    """8.1: the least time, and what is spread doubles."""
    backoff = Backoff(random=half, base=1, cap=10)
    assert [backoff.next() for _ in range(6)] == [1.5, 2, 3, 5, 5.5, 5.5]


def test_by_default_it_begins_with_half_a_second_and_ends_with_twenty() -> None:
    """8.1: 0.5 + random(0, min(19.5, 0.5 * 2^n))."""
    backoff = Backoff(random=at_most)
    delays = [backoff.next() for _ in range(8)]
    assert delays == pytest.approx([1, 1.5, 2.5, 4.5, 8.5, 16.5, 20, 20])


def test_no_delay_is_shorter_than_the_least_time() -> None:
    backoff = Backoff(random=lambda: 0.0)
    assert [backoff.next() for _ in range(3)] == [0.5, 0.5, 0.5]


def test_where_the_least_time_is_the_longest_all_delays_are_the_same() -> None:
    backoff = Backoff(random=at_most, base=3, cap=3)
    assert [backoff.next() for _ in range(3)] == [3, 3, 3]


def test_after_a_reset_the_first_delay_is_the_first_again() -> None:
    backoff = Backoff(random=half, base=1)
    first = [backoff.next() for _ in range(4)]
    backoff.reset()
    assert [backoff.next() for _ in range(4)] == first


@given(
    chances=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=50),
    base=st.floats(0.001, 100),
    factor=st.floats(1, 1000),
)
def test_delay_n_is_between_its_bounds(chances: list[float], base: float, factor: float) -> None:
    chance = iter(chances)
    cap = base * factor
    backoff = Backoff(random=lambda: next(chance), base=base, cap=cap)
    for n, drawn in enumerate(chances):
        delay = backoff.next()
        assert base <= delay <= cap
        assert delay == pytest.approx(base + drawn * min(cap - base, base * 2**n))


def test_thousands_of_attempts_do_not_overflow() -> None:
    backoff = Backoff(random=at_most)
    for _ in range(2000):  # 2.0 ** 1024 does
        backoff.next()
    assert backoff.next() == pytest.approx(20)


@pytest.mark.parametrize(
    ("base", "cap"), [(0, 1), (-1, 1), (2, 1), (1, math.inf), (math.nan, 1), (1, math.nan)]
)
def test_bounds_that_are_none_are_refused(base: float, cap: float) -> None:
    with pytest.raises(ValueError, match="base <= cap"):
        Backoff(random=half, base=base, cap=cap)


# -- what is tried again ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "again"),
    [
        (None, True),
        (500, True),
        (502, True),
        (503, True),
        (504, True),
        (599, True),
        (408, True),
        (429, True),
        (400, False),
        (401, False),
        (403, False),
        (404, False),
        (407, False),
        (426, False),
        (200, False),
        (302, False),
    ],
)
def test_a_refusal_is_tried_again_where_time_may_heal_it(status: int | None, again: bool) -> None:
    assert retryable(ConnectError("h: refused", status)) is again


def test_an_untrusted_certificate_is_never_tried_again() -> None:
    assert not retryable(ConnectError("h: certificate verify failed", untrusted=True))


AGAIN = [1001, 1006, 1011, 1012, 1013, 1014, 4008, 4009, 4010]


@pytest.mark.parametrize("code", AGAIN)
def test_a_server_that_goes_or_fails_is_tried_again(code: int) -> None:
    """6.1, whoever found the reader or the sender too slow."""
    assert retryable(Close(code))
    assert retryable(Close(code, "nothing could be written in time", clean=False))


@pytest.mark.parametrize(
    "code", [1000, 1002, 1003, 1005, 1007, 1008, 1009, 1010, 3000, 3999, 4000, 4012, 4013, 4999]
)
def test_a_close_that_was_meant_is_not_tried_again(code: int) -> None:
    """6.1."""
    assert not retryable(Close(code))
    assert advice(Close(code)) is Advice.STAY_AWAY


def test_a_token_that_is_refused_is_worth_another_attempt_with_a_fresh_one_alone() -> None:
    """6.1, 4011."""
    assert not retryable(Close(4011))
    assert advice(Close(4011)) is Advice.RENEW


SAYS = {
    "stays away": Advice.STAY_AWAY,
    "stay away": Advice.STAY_AWAY,
    "comes back": Advice.COME_BACK,
    "comes back later": Advice.COME_BACK_LATER,
    "stays away, or comes back once with a fresh token": Advice.RENEW,
}


def test_the_table_is_the_one_of_the_documentation() -> None:
    """6: each code is in it, and each of those that are not stays away."""
    text = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text("utf-8")
    section = text.partition("\n## 6. ")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([0-9, ]+|others) \|.*\| ([^|]+) \|$", section, re.MULTILINE)
    told = {code: SAYS[says] for codes, says in rows for code in codes.split(", ")}
    assert told.pop("others") is Advice.STAY_AWAY
    assert set(map(int, told)) >= set(ADVICE)
    assert {code: advice(Close(int(code))) for code in told} == told
    assert {int(code) for code in told} | {1005} == set(CloseCode)


# -- what a server asks for -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "seconds"),
    [
        ("retry_after=12", 12),
        ("the server is full, retry_after=2.5", 2.5),
        ("the server is full, retry_after=299; sorry", 299),
        ("retry_after=0", 0),
        ("retry_after=301", 300),
        ("retry_after=999999999", 300),
        ("", 0),
        ("the server is full", 0),
        ("retry_after", 0),
        ("retry_after=", 0),
        ("retry_after=soon", 0),
        ("retry_after=-5", 0),
        ("retry_after=inf", 0),
        ("retry_after=1e9", 1),
        ("retry_after=1.2.3", 0),
        ("retry_after=" + "9" * 100, 0),
        ("retry_after=\u0661\u0662", 0),
    ],
)
def test_the_reason_of_a_close_may_say_how_long_to_stay_away(reason: str, seconds: float) -> None:
    """8.2."""
    assert retry_after(Close(1013, reason)) == seconds
    assert reconnection().after(Close(1013, reason), 0) == seconds + 1.5


@pytest.mark.parametrize("code", [1000, 1001, 1012, 4008])
def test_other_closes_ask_for_no_time(code: int) -> None:
    assert retry_after(Close(code, "retry_after=12")) == 0


# -- reconnection -----------------------------------------------------------------------------

LOST = Close(1006, "the connection ended", clean=False)
REFUSED = ConnectError("h: Connection refused")


def reconnection(cap: float = 20.0) -> Reconnection:
    return Reconnection(Backoff(random=half, base=1, cap=cap))


def test_failures_in_a_row_wait_longer_and_longer() -> None:
    policy = reconnection()
    assert [policy.after(REFUSED, now) for now in (0, 100, 200)] == [1.5, 2, 3]


def test_what_is_not_worth_it_is_tried_never_again() -> None:
    policy = reconnection()
    assert policy.after(ConnectError("h: no", 403), 0) is None
    assert policy.after(Close(1000), 0) is None


def test_a_connection_that_lasted_begins_the_back_off_anew() -> None:
    """8.1: 20 seconds."""
    policy = reconnection()
    policy.after(REFUSED, 0)
    policy.after(REFUSED, 1)
    policy.opened(10)
    assert policy.after(LOST, 30) == 1.5


def test_a_connection_that_was_opened_and_lost_at_once_does_not() -> None:
    """8.1."""
    policy = reconnection()
    delays = []
    for now in range(0, 120, 25):
        policy.opened(now)
        delays.append(policy.after(LOST, now + 19.9))
    assert delays == [1.5, 2, 3, 5, 9]


def test_the_time_between_attempts_is_no_time_that_a_connection_lasted() -> None:
    policy = reconnection()
    policy.opened(0)
    assert policy.after(LOST, 1) == 1.5
    assert policy.after(REFUSED, 1000) == 2


def test_retry_after_comes_before_the_back_off() -> None:
    policy = reconnection()
    assert policy.after(ConnectError("h: busy", 503, retry_after=20), 0) == 21.5
    assert policy.after(ConnectError("h: busy", 429, retry_after=0), 0) == 2
    assert policy.after(ConnectError("h: busy", 503), 0) == 3


@pytest.mark.parametrize("asked", [301, 1e9, math.inf])
def test_nobody_is_sent_away_for_more_than_five_minutes(asked: float) -> None:
    policy = reconnection()
    assert policy.after(ConnectError("h: busy", 503, retry_after=asked), 0) == 301.5


def test_retry_after_makes_no_refusal_worth_another_attempt() -> None:
    policy = reconnection()
    assert policy.after(ConnectError("h: no", 403, retry_after=1), 0) is None


def test_the_caller_may_know_better_what_to_try_again() -> None:
    policy = Reconnection(Backoff(random=half, base=1), retry=untimely)
    assert policy.after(Close(4001), 0) == 1.5


def renewing() -> Reconnection:
    return Reconnection(Backoff(random=half, base=1), renews=True)


def test_who_has_a_fresh_token_comes_back_once() -> None:
    """6.1, 4011."""
    policy = renewing()
    assert policy.after(Close(4011), 0) == 1.5
    policy.opened(1)
    assert policy.after(Close(4011), 2) is None


def test_who_has_a_fresh_token_comes_back_once_more_after_a_connection_that_lasted() -> None:
    policy = renewing()
    assert policy.after(Close(4011), 0) == 1.5
    policy.opened(1)
    assert policy.after(Close(4011), 21) == 1.5


def test_a_fresh_token_is_no_cause_to_come_back_after_other_closes() -> None:
    policy = renewing()
    assert policy.after(Close(4012), 0) is None
    assert policy.after(Close(4011), 0) == 1.5


def test_without_a_fresh_token_a_client_stays_away() -> None:
    assert reconnection().after(Close(4011), 0) is None
