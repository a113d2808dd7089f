"""An application with types of its own, on a server; mypy and pyright read it too."""

from __future__ import annotations

import pytest

from tests import typed_application
from tests.lossless_wire import Speaker
from tests.servers import running


def test_a_typed_application_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.servers.kind", "asyncio")
    with running(typed_application.sono.connect) as server, Speaker(server.address, {}) as speaker:
        speaker.do("join", channel="room:1")
        for event in ("chat", "later"):
            data = {"text": "four"}
            assert "published" in speaker.do("publish", channel="room:1", event=event, data=data)
        assert speaker.do("request", name="karma", data=None)["data"] == 4
        found = speaker.do("request", name="search", data={"words": "a b"})
        assert found["data"] == ["a", "b"]
        assert speaker.refused("request", name="search", data={}) == "invalid-packet"
        assert speaker.refused("request", name="refuse", data=None) == "full"
