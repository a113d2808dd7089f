"""Requests of clients that wait for the application."""

from __future__ import annotations

from sono_core.messaging.lossless.server.pending import Pending


def test_a_request_waits_until_it_is_answered() -> None:
    pending = Pending(2)
    assert pending.deadline is None
    assert pending.begin("a", 1, 10.0)
    assert pending.deadline == 10.0
    assert pending.end("a", 1)
    assert not pending.end("a", 1)
    assert pending.expire(99.0) == []
    assert pending.deadline is None


def test_as_many_of_each_client_wait_as_may() -> None:
    pending = Pending(2)
    assert [pending.begin("a", number, 10.0) for number in (1, 2, 3)] == [True, True, False]
    assert pending.begin("b", 1, 10.0)
    assert not pending.end("a", 3)
    assert pending.end("a", 1)
    assert pending.begin("a", 4, 10.0)


def test_those_whose_time_is_over_end_in_the_order_of_their_times() -> None:
    pending = Pending(9)
    for client, number, deadline in (("a", 1, 3.0), ("b", 1, 1.0), ("a", 2, 2.0), ("b", 2, 4.0)):
        assert pending.begin(client, number, deadline)
    assert pending.expire(0.9) == []
    assert pending.expire(3.0) == [("b", 1), ("a", 2), ("a", 1)]
    assert not pending.end("a", 1)
    assert pending.deadline == 4.0


def test_a_client_that_is_gone_waits_for_nothing() -> None:
    pending = Pending(9)
    pending.begin("a", 1, 1.0)
    pending.forget("a")
    pending.forget("a")
    assert pending.expire(1.0) == []
    assert pending.begin("a", 1, 2.0)  # a number of another life
    assert pending.expire(2.0) == [("a", 1)]


def test_what_is_answered_takes_no_room_for_long() -> None:
    pending = Pending(2)
    for number in range(10_000):
        assert pending.begin("a", number, 30.0 + number)
        assert pending.end("a", number)
    assert len(pending._due) < 200
