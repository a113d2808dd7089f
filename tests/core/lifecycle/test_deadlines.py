"""Timers as data."""

from __future__ import annotations

import math

from sono_core.lifecycle.deadlines import Deadline, Deadlines


def test_nothing_is_due_at_first() -> None:
    deadlines = Deadlines()
    assert deadlines.next == math.inf
    assert deadlines.pop_due(1e300) == []
    assert Deadline.PING not in deadlines


def test_next_is_the_earliest() -> None:
    deadlines = Deadlines()
    deadlines.set(Deadline.PING, 20)
    assert deadlines.next == 20
    deadlines.set(Deadline.HANDSHAKE, 5)
    assert deadlines.next == 5
    deadlines.set(Deadline.CLOSE, 7)
    assert deadlines.next == 5


def test_set_replaces_in_both_directions() -> None:
    deadlines = Deadlines()
    deadlines.set(Deadline.PING, 20)
    deadlines.set(Deadline.PING, 30)
    assert deadlines.next == 30
    deadlines.set(Deadline.PING, 10)
    assert deadlines.next == 10


def test_due_is_what_lies_at_now_or_before() -> None:
    deadlines = Deadlines()
    deadlines.set(Deadline.PING, 20)
    assert deadlines.pop_due(19.999) == []
    assert Deadline.PING in deadlines
    assert deadlines.pop_due(20) == [Deadline.PING]
    assert Deadline.PING not in deadlines
    assert deadlines.pop_due(20) == []


def test_the_earliest_comes_first() -> None:
    deadlines = Deadlines()
    deadlines.set(Deadline.HANDSHAKE, 3)
    deadlines.set(Deadline.STALL, -math.inf)
    deadlines.set(Deadline.CLOSE, 2)
    deadlines.set(Deadline.PING, 9)
    assert deadlines.pop_due(5) == [Deadline.STALL, Deadline.CLOSE, Deadline.HANDSHAKE]
    assert deadlines.next == 9


def test_a_cleared_deadline_is_never_due() -> None:
    deadlines = Deadlines()
    deadlines.set(Deadline.PING, 1)
    deadlines.set(Deadline.CLOSE, 2)
    deadlines.unset(Deadline.PING)
    assert deadlines.next == 2
    deadlines.unset(Deadline.PING)  # harmless
    assert deadlines.pop_due(10) == [Deadline.CLOSE]
    assert deadlines.next == math.inf


def test_clear() -> None:
    deadlines = Deadlines()
    for kind in Deadline:
        deadlines.set(kind, 1)
    deadlines.clear()
    assert deadlines.next == math.inf
    assert deadlines.pop_due(10) == []
