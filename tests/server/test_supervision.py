"""Which worker starts, drains and is killed, and when: with a clock of the tests' own."""

from __future__ import annotations

import math
import random
import signal
from collections.abc import Sequence
from logging import ERROR

import pytest

from sono_server.operations.supervision import (
    GRACE,
    Action,
    Close,
    Drain,
    Kill,
    Log,
    Mute,
    Opened,
    Start,
    Supervision,
)

DRAIN, BOOT = 10.0, 60.0
KILLED = -signal.SIGKILL


class Course:
    """A supervision, its clock, and what it has decided since it was last asked."""

    def __init__(self, workers: int = 2) -> None:
        self.machine = Supervision(workers, drain=DRAIN, boot=BOOT)
        self.now = 100.0
        self.logged: list[tuple[int, str]] = []
        self.running: dict[int, int] = {}  # workers, and their slots
        self.booting: set[int] = set()
        self.listening: set[int] = set()  # slots
        self.shown: list[Action] = []
        self._take(self.machine.begin(self.now))

    def _take(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Log):
                self.logged.append((action.level, action.text))
                continue
            self.shown.append(action)
            if isinstance(action, Start):
                assert action.worker not in self.running
                self.running[action.worker] = action.slot
                self.booting.add(action.worker)
            elif isinstance(action, Drain | Kill):
                assert action.worker in self.running
            elif isinstance(action, Mute):
                booting = {self.running[worker] for worker in self.booting & set(self.running)}
                assert action.slot not in booting  # it may listen any moment
                self.listening.discard(action.slot)

    def decided(self) -> list[Action]:
        shown, self.shown = self.shown, []
        return shown

    def ready(self, worker: int) -> list[Action]:
        self.booting.discard(worker)
        self.listening.add(self.running[worker])
        self._take(self.machine.ready(worker, self.now))
        return self.decided()

    def died(self, worker: int, status: int = KILLED) -> list[Action]:
        del self.running[worker]
        self._take(self.machine.died(worker, status, f"(died of {status})", self.now))
        return self.decided()

    def hangup(self) -> list[Action]:
        self._take(self.machine.hangup(self.now))
        return self.decided()

    def stop(self) -> list[Action]:
        self._take(self.machine.stop(self.now))
        return self.decided()

    def wait(self, seconds: float) -> list[Action]:
        """What is decided meanwhile, if the loop wakes up when it is due, and at the end."""
        until = self.now + seconds
        while self.machine.due <= until:
            self.now = max(self.now, self.machine.due)
            self._take(self.machine.tick(self.now))
        self.now = until
        self._take(self.machine.tick(self.now))
        return self.decided()

    def status(self) -> int | None:
        return self.machine.status

    def wait_until_due(self) -> list[Action]:
        self.now = self.machine.due
        return self.wait(0)

    def errors(self) -> list[str]:
        logged, self.logged = self.logged, []
        return [text for level, text in logged if level == ERROR]


def serving(workers: int = 2) -> Course:
    """All serve; worker n + 1 is in slot n."""
    course = Course(workers)
    course.decided()
    for worker in range(1, workers + 1):
        course.ready(worker)
    return course


def test_the_first_worker_boots_alone_and_the_others_follow_when_it_is_ready() -> None:
    course = Course(3)
    assert course.decided() == [Start(1, 0)]
    assert course.wait(5) == []
    assert course.ready(1) == [Start(2, 1), Start(3, 2)]
    assert course.ready(3) == []
    assert course.ready(2) == [Opened()]
    assert course.machine.due == math.inf
    assert course.logged == []


@pytest.mark.parametrize("status", [1, 2, 77])
def test_a_first_worker_that_refuses_ends_it_with_its_status(status: int) -> None:
    course = Course()
    course.decided()
    assert course.died(1, status) == []
    assert course.status() == status
    assert course.logged == []  # the worker has said why


@pytest.mark.parametrize("status", [KILLED, 0])
def test_a_first_worker_that_refuses_nothing_is_started_again(status: int) -> None:
    course = Course()
    course.decided()
    assert course.died(1, status) == [Start(2, 0)]
    assert course.ready(2) == [Start(3, 1)]
    assert course.status() is None


def test_a_worker_that_refuses_later_ends_nothing() -> None:
    course = Course()
    course.decided()
    course.ready(1)
    assert course.died(2, 2) == [Start(3, 1), Opened()]
    assert course.status() is None


def test_who_dies_is_started_again_at_once_and_it_is_logged_once() -> None:
    course = serving()
    course.wait(3600)
    assert course.died(2) == [Start(3, 1)]
    assert course.errors() == [f"worker 2 (died of {KILLED}); another one starts now"]
    assert course.ready(3) == []
    assert course.errors() == []


def test_who_dies_again_and_again_is_started_after_ever_longer_times() -> None:
    course = serving()
    course.wait(3600)
    worker, delays = 2, []
    for _ in range(12):
        at_once = [one for one in course.died(worker) if isinstance(one, Start)]
        delays.append(0.0 if at_once else course.machine.due - course.now)
        worker += 1
        started = at_once or course.wait_until_due()
        assert [one for one in started if isinstance(one, Start)] == [Start(worker, 1)]
    assert delays == [0, 0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30, 30]
    assert "another one starts in 30 s" in course.errors()[-1]


@pytest.mark.parametrize(("served", "delay"), [(9.0, 2.0), (10.0, 0.0)])
def test_ten_seconds_of_service_make_up_for_failures(served: float, delay: float) -> None:
    course = serving()
    course.wait(3600)
    for worker in (2, 3, 4):
        course.died(worker)
        course.wait(5)
    course.ready(5)
    course.wait(served)
    at_once = Start(6, 1) in course.died(5)
    assert delay == (0 if at_once else course.machine.due - course.now)


def test_a_slot_that_is_without_a_worker_for_long_takes_no_connections() -> None:
    course = serving()
    course.wait(3600)
    course.died(2)
    course.wait(1)  # it boots for a second, each time, and dies
    for worker in (3, 4, 5):
        assert 1 in course.listening
        course.died(worker)
        course.wait_until_due()
        course.wait(1)
    assert 1 not in course.listening
    assert 0 in course.listening
    course.died(6)
    course.wait(30)
    course.ready(7)
    assert 1 in course.listening


def test_an_application_that_boots_slowly_lets_nobody_wait_for_it() -> None:
    course = Course(1)
    course.wait(5.5)
    course.ready(1)
    course.wait(3600)
    assert course.died(1) == [Mute(0), Start(2, 0)]


def test_replacements_are_ready_before_the_old_ones_drain_one_by_one() -> None:
    course = serving()
    assert course.hangup() == [Start(3, 0)]
    assert course.wait(20) == []
    assert course.ready(3) == [Drain(1, True)]
    assert course.wait(5) == []  # not before the old one has ended
    assert course.died(1, 0) == [Start(4, 1)]
    assert course.ready(4) == [Drain(2, True)]
    assert course.died(2, 0) == []
    assert course.errors() == []
    assert course.running == {3: 0, 4: 1}


@pytest.mark.parametrize("late", [False, True])
def test_a_replacement_that_fails_leaves_all_old_ones_serving(late: bool) -> None:
    course = serving()
    course.hangup()
    if late:
        assert course.wait(BOOT - 1) == []
        assert course.wait(1) == [Kill(3)]
    assert course.died(3, KILLED if late else 1) == []
    assert course.wait(3600) == []
    assert course.running == {1: 0, 2: 1}
    status = KILLED if late else 1
    *before, last = course.errors()
    assert before == (["worker 1 is not ready in time, and is killed"] if late else [])
    assert last.startswith("worker 1 is not replaced, as its replacement failed: ")
    assert f"(died of {status})" in last
    assert course.hangup() == [Start(4, 0)]  # it can be tried again


def test_a_hangup_during_a_replacement_is_remembered() -> None:
    course = serving()
    course.hangup()
    course.ready(3)
    assert course.hangup() == []
    assert course.hangup() == []
    assert course.died(1, 0) == [Start(4, 0)]  # 3 was of the first round
    course.ready(4)
    assert course.died(3, 0) == [Start(5, 1)]
    course.ready(5)
    assert course.died(2, 0) == []  # two hangups are one more round
    assert course.running == {4: 0, 5: 1}


def test_a_hangup_while_a_replacement_boots_that_fails_is_another_chance() -> None:
    course = serving()
    course.hangup()
    course.hangup()
    assert course.died(3, 1) == [Start(4, 0)]
    course.ready(4)
    assert course.died(1, 0) == [Start(5, 1)]


def test_a_worker_that_dies_while_its_replacement_boots_needs_no_other() -> None:
    course = serving()
    course.hangup()
    assert course.died(1) == []
    assert course.errors() == [f"worker 1 (died of {KILLED})"]
    assert course.ready(3) == [Start(4, 1)]
    course.ready(4)
    course.died(2, 0)
    assert course.running == {3: 0, 4: 1}


def test_the_replacement_of_one_that_died_is_a_restart_if_it_fails_too() -> None:
    course = serving()
    course.hangup()
    course.died(1)
    assert course.died(3) == [Start(4, 0)]
    assert course.errors()[-1].endswith("another one starts now")


def test_a_hangup_gives_a_failing_worker_a_chance_at_once() -> None:
    course = serving()
    course.wait(3600)
    course.died(2)
    for worker in range(3, 9):
        course.died(worker)
        course.wait_until_due()
    course.died(9)
    assert course.machine.due - course.now == 30
    assert course.hangup() == [Start(10, 1)]
    assert course.ready(10) == [Start(11, 0)]  # that one is of the new version already
    course.ready(11)
    assert course.died(1, 0) == []


def test_one_that_boots_as_the_hangup_comes_is_replaced_too() -> None:
    course = serving()
    course.wait(3600)
    course.died(2)
    assert course.hangup() == []
    assert course.ready(3) == [Start(4, 0)]
    course.ready(4)
    assert course.died(1, 0) == [Start(5, 1)]
    assert course.ready(5) == [Drain(3, True)]


def test_an_old_worker_that_does_not_end_is_killed_and_the_round_goes_on() -> None:
    course = serving()
    course.hangup()
    course.ready(3)
    assert course.wait(DRAIN + GRACE - 0.1) == []
    assert course.wait(0.1) == [Kill(1)]
    assert course.died(1) == [Start(4, 1)]
    assert course.errors() == ["worker 1 does not end, and is killed"]


def test_a_stop_drains_all_and_ends_when_all_have_ended() -> None:
    course = serving()
    assert course.stop() == [Close(), Drain(1, False), Drain(2, False)]
    course.died(1, 0)
    assert course.status() is None
    course.died(2, 0)
    assert course.status() == 0
    assert course.errors() == []


def test_what_does_not_end_after_a_stop_is_killed() -> None:
    course = serving()
    course.stop()
    course.died(1, 0)
    assert course.wait(DRAIN + GRACE) == [Kill(2)]
    course.died(2)
    assert course.status() == 0


def test_a_second_stop_kills_at_once() -> None:
    course = serving()
    course.stop()
    assert course.stop() == [Kill(1), Kill(2)]


def test_a_stop_during_a_replacement_ends_everybody_once() -> None:
    course = serving()
    course.hangup()
    course.ready(3)
    assert course.stop() == [Close(), Drain(2, False), Drain(3, False)]
    for worker in (1, 2, 3):
        course.died(worker, 0)
    assert course.status() == 0


def test_after_a_stop_nothing_starts() -> None:
    course = serving()
    course.wait(3600)
    course.hangup()  # 3 boots
    course.died(2)  # 4 boots
    course.died(4)
    course.stop()
    assert course.hangup() == []
    course.ready(3)
    for worker in list(course.running):
        course.died(worker, 0)
    assert course.wait(3600) == []
    assert course.status() == 0


def test_who_dies_badly_while_it_drains_is_told_of() -> None:
    course = serving()
    course.stop()
    course.died(1, -signal.SIGSEGV)
    (error,) = course.errors()
    assert error == f"worker 1 (died of {-signal.SIGSEGV}), instead of closing its connections"


@pytest.mark.parametrize("seed", range(100))
def test_whatever_happens_a_slot_never_has_two_that_serve_and_recovers(seed: int) -> None:
    """Random events; afterwards, with workers that work, every slot serves the wanted version."""
    chance = random.Random(seed)
    course = Course(3)
    booting: set[int] = set()
    hungup_at = 0  # the last worker that was started before the last SIGHUP

    def look(actions: list[Action]) -> None:
        booting.update(action.worker for action in actions if isinstance(action, Start))
        booting.intersection_update(course.running)

    look(course.decided())
    look(course.ready(1))
    booting.discard(1)
    for _ in range(60):
        event = chance.choice("rrrrdddhww")
        if event == "r" and booting:
            worker = chance.choice(sorted(booting))
            booting.discard(worker)
            look(course.ready(worker))
        elif event == "d" and course.running:
            look(course.died(chance.choice(sorted(course.running)), chance.choice([0, 1, -11])))
        elif event == "h":
            hungup_at = max(course.running, default=hungup_at)
            look(course.hangup())
        elif event == "w":
            look(course.wait(chance.choice([0.1, 5.0, 100.0])))
        for slot in range(3):
            assert list(course.running.values()).count(slot) <= 3
    hungup_at = max(course.running, default=hungup_at)
    look(course.hangup())
    draining: set[int] = set()
    for _ in range(100):
        for worker in sorted(booting):
            booting.discard(worker)
            actions = course.ready(worker)
            draining |= {action.worker for action in actions if isinstance(action, Drain)}
            look(actions)
        look(course.wait(DRAIN + GRACE))
        former = {slot.serving.id for slot in course.machine._slots if slot.serving}
        for worker in [one for one in course.running if one not in former | booting]:
            look(course.died(worker, 0))
    assert sorted(course.running.values()) == [0, 1, 2]
    assert min(course.running) > hungup_at
    assert course.machine.due == math.inf
