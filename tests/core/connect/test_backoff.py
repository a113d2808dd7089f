"""Whether and when a client connects again, with chance and time as numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sono_core import Close
from sono_core.connect.backoff import Backoff, Reconnection, retryable
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
    backoff = Backoff(random=half, base=1, cap=10)
    assert [backoff.next() for _ in range(6)] == [0.5, 1, 2, 4, 5, 5]


def test_by_default_it_begins_with_half_a_second_and_ends_with_half_a_minute() -> None:
    backoff = Backoff(random=at_most)
    delays = [backoff.next() for _ in range(8)]
    assert delays == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30])


def test_a_delay_may_be_nothing() -> None:
    backoff = Backoff(random=lambda: 0.0)
    assert [backoff.next() for _ in range(3)] == [0, 0, 0]


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
def test_delay_n_is_between_0_and_its_bound(
    chances: list[float], base: float, factor: float
) -> None:
    chance = iter(chances)
    cap = base * factor
    backoff = Backoff(random=lambda: next(chance), base=base, cap=cap)
    for n, drawn in enumerate(chances):
        delay = backoff.next()
        assert 0 <= delay <= min(cap, base * 2**n)
        assert delay == pytest.approx(drawn * min(cap, base * 2**n))


def test_thousands_of_attempts_do_not_overflow() -> None:
    backoff = Backoff(random=at_most)
    for _ in range(2000):  # 2.0 ** 1024 does
        backoff.next()
    assert backoff.next() == pytest.approx(30)


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


@pytest.mark.parametrize("code", [1001, 1006, 1011, 1012, 1013, 1014])
def test_a_server_that_goes_or_fails_is_tried_again(code: int) -> None:
    assert retryable(Close(code))


@pytest.mark.parametrize(
    "code", [1000, 1002, 1003, 1005, 1007, 1008, 1009, 1010, 3000, 3999, 4000, 4008, 4999]
)
def test_a_close_that_was_meant_is_not_tried_again(code: int) -> None:
    assert not retryable(Close(code))


def test_a_connection_that_stalled_is_tried_again() -> None:
    assert retryable(Close(4008, "nothing could be written in time", clean=False))


# -- reconnection -----------------------------------------------------------------------------

LOST = Close(1006, "the connection ended", clean=False)
REFUSED = ConnectError("h: Connection refused")


def reconnection(cap: float = 30.0) -> Reconnection:
    return Reconnection(Backoff(random=half, base=1, cap=cap))


def test_failures_in_a_row_wait_longer_and_longer() -> None:
    policy = reconnection()
    assert [policy.after(REFUSED, now) for now in (0, 100, 200)] == [0.5, 1, 2]


def test_what_is_not_worth_it_is_tried_never_again() -> None:
    policy = reconnection()
    assert policy.after(ConnectError("h: no", 403), 0) is None
    assert policy.after(Close(1000), 0) is None


def test_a_connection_that_lasted_begins_the_back_off_anew() -> None:
    policy = reconnection(cap=30)
    policy.after(REFUSED, 0)
    policy.after(REFUSED, 1)
    policy.opened(10)
    assert policy.after(LOST, 40) == 0.5


def test_a_connection_that_was_opened_and_lost_at_once_does_not() -> None:
    policy = reconnection(cap=30)
    delays = []
    for now in range(0, 120, 29):
        policy.opened(now)
        delays.append(policy.after(LOST, now + 28.9))
    assert delays == [0.5, 1, 2, 4, 8]


def test_the_time_between_attempts_is_no_time_that_a_connection_lasted() -> None:
    policy = reconnection(cap=30)
    policy.opened(0)
    assert policy.after(LOST, 1) == 0.5
    assert policy.after(REFUSED, 1000) == 1


def test_retry_after_comes_before_the_back_off() -> None:
    policy = reconnection()
    assert policy.after(ConnectError("h: busy", 503, retry_after=20), 0) == 20.5
    assert policy.after(ConnectError("h: busy", 429, retry_after=0), 0) == 1
    assert policy.after(ConnectError("h: busy", 503), 0) == 2


@pytest.mark.parametrize("asked", [301, 1e9, math.inf])
def test_nobody_is_sent_away_for_more_than_five_minutes(asked: float) -> None:
    policy = reconnection()
    assert policy.after(ConnectError("h: busy", 503, retry_after=asked), 0) == 300.5


def test_retry_after_makes_no_refusal_worth_another_attempt() -> None:
    policy = reconnection()
    assert policy.after(ConnectError("h: no", 403, retry_after=1), 0) is None


def test_the_caller_may_know_better_what_to_try_again() -> None:
    policy = Reconnection(Backoff(random=half, base=1), retry=untimely)
    assert policy.after(Close(4001), 0) == 0.5
