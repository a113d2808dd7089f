"""Sockets that a service manager hands over, and what it is told."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from sono_server.serving import activated, notify
from tests.processes import program
from tests.servers import PATIENCE, get, status

if os.name == "nt":
    pytest.skip("there is no systemd on Windows", allow_module_level=True)

STARTS = """
import os, socket, sys
other, sock = socket.socket(), socket.create_server(("127.0.0.1", 0))
print(sock.getsockname()[1], flush=True)
os.dup2({descriptor}, 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="{count}", LISTEN_FDNAMES="a")
os.execv(sys.executable, [sys.executable, "-m", "sono_server", "serve", *sys.argv[1:]])
"""
"""Starts the command as a service manager does."""
APPLICATION = """
import os
from sono_server import Sono

print(sorted(name for name in os.environ if name[:7] in ("LISTEN_", "NOTIFY_")), flush=True)
sono = Sono()
"""


class Manager:
    """The socket on which a service manager is told things."""

    def __init__(self, address: str) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(address)
        self._sock.settimeout(PATIENCE)

    def told(self) -> bytes:
        return self._sock.recv(1000)

    def close(self) -> None:
        self._sock.close()


@pytest.mark.parametrize("options", [[], ["--workers", "1"]])
def test_sockets_are_taken_and_the_application_knows_nothing_of_them(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app.py").write_text(APPLICATION)
    path = str(tmp_path / "notify")
    manager = Manager(path)
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    text = STARTS.format(descriptor="sock.fileno()", count=1)
    with program("-c", text, *options, "app", cwd=tmp_path) as started:
        port = int(started.line())
        assert started.line() == ("[]" if options else "['NOTIFY_SOCKET']")  # it tells it
        assert started.address() == ("127.0.0.1", port)
        assert manager.told() == b"READY=1"
        assert status(get(("127.0.0.1", port), "/healthz")) == 200
        started.process.send_signal(signal.SIGTERM)
        if options:
            assert manager.told() == b"STOPPING=1"
        assert started.process.wait(PATIENCE) == 0
    manager.close()


@pytest.mark.parametrize(
    ("options", "descriptor", "count", "error"),
    [
        (["--port", "1"], "sock.fileno()", 1, "port is given, although LISTEN_FDS hands over"),
        (["--port=1", "--workers=1"], "sock.fileno()", 1, "port is given, although LISTEN_FDS"),
        (["--host", "::1"], "sock.fileno()", 1, "host is given, although LISTEN_FDS hands over"),
        (["--unix", "x"], "sock.fileno()", 1, "unix is given, although LISTEN_FDS hands over"),
        ([], "0", 1, "descriptor 3 of LISTEN_FDS is not a listening socket"),
        ([], "other.fileno()", 1, "descriptor 3 of LISTEN_FDS is not a listening"),
        ([], "sock.fileno()", "many", "LISTEN_FDS must be a number, not 'many'"),
    ],
)
def test_mistakes_are_one_line(
    options: list[str], descriptor: str, count: object, error: str
) -> None:
    text = STARTS.format(descriptor=descriptor, count=count)
    with program("-c", text, *options) as started:
        _, errors = started.process.communicate(timeout=PATIENCE)
        assert started.process.returncode == 2
        assert errors.startswith(b"sono: " + error.encode())
        assert errors.count(b"\n") == 1


@pytest.mark.parametrize("process", ["", "1"])
def test_what_was_meant_for_another_process_is_left_alone(
    process: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LISTEN_PID", process)
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert activated(None, 8080, None) == []


def test_no_sockets_leave_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "0")
    assert activated(None, 8080, None) == []
    assert "LISTEN_FDS" not in os.environ


@pytest.mark.parametrize("prefix", ["@", ""])
def test_a_manager_is_told_at_a_path_or_a_name(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{tmp_path}/notify"
    manager = Manager(f"\0{name}" if prefix else name)
    monkeypatch.setenv("NOTIFY_SOCKET", prefix + name)
    notify("READY=1")
    assert manager.told() == b"READY=1"
    manager.close()


def test_nobody_need_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify("READY=1")
