"""A node's view of a roster, case by case. The rest: tests/backplane/test_roster_model.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sono_core.messaging.lossless.backplane import BackplaneError, Change, Receipt, Roster
from sono_core.messaging.lossless.memory import MemoryBackplane
from sono_core.messaging.lossless.positions import Position
from sono_core.messaging.lossless.rosters import RosterView
from tests.backplane.each_backplane import Clock, epochs

STREAM = "#room"


class Manual(MemoryBackplane):
    """Keeps its answers until the test gives them, if it says so."""

    def __init__(self) -> None:
        super().__init__(Clock(), epochs())
        self.asked: list[Receipt[Roster]] = []
        self.later = False
        self.down = False
        self.changes: list[Change] = []
        self.subscribe(STREAM, lambda _: None, on_change=self.changes.append)

    def members(self, stream: str) -> Receipt[Roster]:
        receipt: Receipt[Roster] = Receipt()
        self.asked.append(receipt)
        if self.down:
            receipt.fail(BackplaneError("down"))
        elif not self.later:
            self.answer()
        return receipt

    def answer(self) -> None:
        self.asked[-1].complete(super().members(STREAM).value)


class Rig:
    def __init__(self) -> None:
        self.backplane = Manual()
        self.told: list[Any] = []
        self.does: Callable[[], object] = lambda: None
        self.view = RosterView(STREAM, self.backplane, self.on_change, self.on_roster)

    def on_change(self, change: Change) -> None:
        self.told.append((change.member, change.present))
        self.does()

    def on_roster(self, roster: Roster) -> None:
        self.told.append(list(roster.members))
        self.does()

    def enter(self, member: str, *, told: bool = True) -> Change:
        self.backplane.enter(STREAM, member, None, 1)
        change = self.backplane.changes[-1]
        if told:
            self.view.arrived(change)
        return change

    def take(self) -> list[Any]:
        told, self.told = self.told, []
        return told


def test_everything_is_told_first_and_then_changes() -> None:
    rig = Rig()
    rig.enter("a", told=False)
    rig.view.start()
    rig.enter("b")
    rig.backplane.exit(STREAM, "a")
    rig.view.arrived(rig.backplane.changes[-1])
    assert rig.take() == [["a"], ("b", True), ("a", False)]
    assert list(rig.view.members) == ["b"]
    assert len(rig.backplane.asked) == 1


def test_what_comes_before_the_roster_waits_and_counts_if_it_is_newer() -> None:
    rig = Rig()
    rig.backplane.later = True
    rig.view.start()
    old = rig.enter("a")
    roster = MemoryBackplane.members(rig.backplane, STREAM).value
    rig.enter("b")
    assert rig.take() == []
    rig.backplane.asked[0].complete(roster)
    assert rig.take() == [["a"], ("b", True)]
    rig.view.arrived(old)
    assert rig.take() == []


def test_a_change_that_was_missed_asks_for_everything_at_once() -> None:
    rig = Rig()
    rig.view.start()
    rig.enter("a", told=False)
    change = rig.enter("b")
    rig.view.arrived(change)
    assert rig.take() == [[], ["a", "b"]]


def test_a_last_change_that_was_missed_is_found_by_a_check() -> None:
    rig = Rig()
    rig.view.check(None)
    assert rig.take() == []
    rig.view.start()
    rig.enter("a", told=False)
    rig.view.check(rig.backplane.changes[-1].version)
    assert rig.take() == [[], ["a"]]
    asked = len(rig.backplane.asked)
    rig.view.check(rig.view.version)
    assert len(rig.backplane.asked) == asked


def test_another_roster_is_found_by_a_check() -> None:
    rig = Rig()
    rig.view.start()
    rig.enter("a")
    rig.backplane._rosters.clear()
    rig.view.check(None)
    assert rig.take() == [[], ("a", True), []]


def test_what_failed_is_asked_again_at_a_check() -> None:
    rig = Rig()
    rig.backplane.down = True
    rig.view.start()
    rig.view.check(None)
    assert len(rig.backplane.asked) == 2
    rig.backplane.down = False
    rig.view.check(None)
    assert rig.take() == [[]]


def test_an_answer_that_says_nothing_new_is_not_told() -> None:
    rig = Rig()
    rig.view.start()
    rig.enter("a")
    rig.view.start()
    assert rig.take() == [[], ("a", True)]


def test_changes_that_wait_are_bounded() -> None:
    rig = Rig()
    rig.view.start()
    rig.backplane.later = True
    rig.enter("0", told=False)
    for number in range(1, 1000):
        rig.enter(f"{number}")
    assert len(rig.view._early) == 256
    rig.backplane.later = False
    rig.backplane.answer()
    assert len(rig.view.members) == 1000
    assert rig.view._early == {}


def test_what_comes_amid_telling_waits_for_its_end() -> None:
    rig = Rig()
    rig.view.start()

    def does() -> None:
        rig.does = lambda: None
        rig.enter("b")
        rig.told.append("end")

    rig.does = does
    rig.enter("a")
    assert rig.take() == [[], ("a", True), "end", ("b", True)]


def test_an_answer_that_comes_amid_telling_is_asked_for_again() -> None:
    rig = Rig()
    rig.view.start()
    rig.backplane.later = True
    rig.view.start()

    def does() -> None:
        rig.does = lambda: None
        rig.enter("b", told=False)
        rig.backplane.later = False
        rig.backplane.answer()
        rig.told.append("end")

    rig.does = does
    rig.enter("a")
    assert rig.take() == [[], ("a", True), "end", ["a", "b"]]


def test_a_view_that_is_stopped_tells_nothing_more() -> None:
    rig = Rig()
    rig.backplane.later = True
    rig.view.start()
    rig.view.stop()
    rig.backplane.answer()
    rig.enter("a")
    assert rig.take() == []


def test_a_view_may_be_stopped_amid_telling() -> None:
    rig = Rig()
    rig.backplane.later = True
    rig.view.start()
    roster = MemoryBackplane.members(rig.backplane, STREAM).value
    rig.enter("a")
    rig.does = rig.view.stop
    rig.backplane.asked[0].complete(roster)
    assert rig.take() == [[]]
    assert rig.view.version == Position(roster.version.epoch, 0)


def test_a_check_amid_telling_asks_afterwards() -> None:
    rig = Rig()

    def does() -> None:
        rig.does = lambda: None
        change = rig.enter("a", told=False)
        rig.view.check(change.version)
        rig.told.append("end")

    rig.does = does
    rig.view.start()
    assert rig.take() == [[], "end", ["a"]]
