"""Feeds, case by case. What holds in all of them: tests/backplane/test_feed_model.py."""

from __future__ import annotations

from typing import Any

import pytest

from sono_core.messaging.lossless.backplane import BackplaneError, Receipt
from sono_core.messaging.lossless.history import History
from sono_core.messaging.lossless.positions import Position
from sono_core.messaging.lossless.replay import Start
from sono_core.messaging.lossless.streams import ENTRY, Entry, Missing
from tests.backplane.feeds import STREAM, Rig

# -- starting and stopping ------------------------------------------------------------------------


def test_a_feed_begins_where_the_stream_is() -> None:
    rig = Rig(started=False)
    rig.backplane.put(1, 2, told=False)
    assert rig.feed.position is None
    assert rig.feed.start().value == rig.at(2)
    rig.backplane.put(3)
    assert rig.told.take() == [3]


def test_what_comes_before_the_answer_waits_for_it() -> None:
    rig = Rig(started=False)
    receipt: Receipt[Position] = Receipt()
    rig.backplane.subscribe = lambda *_, **__: receipt  # type: ignore[method-assign]
    started = rig.feed.start()
    rig.backplane.live = rig.feed._arrived
    rig.backplane.put(1, 2, 3)
    rig.feed.check(rig.top)
    assert (rig.told.take(), started.done) == ([], False)
    receipt.complete(rig.at(1))
    assert rig.told.take() == [2, 3]
    assert (started.value, rig.feed.held) == (rig.at(1), 0)


def test_who_came_before_the_answer_begins_before_what_came_early() -> None:
    rig = Rig(started=False)
    receipt: Receipt[Position] = Receipt()
    rig.backplane.subscribe = lambda *_, **__: receipt  # type: ignore[method-assign]
    rig.feed.start()
    rig.backplane.live = rig.feed._arrived
    member = rig.feed.catch_up("a", None)
    rig.backplane.put(1, 2)  # perhaps its own
    receipt.complete(rig.at(0))
    assert member.value == Start(rig.at(0), False)


def test_a_start_that_failed_may_be_tried_again() -> None:
    rig = Rig(started=False)
    rig.backplane.down = True
    waits = rig.feed.catch_up("a", None)
    assert isinstance(rig.feed.start().error, BackplaneError)
    assert isinstance(waits.error, BackplaneError)
    assert not rig.feed.behind
    rig.backplane.down = False
    assert rig.feed.start().error is None
    assert rig.begins("a", None) == Start(rig.at(0), False)


def test_a_feed_that_is_stopped_tells_nothing_more() -> None:
    rig = Rig()
    rig.backplane.put(1, told=False)
    rig.feed.catch_up("a", rig.at(0))
    rig.backplane.later = True
    waits = rig.feed.catch_up("b", rig.at(7))
    late = rig.backplane.put(2)[0]
    rig.feed.stop()
    rig.backplane.answer()
    rig.backplane.live(late)
    rig.feed.ready("a")
    rig.feed.check(rig.top)
    assert isinstance(waits.error, BackplaneError)
    assert isinstance(rig.feed.catch_up("c", None).error, BackplaneError)
    assert (rig.told.take(), len(rig.feed.behind), rig.feed.held) == ([], 0, 0)


def test_a_feed_that_is_stopped_while_it_starts_does_not_start() -> None:
    rig = Rig(started=False)
    receipt: Receipt[Position] = Receipt()
    rig.backplane.subscribe = lambda *_, **__: receipt  # type: ignore[method-assign]
    started = rig.feed.start()
    rig.feed.stop()
    receipt.complete(Position("e", 0))
    assert isinstance(started.error, BackplaneError)
    assert rig.feed.position is None


def test_a_feed_may_be_stopped_amid_anything() -> None:
    for told in (True, False):  # by a live entry, and by one that was read
        rig = Rig()
        rig.told.does = rig.feed.stop
        rig.backplane.put(1, 2, 3, told=told)
        rig.feed.check(rig.top)
        assert rig.told.take() == [1]
    rig = Rig()
    rig.told.does = rig.feed.stop
    _, *later = rig.backplane.put(1, 2, 3, told=False)
    rig.backplane.later = True
    for entry in later:
        rig.backplane.live(entry)
    rig.backplane.later = False
    rig.backplane.answer()
    assert rig.told.take() == [1]


def test_a_feed_may_be_stopped_amid_a_replay_and_again() -> None:
    rig = Rig(chunk=10)
    rig.backplane.put(1, 2)
    rig.told.take()
    rig.begins("a", rig.at(0))
    rig.told.does = rig.feed.stop
    rig.feed.ready("a")
    rig.feed.ready("a")
    assert rig.told.take() == [("a", [1], False)]
    assert rig.feed.stop().done


def test_changes_and_what_is_volatile_are_passed_on() -> None:
    rig = Rig(started=False)
    told: list[Any] = []
    rig.feed.start(on_change=lambda change: told.append(change.member), on_volatile=told.append)
    rig.backplane.enter(STREAM, "a", None, 0)
    rig.backplane.tell(STREAM, "typing")
    assert told == ["a", "typing"]


# -- live entries ---------------------------------------------------------------------------------


def test_what_comes_twice_is_delivered_once_and_costs_no_read() -> None:
    rig = Rig()
    for entry in rig.backplane.put(1, 2):
        rig.backplane.live(entry)
    assert rig.told.take() == [1, 2]
    assert rig.backplane.reads == []


def test_a_hole_is_read_at_once() -> None:
    rig = Rig()
    rig.backplane.put(1, 2, told=False)
    rig.backplane.put(3)
    assert rig.told.take() == [1, 2, 3]
    assert len(rig.backplane.reads) == 1


def test_what_fills_the_hole_while_it_is_read_is_delivered() -> None:
    rig = Rig()
    rig.backplane.later = True
    first, second = rig.backplane.put(1, 2, told=False)
    rig.backplane.live(second)
    rig.backplane.live(second)
    rig.backplane.live(first)
    assert rig.told.take() == [1, 2]
    rig.backplane.answer()
    assert rig.told.take() == []
    assert len(rig.backplane.reads) == 1


def test_what_was_not_kept_is_an_exact_gap() -> None:
    rig = Rig()
    rig.backplane.history = History(count=0)
    rig.backplane.put(1, 2, told=False)
    rig.backplane.put(3)
    missing = Missing(rig.at(0), rig.at(2))
    assert rig.told.take() == [missing, 3]
    assert missing.extent == (1, 2)


def test_a_new_epoch_is_a_gap_of_unknown_extent() -> None:
    rig = Rig()
    rig.backplane.put(1)
    old = rig.at(1)
    rig.restart()
    rig.backplane.put(2)
    missing = Missing(old, rig.at(0))
    assert rig.told.take() == [1, missing, 2]
    assert missing.extent is None


def test_an_entry_of_a_former_epoch_costs_no_read() -> None:
    rig = Rig()
    (late,) = rig.backplane.put(1)
    rig.restart()
    rig.backplane.put(2)
    rig.told.take()
    reads = len(rig.backplane.reads)
    rig.backplane.live(late)
    rig.feed.check(late.at)
    assert rig.told.take() == []
    assert len(rig.backplane.reads) == reads


def test_an_entry_of_an_epoch_that_is_not_the_present_one_is_dropped() -> None:
    rig = Rig()
    rig.backplane.live(Entry(Position("long ago", 4), "old", 1))
    assert (rig.told.take(), rig.feed.held) == ([], 0)
    rig.backplane.put(1)
    assert rig.told.take() == [1]


def test_what_does_not_fit_is_read_afterwards() -> None:
    rig = Rig(room=2 * (ENTRY + 10))
    rig.backplane.later = True
    first, *others = rig.backplane.put(1, 2, 3, 4, 5, told=False)
    for entry in others:
        rig.backplane.live(entry)
        assert rig.feed.held <= 2 * (ENTRY + 10)
    rig.backplane.later = False
    rig.backplane.live(first)  # which leaves the read to find the others
    assert rig.told.take() == [1, 2, 3]
    rig.backplane.answer()
    assert rig.told.take() == [4, 5]


def test_one_entry_is_kept_however_large() -> None:
    rig = Rig(room=1)
    rig.backplane.later = True
    first, second = rig.backplane.put(1, 2, told=False, size=1000)
    rig.backplane.live(second)
    rig.backplane.live(first)
    assert rig.told.take() == [1, 2]


def test_what_is_longer_than_a_chunk_is_read_in_parts() -> None:
    rig = Rig(chunk=25)
    rig.backplane.put(*range(2000), told=False)
    rig.backplane.history = History(count=5000)
    rig.backplane.put(*range(2000, 4000), told=False)
    rig.feed.check(rig.top)
    first, *others = rig.told.take()
    assert isinstance(first, Missing)
    assert others == list(range(1900, 4000))
    assert len(rig.backplane.reads) == 1050


def test_what_comes_amid_a_delivery_waits_for_its_end() -> None:
    rig = Rig()
    answers = iter([2, 3])
    order: list[Any] = []

    def does() -> None:
        order.append("begin")
        for body in answers:
            rig.backplane.put(body)
        order.append("end")

    rig.told.does = does
    rig.backplane.put(1)
    assert rig.told.take() == [1, 2, 3]
    assert order == ["begin", "end"] * 3


def test_an_answer_that_comes_amid_a_delivery_waits_for_its_end() -> None:
    rig = Rig()
    rig.backplane.later = True
    rig.backplane.put(1, told=False)
    rig.feed.check(rig.top)
    first, second = rig.backplane.put(2, 3, told=False)

    def does() -> None:
        rig.told.does = lambda: None
        rig.backplane.answer()
        rig.told.items.append("end")

    rig.told.does = does
    rig.backplane.live(Entry(rig.at(1), 1, 10))
    assert rig.told.take() == [1, "end", 2, 3]
    rig.backplane.live(first)
    rig.backplane.live(second)
    assert rig.told.take() == []


def test_an_audience_that_fails_gets_the_rest_at_the_next_check() -> None:
    rig = Rig()

    def fails() -> None:
        rig.told.does = lambda: None
        raise KeyError("audience")

    rig.told.does = fails
    rig.backplane.put(1, 2, 3, told=False)
    with pytest.raises(KeyError, match="audience"):
        rig.feed.check(rig.top)
    assert rig.told.take() == [1]
    rig.feed.check(rig.at(1))
    assert rig.told.take() == [2, 3]


# -- checks ---------------------------------------------------------------------------------------


def test_a_lost_last_entry_is_found_by_a_check() -> None:
    rig = Rig()
    rig.backplane.put(1, told=False)
    assert rig.told.take() == []
    rig.feed.check(rig.top)
    assert rig.told.take() == [1]


def test_a_check_that_finds_nothing_reads_nothing() -> None:
    rig = Rig()
    rig.backplane.put(1)
    rig.feed.check(rig.at(1))
    rig.backplane.put(2, 3)
    rig.feed.check(rig.at(1))  # an answer that was under way
    rig.feed.check(rig.at(3))
    assert rig.backplane.reads == []


def test_a_stream_that_began_anew_in_silence_is_found_by_a_check() -> None:
    rig = Rig()
    rig.backplane.put(1)
    old = rig.top
    rig.restart()
    rig.feed.check(rig.top)
    assert rig.told.take() == [1, Missing(old, rig.at(0))]


def test_a_backplane_that_has_less_than_it_had_is_a_gap_of_unknown_extent() -> None:
    rig = Rig()
    rig.backplane.put(1, 2, 3)
    rig.feed.check(rig.top)
    rig.rewind(1)
    rig.feed.check(rig.top)
    missing = Missing(rig.at(3), rig.at(1))
    assert rig.told.take() == [1, 2, 3, missing]
    assert missing.extent is None
    rig.backplane.put("again")
    assert rig.told.take() == ["again"]


def test_a_repair_that_failed_is_made_up_for_with_the_next_entry() -> None:
    rig = Rig()
    rig.backplane.down = True
    rig.backplane.put(1, told=False)
    rig.feed.check(rig.top)
    (second,) = rig.backplane.put(2, told=False)
    rig.backplane.live(second)
    assert rig.told.take() == []
    rig.backplane.down = False
    rig.backplane.put(3)
    assert rig.told.take() == [1, 2, 3]


def test_a_check_while_something_is_read_reads_once_more() -> None:
    rig = Rig()
    rig.backplane.later = True
    rig.backplane.put(1, told=False)
    rig.feed.check(rig.top)
    answer = rig.backplane.streams.since(STREAM, rig.at(0), 1000.0)
    rig.backplane.put(2, told=False)
    rig.feed.check(rig.top)
    assert len(rig.backplane.reads) == 1
    rig.backplane.later = False
    rig.backplane.reads[0][1].complete(answer)
    assert rig.told.take() == [1, 2]


def test_what_comes_while_something_is_read_and_makes_a_hole_is_read_too() -> None:
    rig = Rig()
    rig.backplane.later = True
    rig.backplane.put(1, told=False)
    rig.feed.check(rig.top)
    answer = rig.backplane.streams.since(STREAM, rig.at(0), 1000.0)

    def does() -> None:
        rig.told.does = lambda: None
        rig.backplane.later = False
        rig.backplane.put(2, told=False)
        rig.backplane.put(3)

    rig.told.does = does
    rig.backplane.reads[0][1].complete(answer)
    assert rig.told.take() == [1, 2, 3]


def test_what_comes_amid_a_replay_waits_for_its_end() -> None:
    rig = Rig()
    rig.backplane.put(1)
    rig.told.take()
    rig.begins("a", rig.at(0))

    def does() -> None:
        rig.told.does = lambda: None
        rig.backplane.put(2)
        rig.told.items.append("end")

    rig.told.does = does
    rig.feed.ready("a")
    assert rig.told.take() == [("a", [1], True), "end", 2]


def test_an_answer_that_comes_amid_what_came_early_is_not_left_lying() -> None:
    rig = Rig()
    rig.backplane.later = True
    first, second = rig.backplane.put(1, 2, told=False)
    rig.backplane.live(second)  # which begins a read
    rig.backplane.put(3, told=False)

    def does() -> None:
        if rig.feed.position == rig.at(2):
            rig.backplane.answer()

    rig.told.does = does
    rig.backplane.live(first)
    assert rig.told.take() == [1, 2, 3]


def test_an_answer_that_comes_amid_a_failure_of_the_audience_waits_for_a_check() -> None:
    rig = Rig()
    rig.backplane.later = True
    rig.backplane.put(1, told=False)
    rig.feed.check(rig.top)
    rig.backplane.put(2, told=False)

    def fails() -> None:
        rig.told.does = lambda: None
        rig.backplane.answer()
        raise KeyError("audience")

    rig.told.does = fails
    with pytest.raises(KeyError, match="audience"):
        rig.backplane.live(Entry(rig.at(1), 1, 10))
    assert rig.told.take() == [1]
    rig.feed.check(rig.at(1))
    assert rig.told.take() == [2]
