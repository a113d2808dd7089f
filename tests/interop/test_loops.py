"""The examples on other loops: the same session behaves the same, however the loop waits."""

from __future__ import annotations

import contextlib
import importlib.util
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sono_core import BinaryMessage, Close, Ping, Pong
from tests.conftest import require
from tests.interop import conformance
from tests.interop.selection import PEERS, Peer
from tests.processes import Program, program
from tests.servers import PATIENCE, Wire, dial, get, read_all, status

LOOPS = ("threads", "gevent", "trio")
# Messages, framing and closing; later groups are about speed and compression.
CASES = tuple(f"{group}.*" for group in range(1, 8))
LIMIT = 180  # seconds: a server takes about ten

HURRIED = (
    "import sys; sys.path.insert(0, 'examples'); import {loop}_echo as example; "
    "from sono_core import Timeouts; timeouts = Timeouts({timeouts}); {serve}"
)
SERVE = {"trio": "example.trio.run(example.serve, 0, timeouts)"}


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    """The name of a loop that is installed."""
    name: str = request.param
    if name != "threads":
        found = importlib.util.find_spec(name) is not None
        require(name, found, f"install it with: pip install {name}")
    return name


@contextlib.contextmanager
def hurried(loop: str, **timeouts: float) -> Iterator[Program]:
    """An example with these time-outs, in seconds."""
    settings = ", ".join(f"{name}={value}" for name, value in timeouts.items())
    serve = SERVE.get(loop, "example.serve(0, timeouts)")
    with program("-c", HURRIED.format(loop=loop, timeouts=settings, serve=serve)) as started:
        yield started


@pytest.fixture
def server(loop: str) -> Iterator[Program]:
    """An example as it is."""
    with program(f"examples/{loop}_echo.py", "--port", "0") as started:
        yield started
        assert started.process.poll() is None, "it has ended"
        _, errors = started.end(signal.SIGINT)
        assert errors == ""


@pytest.mark.autobahn
@pytest.mark.slow
@pytest.mark.timeout(LIMIT + 60)
def test_autobahn(loop: str, autobahn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer("server", (f"examples/{loop}_echo.py", "--port=0"))
    monkeypatch.setitem(PEERS, loop, peer)
    report = conformance.run(loop, cases=CASES, timeout=LIMIT)
    if not report.passed:
        pytest.fail(report.output, pytrace=False)
    assert set(report.results.values()) <= {"OK", "INFORMATIONAL"}
    assert set(report.groups()) == set(range(1, 8))


def test_messages_go_back_as_they_came(server: Program) -> None:
    large = bytes(range(256)) * 4000
    with Wire(server.address()) as wire:
        wire.send("text", b"\x00\xff", large)
        assert [wire.message() for _ in range(3)] == ["text", b"\x00\xff", large]


def test_connections_do_not_wait_for_each_other(server: Program) -> None:
    address = server.address()
    with Wire(address) as first, Wire(address) as second, dial(address) as silent:
        silent.sendall(b"GET /")
        for wire in (second, first):
            wire.send("x")
            assert wire.message() == "x"


def test_a_ping_is_answered(server: Program) -> None:
    with Wire(server.address()) as wire:
        wire.send(Ping(b"are you there?"))
        assert wire.next() == Pong(b"are you there?")


def test_what_is_no_upgrade_is_refused(server: Program) -> None:
    assert status(get(server.address())) == 426


def test_a_close_is_answered_and_the_stream_ends_without_a_reset(server: Program) -> None:
    with Wire(server.address()) as wire:
        # The protocol ignores what follows the Close frame; it must not reset the stream.
        wire.sock.sendall(wire.encoded(Close(1000, "bye")) + b"\x82\x84\x00\x00\x00\x00late")
        assert wire.closed() == Close(1000)
        wire.wait_for_end()
        wire.sock.sendall(b"later")  # only the server has ended its half
        wire.sock.shutdown(socket.SHUT_WR)
        assert read_all(wire.sock) == b""


def test_a_peer_that_leaves_without_a_word_harms_nobody(server: Program) -> None:
    address = server.address()
    with Wire(address) as left:
        left.send(*["x" * 10_000] * 10)
        left.reset()
    with Wire(address) as wire:
        wire.send("x")
        assert wire.message() == "x"


def test_a_request_that_does_not_come_is_refused_in_time(loop: str) -> None:
    with hurried(loop, handshake=0.2) as server, dial(server.address()) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n")
        assert status(read_all(sock)) == 408


def test_a_peer_that_answers_no_ping_is_cut_off(loop: str) -> None:
    with hurried(loop, ping_interval=0.2, pong=0.2) as server, Wire(server.address()) as wire:
        assert read_all(wire.sock) == b"\x89\x00"


def test_a_peer_that_answers_pings_stays(loop: str) -> None:
    with hurried(loop, ping_interval=0.1, pong=PATIENCE) as server, Wire(server.address()) as wire:
        assert [wire.next(), wire.next()] == [Ping(), Ping()]
        wire.send("x")
        assert wire.message() == "x"


def test_a_peer_that_does_not_close_its_half_is_cut_off(loop: str) -> None:
    with hurried(loop, close=1.0) as server, Wire(server.address()) as wire:
        wire.send(Close(1000))
        assert wire.closed().clean
        wire.wait_for_end()
        wait_for_reset(wire.sock)


@pytest.mark.slow
def test_a_slow_reader_is_read_from_no_more_and_then_cut_off(loop: str) -> None:
    with (
        hurried(loop, write_stall=2.0) as server,
        Wire(server.address(), receive_buffer=4096) as slow,
    ):
        slow.sock.settimeout(0.1)  # much less than the server waits
        messages = memoryview(slow.encoded(*[BinaryMessage(bytes(10_000))] * 3000))
        pauses = 0
        with pytest.raises(ConnectionError):
            while messages:
                try:
                    messages = messages[slow.sock.send(messages) :]
                except TimeoutError:
                    pauses += 1
        assert pauses > 0


def wait_for_reset(sock: socket.socket) -> None:
    """The server has left the stream, in both directions."""
    sock.setblocking(False)
    deadline = time.monotonic() + PATIENCE
    poll = select.poll()
    poll.register(sock, 0)  # errors and resets are reported anyway
    while not poll.poll(50):
        assert time.monotonic() < deadline, "the connection stays"
        with contextlib.suppress(BlockingIOError):
            sock.send(b"x")  # the system answers with a reset if nobody is there
