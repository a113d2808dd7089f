"""`sono connect`, `listen` and `emit`, as processes of their own, against a server in a thread."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sono_client import SonoClient
from sono_core import Limits
from sono_server import Sono
from tests import certificates
from tests.processes import ROOT, program, run
from tests.servers import PATIENCE, Running, running

SONO = ("-m", "sono_server")


@pytest.fixture
def server() -> Iterator[Running]:
    sono = Sono(open_channels=True)
    with running(sono.connect) as started:
        yield started


def url(server: Running) -> str:
    return f"ws://127.0.0.1:{server.address[1]}/ws"


def typed(server: Running, *arguments: str, lines: str) -> tuple[int, str, str]:
    """What `sono connect` does with lines piped into it."""
    done = subprocess.run(
        [sys.executable, *SONO, "connect", url(server), *arguments],
        input=lines,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=ROOT,
    )
    return done.returncode, done.stdout, done.stderr


# -- emit and listen --------------------------------------------------------------------------


def test_what_is_emitted_is_what_is_listened_to(server: Running) -> None:
    with program(*SONO, "listen", url(server), "--count", "2", "--event", "score") as listener:
        with SonoClient(url(server), dialect="classic") as client:
            while len(client.grab("clients", timeout=PATIENCE)) < 2:
                pass
        assert run(*SONO, "emit", url(server), "not a score") == (0, "", "")
        for value in ('{"points": 3}', "4"):
            arguments = ("emit", url(server), value, "--json", "--event", "score")
            assert run(*SONO, *arguments) == (0, "", "")
        first, second = json.loads(listener.line()), json.loads(listener.line())
        assert listener.process.wait(PATIENCE) == 0
    assert first["event"] == second["event"] == "score"
    assert [first["payload"]["message"], second["payload"]["message"]] == [{"points": 3}, 4]


def test_to_one_client_or_to_all_others_in_a_channel(server: Running) -> None:
    with SonoClient(url(server)) as client:
        got: list[object] = []
        client.on("message", lambda payload: got.append(payload["message"]))
        [me] = client.grab("myid")
        client.change_channel("lobby")
        client.grab("mychannel")
        assert run(*SONO, "emit", url(server), "you", "--to", me)[0] == 0
        assert run(*SONO, "emit", url(server), "all", "--others", "--channel", "lobby")[0] == 0
        assert run(*SONO, "emit", url(server), "at home")[0] == 0
        client.grab("myid")
    assert got == ["you", "all"]


def test_what_the_server_refuses_is_one_line_and_status_1(server: Running) -> None:
    status, output, errors = run(*SONO, "emit", url(server), "x", "--to", "nobody")
    assert (status, output) == (1, "")
    assert errors == f"sono: {url(server)}: refused: there is no client nobody\n"


@pytest.mark.parametrize("command", [["connect"], ["listen"], ["emit", "x"]])
def test_no_server_is_one_line_and_status_1(command: list[str]) -> None:
    name, *rest = command
    status, output, errors = run(*SONO, name, "ws://127.0.0.1:1/ws", *rest)
    assert (status, output) == (1, "")
    assert re.fullmatch(r"sono: 127\.0\.0\.1:1: .*\n", errors)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["emit", "http://localhost/", "x"], "'http://localhost/' is not a WebSocket URL"),
        (["emit", "ws://localhost/", "{", "--json"], "Expecting"),
        (["emit", "ws://localhost/", "x", "--event", "grab"], "reserved"),
        (["emit", "ws://localhost/", "x", "--channel", "a" * 129], "1 to 128 characters"),
        (["emit", "ws://localhost/", "NaN", "--json"], "NaN"),
        (["emit", "ws://localhost/", "x", "--to", "a", "--others"], "exclude each other"),
        (["listen", "ws://localhost/", "--count", "0"], "'0' is not a number above 0"),
        (["listen", "ws://localhost/", "--timeout", "nan"], "'nan' is not a number of seconds"),
        (["listen", "ws://localhost/", "--header", "x"], "a header has the form 'NAME: VALUE'"),
        (["listen"], "required: URL"),
    ],
)
def test_mistakes_are_one_line_and_status_2(arguments: list[str], text: str) -> None:
    status, output, errors = run(*SONO, *arguments)
    assert (status, output) == (2, "")
    assert text in errors
    assert errors.count("\n") == 1


def test_a_server_that_goes_ends_listening_with_status_1() -> None:
    sono = Sono()
    with running(sono.connect) as server:
        listener = program(*SONO, "listen", url(server))
        with listener as started:
            with SonoClient(url(server), dialect="classic") as client:
                while len(client.grab("clients", timeout=PATIENCE)) < 2:
                    pass
            for client_ in list(sono.clients.values()):
                client_.close(4000, "enough")
            _, errors = started.process.communicate(timeout=PATIENCE)
            assert started.process.returncode == 1
            assert errors.decode() == f"sono: {url(server)}: closed with 4000: enough\n"


# -- connect ----------------------------------------------------------------------------------


def test_lines_that_are_piped_in_are_sent_and_answers_are_shown(server: Running) -> None:
    lines = "hello\n/join lobby\n/grab mychannel\n/emit score {}\n/nope\n/dm\n/ping\n"
    lines += "/join \x1b\n/dm no one\n\n"
    status, output, errors = typed(server, lines=lines)
    assert (status, errors) == (0, "")
    head, *rest = output.splitlines()
    me = re.fullmatch(rf"connected to {url(server)} as (\S+); /help helps", head)
    assert me
    assert rest.index("in channel lobby") < rest.index("lobby")  # events come between
    assert f"{me[1]}: hello" in rest
    assert f"{me[1]} [score]: {{}}" in rest
    assert "/nope is no command; /help lists them" in rest
    assert "/dm ID TEXT" in rest
    assert any(re.fullmatch(r"[\d.]+ ms", line) for line in rest)
    assert "refused: there is no client no" in rest
    assert any("control characters are not allowed" in line for line in rest)
    assert "\x1b" not in output


def test_a_listing_that_was_cut_says_so() -> None:
    sono = Sono(limits=Limits(max_listing=10))
    sono.channel("news")
    with running(sono.connect) as server:
        status, output, errors = typed(server, lines="/grab channels\n/grab mychannel\n")
    assert (status, errors) == (0, "")
    assert output.splitlines()[1:] == ["Home, and more", "Home"]


def test_a_plain_websocket_with_raw() -> None:
    with running() as server:
        status, output, errors = typed(server, "--raw", lines="one\n")
        assert (status, errors) == (0, "")
        assert output.splitlines()[0] == f"connected to {url(server)}"


# -- TLS --------------------------------------------------------------------------------------


def test_serve_speaks_tls_and_hangup_loads_its_certificates_again(tmp_path: Path) -> None:
    import signal

    chain, key = certificates.save(tmp_path)
    authority = certificates.save_authority(tmp_path)
    serve = (*SONO, "serve", "--port=0", f"--tls-cert={chain}", f"--tls-key={key}")
    with program(*serve, "--log-level=info", "--log-format=json") as server:
        port = server.address()[1]
        address = f"wss://localhost:{port}/ws"
        assert run(*SONO, "emit", address, "x", "--cafile", authority) == (0, "", "")
        status, _, errors = run(*SONO, "emit", address, "x")
        assert status == 1
        assert "certificate verify failed" in errors
        Path(chain).write_text("nothing")
        server.process.send_signal(signal.SIGHUP)
        assert "not reloaded" in server.logged()["message"]
        assert run(*SONO, "emit", address, "x", "--cafile", authority) == (0, "", "")


# -- a terminal -------------------------------------------------------------------------------


class Screen:
    """A program on a pseudo-terminal."""

    def __init__(self, *arguments: str) -> None:
        import pty

        self._fd, there = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            stdin=there,
            stdout=there,
            stderr=there,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
        )
        os.close(there)
        self.text = ""

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until the pattern appears in the output since the last call."""
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.text)):
            ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, self.text
            part = ""
            with contextlib.suppress(OSError):  # of a terminal whose program has ended
                part = os.read(self._fd, 65536).decode(errors="replace")
            assert part, self.text
            self.text += re.sub(r"\x1b\[[?\d;]*[a-zA-Z]|\r", "", part)
        self.text = self.text[found.end() :]
        return found

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def leave(self) -> int:
        """Press Ctrl-D, again if it came between two prompts; returns the exit status."""
        for _ in range(int(PATIENCE / 0.2)):
            self.type("\x04")
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(0.2)
        raise AssertionError("Ctrl-D does not end it")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._fd)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_session_in_a_terminal(server: Running) -> None:
    pytest.importorskip("prompt_toolkit")
    screen = Screen(*SONO, "connect", url(server))
    try:
        me = screen.wait_for(r"connected to \S+ as (\S+);")[1]
        screen.wait_for(">")
        screen.type("hello\r")
        screen.wait_for(rf"{re.escape(me)}: hello")
        screen.type("hal")  # messages that arrive do not spoil the line being typed
        with SonoClient(url(server)) as other:
            other.message("from another")
            other.grab("myid")
        screen.wait_for("from another")
        screen.type("f\r")
        screen.wait_for(rf"{re.escape(me)}: half")
        screen.type("\x1b[A\r")  # recalls the last line from the history
        screen.wait_for(rf"{re.escape(me)}: half")
        assert screen.leave() == 0
    finally:
        screen.close()
