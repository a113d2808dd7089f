"""throttle.py: how long a peer waits that makes too much work beside its messages."""

from __future__ import annotations

from sono_core import Limits
from sono_core.lifecycle import Deadline, Deadlines
from sono_core.lifecycle.throttle import Throttle


def test_twice_the_rate_may_come_at_once_and_what_is_beyond_has_to_be_waited_for() -> None:
    throttle = Throttle(Deadlines(), Limits(control_rate=100))
    assert throttle.charge(200, 5.0) == 0.0
    assert throttle.charge(50, 5.0) == 0.5
    assert throttle.charge(1, 6.0) == 0.0


def test_a_shorter_wait_does_not_end_a_longer_one() -> None:
    deadlines = Deadlines()
    throttle = Throttle(deadlines, Limits())
    throttle.wait(2.0, 1.0)
    assert deadlines[Deadline.THROTTLE] == 3.0
    throttle.wait(0.1, 1.5)
    assert deadlines[Deadline.THROTTLE] == 3.0
    throttle.wait(2.0, 2.0)
    assert deadlines[Deadline.THROTTLE] == 4.0
