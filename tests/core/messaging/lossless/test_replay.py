"""Members that are behind, case by case."""

from __future__ import annotations

import pytest

from sono_core.messaging.lossless.backplane import BackplaneError
from sono_core.messaging.lossless.history import History
from sono_core.messaging.lossless.positions import Position
from sono_core.messaging.lossless.replay import Start
from sono_core.messaging.lossless.streams import ENTRY, Missing
from tests.backplane.feeds import Rig

# -- where a member begins ------------------------------------------------------------------------


def test_a_newcomer_begins_where_the_others_are() -> None:
    rig = Rig()
    rig.backplane.put(1, 2)
    rig.told.take()
    assert rig.begins("a", None) == Start(rig.at(2), False)
    assert rig.told.take() == []
    rig.feed.ready("a")
    assert rig.told.take() == [("a", [], True)]
    assert not rig.feed.behind
    assert rig.backplane.reads == []


def test_a_newcomer_to_an_empty_stream_has_a_position_and_can_come_back_to_it() -> None:
    rig = Rig()
    start = rig.begins("a", None)
    assert start == Start(rig.at(0), False)
    rig.feed.drop("a")
    assert rig.begins("a", start.at) == Start(rig.at(0), True)


def test_who_comes_back_gets_what_was_missed_and_is_one_of_the_others() -> None:
    rig = Rig()
    rig.backplane.put(1, 2, 3)
    rig.told.take()
    assert rig.begins("a", rig.at(1)) == Start(rig.at(1), True)
    rig.feed.ready("a")
    rig.backplane.put(4)
    assert rig.told.take() == [("a", [2, 3], True), 4]


def test_who_missed_nothing_costs_no_read() -> None:
    rig = Rig()
    rig.backplane.put(1)
    assert rig.begins("a", rig.at(1)) == Start(rig.at(1), True)
    assert rig.backplane.reads == []


def test_who_missed_what_is_trimmed_begins_before_the_first_that_is_kept() -> None:
    rig = Rig()
    rig.backplane.history = History(count=2)
    rig.backplane.put(1, 2, 3, 4)
    rig.told.take()
    assert rig.begins("a", rig.at(1)) == Start(rig.at(2), False)
    rig.feed.ready("a")
    assert rig.told.take() == [("a", [3, 4], True)]


def test_what_was_too_large_to_keep_is_an_exact_gap_between_the_others() -> None:
    rig = Rig()
    rig.backplane.history = History(size=50)
    rig.backplane.put(1)
    rig.backplane.put(2, size=51)
    rig.backplane.put(3)
    rig.told.take()
    assert rig.begins("a", rig.at(0)) == Start(rig.at(0), True)
    rig.feed.ready("a")
    assert rig.told.take() == [("a", [1, Missing(rig.at(1), rig.at(2)), 3], True)]


def test_who_comes_from_another_epoch_gets_what_there_is() -> None:
    rig = Rig()
    rig.backplane.put(1, 2)
    rig.told.take()
    assert rig.begins("a", Position("elsewhere", 9)) == Start(rig.at(0), False)
    rig.feed.ready("a")
    assert rig.told.take() == [("a", [1, 2], True)]


def test_a_position_above_the_top_counts_for_nothing() -> None:
    rig = Rig()
    rig.backplane.put(1, 2)
    rig.told.take()
    assert rig.begins("a", rig.at(3)) == Start(rig.at(2), False)
    rig.feed.ready("a")
    assert rig.told.take() == [("a", [], True)]


def test_who_comes_before_the_feed_has_started_waits_for_it() -> None:
    rig = Rig(started=False)
    rig.backplane.put(1, told=False)
    new, old = rig.feed.catch_up("a", None), rig.feed.catch_up("b", rig.at(0))
    rig.feed.ready("a")
    assert not new.done
    assert not old.done
    rig.feed.start()
    assert (new.value, old.value) == (Start(rig.at(1), False), Start(rig.at(0), True))
    rig.feed.ready("b")
    assert rig.told.take() == [("b", [1], True)]


def test_who_waits_and_goes_is_not_served() -> None:
    rig = Rig(started=False)
    gone = rig.feed.catch_up("a", None)
    rig.feed.drop("a")
    rig.feed.drop("a")
    rig.feed.start()
    assert not gone.done


def test_if_it_cannot_be_known_where_a_member_begins_it_is_not_behind() -> None:
    rig = Rig()
    rig.backplane.put(1)
    rig.backplane.down = True
    assert isinstance(rig.feed.catch_up("a", rig.at(0)).error, BackplaneError)
    assert not rig.feed.behind


def test_who_comes_again_begins_again() -> None:
    rig = Rig()
    rig.backplane.put(1, 2)
    rig.told.take()
    rig.backplane.later = True
    first = rig.feed.catch_up("a", rig.at(0))
    assert rig.begins("a", rig.at(2)) == Start(rig.at(2), True)
    rig.backplane.answer()
    assert not first.done
    rig.feed.ready("a")
    assert rig.told.take() == [("a", [], True)]


# -- the cursor -----------------------------------------------------------------------------------


def test_a_member_gets_a_chunk_each_time_it_is_ready() -> None:
    rig = Rig(chunk=25)
    rig.backplane.put(1, 2, 3, 4, 5)
    rig.told.take()
    rig.begins("a", rig.at(0))
    for expected in (("a", [1, 2], False), ("a", [3, 4], False), ("a", [5], True)):
        rig.feed.ready("a")
        assert rig.told.take() == [expected]
    rig.feed.ready("a")
    assert rig.told.take() == []


def test_live_entries_come_after_what_was_missed() -> None:
    rig = Rig(chunk=25)
    rig.backplane.put(1, 2, 3)
    rig.told.take()
    rig.begins("a", rig.at(0))
    rig.feed.ready("a")
    rig.backplane.put(4)  # the others get it; `a` is behind
    assert rig.told.take() == [("a", [1, 2], False), 4]
    rig.feed.ready("a")
    assert rig.told.take() == [("a", [3, 4], True)]


def test_where_trimming_overtakes_the_cursor_there_is_an_exact_gap() -> None:
    rig = Rig(chunk=10, room=1)
    rig.backplane.history = History(count=3)
    rig.backplane.put(1, 2, 3)
    rig.begins("a", rig.at(0))
    rig.feed.ready("a")
    rig.backplane.put(4, 5, 6)
    rig.told.take()
    rig.feed.ready("a")
    missing = Missing(rig.at(1), rig.at(3))
    assert rig.told.take() == [("a", [missing, 4], False)]
    assert missing.extent == (2, 3)


def test_what_was_delivered_meanwhile_need_not_be_kept_by_the_backplane() -> None:
    rig = Rig(chunk=10)
    rig.backplane.history = History(count=0)
    rig.begins("a", None)
    rig.backplane.put(1, 2)
    rig.told.take()
    rig.feed.ready("a")
    rig.feed.ready("a")
    assert rig.told.take() == [("a", [1], False), ("a", [2], True)]
    assert rig.backplane.reads == []


def test_what_was_delivered_meanwhile_is_bounded() -> None:
    room = 3 * (ENTRY + 10)
    rig = Rig(room=room)
    rig.begins("a", None)
    for body in range(10):
        rig.backplane.put(body)
        assert rig.feed.held <= room
    assert rig.feed.held == room
    rig.feed.drop("a")
    assert rig.feed.held == 0
    rig.backplane.put(10)
    assert rig.feed.held == 0


def test_a_member_that_is_ready_at_once_gets_everything_without_deep_recursion() -> None:
    rig = Rig(chunk=1)
    rig.backplane.history = History(count=5000)
    rig.backplane.put(*range(5000))
    rig.told.take()
    rig.begins("a", rig.at(0))
    rig.told.does = lambda: rig.feed.ready("a")
    rig.feed.ready("a")
    assert len(rig.told.take()) == 5000
    assert not rig.feed.behind


def test_who_goes_while_it_is_served_gets_no_more() -> None:
    rig = Rig(chunk=1)
    rig.backplane.put(1, 2, 3)
    rig.told.take()
    rig.begins("a", rig.at(0))

    def does() -> None:
        rig.feed.ready("a")
        rig.feed.drop("a")

    rig.told.does = does
    rig.feed.ready("a")
    assert rig.told.take() == [("a", [1], False)]


def test_a_member_becomes_one_of_the_others_between_two_entries() -> None:
    rig = Rig()
    rig.begins("a", None)

    def does() -> None:
        rig.told.does = lambda: None
        rig.feed.ready("a")  # the others are being told 1
        rig.begins("b", None)
        rig.feed.ready("b")
        rig.told.items.append("end")

    rig.told.does = does
    rig.backplane.put(1)
    assert rig.told.take() == [1, ("a", [1], False), "end", ("b", [], True)]
    rig.feed.ready("a")
    rig.backplane.put(2)
    assert rig.told.take() == [("a", [], True), 2]


def test_a_member_that_has_more_than_the_others_waits_for_them() -> None:
    rig = Rig()
    rig.backplane.put(1, told=False)
    assert rig.begins("a", rig.at(1)) == Start(rig.at(1), True)
    rig.feed.ready("a")  # the feed reads what it has not been told
    assert rig.told.take() == [1, ("a", [], True)]


def test_a_member_that_has_more_goes_on_when_the_others_have_it() -> None:
    rig = Rig()
    first, second = rig.backplane.put(1, 2, told=False)
    rig.begins("a", rig.at(1))
    rig.backplane.later = True
    rig.feed.ready("a")
    assert rig.told.take() == []
    rig.backplane.live(first)
    rig.backplane.live(second)
    assert rig.told.take() == [1, ("a", [], True), 2]


def test_a_member_of_a_life_that_the_others_do_not_know_yet_waits_for_them() -> None:
    rig = Rig()
    old = rig.at(0)
    rig.restart()
    rig.backplane.put(1, told=False)
    assert rig.begins("a", rig.at(1)) == Start(rig.at(1), True)
    rig.feed.ready("a")
    assert rig.told.take() == [Missing(old, rig.at(0)), 1, ("a", [], True)]


def test_a_member_that_is_behind_when_a_new_life_begins_is_told() -> None:
    rig = Rig(chunk=10)
    rig.backplane.put(1, 2)
    rig.begins("a", rig.at(0))
    rig.feed.ready("a")
    old = rig.at(1)
    rig.restart()
    rig.backplane.put(3)
    rig.told.take()
    rig.feed.ready("a")  # 2 was read already
    rig.feed.check(rig.top)
    rig.feed.ready("a")
    assert rig.told.take() == [("a", [Missing(old, rig.at(0)), 3], True)]


def test_a_member_that_is_behind_when_the_backplane_has_less_is_told() -> None:
    rig = Rig(chunk=10)
    rig.backplane.put(1, 2, 3)
    rig.begins("a", rig.at(1))
    rig.feed.ready("a")
    rig.feed.check(rig.top)
    rig.begins("b", rig.at(1))
    rig.begins("c", None)
    rig.rewind(1)
    rig.feed.check(rig.top)
    rig.backplane.put("another")  # has the position that 2 had
    rig.told.take()
    rig.feed.ready("a")
    assert rig.told.take() == [("a", [Missing(rig.at(2), rig.at(1))], False)]
    rig.feed.ready("a")
    rig.feed.ready("b")
    assert rig.told.take() == [("a", ["another"], True), ("b", ["another"], True)]
    rig.feed.ready("c")
    assert rig.told.take() == [("c", [Missing(rig.at(3), rig.at(1))], False)]


# -- reads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("later", [False, True], ids=["answered at once", "answered later"])
def test_members_that_return_at_the_same_place_share_their_reads(later: bool) -> None:
    rig = Rig(chunk=25)
    rig.backplane.put(1, 2, 3, 4)
    rig.told.take()
    rig.backplane.later = later
    names = [f"{number}" for number in range(100)]
    starts = [rig.feed.catch_up(name, rig.at(0)) for name in names]
    if later:
        rig.backplane.answer(25)
        rig.backplane.later = False
    assert {start.value.at.offset for start in starts} == {0}
    for _ in range(2):
        for name in names:
            rig.feed.ready(name)
    items = rig.told.take()
    assert items == [
        *((name, [1, 2], False) for name in names),
        *((name, [3, 4], True) for name in names),
    ]
    assert len(rig.backplane.reads) == 2


def sharing() -> Rig:
    """Two members that have the first entry, and wait for one read of the others."""
    rig = Rig(chunk=10)
    rig.backplane.put(1, 2, 3, 4)
    for member in ("a", "b"):
        rig.feed.catch_up(member, rig.at(0))
        rig.feed.ready(member)
    rig.backplane.later = True
    for member in ("a", "b"):
        rig.feed.ready(member)
    rig.told.take()
    return rig


def test_who_is_ready_while_another_is_served_by_the_same_read_gets_nothing_twice() -> None:
    rig = sharing()
    rig.told.does = lambda: rig.feed.ready("b")
    rig.backplane.answer(10)
    assert rig.told.take() == [("a", [2], False), ("b", [2], False)]
    rig.backplane.answer(10)
    assert rig.told.take() == [("b", [3], False)]


def test_when_the_audience_fails_for_one_that_shares_a_read_the_others_have_it() -> None:
    rig = sharing()

    def fail() -> None:
        rig.told.does = lambda: None
        raise ValueError

    rig.told.does = fail
    with pytest.raises(ValueError):
        rig.backplane.answer(10)
    assert rig.told.take() == [("a", [2], False), ("b", [2], False)]


def test_a_shared_read_that_fails_fails_for_all_who_begin() -> None:
    rig = Rig()
    rig.backplane.put(1)
    rig.backplane.later = rig.backplane.down = True
    first, second = (rig.feed.catch_up(name, rig.at(0)) for name in "ab")
    rig.backplane.answer()
    assert isinstance(first.error, BackplaneError)
    assert isinstance(second.error, BackplaneError)
    assert len(rig.backplane.reads) == 1


def test_who_goes_while_others_are_served_is_not_served() -> None:
    rig = Rig()
    rig.backplane.put(1)
    rig.told.take()
    rig.backplane.later = True
    first, second = (rig.feed.catch_up(name, rig.at(0)) for name in "ab")
    first.then(lambda _: rig.feed.drop("b"))
    rig.backplane.answer()
    assert (first.done, second.done) == (True, False)


def test_what_was_read_lately_is_bounded_and_forgotten_at_a_check() -> None:
    room = 2 * (ENTRY + 10)
    rig = Rig(chunk=10, room=room)
    rig.backplane.put(1, 2, 3, 4)
    for offset in range(4):
        rig.begins("a", rig.at(offset))
        assert rig.feed.held <= room
    assert rig.feed.held == room
    rig.feed.check(rig.top)
    assert rig.feed.held == 0
    rig.begins("a", rig.at(0))
    assert len(rig.backplane.reads) == 5


def test_what_was_read_lately_is_read_again_if_more_has_come_since() -> None:
    rig = Rig()
    rig.backplane.put(1)
    rig.begins("a", rig.at(0))
    rig.feed.drop("a")
    rig.backplane.put(2, 3)
    rig.told.take()
    for name in "bc":
        rig.begins(name, rig.at(0))
        rig.feed.ready(name)
    assert rig.told.take() == [("b", [1, 2, 3], True), ("c", [1, 2, 3], True)]
    assert len(rig.backplane.reads) == 2


def test_a_read_that_failed_is_made_again_at_a_check() -> None:
    rig = Rig(chunk=10)
    rig.backplane.put(1, 2, 3)
    rig.begins("a", rig.at(0))
    rig.feed.ready("a")
    rig.backplane.down = True
    rig.feed.ready("a")
    rig.told.take()
    rig.feed.check(rig.top)
    assert rig.told.take() == []
    rig.backplane.down = False
    rig.feed.check(rig.top)
    assert rig.told.take() == [("a", [2], False)]


def test_an_answer_that_came_too_late_to_say_anything_is_no_end() -> None:
    rig = Rig(room=1)
    rig.backplane.put(1, 2)
    rig.begins("a", rig.at(1))
    rig.told.take()
    rig.backplane.later = True
    rig.feed.ready("a")
    empty = rig.backplane.streams.since("#room", rig.at(2), 1000.0)
    rig.backplane.reads[-1][1].complete(empty)
    assert rig.told.take() == [("a", [Missing(rig.at(1), rig.at(2))], True)]


def test_the_others_may_arrive_while_a_member_reads_what_follows() -> None:
    rig = Rig()
    old = rig.at(0)
    rig.restart()
    (entry,) = rig.backplane.put(1, told=False)
    rig.begins("a", rig.at(1))
    rig.backplane.later = True
    rig.feed.ready("a")
    _, receipt = rig.backplane.reads[-1]
    rig.backplane.live(entry)
    rig.backplane.answer()
    assert rig.told.take() == [Missing(old, rig.at(0)), 1]
    receipt.complete(rig.backplane.streams.since("#room", rig.at(1), 1000.0))
    assert rig.told.take() == [("a", [], True)]


def test_who_goes_while_others_begin_is_not_served() -> None:
    rig = Rig(started=False)
    first, second = (rig.feed.catch_up(name, None) for name in "ab")
    first.then(lambda _: rig.feed.drop("b"))
    rig.feed.start()
    assert (first.done, second.done) == (True, False)


@pytest.mark.parametrize("chunk", [20, 1000])
def test_what_was_delivered_meanwhile_fills_the_holes_of_what_is_kept(chunk: int) -> None:
    rig = Rig(chunk=chunk)
    rig.backplane.history = History(size=50)
    rig.backplane.put(1, 2)
    rig.backplane.later = True
    start = rig.feed.catch_up("a", rig.at(1))
    rig.backplane.put(3, size=51)  # which is not kept
    rig.backplane.put(4)
    rig.told.take()
    rig.backplane.answer()
    assert start.value == Start(rig.at(1), True)
    rig.told.does = lambda: rig.feed.ready("a")
    rig.feed.ready("a")
    parts = [[2], [3], [4]] if chunk == 20 else [[2, 3, 4]]
    assert rig.told.take() == [("a", part, part is parts[-1]) for part in parts]


def test_an_answer_to_somebody_before_does_not_put_a_position_above_the_top() -> None:
    rig = Rig()
    rig.backplane.put(1, 2)
    rig.backplane.later = True
    invented = rig.feed.catch_up("a", rig.at(3))
    stale = rig.backplane.streams.since("#room", rig.at(3), 1000.0)
    rig.backplane.put(3, told=False)
    honest = rig.feed.catch_up("b", rig.at(3))
    rig.backplane.later = False
    rig.backplane.reads[0][1].complete(stale)
    assert invented.value == Start(rig.at(2), False)
    assert honest.value == Start(rig.at(3), True)


def test_a_member_that_read_how_far_the_backplane_went_back_is_not_told_twice() -> None:
    rig = Rig(chunk=10)
    rig.backplane.put(1, 2, 3)
    rig.begins("a", rig.at(1))
    rig.feed.ready("a")
    rig.feed.check(rig.top)
    rig.feed.check(rig.top)
    rig.told.take()
    rig.backplane.later = True
    rig.feed.ready("a")
    _, receipt = rig.backplane.reads[-1]
    rig.rewind(1)
    rig.feed.check(rig.top)
    rig.backplane.answer()
    answer = rig.backplane.streams.since("#room", rig.at(2), 1000.0)
    rig.backplane.put("another")
    assert rig.told.take() == [Missing(rig.at(3), rig.at(1)), "another"]
    receipt.complete(answer)
    assert rig.told.take() == [("a", [Missing(rig.at(2), rig.at(1))], False)]
    rig.feed.ready("a")
    assert rig.told.take() == [("a", ["another"], True)]
