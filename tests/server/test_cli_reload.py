"""`sono serve APP --reload`: a changed file starts the application again; nothing stays behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sono_server.cli import command as cli
from sono_server.cli import reload
from tests import certificates
from tests.processes import Program, program
from tests.server.sono_packets import packet
from tests.servers import PATIENCE, Address, Wire, dial

pytest.importorskip("watchfiles", reason="--reload needs watchfiles")
if os.name == "nt":
    pytest.skip("--reload does not work on Windows", allow_module_level=True)

RELOAD = ("-m", "sono_server", "serve", "--port", "0", "--reload", "app")

APPLICATION = """
import os
from sono_server import Sono

print("process", os.getpid(), flush=True)
sono = Sono()

@sono.on_connect
{kind} greet(client):
    client.send("hello", "{word}")
"""
# Blocks the serving thread after a client has left.
BLOCKING = """
import threading

@sono.on_disconnect
def leave(client, close):
    print("blocked", flush=True)
    threading.Event().wait()
"""


def write(folder: Path, text: str, name: str = "app.py") -> None:
    """Write a file atomically, so that nobody imports half of it."""
    whole = folder / f"{name}.new"
    whole.write_text(text)
    whole.replace(folder / name)


def source(word: str, kind: str = "def") -> str:
    return APPLICATION.format(word=word, kind=kind)


def wait_for(started: Program, pattern: str) -> re.Match[str]:
    """Read its output up to a line that matches the pattern."""
    while not (found := re.search(pattern, started.line())):
        pass
    return found


def child_of(started: Program) -> int:
    """The process that imports the application next."""
    return int(wait_for(started, r"^process (\d+)$")[1])


def address_of(started: Program) -> Address:
    """Where the application is served next."""
    return "127.0.0.1", int(wait_for(started, r"^Sono .+ at wss?://localhost:(\d+)/ws - ")[1])


def greeting(wire: Wire) -> str:
    word: str = packet(wire)["payload"]["message"]
    return word


def rest(started: Program) -> tuple[int, str]:
    """Its exit status and standard error; both streams end with the last of its processes."""
    _, errors = started.process.communicate(timeout=PATIENCE)
    return started.process.returncode, errors.decode()


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_change_starts_the_application_anew_at_the_same_port(kind: str, tmp_path: Path) -> None:
    write(tmp_path, source("one", kind))
    (tmp_path / "folder").mkdir()
    with program(*RELOAD, cwd=tmp_path) as started:
        first = child_of(started)
        address = address_of(started)
        with Wire(address, "/ws") as wire:
            assert greeting(wire) == "one"
            write(tmp_path, source("two", kind))  # of the same size, and in the same second
            assert wire.closed().code == 1001
            wire.flush()
        wait_for(started, "^Changed: app.py$")
        assert child_of(started) != first
        assert address_of(started) == address
        with Wire(address, "/ws") as wire:
            assert greeting(wire) == "two"
        write(tmp_path, "", "folder/other.py")
        wait_for(started, "^Changed: other.py$")
        assert address_of(started) == address
        started.process.send_signal(signal.SIGTERM)
        assert rest(started) == (0, "")


@pytest.mark.slow
def test_an_application_that_cannot_be_loaded_is_shown_and_waited_for(tmp_path: Path) -> None:
    write(tmp_path, "x = =\n")
    with program(*RELOAD, cwd=tmp_path) as started:
        wait_for(started, f"^No server runs. Waiting for a change in {re.escape(str(tmp_path))}$")
        write(tmp_path, source("mended"))
        address = address_of(started)
        with Wire(address, "/ws") as wire:
            assert greeting(wire) == "mended"
        write(tmp_path, "sonos = 1\n")
        wait_for(started, "^No server runs")
        sock = dial(address)  # waits for the next server
        with sock:
            write(tmp_path, source("again"))
            assert address_of(started) == address
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert sock.recv(12) == b"HTTP/1.1 200"
        started.process.send_signal(signal.SIGINT)
        status, errors = rest(started)
        assert status == 0
        assert "SyntaxError: invalid syntax\nsono: app cannot be loaded: SyntaxError\n" in errors
        assert "sono: app has no attribute 'sono'; did you mean sonos?\n" in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_both_processes_in_good_order(number: signal.Signals, tmp_path: Path) -> None:
    write(tmp_path, source("one"))
    with program(*RELOAD, "--drain", "5", cwd=tmp_path) as started:
        child = child_of(started)
        with Wire(address_of(started), "/ws") as wire:
            assert greeting(wire) == "one"
            if number == signal.SIGINT:  # as the terminal does
                os.kill(child, number)
            started.process.send_signal(number)
            assert wire.closed().code == 1001
            wire.flush()
        assert rest(started) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_application_is_imported(number: signal.Signals, tmp_path: Path) -> None:
    write(tmp_path, source("one") + "import threading\nthreading.Event().wait()\n")
    with program(*RELOAD, "--drain", "0", cwd=tmp_path) as started:
        child_of(started)
        started.process.send_signal(number)
        assert rest(started) == (0, "")


@pytest.mark.parametrize("importing", [False, True])
def test_the_child_ends_when_the_parent_is_killed(importing: bool, tmp_path: Path) -> None:
    write(tmp_path, source("one") + "import threading\nthreading.Event().wait()\n" * importing)
    with program(*RELOAD, cwd=tmp_path) as started:
        child_of(started)
        if importing:
            started.process.kill()
        else:
            with Wire(address_of(started), "/ws") as wire:
                assert greeting(wire) == "one"
                started.process.kill()
                assert wire.closed().code == 1001
                wire.flush()
        assert rest(started) == (-signal.SIGKILL, "")


@pytest.mark.slow
def test_a_second_signal_kills_a_child_that_does_not_end(tmp_path: Path) -> None:
    write(tmp_path, source("one") + BLOCKING)
    with program(*RELOAD, "--drain", "60", cwd=tmp_path) as started:
        with Wire(address_of(started), "/ws") as wire:
            assert greeting(wire) == "one"
            started.process.send_signal(signal.SIGTERM)
            assert wire.closed().code == 1001
            wire.flush()
        wait_for(started, "^blocked$")
        started.process.send_signal(signal.SIGTERM)
        assert rest(started)[0] == 0


@pytest.mark.slow
def test_a_child_that_does_not_end_is_killed_before_the_next(tmp_path: Path) -> None:
    write(tmp_path, source("one") + BLOCKING)
    with program(*RELOAD, "--drain", "0", cwd=tmp_path) as started:
        with Wire(address_of(started), "/ws") as wire:
            assert greeting(wire) == "one"
        wait_for(started, "^blocked$")
        write(tmp_path, source("two"))
        with Wire(address_of(started), "/ws") as wire:
            assert greeting(wire) == "two"


@pytest.mark.slow
def test_a_server_that_ends_by_itself_is_started_by_the_next_change(tmp_path: Path) -> None:
    write(tmp_path, source("one"))
    with program(*RELOAD, cwd=tmp_path) as started:
        child = child_of(started)
        address_of(started)
        os.kill(child, signal.SIGKILL)
        wait_for(started, "^No server runs")
        write(tmp_path, source("two"))
        with Wire(address_of(started), "/ws") as wire:
            assert greeting(wire) == "two"


@pytest.mark.slow
def test_a_unix_socket_is_kept_and_then_removed(tmp_path: Path) -> None:
    write(tmp_path, source("one"))
    arguments = ("serve", "app", "--reload", "--unix", "sono.sock")
    with program("-m", "sono_server", *arguments, cwd=tmp_path) as started:
        wait_for(started, " at unix:sono.sock - ")
        made = (tmp_path / "sono.sock").stat().st_ino
        write(tmp_path, source("two"))
        wait_for(started, "^Changed: app.py$")
        wait_for(started, " at unix:sono.sock - ")
        assert (tmp_path / "sono.sock").stat().st_ino == made
        started.process.send_signal(signal.SIGTERM)
        assert rest(started) == (0, "")
    assert not (tmp_path / "sono.sock").exists()


@pytest.mark.slow
def test_hangup_starts_a_child_with_the_certificates_of_now(tmp_path: Path) -> None:
    write(tmp_path, source("one"))
    chain, key = certificates.save(tmp_path)
    tls = (f"--tls-cert={chain}", f"--tls-key={key}")
    with program(*RELOAD, *tls, cwd=tmp_path) as started:
        address = address_of(started)
        certificates.save(tmp_path, certificates.renewed())
        started.process.send_signal(signal.SIGHUP)
        assert address_of(started) == address
        with certificates.client_side().wrap_socket(
            dial(address), server_hostname="localhost"
        ) as sock:
            shown = sock.getpeercert(binary_form=True)
        pem = certificates.renewed().cert_chain_pems[0].bytes().decode()
        assert shown == ssl.PEM_cert_to_DER_cert(pem)


# -- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere"], "there is no module 'nowhere', neither in {folder} nor installed"),
        (["nowhere.py"], "there is no file nowhere.py"),
        (["app:chat"], "app has no attribute 'chat'; did you mean sono?"),
        (["app", "--set", "speed=1"], "'speed=1' is not NAME=VALUE; `sono limits` has the names"),
        (["app", "--port", "{port}"], "cannot listen on localhost:{port}: address already in use"),
    ],
)
def test_a_mistake_in_the_arguments_ends_the_parent(
    arguments: list[str], line: str, tmp_path: Path
) -> None:
    write(tmp_path, source("one"))
    with socket.create_server(("127.0.0.1", 0)) as sock:
        names = {"folder": tmp_path, "port": sock.getsockname()[1]}
        given = ["--port", "0", *(argument.format(**names) for argument in arguments)]
        with program("-m", "sono_server", "serve", "--reload", *given, cwd=tmp_path) as started:
            assert rest(started) == (2, f"sono: {line.format(**names)}\n")


def test_what_is_missing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, source("one"))
    monkeypatch.chdir(tmp_path)

    def mistake() -> str:
        with pytest.raises(SystemExit) as ended:
            cli.main(["serve", "app", "--port", "0", "--reload"])
        assert ended.value.code == 2
        return capsys.readouterr().err

    monkeypatch.setitem(sys.modules, "watchfiles", None)
    assert mistake() == "sono: --reload needs watchfiles: pip install watchfiles\n"
    monkeypatch.setattr(reload, "os", SimpleNamespace(name="nt"))
    assert mistake() == "sono: --reload does not work on Windows\n"
