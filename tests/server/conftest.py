"""Fixtures of the servers' tests."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["asyncio", "uvloop"])
def on_asyncio(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    kind: str = request.param
    if kind == "uvloop":
        pytest.importorskip("uvloop")
    monkeypatch.setattr("tests.servers.kind", kind)
    return kind
