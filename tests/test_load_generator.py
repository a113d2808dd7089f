"""The load generator and the ceiling of the benchmarks: what they count, and what they notice.

A load generator that believes everything measures nothing, so most of these tests run it against
servers that answer wrongly on purpose.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import load
from sono_core import (
    Accept,
    Close,
    CloseCode,
    Connection,
    Deflate,
    Limits,
    Ping,
    Pong,
    Prepared,
    Role,
    TextMessage,
)
from sono_server import HTTPRequest, Sono, WebSocket
from tests.certificates import server_side
from tests.servers import PATIENCE, Address, Wire, listener, read_all, running

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="epoll is Linux's"),
    pytest.mark.skipif(
        shutil.which("cc") is None, reason="no C compiler; install one with: apt-get install gcc"
    ),
]

QUICK = ("--seconds=0.1", "--warmup=0.02")
FEW = ("--connections=3", "--in-flight=2")


@pytest.fixture(scope="module")
def programs() -> load.Programs:
    return load.build()


@pytest.fixture
def run(programs: load.Programs) -> Callable[..., dict[str, Any]]:
    """Runs a command of the load generator against a port, quickly."""

    def quickly(command: str, port: int, *options: object) -> dict[str, Any]:
        if "--deflate" in options and not load.has("ZLIB"):
            pytest.skip("no zlib.h; install it with: apt-get install zlib1g-dev")
        if "--tls" in options and not load.has("TLS"):
            pytest.skip("no openssl/ssl.h; install it with: apt-get install libssl-dev")
        return load.run(programs.load, command, f"--port={port}", *QUICK, *options)

    return quickly


@contextlib.contextmanager
def ceiling(programs: load.Programs, mode: str) -> Iterator[Address]:
    """The address of a running ceiling."""
    process = subprocess.Popen(
        [programs.ceiling, "--port=0", mode], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process:
        try:
            yield "127.0.0.1", int(process.stdout.readline().removeprefix("listening on "))
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0


def application(on_message: Callable[[WebSocket, Any], object]) -> Callable[[HTTPRequest], object]:
    """A server's answer to each request."""
    return lambda request: request.accept(on_message)


class Room:
    """Fan-out as a user would write it.

    Args:
        greeting: what a connection must send to be let in.
        apart: whether senders get no copy.
    """

    def __init__(self, greeting: str | None = None, apart: bool = False) -> None:
        self.greeting = greeting
        self.apart = apart
        self.members: list[WebSocket] = []
        self.codes: list[int] = []
        """Of those that have left."""

    def enter(self, request: HTTPRequest) -> None:
        socket = request.accept(self.publish, self.leave)
        if socket and self.greeting is None:
            self.members.append(socket)

    def leave(self, member: WebSocket, close: Close) -> None:
        self.codes.append(close.code)
        if member in self.members:
            self.members.remove(member)

    def publish(self, sender: WebSocket, message: str) -> None:
        if message == self.greeting:
            for member in self.members:
                member.send("somebody has come")
            self.members.append(sender)
            sender.send("welcome")
            return
        prepared = Prepared(TextMessage(message))
        for member in self.members:
            if member is not sender or not self.apart:
                member.send(prepared)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (64, ()),
        (0, ()),
        (1, ()),
        (126, ("--in-flight=100",)),
        (8190, ("--in-flight=40",)),
        (70_001, ("--utf8",)),
        (300_000, ("--binary",)),
        (1024, ("--json", "--deflate")),
        (20_000, ("--deflate",)),
        (64, ("--tls",)),
        (0, ("--tls", "--in-flight=100")),
        (300_000, ("--tls", "--binary")),
    ],
)
def test_echo_counts_what_comes_back(run: Any, size: int, options: tuple[str, ...]) -> None:
    context = server_side() if "--tls" in options else None
    with running(deflate=Deflate(), ssl=context) as server:
        result = run("echo", server.address[1], *FEW, f"--size={size}", *options)
    assert result["errors"] == 0, result
    assert result["messages"] > 0
    assert result["bytes"] == 0 or result["bytes"] <= size * result["messages"]
    if "--deflate" not in options:
        assert result["bytes"] == size * result["messages"]
    assert 0.1 <= result["seconds"] < 1
    assert result["rate"] == pytest.approx(
        result["messages"] / result["seconds"], rel=1e-3, abs=0.1
    )
    latency = result["latency_us"]
    assert 0 <= latency["p50"] <= latency["p99"]
    # One message of 16 is timed: a busy machine may not get so far with large ones.
    assert latency["p50"] or result["messages"] < 3 * 2 * 16
    assert 0 < result["cpu_seconds"] <= result["seconds"]
    assert "server_cpu_seconds" not in result


@pytest.mark.parametrize("options", [(), ("--tls",)], ids=["plain", "tls"])
def test_pace_keeps_to_its_rate(run: Any, options: tuple[str, ...]) -> None:
    """On a busy machine it may be late, but then sends what was due."""
    with running(ssl=server_side() if options else None) as server:
        began = time.monotonic()
        result = run("pace", server.address[1], "--connections=5", "--rate=500", *options)
        taken = time.monotonic() - began
    assert result["errors"] == 0, result
    assert 0 < result["messages"] <= 500 * taken
    latency = result["latency_us"]
    assert 0 < latency["p50"] <= latency["p99"] <= latency["p999"]


def test_pace_counts_what_comes_late_from_when_it_was_due(run: Any) -> None:
    """A stall of the server shows in all that was due meanwhile."""
    stalled = threading.Event()

    def stall(ws: WebSocket, message: str) -> None:
        if not stalled.is_set():
            stalled.set()
            time.sleep(0.5)
        ws.send(message)

    with running(application(stall)) as server:
        options = ("--connections=2", "--rate=1000", "--warmup=0", "--seconds=0.7")
        result = run("pace", server.address[1], *options)
    assert result["errors"] == 0, result
    assert result["latency_us"]["p50"] > 50_000


def test_pace_says_when_the_server_cannot_keep_up(run: Any) -> None:
    held = threading.Event()

    def hold(ws: WebSocket, message: str) -> None:
        held.wait(PATIENCE)

    with running(application(hold)) as server:
        options = ("--connections=1", "--rate=100000", "--seconds=0.5")
        result = run("pace", server.address[1], *options)
        held.set()
    assert result["first_error"] == "the server cannot keep up with the rate"


def test_the_cpu_time_of_processes_is_that_of_the_measured_time(run: Any) -> None:
    with running() as server:
        pids = f"{os.getpid()},{os.getpid()}"
        before = time.process_time()
        result = run("echo", server.address[1], *FEW, f"--server-pid={pids}")
    # the system counts in steps of 10 ms: one each for user and system time, twice
    assert 0 < result["server_cpu_seconds"] < 2 * (time.process_time() - before + 0.04)


def test_fanout_counts_the_deliveries_to_all(run: Any) -> None:
    with running(Room().enter) as server:
        result = run("fanout", server.address[1], "--connections=20", "--in-flight=4")
    assert result["errors"] == 0, result
    # messages in flight at the beginning and the end make a difference
    assert abs(result["messages"] - 20 * result["published"]) <= 2 * 20 * 4
    assert result["bytes"] == 128 * result["messages"]
    assert 0 < result["latency_us"]["p50"] <= result["latency_us"]["p99"]


def test_fanout_of_packets_in_a_template(run: Any) -> None:
    sono = Sono()
    packet = '{"protocol":"message","event":"message","payload":{"message":"{}"}}'
    with running(lambda request: sono.connect(request, lambda: sono.emit("hello"))) as server:
        result = run(
            "fanout",
            server.address[1],
            "--connections=10",
            f"--template={packet}",
            '--expect-prefix={"protocol":"message","payload":{"message":"',
        )
    assert result["errors"] == 0, result
    assert result["messages"] > 0


def test_fanout_after_a_greeting_with_the_publisher_apart(run: Any) -> None:
    options = ("--greet=hello", "--skip-until=welcome", "--publisher-apart", "--connections=5")
    with running(Room("hello", apart=True).enter) as server:
        result = run("fanout", server.address[1], *options)
    assert result["errors"] == 0, result
    assert abs(result["messages"] - 4 * result["published"]) <= 2 * 4


class Half(Room):
    """One of two that serve as one: what is said here is said there as well, a moment later."""

    def __init__(self) -> None:
        super().__init__()
        self.elsewhere: Callable[[WebSocket, str], object] = self.publish

    def publish(self, sender: WebSocket, message: str) -> None:
        super().publish(sender, message)
        self.elsewhere(sender, message)


def test_several_servers_take_turns_and_a_publication_has_arrived_when_all_have_told_it(
    programs: load.Programs,
) -> None:
    here, there = Half(), Half()
    with running(here.enter) as first, running(there.enter) as second:
        here.elsewhere = lambda *said: second.server.call_soon(Room.publish, there, *said)
        ports = f"--port={first.address[1]},{second.address[1]}"
        shape = "--connections=10", "--in-flight=2", "--tellers=2"
        result = load.run(programs.load, "fanout", ports, *shape, *QUICK)
    assert result["errors"] == 0, result
    assert len(there.codes) == len(here.codes) == 5
    assert abs(result["messages"] - 10 * result["published"]) <= 2 * 10 * 2
    assert 0 < result["latency_us"]["p50"] <= result["latency_us"]["p99"]


def test_pings_of_engine_io_are_answered(run: Any, programs: load.Programs) -> None:
    pongs: list[str] = []

    class EngineRoom(Room):
        def publish(self, sender: WebSocket, message: str) -> None:
            if message == "3":
                pongs.append(message)
                return
            if message == self.greeting:
                sender.send("2")
            super().publish(sender, message)

    options = ("--greet=hello", "--skip-until=welcome", "--engineio", "--connections=5")
    with running(EngineRoom("hello").enter) as server:
        result = run("fanout", server.address[1], *options)
        assert result["errors"] == 0, result
        assert len(pongs) == 5
        result = load.run(programs.load, "idle", f"--port={server.address[1]}", *options)
        assert result == {"open": 5, "errors": 0}


def test_compressed_fanout(run: Any) -> None:
    with running(Room().enter, deflate=Deflate()) as server:
        result = run("fanout", server.address[1], "--deflate", "--json", "--size=2000")
    assert result["errors"] == 0, result
    assert result["bytes"] < 1000 * result["messages"]


def test_slow_members_never_read(run: Any) -> None:
    room = Room()
    with running(room.enter, limits=Limits(max_queue=500_000)) as server:
        # Long enough for a busy machine to fill the queues, which many messages do.
        result = run("fanout", server.address[1], *FEW, "--slow=4", "--size=200000", "--seconds=3")
    assert result["errors"] == 0, result
    assert room.codes.count(CloseCode.SLOW_READER) == 4
    assert 0 <= result["slow_closed"] <= 4


def test_connect_counts_clean_closes(run: Any) -> None:
    closes: list[Close] = []
    with running(
        lambda request: request.accept(on_close=lambda ws, close: closes.append(close))
    ) as server:
        result = run("connect", server.address[1], "--concurrency=8")
    assert result["errors"] == 0, result
    assert 0 < result["messages"] <= len(closes)
    assert {close.code for close in closes} == {1000}


def test_connect_waits_for_the_answer_to_its_greeting(run: Any) -> None:
    heard: list[str] = []

    def answer(ws: WebSocket, message: str) -> None:
        heard.append(message)
        ws.send("news")
        ws.send("welcome to you")

    with running(lambda request: request.accept(answer)) as server:
        options = ("--concurrency=8", "--greet=hello", "--skip-until=welcome")
        result = run("connect", server.address[1], *options)
    assert result["errors"] == 0, result
    assert 0 < result["messages"] <= len(heard)
    assert set(heard) == {"hello"}


@pytest.mark.parametrize("options", [(), ("--resume-tls",)], ids=["full", "resumed"])
def test_connect_shakes_hands_in_full_or_resumes(run: Any, options: tuple[str, ...]) -> None:
    def accept(request: HTTPRequest) -> None:
        assert request.tls
        assert request.tls.version == "TLSv1.3"
        request.accept()

    with running(accept, ssl=server_side()) as server:
        result = run("connect", server.address[1], "--concurrency=4", "--tls", *options)
    assert result["errors"] == 0, result
    assert result["messages"] > 0
    if options:
        assert result["messages"] - 8 <= result["resumed"]  # those that came first were not


class Idle:
    """A running `load idle`; the with statement ends it."""

    def __init__(self, program: Path, port: int, *options: str) -> None:
        self.process = subprocess.Popen(
            [program, "idle", f"--port={port}", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def result(self) -> dict[str, int]:
        assert self.process.stdout is not None
        answer: dict[str, int] = json.loads(self.process.stdout.readline())
        return answer

    def __enter__(self) -> Idle:
        return self

    def end(self) -> dict[str, int]:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.result()

    def __exit__(self, *error: object) -> None:
        with self.process:
            self.process.kill()


def test_idle_connections_answer_pings_until_stdin_ends(programs: load.Programs) -> None:
    pongs = threading.Semaphore(0)
    addresses = set()

    def talk(sock: socket.socket, connection: Connection) -> None:
        addresses.add(sock.getpeername()[0])
        connection.send(Ping(b"there?"))
        sock.sendall(connection.data_to_send())
        for event in events(sock, connection):
            if event == Pong(b"there?"):
                pongs.release()

    with (
        scripted(talk) as port,
        Idle(programs.load, port, "--connections=6", "--source-addresses=3") as idle,
    ):
        assert idle.result() == {"open": 6}
        for _ in range(6):
            assert pongs.acquire(timeout=PATIENCE)
        assert idle.end() == {"open": 6, "errors": 0}
    assert addresses == {"127.0.0.1", "127.0.0.2", "127.0.0.3"}


def test_idle_counts_connections_that_the_server_ends(programs: load.Programs) -> None:
    sockets: list[WebSocket] = []

    def accept(request: HTTPRequest) -> None:
        sockets.append(request.accept())

    with running(accept) as server, Idle(programs.load, server.address[1]) as idle:
        assert idle.result() == {"open": 1000}
        for ws in sockets[::2]:
            server.call(ws.close)
        server.turn()
        assert idle.end() == {"open": 500, "errors": 500}


def altered(change: Callable[[str], str | bytes | None]) -> Callable[[WebSocket, str], None]:
    """An echo that changes messages; those that become None are dropped."""

    def echo(ws: WebSocket, message: str) -> None:
        changed = change(message)
        if changed is not None:
            ws.send(changed)

    return echo


def swapped(text: str) -> str:
    """Swap two characters, where no check of the ends notices it."""
    at = next(i for i in range(20, 60) if text[i] != text[i + 1])
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda text: text[:-1] + "!", "a message that ends wrongly"),
        (lambda text: "!" + text[1:], "a message that is lost, doubled, out of order or wrong"),
        (lambda text: text[:-1], "a message of wrong length"),
        (lambda text: text + text, "a message of wrong length"),
        (str.encode, "a frame with a wrong opcode, without FIN or with reserved bits"),
        pytest.param(
            lambda text: None, "nothing came in the measured time", marks=pytest.mark.slow
        ),
        (swapped, "a message with wrong content"),
    ],
)
def test_a_wrong_echo_is_an_error(run: Any, change: Any, what: str) -> None:
    with running(application(altered(change))) as server:
        result = run("echo", server.address[1])
    assert result["errors"] > 0
    assert result["first_error"] == what
    if change is not swapped:  # only samples show it
        assert result["messages"] == 0


def test_a_message_that_comes_twice_is_an_error(run: Any) -> None:
    def twice(ws: WebSocket, message: str) -> None:
        ws.send(message)
        ws.send(message)

    with running(application(twice)) as server:
        result = run("echo", server.address[1])
    assert result["first_error"] == "a message that is lost, doubled, out of order or wrong"


def test_wrong_content_that_is_compressed_is_an_error(run: Any) -> None:
    echo = altered(lambda text: text[:-1] + "!")
    with running(application(echo), deflate=Deflate()) as server:
        result = run("echo", server.address[1], "--deflate", "--size=2000")
    assert result["first_error"] == "a message that ends wrongly"


def test_a_delivery_with_wrong_content_is_an_error(run: Any) -> None:
    with running(application(altered(lambda text: text.replace("x{", "y{")))) as server:
        options = ("--connections=1", "--template=x{{}}", "--size=32")
        assert run("fanout", server.address[1], *options)["errors"] == 0
    with running(application(altered(lambda text: text[:-2] + "!}"))) as server:
        result = run("fanout", server.address[1], *options)
    assert result["first_error"] == "a message without the filler of the template"


def events(sock: socket.socket, connection: Connection) -> Iterator[object]:
    """Everything that a peer sends, up to its end; the core's answers are sent."""
    while data := sock.recv(65536):
        yield from connection.receive_data(data)
        sock.sendall(connection.data_to_send())


@contextlib.contextmanager
def scripted(talk: Callable[[socket.socket, Connection], object]) -> Iterator[int]:
    """A server that upgrades, then follows the script, one thread a connection; its port."""
    threads: list[threading.Thread] = []
    server = listener()

    def handle(sock: socket.socket) -> None:
        connection = Connection(Role.SERVER)
        with sock, contextlib.suppress(ConnectionError):
            for _ in connection.receive_data(sock.recv(65536)):
                connection.send(Accept())
            sock.sendall(connection.data_to_send())
            talk(sock, connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = server.accept()
                sock.settimeout(PATIENCE)
                threads.append(threading.Thread(target=handle, args=(sock,)))
                threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        for thread in (acceptor, *threads):
            thread.join(PATIENCE)


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (b"\x01\x02ab", "a frame with a wrong opcode, without FIN or with reserved bits"),
        (b"\xc1\x02ab", "a frame with a wrong opcode, without FIN or with reserved bits"),
        (b"\x81\x80abcd", "a masked frame"),
        (b"\x89\x7e\x00\x7e", "a control frame that is too long or fragmented"),
        (b"\x8b\x00", "an unknown control frame"),
        (b"\x88\x02\x03\xe8", "the server closed a connection"),
        (b"\x81\x7f" + b"\xff" * 8 + b"a", "the server ended a connection"),
        (b"", "the server ended a connection"),
    ],
)
def test_a_wrong_frame_or_end_is_an_error(run: Any, answer: bytes, what: str) -> None:
    def talk(sock: socket.socket, connection: Connection) -> None:
        sock.recv(65536)
        sock.sendall(answer)

    with scripted(talk) as port:
        result = run("echo", port)
    assert result["errors"] > 0
    assert result["messages"] == 0
    assert result["first_error"] == what


def test_a_close_that_is_answered_with_another_code_is_an_error(run: Any) -> None:
    def talk(sock: socket.socket, connection: Connection) -> None:
        sock.recv(65536)
        sock.sendall(answers.pop(0) if answers else b"\x88\x02\x03\xe9")

    answers = [b"\x88\x02\x03\xe8"]  # the first is right: otherwise load would not begin
    with scripted(talk) as port:
        result = run("connect", port, "--concurrency=1")
    assert result["first_error"] == "the server answered a close with another code"


@pytest.mark.parametrize(
    ("response", "what"),
    [
        ("HTTP/1.1 404 Not Found\r\n\r\n", "the upgrade is refused: HTTP/1.1 404 Not Found"),
        ("HTTP/1.1 101 Yes\r\n\r\n", "the response has no right Sec-WebSocket-Accept"),
        (
            "HTTP/1.1 101 Yes\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            "the response has no right Sec-WebSocket-Accept",
        ),
        ("", "the server ended a connection"),
    ],
)
@pytest.mark.parametrize("command", ["echo", "connect"])
def test_a_refused_upgrade_ends_the_run(run: Any, command: str, response: str, what: str) -> None:
    with listener() as server:

        def answer() -> None:
            sock, _ = server.accept()
            with sock:
                sock.recv(65536)
                sock.sendall(response.encode())

        thread = threading.Thread(target=answer)
        thread.start()
        options = ("--concurrency=1",) if command == "connect" else ()
        with pytest.raises(load.LoadError, match=re.escape(what)):
            run(command, server.getsockname()[1], *options)
        thread.join(PATIENCE)


def test_a_server_that_does_not_compress_ends_the_run(run: Any) -> None:
    with running(deflate=None) as server, pytest.raises(load.LoadError, match="does not agree"):
        run("echo", server.address[1], "--deflate")


@pytest.mark.parametrize("command", ["echo", "fanout", "connect", "idle"])
def test_where_nobody_listens_the_run_ends(programs: load.Programs, command: str) -> None:
    with listener() as server:
        port = server.getsockname()[1]
    with pytest.raises(load.LoadError, match=r"status 1: load: cannot connect .*refused$"):
        load.run(programs.load, command, f"--port={port}")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "the first argument must be"),
        (("dance",), "the first argument must be"),
        (("echo",), "--port is required"),
        (("echo", "--port=0"), "--port wants whole numbers from 1 to 65535"),
        (("echo", "--port=1,2,"), "--port wants whole numbers from 1 to 65535"),
        (("fanout", "--port=1", "--connections=2", "--tellers=3"), "--tellers cannot be more"),
        (("echo", "--port=1", "--size=1.5"), "--size wants a whole number"),
        (("echo", "--port=1", "--seconds=soon"), "--seconds wants a number"),
        (("echo", "--port=1", "--slow=1"), "--slow is not for this command"),
        (("echo", "--port=1", "--fast"), "--fast is unknown"),
        (("echo", "--port=1", "more"), "more is not an option"),
        (("echo", "--port=1", "--path=ws"), "--path must begin with /"),
        (("echo", "--port=1", "--json", "--utf8"), "only one of"),
        (("echo", "--port=1", "--server-pid=1,x"), "--server-pid wants"),
        (("fanout", "--port=1", "--template=x"), "--template must hold {}"),
        (("fanout", "--port=1", "--template=x{}", "--size=8"), "--size must be at least 9"),
        (("echo", "--port=1", "--tls", "--resume-tls"), "--resume-tls is not for this command"),
        (("connect", "--port=1", "--resume-tls"), "--resume-tls needs --tls"),
        (("idle", "--port=1", "--connections=999999"), "higher limit of open files"),
    ],
)
def test_a_wrong_command_line_is_refused(
    programs: load.Programs, arguments: tuple[str, ...], what: str
) -> None:
    with pytest.raises(load.LoadError, match=re.escape(what)) as caught:
        load.run(programs.load, *arguments)
    assert "\n" not in str(caught.value)


def test_a_process_that_is_not_there_has_no_cpu_time(run: Any) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with running() as server, pytest.raises(load.LoadError, match=f"no process {process.pid} "):
        run("echo", server.address[1], f"--server-pid={process.pid}")


def test_help_names_every_option(programs: load.Programs) -> None:
    text = subprocess.run([programs.load, "--help"], capture_output=True, text=True, check=True)
    assert {"--port", "--deflate", "--server-pid"} <= set(text.stdout.split())


def test_the_load_agrees_with_the_ceiling(run: Any, programs: load.Programs) -> None:
    with ceiling(programs, "echo") as (_, port):
        for options in ((), ("--size=200000", "--binary"), ("--size=8190", "--in-flight=50")):
            result = run("echo", port, *FEW, *options)
            assert (result["errors"], result["messages"] > 0) == (0, True), result
        result = run("connect", port)
        assert (result["errors"], result["messages"] > 0) == (0, True), result
    with ceiling(programs, "fanout") as (_, port):
        for options in ((), ("--size=50000",), ("--slow=3", "--size=5000")):
            result = run("fanout", port, "--connections=10", *options)
            assert (result["errors"], result["messages"] > 0) == (0, True), result


def test_the_ceiling_keeps_to_the_protocol(programs: load.Programs) -> None:
    text, data = "ä" * 100_000, os.urandom(16 << 20)
    with ceiling(programs, "echo") as address, Wire(address) as wire:
        wire.send(TextMessage(text), Ping(b"1"), TextMessage(""))
        assert [wire.next() for _ in range(3)] == [TextMessage(text), Pong(b"1"), TextMessage("")]
        for byte in wire.encoded(TextMessage("slowly"), Ping(b"2")):
            wire.sock.sendall(bytes([byte]))
        assert [wire.next() for _ in range(2)] == [TextMessage("slowly"), Pong(b"2")]
        wire.send(Close(1000, "enough"))
        assert wire.closed() == Close(1000, "enough", clean=True)
        assert read_all(wire.sock) == b""
        with Wire(address, limits=Limits(max_message=16 << 20, max_frame=16 << 20)) as wire:
            wire.send(data)
            assert wire.message() == data
            wire.sock.sendall(b"\x81\x01a")  # without a mask
            assert wire.closed().code == 1002


def test_only_what_is_out_of_date_is_compiled(programs: load.Programs, tmp_path: Path) -> None:
    times = [path.stat().st_mtime_ns for path in programs]
    assert load.build() == programs
    assert [path.stat().st_mtime_ns for path in programs] == times
    for path in programs:
        shutil.copy2(path, tmp_path)
    os.utime(tmp_path / "ceiling", (0, 0))
    made = load.build(tmp_path)
    assert made.load.stat().st_mtime_ns == times[0]
    assert made.ceiling.stat().st_mtime > 0


def test_without_a_compiler_the_build_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(load.LoadError, match="no C compiler"):
        load.build(tmp_path)
