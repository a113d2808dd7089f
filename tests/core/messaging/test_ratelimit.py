"""Token buckets, with time as a number."""

from __future__ import annotations

import pytest

from sono_core import Limits
from sono_core.messaging.ratelimit import RateLimiter, SharedTurn

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


def test_what_is_delivered_to_others_has_a_rate_of_its_own() -> None:
    limiter = RateLimiter(Limits(delivery_rate=1000), 0)
    assert limiter.deliver(10, 136, 0) == 0  # with 64 bytes for each
    assert limiter.deliver(1, 36, 0) == pytest.approx(0.1)
    assert limiter.owed(0.05) == pytest.approx(0.05)
    assert limiter.owed(0.1) == 0


def test_the_longest_of_all_waits_is_owed_and_asking_costs_nothing() -> None:
    limiter = RateLimiter(LIMITS, 0)
    assert limiter.take(4000, 0) == pytest.approx(2)
    for _ in range(3):
        assert limiter.owed(1) == pytest.approx(1)
    assert [limiter.take(0, 2) for _ in range(20)] == [0] * 20


# -- the turn that all clients share ----------------------------------------------------------


def test_a_turn_is_spent_when_more_was_delivered_than_its_limit() -> None:
    turn = SharedTurn(Limits(max_turn_deliveries=10, max_turn_delivered=1000))
    turn.take(10, 1)
    assert not turn.spent
    turn.take(1, 1)
    assert turn.spent
    turn.renew()
    assert not turn.spent
    turn.take(2, 500)
    assert not turn.spent
    turn.take(1, 1)
    assert turn.spent


@pytest.mark.parametrize(
    ("few", "size", "more", "size_of_more"), [(64, 1, 1, 1), (1, 65536, 1, 1), (2, 32768, 1, 1)]
)
def test_a_few_deliveries_need_no_new_turn(
    few: int, size: int, more: int, size_of_more: int
) -> None:
    turn = SharedTurn(Limits())
    assert not turn.take(few, size)
    assert turn.take(more, size_of_more)
    assert turn.take(1, 1)
    turn.renew()
    assert not turn.take(few, size)


def test_who_asks_for_little_gets_an_equal_part_of_a_turn_that_is_spent() -> None:
    turn = SharedTurn(Limits(max_turn_deliveries=100))
    assert turn.grant("a", 20, 10, clients=5)
    assert not turn.grant("a", 1, 10, clients=5)
    assert not turn.grant("b", 21, 10, clients=5)
    assert turn.grant("b", 19, 10, clients=5)
    assert turn.grant("b", 1, 10, clients=5)
    turn.renew()
    assert turn.grant("a", 1, 10, clients=1000)  # one always
    assert not turn.grant("a", 1, 10, clients=1000)


def test_little_is_counted_in_bytes_too() -> None:
    turn = SharedTurn(Limits(max_turn_delivered=1 << 20))
    assert turn.grant("a", 1, 60_000, clients=100)
    assert not turn.grant("a", 1, 6_000, clients=100)
    assert turn.grant("b", 2, 100_000, clients=5)
    assert not turn.grant("b", 1, 10_000, clients=5)
