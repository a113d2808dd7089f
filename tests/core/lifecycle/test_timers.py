"""Lazy timers: which entry to check when."""

from __future__ import annotations

import math

from sono_core.lifecycle.timers import Timers


class Entry:
    def __init__(self) -> None:
        self.scheduled = math.inf


def test_entries_come_when_they_are_due_the_earliest_first() -> None:
    timers: Timers[Entry] = Timers()
    early, late, later = Entry(), Entry(), Entry()
    assert timers.next == math.inf
    for entry, due in ((later, 9.0), (late, 3.0), (early, 2.0)):
        timers.schedule(entry, due)
        assert entry.scheduled == due
    assert timers.next == 2.0
    assert list(timers.pop_due(1.9)) == []
    assert list(timers.pop_due(3.0)) == [early, late]
    assert early.scheduled == late.scheduled == math.inf
    assert timers.next == 9.0


def test_an_entry_that_was_moved_forward_comes_once() -> None:
    timers: Timers[Entry] = Timers()
    entry = Entry()
    timers.schedule(entry, 5.0)
    timers.schedule(entry, 2.0)
    assert list(timers.pop_due(2.0)) == [entry]
    assert list(timers.pop_due(9.0)) == []


def test_what_is_scheduled_while_others_are_due_comes_the_next_time() -> None:
    timers: Timers[Entry] = Timers()
    first, second = Entry(), Entry()
    timers.schedule(first, 1.0)
    found = []
    for entry in timers.pop_due(2.0):
        found.append(entry)
        timers.schedule(second, 1.5)
        timers.schedule(first, 0.5)
    assert found == [first]
    assert list(timers.pop_due(2.0)) == [first, second]


def test_outdated_entries_are_dropped_when_there_are_many() -> None:
    timers: Timers[Entry] = Timers()
    entry = Entry()
    for due in range(100, 0, -1):
        timers.schedule(entry, float(due))
    timers.forget_outdated(42)
    assert len(timers) == 100
    timers.forget_outdated(10)
    assert len(timers) == 1
    assert list(timers.pop_due(2000.0)) == [entry]
