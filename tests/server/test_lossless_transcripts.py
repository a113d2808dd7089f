"""Every kind of server passes the transcripts for servers, with the conformance application.

Many are played at once, each by a thread of its own, because most of their time is silence.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sono_server import HTTPRequest, Sono
from sono_server.aio import StreamServer
from sono_server.conformance import Failed, Skipped, Transcript, load, play
from sono_server.conformance.remote import RemoteServer
from sono_server.serving import Options
from tests.server import conformance_app
from tests.server.stream_server import streaming
from tests.servers import PATIENCE, running

TRANSCRIPTS = [
    transcript
    for transcript in load(Path(__file__).parents[1] / "transcripts")
    if "server" in transcript.subjects
]
AT_ONCE = 24
QUICK = 5.0
"""Seconds that a transcript may wait in the ordinary run; the others are played in the slow one."""
LONG = 30.0
LONGEST = {"5.15-a-suspended-session-ends.jsonl"}
"""What waits longer: for the end of a session. The node's own tests play it with another clock."""


class Applications(dict[str, Sono]):
    """One for each play, by the path: what is said to everybody disturbs no other."""

    def __missing__(self, path: str) -> Sono:
        sono = self[path] = conformance_app.application()
        return sono

    def connect(self, request: HTTPRequest) -> None:
        self[request.path].connect(request)


@contextlib.contextmanager
def on(kind: str, patch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    patch.setattr("tests.servers.kind", kind)
    with running(Applications().connect) as server:
        yield server.address


def on_uvloop(patch: pytest.MonkeyPatch) -> AbstractContextManager[tuple[str, int]]:
    pytest.importorskip("uvloop")
    return on("uvloop", patch)


def in_asyncios_own_server(patch: pytest.MonkeyPatch) -> AbstractContextManager[tuple[str, int]]:
    return streaming(StreamServer(Applications().connect, Options()))


@contextlib.contextmanager
def under_asgi(patch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    uvicorn = pytest.importorskip("uvicorn")
    applications: dict[str, Any] = {}

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        if path not in applications:
            applications[path] = conformance_app.application().asgi()
        await applications[path](scope, receive, send)

    options = {"ws": "websockets-sansio", "lifespan": "off", "log_level": "critical"}
    server = uvicorn.Server(uvicorn.Config(serve, "127.0.0.1", 0, **options))
    ready = threading.Event()
    startup = server.startup

    async def started(*arguments: Any, **named: Any) -> None:
        await startup(*arguments, **named)
        ready.set()

    server.startup = started
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        yield server.servers[0].sockets[0].getsockname()
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()


SERVERS: dict[str, Callable[[pytest.MonkeyPatch], AbstractContextManager[tuple[str, int]]]] = {
    "selectors": partial(on, "selector"),
    "asyncio": partial(on, "asyncio"),
    "uvloop": on_uvloop,
    "handle_stream": in_asyncios_own_server,
    "asgi": under_asgi,
}


def played(transcript: Transcript, url: str, most: float) -> str:
    """What became of it: nothing if it passed."""
    server = RemoteServer(url, patience=30.0, quiet=0.2, max_wait=most)
    try:
        play(transcript, server, run=secrets.token_hex(4))
    except Failed as failed:
        return f"{transcript.name}: {failed}"
    except Skipped:
        return f"skipped: {transcript.name}"
    finally:
        server.end()
    return ""


def outcomes(address: tuple[str, int], most: float) -> tuple[list[str], set[str]]:
    """Those that failed, and why; the names of those that were skipped."""
    base = f"ws://{address[0]}:{address[1]}"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        plays = [
            pool.submit(played, transcript, f"{base}/{number}", most)
            for number, transcript in enumerate(TRANSCRIPTS)
        ]
        found = [play.result() for play in plays]
    skipped = {one.removeprefix("skipped: ") for one in found if one.startswith("skipped: ")}
    return [one for one in found if one and not one.startswith("skipped: ")], skipped


@pytest.mark.parametrize("kind", ["selectors", "asyncio"])
def test_a_server_passes_the_transcripts(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with SERVERS[kind](monkeypatch) as address:
        failed, skipped = outcomes(address, QUICK)
    assert failed == []
    assert len(skipped) < len(TRANSCRIPTS) / 8


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_passes_those_too_that_wait_long(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SERVERS[kind](monkeypatch) as address:
        failed, skipped = outcomes(address, LONG)
    assert failed == []
    assert skipped == LONGEST
