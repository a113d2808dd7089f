"""The token bucket, with time as a number."""

from __future__ import annotations

import pytest

from sono_core.rates import TokenBucket


def test_two_seconds_worth_may_come_at_once_and_what_is_owed_is_paid_by_waiting() -> None:
    bucket = TokenBucket(10, 0)
    assert bucket.take(20, 0) == 0
    assert bucket.take(5, 0) == pytest.approx(0.5)
    assert bucket.take(0, 0.3) == pytest.approx(0.2)
    assert bucket.take(0, 0.5) == 0
    assert bucket.take(20, 1000) == 0
    assert bucket.take(1, 1000) == pytest.approx(0.1)


def test_at_the_rate_nobody_waits() -> None:
    bucket = TokenBucket(10, 0)
    assert not any(bucket.take(1, number / 10) for number in range(1000))
