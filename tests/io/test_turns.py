"""The time of a turn, which all connections of a loop share: in C, and in its reference."""

from __future__ import annotations

import math
import selectors
from collections.abc import Callable
from typing import Any

import pytest

from sono_core import Ping, Prepared, TextMessage
from sono_core.limits import DEFAULT_LIMITS
from sono_io import FastTransport, LoopContext
from tests.io.wired import FakeLoop, Wired, echo, native


class Clock:
    """Each look at it takes a second."""

    def __init__(self) -> None:
        self.now = 0.0
        self.step = 1.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def context_of(clock: Callable[[], float], seconds: float = 5.0) -> LoopContext:
    return LoopContext(
        buffer=memoryview(bytearray(256 * 1024)),
        pause=DEFAULT_LIMITS.pause_reading_at,
        messages=DEFAULT_LIMITS.max_turn_messages,
        size=DEFAULT_LIMITS.max_turn_bytes,
        prepared=Prepared,
        time=clock,
        seconds=seconds,
    )


def timed_loop(clock: Callable[[], float], seconds: float) -> FakeLoop:
    loop = FakeLoop(DEFAULT_LIMITS)
    thread = loop.context.thread
    loop.context = context_of(clock, seconds)
    loop.context.thread = thread
    return loop


def test_a_turn_is_spent_when_its_time_is_over() -> None:
    context = context_of(Clock())
    context.begin(0.0)
    assert [context.look() for _ in range(6)] == [False] * 4 + [True] * 2
    assert context.spent
    context.begin(6.0)
    assert not context.spent
    assert not context.look()


def test_a_loop_that_opens_no_turn_has_all_the_time() -> None:
    clock = Clock()
    context = context_of(clock)
    assert [context.look() for _ in range(100)] == [False] * 100
    assert clock.now == 0


def test_a_look_opens_a_turn_and_tells_the_loop_once() -> None:
    opened: list[str] = []
    context = context_of(Clock())
    context.opened = lambda: opened.append("opened")
    assert [context.look() for _ in range(6)] == [False] * 5 + [True]
    assert opened == ["opened"]
    context.end()
    assert not context.spent
    assert not context.look()
    assert opened == ["opened", "opened"]


def test_what_the_clock_or_the_loop_raises_is_raised() -> None:
    def broken() -> float:
        raise ZeroDivisionError

    context = context_of(broken)
    context.begin(0.0)
    with pytest.raises(ZeroDivisionError):
        context.look()
    context = context_of(Clock())
    context.opened = broken
    with pytest.raises(ZeroDivisionError):
        context.look()
    with pytest.raises(TypeError):
        context.begin("soon")  # type: ignore[arg-type]


class Reads(FastTransport):
    """Counts what Python is told of."""

    def updated_fallback(self, size: int, now: float) -> None:
        """Do nothing."""


def test_reads_of_asyncio_open_a_turn_in_the_time_of_one_and_look_at_its_clock() -> None:
    opened: list[float] = []
    clock = Clock()
    clock.step = 0.0
    context = context_of(clock)
    transport = Reads(context, -1)
    transport.buffer_updated(1)
    context.opened = lambda: opened.append(clock.now)
    transport.buffer_updated(1)
    assert opened == [0.0]
    context.end()  # the loop's next turn
    for clock.now in (1.0, 4.9):
        transport.buffer_updated(1)
    assert opened == [0.0]
    clock.now = 5.0
    transport.buffer_updated(1)
    assert opened == [0.0, 5.0]
    clock.now = 9.9
    transport.buffer_updated(1)
    assert not context.spent
    clock.now = 10.0
    transport.buffer_updated(1)
    assert context.spent
    transport.buffer_updated(1)
    assert context.spent
    assert opened == [0.0, 5.0]


def test_what_the_clock_raises_in_a_read_is_raised() -> None:
    def broken() -> float:
        raise ZeroDivisionError

    context = context_of(broken)
    with pytest.raises(ZeroDivisionError):
        Reads(context, -1).buffer_updated(1)
    context = context_of(Clock())
    context.opened = broken
    with pytest.raises(ZeroDivisionError):
        Reads(context, -1).buffer_updated(1)
    with pytest.raises(TypeError):
        context.read_at("soon")  # type: ignore[arg-type]


def test_when_the_time_is_over_little_is_received() -> None:
    context = context_of(Clock())
    transport = Reads(context, -1)
    assert len(transport.get_buffer(-1)) == 256 * 1024
    context.begin(-10.0)
    assert context.look()
    assert len(transport.get_buffer(-1)) == 16 * 1024
    context.end()
    assert len(transport.get_buffer(-1)) == 256 * 1024


@pytest.mark.parametrize("wire", [Wired], indirect=True)  # a record may be larger than a little
def test_what_is_not_handled_stays_in_the_kernel(wire: Callable[..., Wired]) -> None:
    clock = Clock()
    clock.step = 0.0
    loop = timed_loop(clock, 3.0)
    one = wire(echo, loop=loop)
    loop.context.begin(clock.now)
    clock.now += 3
    assert loop.context.look()
    one.write(*[TextMessage("x" * 10_000)] * 3)
    one.turn()
    assert len(one.read()) == 1
    assert one.session.connection.held < 16 * 1024
    for _ in range(3):
        one.turn()
    assert len(one.read()) == 2


@pytest.mark.parametrize("event", [TextMessage("x"), Ping(b"x")], ids=["messages", "pings"])
def test_one_connection_ends_its_turn_when_the_time_is_over(
    event: Any, wire: Callable[..., Wired]
) -> None:
    clock = Clock()
    clock.step = 0.0
    loop = timed_loop(clock, 3.0)
    one = wire(echo, loop=loop)
    one.write(*[event] * 1000)
    clock.step = 1.0
    loop.context.begin(clock.now)
    one.turn()
    answers = len(one.read())
    assert 64 <= answers <= 96
    assert list(loop.again)
    assert loop.context.spent


@pytest.mark.parametrize("spent", [False, True])
def test_when_the_time_is_over_a_read_brings_a_little(
    spent: bool, wire: Callable[..., Wired]
) -> None:
    clock = Clock()
    clock.step = 0.0
    loop = timed_loop(clock, 3.0)
    one = wire(echo, loop=loop)
    loop.context.begin(clock.now)
    clock.now += 3 * spent
    assert loop.context.look() is spent
    one.write(*[TextMessage("x")] * 1000)
    one.turn()
    assert len(one.read()) == (16 if spent else 1000)
    assert len(loop.again) == spent


def test_a_flush_ends_with_its_time_and_goes_on_where_it_was(wire: Callable[..., Wired]) -> None:
    clock = Clock()
    clock.step = 0.0
    loop = timed_loop(clock, 1000.0)
    members = [wire(loop=loop) for _ in range(40)]
    loop.context.flush(0.0)
    for member in members:
        member.ws.send("to all")
    waiting = list(loop.context.to_flush)
    assert len(waiting) == 40
    clock.step = 1.0
    loop.context.flush(clock.now, clock.now + 2)
    left = list(loop.context.to_flush)
    assert 0 < len(left) < 40
    assert left == waiting[-len(left) :]
    members[0].ws.send("more")
    assert list(loop.context.to_flush)[: len(left)] == left
    loop.context.flush(clock.now, math.inf)
    assert not loop.context.to_flush
    assert all(
        len([event for event in member.read() if isinstance(event, TextMessage)])
        == 1 + (member is members[0])
        for member in members
    )


@native
def test_one_wait_looks_at_the_clock_between_connections(wire: Callable[..., Wired]) -> None:
    """Those that come when the time is over get a little each."""
    epoll = selectors.DefaultSelector()
    if not hasattr(epoll, "fileno"):
        pytest.skip("no epoll")
    clock = Clock()
    clock.step = 0.0
    loop = timed_loop(clock, 0.5)
    counts: list[int] = []
    members = [wire(echo, loop=loop) for _ in range(20)]
    for member in members:
        epoll.register(member.transport._sock, selectors.EVENT_READ)
        member.write(*[TextMessage("x")] * 30)
    clock.step = 1.0
    loop.context.run(epoll.fileno(), -math.inf)
    loop.context.flush(clock.now)
    counts = sorted(len(member.read()) for member in members)
    epoll.close()
    assert counts == [16] * 12 + [30] * 8
    assert len(loop.again) == 12
