"""Who goes on when, of those whose backlog waits for a later turn of the loop."""

from __future__ import annotations

from typing import Any

import pytest

from sono_core import Limits, Ping, Pong, Prepared
from sono_io import TURN_SECONDS, LoopContext
from sono_server import WebSocket
from sono_server.serving.backlogs import Backlogs
from tests.server.selector_helpers import held
from tests.servers import Wire, running


class Clock:
    """Stands still, or goes on with each look at it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.step = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class Waiting:
    """A connection that is pumped; its layer too."""

    def __init__(self, name: str, log: list[str], sated: bool, turn: Any) -> None:
        self.name = name
        self.layer: Any = self
        self.sated = sated
        self._log = log
        self._turn = turn

    def pump(self, now: float) -> None:
        self._log.append(self.name + ("!" if self._turn.spent else ""))


class Rotations:
    """Backlogs of a loop, and their clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.context = LoopContext(
            buffer=memoryview(bytearray(1024)),
            pause=1,
            messages=1,
            size=1,
            prepared=Prepared,
            time=self.clock,
            seconds=TURN_SECONDS,
        )
        self.backlogs = Backlogs()
        self.log: list[str] = []

    def add(self, *names: str, sated: bool) -> None:
        for name in names:
            self.backlogs.add(Waiting(name, self.log, sated, self.context))

    def pump(self, counts: tuple[int, int] | None = None) -> list[str]:
        self.log.clear()
        self.backlogs.pump(counts or self.backlogs.counts, self.context, self.clock)
        return list(self.log)


def test_all_who_ask_for_little_go_on_with_a_little_each_and_of_the_others_one_at_least() -> None:
    rotations = Rotations()
    rotations.add("A", "B", "C", sated=True)
    rotations.add("a", "b", "c", sated=False)
    assert len(rotations.backlogs) == 6
    rotations.clock.step = 1.0
    assert rotations.pump() == ["a!", "b!", "c!", "A"]
    assert rotations.pump() == ["B"]
    rotations.add("A", sated=True)
    assert rotations.pump() == ["C"]
    assert rotations.pump() == ["A"]
    assert not rotations.backlogs
    assert rotations.pump() == []


def test_those_that_have_had_much_share_two_milliseconds() -> None:
    rotations = Rotations()
    rotations.add(*map(str, range(9)), sated=True)
    rotations.clock.step = 0.0009
    assert rotations.pump() == ["0", "1", "2"]
    rotations.clock.step = 0.0
    assert len(rotations.pump()) == 6


def test_who_comes_meanwhile_waits_for_the_next_turn() -> None:
    rotations = Rotations()
    rotations.add("a", sated=False)
    rotations.add("A", sated=True)
    counts = rotations.backlogs.counts
    rotations.add("b", sated=False)
    rotations.add("B", sated=True)
    assert rotations.pump(counts) == ["a!", "A"]
    assert rotations.pump() == ["b!", "B"]


@pytest.mark.usefixtures("on_asyncio")
def test_who_asks_for_little_is_not_behind_all_floods(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backlog of a few messages waits for no rotation of those with thousands of pings."""
    floods, asked = 20, 8
    pumped: list[bool] = []
    add = Backlogs.add

    def counted(backlogs: Backlogs, transport: Any) -> None:
        pumped.append(transport.layer.sated)
        add(backlogs, transport)

    monkeypatch.setattr(Backlogs, "add", counted)
    questions: list[int] = []

    async def answer(ws: WebSocket, message: str | bytes) -> None:
        questions.append(pumped.count(True))
        ws.send("an answer")

    limits = Limits(control_rate=1 << 20)
    with running(lambda request: request.accept(answer), limits=limits) as server:
        flooders = [Wire(server.address) for _ in range(floods)]
        honest = Wire(server.address)
        with held(server):
            for flooder in flooders:
                flooder.send(*[Ping(b"")] * 4000)
            honest.send(*["a question"] * asked)
        for _ in range(asked):
            assert honest.message() == "an answer"
        for flooder in flooders:
            assert isinstance(flooder.next(), Pong)
            flooder.close()
        honest.close()
    assert any(pumped)
    # A rotation of the floods would lie between each two of its messages.
    assert questions[-1] - questions[0] < floods * (asked - 1) / 2
