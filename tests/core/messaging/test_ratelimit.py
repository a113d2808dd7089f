"""Token buckets, with time as a number."""

from __future__ import annotations

import pytest

from sono_core import Limits
from sono_core.messaging.ratelimit import RateLimiter

LIMITS = Limits(packet_rate=10, byte_rate=1000)


def test_two_seconds_worth_of_packets_may_come_at_once() -> None:
    limiter = RateLimiter(LIMITS, 0)
    assert [limiter.take(0, 0) for _ in range(20)] == [0] * 20
    assert limiter.take(0, 0) == pytest.approx(0.1)
    assert limiter.take(0, 0) == pytest.approx(0.2)


def test_two_seconds_worth_of_bytes_may_come_at_once() -> None:
    limiter = RateLimiter(LIMITS, 0)
    assert limiter.take(2000, 0) == 0
    assert limiter.take(1, 0) == pytest.approx(0.001)


def test_what_is_owed_is_paid_by_waiting() -> None:
    limiter = RateLimiter(LIMITS, 0)
    assert limiter.take(3000, 0) == pytest.approx(1)
    assert limiter.take(0, 0.5) == pytest.approx(0.5)
    assert limiter.take(0, 1) == 0


def test_no_more_than_two_seconds_worth_is_saved() -> None:
    limiter = RateLimiter(LIMITS, 0)
    assert [limiter.take(0, 1000) for _ in range(20)] == [0] * 20
    assert limiter.take(0, 1000) > 0


def test_at_the_rate_nobody_waits() -> None:
    limiter = RateLimiter(LIMITS, 0)
    assert not any(limiter.take(100, number / 10) for number in range(1000))


def test_above_the_rate_who_waits_as_told_is_at_the_rate() -> None:
    limiter = RateLimiter(LIMITS, 0)
    now = 0.0
    for _ in range(1000):
        now += limiter.take(0, now)
    assert now == pytest.approx((1000 - 20) / 10)


def test_who_gave_others_much_to_read_begins_anew() -> None:
    limiter = RateLimiter(Limits(max_turn_deliveries=10), 0)
    assert [limiter.cause(4) for _ in range(7)] == [False, False, True, False, False, True, False]
    assert limiter.cause(1000)
    assert not limiter.cause(10)
