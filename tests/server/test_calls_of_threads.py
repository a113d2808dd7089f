"""Calls that other threads want made in the loop's."""

from __future__ import annotations

import threading

import pytest

from tests.servers import PATIENCE, running

pytestmark = pytest.mark.usefixtures("each_server")


def test_calls_that_take_long_come_in_turns_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise all connections would wait until the last of them was made."""
    monkeypatch.setattr("sono_server.serving.base.TURN_SECONDS", 0.0)
    turns, seen = 0, list[int]()
    done = threading.Event()

    def call(number: int) -> None:
        seen.append(turns)
        if number == 2:
            done.set()

    with running() as server:
        kind = type(server.server)
        turn = kind._call_posted

        def counted(self: object) -> None:
            nonlocal turns
            turns += 1
            turn(self)  # type: ignore[arg-type]

        monkeypatch.setattr(kind, "_call_posted", counted)

        def post() -> None:
            for number in range(3):
                server.server.call_soon(call, number)

        server.call(post)
        assert done.wait(PATIENCE)
    assert len(set(seen)) == 3
