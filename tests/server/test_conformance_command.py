"""`python -m sono_server.conformance`: a server at the other end of real connections."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sono_server.conformance import Closed, Message, Skipped, parse, play
from sono_server.conformance.codec import MSGPACK, written
from sono_server.conformance.command import main
from sono_server.conformance.remote import RemoteServer
from sono_server.serving.requests import HTTPRequest
from tests import certificates
from tests.processes import ROOT
from tests.server.lossless_application import Model
from tests.servers import Running

NOWHERE = "ws://127.0.0.1:9/ws"  # the port of `discard`, on which nothing listens
QUICK = ("--quiet", "0.05")


@pytest.fixture(autouse=True)
def _checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package may be installed elsewhere than these tests."""
    monkeypatch.setattr("sono_server.conformance.command.FOLDER", ROOT / "tests" / "transcripts")


class Served:
    """The model of a server, on real connections; it has no time of its own."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.sockets: dict[str, Any] = {}

    def __call__(self, request: HTTPRequest) -> None:
        name = self.model.word()

        def said(ws: Any, message: str | bytes) -> None:
            protocol = ws.subprotocol
            try:
                content = json.loads(message) if isinstance(message, str) else None
            except ValueError:
                content = None
            if isinstance(content, dict) and protocol != MSGPACK:
                self.model.say(name, Message(content))
            else:
                self.model.say_raw(name, message)
            self.flush()

        def ended(ws: Any, close: Any) -> None:
            del self.sockets[name]
            self.model.close(name, close.code, close.reason)
            self.flush()

        ws = request.accept(said, ended, subprotocol=["sono.v2", MSGPACK])
        if ws.open:
            self.sockets[name] = ws
            self.model.open(name, ws.subprotocol)

    def flush(self) -> None:
        for name, ws in list(self.sockets.items()):
            while heard := self.model.heard(name, patient=False):
                if isinstance(heard, Closed):
                    ws.close(heard.code, heard.reason)
                else:
                    ws.send(written(heard.content, ws.subprotocol))


def serving(model: Model) -> Iterator[str]:
    running = Running(Served(model))
    try:
        yield f"ws://127.0.0.1:{running.address[1]}/ws"
    finally:
        running.end()


@pytest.fixture
def url() -> Iterator[str]:
    """Of a server that passes."""
    yield from serving(Model())


@pytest.fixture
def forgetful() -> Iterator[str]:
    """Of a server that knows no key."""

    class Forgetful(Model):
        def hello(self, conn: Any, hello: Any) -> None:
            self.sessions.clear()
            super().hello(conn, hello)

    yield from serving(Forgetful())


def test_a_server_that_passes(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([url, *QUICK, "--only", "[25].1-*", "--only", "5.11-*", "--only", "1.[34]-*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("passed   1.3-")
    assert re.fullmatch(rf"{re.escape(url)}: \d+ passed, 0 failed, 0 skipped", lines[-1])
    assert len(lines) >= 8


def test_a_server_that_fails(forgetful: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([forgetful, *QUICK, "--only", "5.4-*", "--only", "1.1-*text*"]) == 1
    first, second, why, last = capsys.readouterr().out.splitlines()
    assert first.startswith("passed   1.1-a-packet-is-an-object-in-a-text: ")
    assert second.startswith("failed   5.4-each-welcome-has-a-new-key: Each welcome has")
    assert re.search(r"line \d+: \.id is", why)
    assert last.endswith("1 failed, 0 skipped")


def test_what_waits_too_long_is_skipped(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([url, *QUICK, "--only", "5.15-a-susp*", "--max-wait", "0.1"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("skipped  5.15-a-suspended")


def test_the_core_leaves_out_what_is_optional(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([url, *QUICK, "--level", "core", "--only", "1.1-*"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_server_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([NOWHERE, "--only", "1.1-*"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("python -m sono_server.conformance: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "the following arguments are required: URL"),
        ([NOWHERE, "--fast"], "unrecognized arguments: --fast"),
        ([NOWHERE, "--only", "nothing"], "no transcript of .* is chosen"),
        ([NOWHERE, "--transcripts", "nowhere"], "there is no folder nowhere"),
        ([NOWHERE, "--patience", "0"], "'0' is not a number of seconds"),
        ([NOWHERE, "--quiet", "soon"], "'soon' is not a number of seconds"),
        ([NOWHERE, "--header", "secret"], "a header has the form 'NAME: VALUE'"),
        (["http:nothing", "--only", "1.1-*"], "http:nothing"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.search(text, captured.err)
    assert captured.err.count("\n") == 1


def test_a_transcript_that_is_wrong_is_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "1.1-x.jsonl").write_text("{}")
    with pytest.raises(SystemExit) as ended:
        main([NOWHERE, "--transcripts", str(tmp_path)])
    assert ended.value.code == 2
    assert "1.1-x.jsonl, line 1: title is missing" in capsys.readouterr().err


def test_headers_and_certificates_are_passed_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[dict[str, Any]] = []

    class Recorded(RemoteServer):
        def __init__(self, url: str, **options: Any) -> None:
            seen.append(options)
            super().__init__(url, **options)

        def open(self, name: str, protocol: str | None) -> str | None:
            raise Skipped("it is enough")

    monkeypatch.setattr("sono_server.conformance.command.RemoteServer", Recorded)
    arguments = ["--header", "X-A: b", "--cafile", certificates.save_authority(tmp_path)]
    assert main(["wss://localhost:9/", *arguments, "--only", "1.1-*text.jsonl"]) == 0
    assert seen[0]["headers"] == [("X-A", "b")]
    assert seen[0]["ssl"].check_hostname


def test_time_passes_while_connections_are_read(url: str) -> None:
    steps = [
        '{"title": "t", "clauses": ["4.9"], "for": ["server"], "level": "core"}',
        '{"open": "a"}',
        '{"wait": 0.05}',
        '{"client": {"type": "hello"}}',
        '{"wait": 0.2}',
        '{"server": {"type": "welcome", "$more": true, "resumed": false}}',
        '{"client": {"type": "bye"}}',
        '{"wait": 0.2}',
        '{"close": "a", "by": "server", "code": 1000}',
    ]
    server = RemoteServer(url, quiet=0.05)
    play(parse("4.9-x.jsonl", "\n".join(steps)), server)
    server.say("a", Message({}))  # it is closed, and nobody is told
    server.end()


def test_help_says_what_the_exit_status_means() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sono_server.conformance", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "exit status: 0 if no transcript failed" in done.stdout
