"""The commands on standard streams of every kind: odd encodings, closed, cut off, full."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sono_server import HTTPRequest, Sono, WebSocket
from tests.processes import ROOT
from tests.servers import PATIENCE, Running, running

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")

SONO = f"{sys.executable} -m sono_server"
LONG = 2 * PATIENCE  # seconds in which every command ends
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
TOO_MUCH = 40 << 20
EMOJI = "\N{SMILING FACE WITH SUNGLASSES}"


class Served:
    """A server with several paths, and the texts that it got."""

    def __init__(self) -> None:
        self.sono = Sono(open_channels=True)
        self.got: list[object] = []
        self.sono.on("message")(lambda client, message: self.got.append(message))

    def answer(self, request: HTTPRequest) -> None:
        if request.path == "/ws":
            self.sono.connect(request)
        elif request.path == "/deaf":
            request.accept().pause(1000)
        elif request.path == "/mute":
            request.accept()
        elif request.path == "/goes":
            request.accept().close(4000, f"gone \x1b[2J{EMOJI}")
        else:
            request.accept(self._echo).send(f"hello \x1b[2J{EMOJI}")

    def _echo(self, ws: WebSocket, message: object) -> None:
        self.got.append(message)
        ws.send(f"answer to {message!r}")


@pytest.fixture
def served() -> Served:
    return Served()


@pytest.fixture
def server(served: Served) -> Iterator[Running]:
    with running(served.answer) as started:
        yield started


def shell(
    command: str, server: Running, input: bytes | None = b"", **environment: str
) -> tuple[int, str, str]:
    """Exit status, output and errors of a shell's command; $S is sono, and $U the server."""
    done = subprocess.run(
        ["bash", "-c", command],
        input=input,
        capture_output=True,
        timeout=LONG,
        cwd=ROOT,
        env={
            **BUFFERED,
            "S": SONO,
            "U": f"ws://127.0.0.1:{server.address[1]}",
            "PYTHONIOENCODING": "utf-8",
            **environment,
        },
    )
    return done.returncode, done.stdout.decode("latin-1"), done.stderr.decode("latin-1")


# -- characters -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("path", ["/", "/ws"])
def test_what_an_output_lacks_is_escaped(
    server: Running, served: Served, encoding: str, path: str
) -> None:
    text = f"caf\xe9 {EMOJI}\n".encode()
    status, output, errors = shell(
        f"$S connect {'' if path == '/ws' else '--raw'} $U{path}",
        server,
        text,
        PYTHONIOENCODING=encoding,
    )
    assert (status, errors) == (0, "")
    assert "\x1b" not in output
    if encoding == "ascii":  # which is read as UTF-8; the other takes any bytes
        assert served.got == [text.decode().rstrip()]
    if path == "/":
        assert "< hello \\x1b[2J\\U0001f60e" in output


def test_a_peers_words_do_not_control_the_terminal_through_an_error(server: Running) -> None:
    status, _, errors = shell("$S connect --raw $U/goes", server, None, PYTHONIOENCODING="ascii")
    assert status == 1
    assert errors.isprintable() or errors.rstrip("\n").isprintable()
    assert errors.endswith("closed with 4000: gone \\x1b[2J\\U0001f60e\n")


@pytest.mark.parametrize("options", ["--raw $U/", "$U/ws"])
def test_a_line_that_is_not_utf_8_is_an_error_line_and_the_others_are_sent(
    server: Running, served: Served, options: str
) -> None:
    status, _, errors = shell(f"$S connect {options}", server, b"one\ncaf\xe9\nthree\r\nfour")
    assert (status, errors) == (1, "sono: line 2 of the input is not UTF-8\n")
    assert served.got == ["one", "three", "four"]


def test_input_in_another_encoding_is_read_in_it(server: Running, served: Served) -> None:
    assert shell("$S connect $U/ws", server, b"caf\xe9\n", PYTHONIOENCODING="latin-1")[0] == 0
    assert served.got == ["caf\xe9"]


def test_a_line_without_end_does_not_fill_the_memory(server: Running, served: Served) -> None:
    text = b"x" * (17 << 20)
    status, _, errors = shell("$S connect --raw $U/", server, text + b"\nnext\n" + text)
    assert status == 1
    assert errors.splitlines() == [
        f"sono: line {number} of the input is longer than 16 MiB" for number in (1, 3)
    ]
    assert served.got == ["next"]


# -- closed and odd streams ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "</dev/null"])
@pytest.mark.parametrize("options", ["connect --raw $U/", "connect $U/ws"])
def test_closed_streams_are_empty_or_silent(server: Running, closed: str, options: str) -> None:
    status, _, errors = shell(f"$S {options} {closed}", server)
    assert (status, errors) == (0, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_with_a_closed_stream_an_error_is_its_status(server: Running, closed: str) -> None:
    assert shell(f"$S frob {closed}", server)[0] == 2
    assert shell(f"$S connect --raw $U/goes {closed}", server)[0] == 1


def test_no_socket_gets_the_number_of_a_closed_stream(server: Running) -> None:
    program = (
        "import os, socket; from sono_client.cli import standard_streams\n"
        "with standard_streams(): print(socket.socket().fileno())"
    )
    status, output, _ = shell(f"{sys.executable} -c '{program}' <&- 2>&-", server)
    assert status == 0
    assert int(output) > 2


def test_a_server_runs_without_standard_streams(server: Running, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    start = subprocess.Popen(
        ["bash", "-c", f"exec {SONO} serve --unix {path} <&- >&- 2>&-"], cwd=ROOT
    )
    try:
        while not path.exists():
            assert start.poll() is None
        while shell(f"$S emit ws://h/ws x --unix {path}", server)[0]:  # it does not listen yet
            assert start.poll() is None
        start.send_signal(signal.SIGTERM)
        assert start.wait(LONG) == 0
    finally:
        start.kill()
        start.wait()


@pytest.mark.parametrize(
    "command",
    [
        "(echo hi; cat) | ($S connect --raw $U/ 2>$E; echo $? >$D) | head -1",
        "(echo hi; cat) | ($S connect $U/ws 2>$E; echo $? >$D) | head -1",
        "($S listen $U/ws 2>$E; echo $? >$D) | true",
    ],
)
def test_when_the_reader_of_the_output_goes_the_command_ends_silently(
    server: Running, command: str, tmp_path: Path
) -> None:
    """Although nothing more comes that it would have to write, and its input goes on."""
    errors, done = tmp_path / "errors", tmp_path / "done"
    with subprocess.Popen(
        ["bash", "-c", command],
        cwd=ROOT,
        env={
            **os.environ,
            "S": SONO,
            "U": f"ws://127.0.0.1:{server.address[1]}",
            "E": str(errors),
            "D": str(done),
        },
        stdin=subprocess.PIPE,  # stays open until the command has ended
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as pipeline:
        try:
            deadline = time.monotonic() + LONG
            while not (done.exists() and done.read_text().endswith("\n")):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert (done.read_text(), errors.read_text()) == ("141\n", "")
            if pipeline.stdin:
                pipeline.stdin.close()
            pipeline.wait(LONG)
        finally:
            if pipeline.poll() is None:
                os.killpg(pipeline.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("options", ["limits", "--help"])
def test_help_for_a_reader_that_has_gone_is_no_traceback(options: str) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with open(write_end, "wb") as output:
        done = subprocess.run(
            [*SONO.split(), *options.split()],
            stdout=output,
            stderr=subprocess.PIPE,
            timeout=LONG,
            cwd=ROOT,
            env=BUFFERED,
        )
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("options", ["--help", "connect --raw $U/"])
def test_output_that_cannot_be_written_is_one_line_and_status_1(
    server: Running, options: str
) -> None:
    status, _, errors = shell(f"$S {options} >/dev/full", server)
    assert (status, errors) == (1, "sono: cannot write the output: no space left on device\n")


def test_input_that_does_not_block_is_waited_for(server: Running, served: Served) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    command = subprocess.Popen(
        [*SONO.split(), "connect", "--raw", f"ws://127.0.0.1:{server.address[1]}/"],
        cwd=ROOT,
        stdin=read_end,
        stdout=subprocess.PIPE,
    )
    os.close(read_end)
    assert command.stdout
    assert command.stdout.readline().startswith(b"connected")
    os.write(write_end, b"hi\n")
    os.close(write_end)
    output, _ = command.communicate(timeout=LONG)
    assert command.returncode == 0
    assert b"< answer to 'hi'" in output


# -- the end of the input -------------------------------------------------------------------------


def test_the_answer_to_what_is_piped_in_is_shown(server: Running) -> None:
    status, output, errors = shell("echo hi | $S connect --raw $U/", server)
    assert (status, errors) == (0, "")
    assert output.splitlines()[-1] == "< answer to 'hi'"


def test_answers_are_awaited_for_as_long_as_is_said(server: Running, served: Served) -> None:
    """Until the server goes, which is long before that."""
    line = "echo hi | $S connect --raw --wait 1000 $U/"
    served._echo = lambda ws, message: (ws.send("last"), ws.close())  # type: ignore[method-assign]
    status, output, _ = shell(line, server)
    assert (status, output.splitlines()[-1]) == (0, "< last")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        pytest.param("--raw $U/mute", marks=pytest.mark.slow),  # five seconds
        "--raw --wait 0 $U/mute",
        "--wait 0 $U/ws",
    ],
)
def test_a_server_that_does_not_answer_is_not_awaited_for_ever(
    server: Running, options: str
) -> None:
    assert shell(f"echo hi | $S connect {options}", server)[0] == 0


def test_input_is_read_no_faster_than_the_server_reads(server: Running) -> None:
    command = subprocess.Popen(
        [*SONO.split(), "connect", "--raw", f"ws://127.0.0.1:{server.address[1]}/deaf"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert command.stdin
    assert command.stdout
    try:
        assert command.stdout.readline()
        os.set_blocking(command.stdin.fileno(), False)
        taken, end = 0, time.monotonic() + 2
        while taken < TOO_MUCH and time.monotonic() < end:
            try:
                taken += os.write(command.stdin.fileno(), (b"x" * 999 + b"\n") * 64)
            except BlockingIOError:
                select.select([], [command.stdin], [], 0.1)
        assert taken < TOO_MUCH, "more than the buffers of the kernel hold"
    finally:
        command.kill()
        command.communicate()


@pytest.mark.parametrize("options", ["connect --raw $U/", "connect $U/ws", "listen $U/ws"])
def test_after_an_interrupt_the_status_is_130(server: Running, options: str) -> None:
    words = options.replace("$U", f"ws://127.0.0.1:{server.address[1]}").split()
    command = subprocess.Popen(
        [*SONO.split(), *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    try:
        if words[0] == "connect":
            assert command.stdout
            assert command.stdout.readline()
        else:
            while not server.call(lambda: len(server.server._transports)):
                pass
        command.send_signal(signal.SIGINT)
        assert command.wait(LONG) == 130
        assert command.stderr
        assert command.stderr.read() == b""
    finally:
        command.kill()
        command.communicate()
