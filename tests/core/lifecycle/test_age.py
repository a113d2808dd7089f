"""age.py: how old a message under way may be."""

from __future__ import annotations

import pytest

from sono_core import Limits, Role, Timeouts
from sono_core.lifecycle import Deadline, Deadlines
from sono_core.lifecycle.age import MessageAge
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import BINARY
from sono_core.websocket.reader import Reader, message_reader

TIME = 10.0


class Aged:
    """A message of which so many bytes have come, and that began at 0."""

    def __init__(self, arrived: int = 1) -> None:
        self.deadlines = Deadlines()
        self.age = MessageAge(self.deadlines, Timeouts(message=TIME))
        self.reader: Reader = message_reader(Role.SERVER, Limits(), None)
        assert not self.age.exceeded(self.reader, 0.0, True)
        self.reader.feed(encode_frame(BINARY, bytes(100_000), mask=bytes(4))[: 14 + arrived])
        assert self.reader.next() is None
        self.reader.since = 0.0

    @property
    def due(self) -> float:
        return self.deadlines[Deadline.MESSAGE]


def test_while_no_message_is_under_way_none_is_too_old() -> None:
    aged = Aged()
    aged.reader.since = None
    assert not aged.age.exceeded(aged.reader, TIME, True)
    assert aged.due == 2 * TIME


def test_a_message_that_takes_too_long_is_too_old() -> None:
    aged = Aged()
    assert aged.due == TIME
    assert not aged.age.exceeded(aged.reader, TIME - 0.5, True)
    assert aged.age.exceeded(aged.reader, TIME + 0.5, True)


def test_each_kibibyte_that_came_gives_it_a_second() -> None:
    aged = Aged(arrived=5 * 1024)
    assert not aged.age.exceeded(aged.reader, TIME, True)
    assert aged.due == pytest.approx(TIME + 5, abs=0.1)


@pytest.mark.parametrize(("reading", "late"), [(False, 0.0), (True, 1.5)], ids=["not read", "late"])
def test_it_has_its_time_again_if_what_is_missing_may_have_come(reading: bool, late: float) -> None:
    aged = Aged()
    now = TIME + late
    assert not aged.age.exceeded(aged.reader, now, reading)
    assert aged.reader.since == now
    assert aged.due == now + TIME
