"""driver.py: what a driver makes of a failure that nobody foresaw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sono_core import Accept, Connection, Request, Role, Session
from sono_core.lifecycle import Driver
from tests.fakes import RecordingHandler
from tests.rules.peers import request


class Failing:
    """A layer that raises in one call."""

    def __init__(self, inner: Session, name: str) -> None:
        self._inner = inner
        self._name = name
        self.error = RuntimeError()

    def __getattr__(self, name: str) -> Any:
        if name == self._name:
            raise self.error
        return getattr(self._inner, name)


class Wired(Driver):
    """A driver whose stream takes everything."""

    def __init__(self, name: str, alone: bool) -> None:
        self.start(fast=False)
        self.session = Session(Connection(Role.SERVER), self, RecordingHandler(), now=0.0)
        self.layer = Failing(self.session, name)  # type: ignore[assignment]
        self.alone = alone
        self.asked = False  # to write soon
        self.ended: list[Exception] = []

    def time(self) -> float:
        return 0.0

    def write_soon(self) -> None:
        self.asked = True

    def _write_some(self) -> int:
        return self.session.outbox.size

    def _end_stream(self) -> None:
        pass

    def _abandon(self) -> None:
        pass

    def _watch(self, reading: bool, blocked: bool) -> None:
        pass

    def _tick_at(self, due: float) -> None:
        self.scheduled = due

    def unexpected(self, error: Exception) -> None:
        if not self.alone:
            super().unexpected(error)
        self.ended.append(error)
        self.session.lost()


CALLS: list[tuple[str, Callable[[Wired], None]]] = [
    ("receive", lambda wired: wired.receive(b"GET", 0.0)),
    ("pump", lambda wired: wired.resume(0.0)),
    ("tick", lambda wired: wired.tick(99.0)),
    ("reading", lambda wired: wired.flush(0.0)),
    ("go_away", lambda wired: wired.go_away(1001, "", 0.0)),
]


@pytest.mark.parametrize(("name", "call"), CALLS, ids=[name for name, _ in CALLS])
def test_a_failure_is_the_callers_unless_the_driver_deals_with_it(
    name: str, call: Callable[[Wired], None]
) -> None:
    with pytest.raises(RuntimeError):
        call(Wired(name, alone=False))
    wired = Wired(name, alone=True)
    call(wired)
    assert [type(error) for error in wired.ended] == [RuntimeError]
    assert wired.session.over


def test_a_failure_to_end_for_want_of_memory_is_the_drivers() -> None:
    wired = Wired("receive", alone=True)
    failing: Any = wired.layer
    failing.error = MemoryError()
    again = MemoryError("again")

    def out_of_memory(error: MemoryError) -> None:
        raise again

    failing.out_of_memory = out_of_memory
    wired.receive(b"GET", 0.0)
    assert wired.ended == [again]


def test_without_a_failure_a_connection_goes_away_politely() -> None:
    wired = Wired("nothing", alone=False)
    wired.receive(request(), 0.0)
    handler = wired.session.handler
    assert isinstance(handler, RecordingHandler)
    assert isinstance(handler.log[0], Request)
    wired.session.accept(Accept(), 0.0)
    wired.go_away(1001, "", 0.0)
    assert not wired.session.open


class Slow(Session):
    """A session whose answers take long to make."""

    answers_together = True


@pytest.mark.parametrize("kind", [Session, Slow])
def test_slow_answers_leave_at_the_end_of_the_turn(kind: type[Session]) -> None:
    wired = Wired("nothing", alone=False)
    wired.layer = wired.session = kind(Connection(Role.SERVER), wired, RecordingHandler(), now=0.0)
    wired.receive_in_turn(b"GET / ", 0.0)
    assert wired.asked  # whatever there is to write comes later in the turn
    wired.receive_in_turn(b"HTTP/3\r\n\r\n", 0.0)
    assert (wired.session.outbox.size > 0) == (kind is Slow)
    wired.flush(0.0)
    assert not wired.session.outbox.size


def test_who_is_read_no_more_is_not_read_again_in_the_turn() -> None:
    wired = Wired("nothing", alone=False)
    wired.layer = wired.session = Slow(Connection(Role.SERVER), wired, RecordingHandler(), now=0.0)
    watched: list[bool] = []
    wired._watch = lambda reading, blocked: watched.append(reading)  # type: ignore[method-assign]
    wired.receive_in_turn(request(), 0.0)
    assert (watched, wired.asked) == ([], True)
    wired.session.pump(0.0)
    wired.session.accept(Accept(), 0.0)
    wired.flush(0.0)
    watched.clear()
    wired.session.charge(1_000_000, 0.0)  # control frames: it has to wait
    wired.receive_in_turn(b"\x81", 0.0)
    assert watched == [False]


def test_what_is_over_has_nothing_to_write() -> None:
    wired = Wired("nothing", alone=False)
    wired.layer = wired.session = Slow(Connection(Role.SERVER), wired, RecordingHandler(), now=0.0)
    wired.session.lost()
    wired.asked = False
    wired.receive_in_turn(b"", 0.0)
    assert not wired.asked
