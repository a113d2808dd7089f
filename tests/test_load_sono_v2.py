"""The load generator where it speaks `sono.v2`: what it counts, and what it notices."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import load
from sono_core.messaging.lossless import History
from sono_server import Client, HTTPRequest, Sono
from tests.servers import running

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="epoll is Linux's"),
    pytest.mark.skipif(
        shutil.which("cc") is None, reason="no C compiler; install one with: apt-get install gcc"
    ),
]

Run = Callable[..., dict[str, Any]]

TALK = ("--subprotocol=sono.v2", '--greet={"type":"hello"}', '--skip-until={"type":"welcome"')
PUBLISH = '{"type":"publish","seq":{n},"channel":"Home","event":"message","data":"{}"}'
ASK = '{"type":"request","seq":{n},"name":"echo","data":"{}"}'
SESSIONS = ("--subprotocol=sono.v2",)


@pytest.fixture
def run() -> Run:
    """Runs a command of the load generator against a port, quickly."""
    program = load.build().load

    def quickly(command: str, port: int, *options: object) -> dict[str, Any]:
        times = () if command == "storm" else ("--seconds=0.1", "--warmup=0.02")
        return load.run(program, command, f"--port={port}", *times, *options)

    return quickly


def server(answer: Callable[[Any], Any] = lambda data: data, **options: Any) -> Sono:
    """One that answers `echo`."""
    sono = Sono(**options)

    @sono.on_request("echo")
    def echo(client: Client, data: Any) -> Any:
        return answer(data)

    return sono


@pytest.mark.parametrize("options", [(), ("--in-flight=30",), ("--size=9000", "--in-flight=3")])
def test_publications_are_numbered_and_counted(run: Run, options: tuple[str, ...]) -> None:
    form = (*TALK, f"--template={PUBLISH}", '--expect-prefix={"type":"event"')
    with running(server().connect) as at:
        result = run("fanout", at.address[1], "--connections=5", *form, *options)
    assert result["errors"] == 0, result
    assert result["messages"] > 0


@pytest.mark.parametrize("options", [(), ("--in-flight=30",), ("--size=9000", "--in-flight=3")])
def test_replies_are_counted(run: Run, options: tuple[str, ...]) -> None:
    form = (*TALK, f"--template={ASK}", '--expect-prefix={"type":"result"')
    with running(server().connect) as at:
        result = run("echo", at.address[1], "--connections=3", *form, "--size=200", *options)
    assert result["errors"] == 0, result
    assert result["messages"] > 0


def test_a_reply_with_something_else_is_an_error(run: Run) -> None:
    form = (*TALK, f"--template={ASK}", '--expect-prefix={"type":"result"')
    with running(server(str.swapcase).connect) as at:
        result = run("echo", at.address[1], *form, "--size=200")
    assert result["messages"] == 0
    assert result["first_error"] == "a message without the filler of the template"


def test_a_reply_to_another_request_is_an_error(run: Run) -> None:
    said: list[str] = []

    def late(data: str) -> str:
        said.append(data)
        return said[max(0, len(said) - 2)]

    form = (*TALK, f"--template={ASK}", '--expect-prefix={"type":"result"')
    with running(server(late).connect) as at:
        result = run("echo", at.address[1], *form, "--size=200")
    assert "lost, doubled, out of order or wrong" in result["first_error"]


@pytest.mark.parametrize("missed", [0, 1, 10])
def test_resume_counts_sessions_that_have_come_back_whole(run: Run, missed: int) -> None:
    with running(server().connect) as at:
        result = run("resume", at.address[1], *SESSIONS, f"--missed={missed}", "--concurrency=4")
    assert result["errors"] == 0, result
    assert result["messages"] > 0
    assert 0 < result["latency_us"]["p50"] <= result["latency_us"]["p99"]


@pytest.mark.slow
def test_without_sessions_a_return_is_a_handshake(run: Run) -> None:
    with running(server().connect) as at:
        result = run("resume", at.address[1], "--missed=10", "--concurrency=4")
        assert result["errors"] == 0, result
        assert result["messages"] > 0
        result = run("storm", at.address[1], "--missed=10", "--connections=10")
    assert (result["resumed"], result["errors"]) == (10, 0)


def test_what_is_not_recovered_is_an_error(run: Run) -> None:
    with running(server(history={"*": History(count=3)}).connect) as at:
        result = run("resume", at.address[1], *SESSIONS, "--missed=10", "--concurrency=4")
    assert result["messages"] == 0
    assert result["first_error"] == "a session that was not resumed as a whole"


def test_a_session_that_is_gone_is_an_error(run: Run) -> None:
    def forget(request: HTTPRequest) -> None:
        server().connect(request)

    with running(forget) as at:
        result = run("resume", at.address[1], *SESSIONS, "--concurrency=4")
    assert result["first_error"] == "a session that was not resumed as a whole"


@pytest.mark.slow
def test_in_a_storm_all_come_back_at_once(run: Run) -> None:
    with running(server().connect) as at:
        options = (*SESSIONS, "--connections=30", "--missed=10", f"--server-pid={os.getpid()}")
        result = run("storm", at.address[1], *options)
    assert result["server_cpu_seconds"] > 0
    assert (result["connections"], result["resumed"], result["errors"]) == (30, 30, 0), result
    assert result["attempts"] >= 30
    assert result["seconds"] >= 0.5
    answer = result["answer_ms"]
    assert 0 < answer["p50"] <= answer["p99"]


@pytest.mark.parametrize("command", ["echo", "fanout", "idle", "resume", "storm"])
def test_a_server_without_the_subprotocol_ends_the_run(run: Run, command: str) -> None:
    with (
        running() as at,
        pytest.raises(load.LoadError, match="does not agree to the subprotocol"),
    ):
        times = () if command in ("idle", "storm") else ("--seconds=0.1",)
        load.run(load.build().load, command, f"--port={at.address[1]}", *times, *SESSIONS)
