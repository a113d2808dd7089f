"""The command `sono`: its output, how it ends, and its one-line mistakes."""

from __future__ import annotations

import re
import signal
import socket
import threading

import pytest

from sono_core import Limits, Timeouts, __version__
from sono_server.cli import command as cli
from sono_server.operations.settings import settings
from tests.processes import ROOT, complaints, program, run
from tests.servers import Wire, get, has_ipv6, status


def mistake(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error with which a command ends."""
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("sono")
    assert "Traceback" not in captured.err
    return captured.err.rstrip()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], r"sono: the following arguments are required: COMMAND"),
        (["fly"], r"sono: argument COMMAND: invalid choice: 'fly'"),
        (["serve", "--fast"], r"sono: unrecognized arguments: --fast"),
        (["serve", "--port", "http"], r"sono serve: argument --port: 'http' is not a port"),
        (["serve", "--port", "65536"], r"'65536' is not a port \(0 to 65535\)"),
        (["serve", "--port", "-1"], r"'-1' is not a port"),
        (["serve", "--port"], r"argument --port: expected one argument"),
        (["serve", "--drain", "soon"], r"'soon' is not a number of seconds"),
        (["serve", "--drain=-1"], r"'-1' is not a number of seconds"),
        (["serve", "--drain", "nan"], r"'nan' is not a number of seconds"),
        (
            ["serve", "--host", "no-such-host.invalid", "--port", "1234"],
            r"sono: cannot listen on no-such-host.invalid:1234: .+",
        ),
        (
            ["serve", "--host", "192.0.2.1", "--port", "1234"],
            r"sono: cannot listen on 192.0.2.1:1234: .+",
        ),
        (["serve", "--set", "max_message"], r"'max_message' is not NAME=VALUE"),
        (["serve", "--set", "speed=1"], r"'speed=1' is not NAME=VALUE"),
        (["serve", "--set", "max_message=1.5"], r"'1.5' is not a value of max_message"),
        (["serve", "--set", "handshake=0"], r"handshake must be a finite float above 0, not 0.0"),
        (["serve", "--max-connections", "0"], r"max_connections must be at least 1, not 0"),
        (["serve", "--close-code", "1000"], r"argument --close-code: invalid choice: '?1000"),
        (["serve", "--trusted-proxy", "nginx"], r"trusted_proxies: 'nginx' does not appear"),
        (["serve", "--allow-host", "http://a"], r"hosts: 'http://a' is not the name of a host"),
        (
            ["serve", "--host", "a" * 70, "--port", "0"],
            r"sono: cannot listen on 'a{70}': not a host name",
        ),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(text, mistake(arguments, capsys))


@pytest.mark.parametrize("host", [None, "127.0.0.1"])
def test_a_port_in_use_is_one_line(host: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        arguments = ["serve", "--port", str(port), *(["--host", host] if host else [])]
        line = mistake(arguments, capsys)
    assert line == f"sono: cannot listen on {host or 'localhost'}:{port}: address already in use"


def test_a_port_in_use_in_a_process_of_its_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        code, output, errors = run("-m", "sono_server", "serve", "--port", str(port))
    assert (code, output) == (2, "")
    assert errors == f"sono: cannot listen on localhost:{port}: address already in use\n"


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, texts in (
        (["--help"], ["usage: sono", "Real-time messaging over WebSocket.", "serve"]),
        (
            ["serve", "--help"],
            ["usage: sono serve", "--host", "--port", "--origin", "--drain", "/sono.js", "8080"],
        ),
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert ended.value.code == 0
        output = capsys.readouterr().out
        for text in texts:
            assert text in output
        assert max(map(len, output.splitlines())) <= 100


def test_how_long_connections_may_take_to_close() -> None:
    arguments = cli._parser().parse_args(["serve", "--drain", "0.5"])
    assert arguments.drain == 0.5


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"sono {__version__}")


@pytest.mark.parametrize(
    ("arguments", "url"),
    [
        ([], r"http://localhost:\d+/"),
        (["--host", "127.0.0.1"], r"http://127\.0\.0\.1:\d+/"),
        (["--host", "::1"], r"http://\[::1\]:\d+/"),
    ],
)
def test_serve_prints_its_url_and_runs_until_a_signal(
    arguments: list[str], url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "::1" in arguments and not has_ipv6():
        pytest.skip("the machine has no IPv6 loopback")
    # The first signal that the server handles ends it, because its handler raises here.
    before = signal.getsignal(signal.SIGTERM)
    done = threading.Event()

    def end() -> None:
        while not done.is_set() and signal.getsignal(signal.SIGTERM) is before:
            done.wait(0.001)
        if not done.is_set():
            signal.raise_signal(signal.SIGTERM)

    thread = threading.Thread(target=end)
    thread.start()
    try:
        assert cli.main(["serve", "--port", "0", *arguments]) == 0
    finally:
        done.set()
        thread.join()
    assert re.fullmatch(
        rf"Sono {re.escape(__version__)} is at {url} - Ctrl-C ends it\n", capsys.readouterr().out
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_module_runs_the_command_until_a_signal(number: signal.Signals) -> None:
    with program("-m", "sono_server", "serve", "--port", "0") as started:
        address = started.address()
        assert status(get(address)) == 200
        with Wire(address, "/ws") as wire:
            started.process.send_signal(number)
            assert wire.closed().code == 1001
            wire.flush()
        assert started.process.wait(10) == 0
        assert started.process.stderr is not None
        assert complaints(started.process.stderr.read()) == ""


def test_other_origins_are_allowed_by_name() -> None:
    arguments = ["--port", "0", "--origin", "https://a.example", "--origin", "https://b.example"]
    with program("-m", "sono_server", "serve", *arguments) as started:
        address = started.address()
        upgrade = (
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://{}.example\r\n"
        )
        assert status(get(address, "/ws", headers=upgrade.format("c"))) == 403
        with Wire(address, "/ws") as wire:
            wire.close()
        code, errors = started.end(signal.SIGTERM)
    assert (code, errors) == (0, "")


def test_limits_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["limits"]) == 0
    printed = capsys.readouterr().out
    for kind in (Limits, Timeouts):
        for name in kind.__struct_fields__:
            assert re.search(rf"^{name} +\S+  \S", printed, re.MULTILINE)
    assert max(map(len, printed.splitlines())) <= 100


def test_limits_can_be_set() -> None:
    settings = ["--set", "max_message=10", "--set", "close=0.5"]
    command = ("-m", "sono_server", "serve", "--port", "0", *settings)
    with program(*command) as started, Wire(started.address(), "/ws") as wire:
        wire.send("0123456789")
        assert "error" in str(wire.message())
        wire.send("0123456789+")
        assert wire.closed().code == 1009


def test_health() -> None:
    with program("-m", "sono_server", "serve", "--port", "0") as started:
        answer = get(started.address(), "/healthz")
        assert status(answer) == 200
        assert answer.endswith(b"\r\n\r\nok\n")


def test_a_stop_with_another_code() -> None:
    with program("-m", "sono_server", "serve", "--port", "0", "--close-code", "1012") as started:
        with Wire(started.address(), "/ws") as wire:
            started.process.send_signal(signal.SIGTERM)
            assert wire.closed().code == 1012
            wire.flush()
        assert started.process.wait(10) == 0


def test_the_table_of_the_docs_is_that_of_the_source() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    for name, default, what in settings():
        assert f"| `{name}` | {default} | {what} |" in text
