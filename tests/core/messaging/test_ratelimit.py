"""Token buckets, with time as a number."""

from __future__ import annotations

import pytest

from sono_core import Limits
from sono_core.messaging.ratelimit import RateLimiter

LIMITS = Limits(packet_rate=10, byte_rate=1000)


def test_two_seconds_worth_of_packets_may_come_at_once() -> None:
    quota = RateLimiter(LIMITS, 0)
    assert [quota.take(0, 0) for _ in range(20)] == [0] * 20
    assert quota.take(0, 0) == pytest.approx(0.1)
    assert quota.take(0, 0) == pytest.approx(0.2)


def test_two_seconds_worth_of_bytes_may_come_at_once() -> None:
    quota = RateLimiter(LIMITS, 0)
    assert quota.take(2000, 0) == 0
    assert quota.take(1, 0) == pytest.approx(0.001)


def test_what_is_owed_is_paid_by_waiting() -> None:
    quota = RateLimiter(LIMITS, 0)
    assert quota.take(3000, 0) == pytest.approx(1)
    assert quota.take(0, 0.5) == pytest.approx(0.5)
    assert quota.take(0, 1) == 0


def test_no_more_than_two_seconds_worth_is_saved() -> None:
    quota = RateLimiter(LIMITS, 0)
    assert [quota.take(0, 1000) for _ in range(20)] == [0] * 20
    assert quota.take(0, 1000) > 0


def test_at_the_rate_nobody_waits() -> None:
    quota = RateLimiter(LIMITS, 0)
    assert not any(quota.take(100, number / 10) for number in range(1000))


def test_above_the_rate_who_waits_as_told_is_at_the_rate() -> None:
    quota = RateLimiter(LIMITS, 0)
    now = 0.0
    for _ in range(1000):
        now += quota.take(0, now)
    assert now == pytest.approx((1000 - 20) / 10)


def test_who_gave_others_much_to_read_begins_anew() -> None:
    quota = RateLimiter(Limits(max_turn_deliveries=10), 0)
    assert [quota.cause(4) for _ in range(7)] == [False, False, True, False, False, True, False]
    assert quota.cause(1000)
    assert not quota.cause(10)
