"""`sono serve --workers` and `workers.run`, in real processes; those that need no broker."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sono_server.cli import command as cli
from sono_server.operations import children, supervise, workers
from sono_server.operations.supervisor import described
from sono_server.serving import WorkerListeners, listen
from tests import certificates
from tests.processes import Log, Program, program
from tests.server.sono_packets import packet
from tests.servers import PATIENCE, Wire, dial, read_all

if os.name == "nt":
    pytest.skip("there are no workers on Windows", allow_module_level=True)

SERVE = ("-m", "sono_server", "serve", "--workers", "1", "--log-level", "info")
APPLICATION = """
import os
import time
from pathlib import Path
from sono_server import Sono

while Path("wait").exists():
    time.sleep(0.01)
sono = Sono()

@sono.on_connect
{kind} greet(client):
    client.send("worker", os.getpid())

@sono.on("block")
{kind} block(client, message):
    Path("blocked").touch()
    time.sleep(3600)
"""


def write(folder: Path, text: str = "", kind: str = "def") -> None:
    (folder / "app.py").write_text(text or APPLICATION.format(kind=kind))


def worker(wire: Wire) -> int:
    """The process that serves this client."""
    number: int = packet(wire)["payload"]["message"]
    return number


def until(happens: Callable[[], object]) -> None:
    while not happens():
        time.sleep(0.01)


def runs(process: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


def end(started: Program, number: signal.Signals = signal.SIGTERM) -> int:
    started.process.send_signal(number)
    return started.process.wait(PATIENCE)


@pytest.mark.parametrize("kind", ["def", pytest.param("async def", marks=pytest.mark.slow)])
def test_sighup_replaces_the_worker_before_its_clients_are_told_to_come_back(
    kind: str, tmp_path: Path
) -> None:
    write(tmp_path, kind=kind)
    with program(*SERVE, "--port", "0", "app", cwd=tmp_path) as started:
        line = started.line()
        found = re.fullmatch(
            r"Sono \S+ serves app at ws://localhost:(\d+)/ws with 1 worker - Ctrl-C ends it", line
        )
        assert found, line
        address = ("127.0.0.1", int(found[1]))
        with Wire(address, "/ws") as wire:
            first = worker(wire)
            assert os.getsid(first) != os.getsid(started.process.pid)  # Ctrl-C is not for it
            started.process.send_signal(signal.SIGHUP)
            assert wire.closed().code == 1012
            with Wire(address, "/ws") as other:
                second = worker(other)
                assert second != first
                wire.flush()
                wire.close()
                Log(started).wait_for("worker 1 has been replaced")
                until(lambda: not runs(first))
                started.process.send_signal(signal.SIGINT)
                assert other.closed().code == 1001
                other.flush()
        assert started.process.wait(PATIENCE) == 0
        assert not runs(second)
        with pytest.raises(ConnectionRefusedError):
            dial(address)


def test_who_comes_while_a_worker_starts_again_waits_for_it(tmp_path: Path) -> None:
    write(tmp_path)
    with program(*SERVE, "--port", "0", "app", cwd=tmp_path) as started:
        address, log = started.address(), Log(started)
        with Wire(address, "/ws") as wire:
            first = worker(wire)
        (tmp_path / "wait").touch()
        os.kill(first, signal.SIGKILL)
        log.wait_for(
            rf"ERROR sono: worker 1 \(process {first}\) was ended by SIGKILL;"
            " another one starts now"
        )
        with dial(address) as sock:
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            (tmp_path / "wait").unlink()
            assert read_all(sock).startswith(b"HTTP/1.1 200")
        assert end(started) == 0
        assert len(log.having("ERROR")) == 1


def test_a_replacement_that_fails_leaves_the_old_worker_serving(tmp_path: Path) -> None:
    write(tmp_path)
    with program(*SERVE, "--port", "0", "app", cwd=tmp_path) as started:
        address, log = started.address(), Log(started)
        with Wire(address, "/ws") as wire:
            first = worker(wire)
            write(tmp_path, "x = =\n")
            started.process.send_signal(signal.SIGHUP)
            log.wait_for(
                r"ERROR sono: worker 1 is not replaced, as its replacement failed: \(process \d+\)"
                " has ended with exit status 1; the old one goes on"
            )
            with Wire(address, "/ws") as other:
                assert worker(other) == first
        assert end(started) == 0


@pytest.mark.slow
def test_one_that_is_not_ready_in_time_is_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path)
    with program(*SERVE, "--boot", "10", "--port", "0", "app", cwd=tmp_path) as started:
        address, log = started.address(), Log(started)
        (tmp_path / "wait").touch()
        started.process.send_signal(signal.SIGHUP)
        log.wait_for("ERROR sono: worker 1 is not ready in time, and is killed")
        log.wait_for("ERROR sono: worker 1 is not replaced, .+ was ended by SIGKILL; the old one")
        with Wire(address, "/ws") as wire:
            worker(wire)
        assert end(started) == 0


@pytest.mark.parametrize(
    ("text", "status", "error"),
    [
        ("x = =\n", 1, "sono: app cannot be loaded: SyntaxError\n"),
        ("sonos = 1\n", 2, "sono: app has no attribute 'sono'; did you mean sonos?\n"),
    ],
)
def test_a_first_worker_that_refuses_ends_all_with_its_status_and_message(
    text: str, status: int, error: str, tmp_path: Path
) -> None:
    write(tmp_path, text.replace("sonos = 1", "from sono_server import Sono\nsonos = Sono()"))
    with program(*SERVE, "--port", "0", "app", cwd=tmp_path) as started:
        output, errors = started.process.communicate(timeout=PATIENCE)
        assert (started.process.returncode, output) == (status, b"")
        assert errors.decode().endswith(error)
        assert errors.count(b"sono: ") == 1


def test_a_blocked_worker_is_killed_after_the_drain_time(tmp_path: Path) -> None:
    write(tmp_path)
    with program(*SERVE, "--drain", "0", "--port", "0", "app", cwd=tmp_path) as started:
        address, log = started.address(), Log(started)
        with Wire(address, "/ws") as wire:
            process = worker(wire)
            wire.send('{"protocol":"message","event":"block","payload":{"message":1}}')
            until((tmp_path / "blocked").exists)
            assert end(started) == 0
        assert not runs(process)
        assert len(log.having("ERROR sono: worker 1 does not end, and is killed")) == 1


def test_a_second_signal_kills_at_once(tmp_path: Path) -> None:
    write(tmp_path)
    with program(*SERVE, "--drain", "3600", "--port", "0", "app", cwd=tmp_path) as started:
        address = started.address()
        with Wire(address, "/ws") as wire:
            process = worker(wire)
            wire.send('{"protocol":"message","event":"block","payload":{"message":1}}')
            until((tmp_path / "blocked").exists)
            started.process.send_signal(signal.SIGTERM)
            Log(started).wait_for("the workers are told to end")  # two that are pending are one
            assert end(started) == 0
        assert not runs(process)


def test_a_supervisor_that_is_killed_takes_its_workers_along_in_good_order(tmp_path: Path) -> None:
    write(tmp_path)
    with program(*SERVE, "--port", "0", "app", cwd=tmp_path) as started:
        with Wire(started.address(), "/ws") as wire:
            worker(wire)
            started.process.send_signal(signal.SIGKILL)
            assert wire.closed().code == 1001
            wire.flush()
        started.process.communicate(
            timeout=PATIENCE
        )  # the worker has the same streams, till it ends


def test_a_blocked_worker_does_not_outlive_its_supervisor_by_more_than_the_drain_time(
    tmp_path: Path,
) -> None:
    write(tmp_path)
    with (
        program(*SERVE, "--drain", "0", "--port", "0", "app", cwd=tmp_path) as started,
        Wire(started.address(), "/ws") as wire,
    ):
        worker(wire)
        wire.send('{"protocol":"message","event":"block","payload":{"message":1}}')
        until((tmp_path / "blocked").exists)
        started.process.send_signal(signal.SIGKILL)
        started.process.communicate(timeout=PATIENCE)


def test_a_replacement_has_the_new_certificate(tmp_path: Path) -> None:
    write(tmp_path)
    chain, key = certificates.save(tmp_path)
    options = (f"--tls-cert={chain}", f"--tls-key={key}")
    with program(*SERVE, *options, "--port", "0", "app", cwd=tmp_path) as started:
        line = started.line()
        assert "at wss://localhost:" in line
        address = ("127.0.0.1", int(re.findall(r":(\d+)/", line)[0]))
        certificates.save(tmp_path, certificates.renewed())
        started.process.send_signal(signal.SIGHUP)
        Log(started).wait_for("worker 1 has been replaced")
        with certificates.client_side().wrap_socket(
            dial(address), server_hostname="localhost"
        ) as sock:
            shown = sock.getpeercert(binary_form=True)
        pem = certificates.renewed().cert_chain_pems[0].bytes().decode()
        assert shown == ssl.PEM_cert_to_DER_cert(pem)
        assert end(started) == 0


def test_a_unix_socket_is_shared_and_removed_at_the_end(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "sock"
    with program(*SERVE, "--unix", str(path), "app", cwd=tmp_path) as started:
        assert f"at unix:{path} with 1 worker" in started.line()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(path))
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert read_all(sock).startswith(b"HTTP/1.1 200")
        assert end(started) == 0
        assert not path.exists()


def test_a_program_can_have_workers(tmp_path: Path) -> None:
    write(tmp_path)
    text = (
        "from sono_server.operations import workers\n"
        "status = workers.run('app', workers=1, port=0, path='/chat', settings={'max_message': 9},"
        " on_start=lambda address: print(address[1], flush=True))\n"
        "print('status', status)\n"
    )
    with program("-c", text, cwd=tmp_path) as started:
        address = ("127.0.0.1", int(started.line()))
        with Wire(address, "/chat") as wire:
            worker(wire)
            wire.send("0123456789")
            assert wire.closed().code == 1009
            wire.flush()
        started.process.send_signal(signal.SIGTERM)
        assert started.line() == "status 0"


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"workers": 0}, ValueError, "^workers must be from 1 to 256, not 0"),
        ({"workers": 257}, ValueError, "^workers must be from 1 to 256"),
        ({"workers": "2"}, TypeError, "^workers must be "),
        ({"workers": True}, TypeError, "^workers must be "),
        ({"workers": 2}, ValueError, "^workers: 2 need a backplane that they share"),
        ({"workers": 2, "backplane": "memory"}, ValueError, "^workers: 2 need a backplane"),
        pytest.param(
            {"backplane": "http://localhost"},
            ValueError,
            "backplane",
            marks=pytest.mark.skipif(not find_spec("redis"), reason="redis-py reads URLs"),
        ),
        ({"app": 5}, TypeError, "^app must be "),
        ({"app": "no thing"}, ValueError, "^'no thing' names no application"),
        ({"port": 65536}, ValueError, "^port must be from 0 to 65535"),
        ({"drain": -1}, ValueError, "^drain must be finite and not negative"),
        ({"drain": float("inf")}, ValueError, "^drain must be finite"),
        ({"boot": float("nan")}, ValueError, "^boot must be finite"),
        ({"path": "ws"}, ValueError, "^path must be one such as /ws"),
        ({"close_code": 1000}, ValueError, "^close_code must be 1001 or 1012"),
        ({"origins": "https://a"}, TypeError, "^origins must be a collection"),
        ({"hosts": ["http://a"]}, ValueError, "^hosts: "),
        ({"trusted_proxies": ["nginx"]}, ValueError, "^trusted_proxies: "),
        ({"max_connections": 0}, ValueError, "^max_connections must be at least 1"),
        ({"settings": {"speed": 1}}, ValueError, "speed=1"),
        ({"log_level": "loud"}, ValueError, "^log_level must be one of"),
        ({"log_format": "xml"}, ValueError, "^log_format must be one of"),
        ({"tls_key": "key.pem"}, ValueError, "^tls_key needs tls_cert"),
        ({"tls_cert": "/nowhere.pem"}, OSError, "nowhere.pem"),
    ],
)
def test_mistakes_of_a_program_raise_at_once_and_say_which(
    arguments: dict[str, Any],
    error: type[Exception],
    text: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SONO_BACKPLANE", raising=False)
    monkeypatch.setattr(workers, "supervise", lambda *_, **__: pytest.fail("it has begun"))
    with pytest.raises(error, match=text):
        workers.run(**{"app": "app", "workers": 1, "port": 0, **arguments})


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--workers", "0"], "--workers: workers must be from 1 to 256, not 0"),
        (["--workers", "two"], "argument --workers: invalid int value: 'two'"),
        (["--workers", "2"], "--workers: workers: 2 need a backplane that they share"),
        (["--workers", "2", "--backplane", "memory"], "need a backplane that they share"),
        (["--workers", "2", "--backplane", "htp://x"], "--workers: .*backplane"),
        (["app", "--workers", "1", "--reload"], "--workers is not for --reload"),
        (["--workers", "1", "--port", "0", "--host", "192.0.2.1"], "cannot listen on 192.0.2.1:0"),
        (["--boot", "soon"], "'soon' is not a number of seconds"),
    ],
)
def test_mistakes_of_the_command_are_one_line(
    arguments: list[str],
    text: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SONO_BACKPLANE", raising=False)
    with pytest.raises(SystemExit) as ended:
        cli.main(["serve", *arguments])
    assert ended.value.code == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.count("\n") == 1
    assert re.search(text, errors)


def test_another_server_at_the_port_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    """Also one that would share it: half of the connections would be gone."""
    with socket.socket() as other:
        if sys.platform == "linux":
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        with pytest.raises(SystemExit):
            cli.main(["serve", "--workers", "1", "--port", port])
    assert capsys.readouterr().err.endswith(f"localhost:{port}: address already in use\n")


def test_there_are_no_workers_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sono_server.operations.workers.os.name", "nt")
    with pytest.raises(OSError, match="Windows"):
        workers.check(1, None)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (3, "(process 5) has ended with exit status 3"),
        (-9, "(process 5) was ended by SIGKILL"),
        (-99, "(process 5) was ended by signal 99"),
    ],
)
def test_how_a_worker_has_ended_is_said_in_words(status: int, text: str) -> None:
    assert described(5, status) == text


def test_a_process_that_cannot_be_started_is_a_worker_that_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(children, "start", refuse)
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD)]
    listeners = WorkerListeners(listen("127.0.0.1", 0))
    assert supervise(["serve"], listeners, workers=2, drain=1) == 1
    assert "no process can be started: " in caplog.text
    assert before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD)]
    assert listeners.of(0) == [-1]  # closed


def test_a_supervisor_needs_the_main_thread() -> None:
    listeners = WorkerListeners(listen("127.0.0.1", 0))
    with ThreadPoolExecutor() as pool, pytest.raises(ValueError, match="main thread"):
        pool.submit(supervise, ["serve"], listeners, workers=1, drain=1).result(PATIENCE)
    assert listeners.of(0) == [-1]


class FakeServer:
    """Calls at once what is to be called soon."""

    def call_soon(self, function: Callable[[], object]) -> bool:
        function()
        return True


@pytest.mark.parametrize("answers", [True, False])
def test_a_worker_whose_broker_is_away_is_ready_all_the_same_after_a_while(
    answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "PATIENCE", PATIENCE if answers else 0.05)
    said, say = os.pipe()
    lifeline, parent = os.pipe()
    monkeypatch.setattr(children.Inherited, "_end_with_parent", lambda self: os.close(lifeline))
    asked: list[int] = []

    def ready() -> bool:
        asked.append(len(asked))
        return answers and len(asked) == 3

    try:
        inherited = children.Inherited(f"{lifeline},{say}")
        server: Any = FakeServer()
        inherited.serve(server, ready, 1.0)
        assert os.read(said, 1) == b"r"
        assert len(asked) == 3 if answers else asked
    finally:
        for descriptor in (said, say, parent):
            os.close(descriptor)
