"""What clients of `sono.v2` that come back leave behind, and how many are looked at at once."""

from __future__ import annotations

import gc
from collections import Counter
from types import SimpleNamespace

import pytest

from sono_core.limits import Timeouts
from sono_core.messaging.lossless.replay import Replays
from sono_core.messaging.lossless.server import Conversation
from sono_server import Sono
from sono_server.app.lines import Line
from tests.faults.victims import until
from tests.lossless_wire import Speaker
from tests.server.limits_of_sessions import opened
from tests.servers import running

_TIMES = 5


def _there() -> Counter[type]:
    return Counter(type(one) for one in gc.get_objects())


@pytest.mark.usefixtures("each_server")
def test_a_connection_that_is_lost_leaves_nothing_to_the_garbage_collector() -> None:
    """It would stay until a collection of all that the process has."""
    sono = Sono()
    with running(sono.connect) as server:
        first = Speaker(server.address, {})
        gc.collect()
        gc.disable()
        try:
            before = _there()
            speaker = first
            for _ in range(_TIMES):
                speaker.lose()
                speaker = speaker.resume(server.address)
                speaker.do("request", name="sono.channels", data=None)

            def as_before() -> bool:
                now = _there()
                return all(now[one] == before[one] for one in (Line, Conversation, Replays))

            until(as_before, what="that the connections of before are forgotten")
        finally:
            gc.enable()
        speaker.wire.close()


def test_of_those_without_room_only_some_are_looked_at_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timeouts = Timeouts(replay=0.5)
    lossless, _, _ = opened(timeouts)
    looked: list[str] = []
    monkeypatch.setattr("sono_server.app.lossless._LOOKS", 2)
    monkeypatch.setattr(lossless, "_has_room", looked.append)  # nobody has
    for client in "abc":
        lossless._owner.clients[client] = SimpleNamespace(_line=client)
        lossless._full[client] = None
    for now in (1.0, 1.25, 1.5, 2.0):
        lossless._tick(now)
    assert looked == ["a", "b", "c", "a", "b", "c"]
