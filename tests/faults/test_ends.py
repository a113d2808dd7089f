"""The end of a server under load, handlers that misbehave (D7, D8)."""

from __future__ import annotations

import itertools
import queue
import signal
import subprocess
import time
from collections import defaultdict

import pytest

from sono_core import Close, Limits, Timeouts
from sono_server import HTTPRequest, WebSocket
from tests.faults.crowd import Crowd
from tests.faults.victims import KINDS, until, victim
from tests.servers import PATIENCE, Wire, dial, running

GOODBYES = (1001, 1012)


@pytest.mark.parametrize("kind", KINDS)
def test_d07_sigterm_under_load_closes_everybody_flushes_and_exits_in_time(kind: str) -> None:
    count, drain = 40, 5.0
    echoes: dict[int, list[str]] = defaultdict(list)
    members: list[Crowd] = []

    def go_on(number: int, message: str | bytes) -> None:
        echoes[number].append(str(message))

    with victim(kind, f"--drain={drain}") as server:
        process = server.program.process
        with Crowd(server.address, count, hear=go_on) as crowd:
            members.append(crowd)
            sent = itertools.count()
            stopped = 0.0
            while len(crowd.closes) < count:
                number = next(sent)
                for member in range(count):
                    crowd.send(member, f"{number}")
                if number == 20:
                    assert crowd.wait(lambda: len(echoes) == count)
                    server.signal(signal.SIGTERM)
                    stopped = time.monotonic()
                assert not stopped or time.monotonic() - stopped < drain + PATIENCE
            assert process.wait(drain + PATIENCE) == 0
            assert time.monotonic() - stopped < drain + PATIENCE / 2
            assert {close.code for close in crowd.closes.values()} <= set(GOODBYES)
        with pytest.raises(ConnectionError):
            dial(server.address)
    for heard in echoes.values():  # all that was echoed came, in order, up to the close
        assert heard == [str(number) for number in range(len(heard))]
        assert len(heard) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_d07_what_waits_for_a_slow_reader_is_flushed_before_the_end(kind: str) -> None:
    text = "x" * 4000
    with victim(kind, "--send-buffer=8192") as server:
        with server.wire("/fan", receive_buffer=8192) as slow, server.wire("/fan") as other:
            for _ in range(100):
                other.send(text)
                assert other.message() == text
            server.signal(signal.SIGTERM)
            for _ in range(100):
                assert slow.message() == text
            assert slow.closed().code in GOODBYES
            assert other.closed().code in GOODBYES
        assert server.program.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_d07_a_second_sigterm_forces_the_end(kind: str) -> None:
    with victim(kind, "--drain=600", close=600) as server, server.wire() as wire:
        server.signal(signal.SIGTERM)
        assert wire.sock.recv(1000)[0] == 0x88  # a Close, which is not answered
        with pytest.raises(subprocess.TimeoutExpired):
            server.program.process.wait(0.3)
        server.signal(signal.SIGTERM)
        assert server.program.process.wait(PATIENCE) == 0


class Misbehaving:
    """Handlers that do what their path says."""

    def __init__(self) -> None:
        self.closes: queue.Queue[tuple[str, Close]] = queue.Queue()

    def __call__(self, request: HTTPRequest) -> None:
        path = request.path
        request.accept(getattr(self, path[1:]), lambda ws, close: self.closes.put((path, close)))

    def echo(self, ws: WebSocket, message: str | bytes) -> None:
        ws.send(message)

    def fail(self, ws: WebSocket, message: str | bytes) -> None:
        raise ZeroDivisionError("the application's own")

    def block(self, ws: WebSocket, message: str | bytes) -> None:
        time.sleep(2.0)
        ws.send("done")

    def flood(self, ws: WebSocket, message: str | bytes) -> None:
        for _ in range(20_000):
            ws.send("x" * 1000)


@pytest.mark.usefixtures("each_server")
def test_d08_a_handler_that_raises_ends_its_connection_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    application = Misbehaving()
    with running(application) as server, Wire(server.address, "/echo") as other:
        for _ in range(20):
            with Wire(server.address, "/fail") as wire:
                wire.send("go")
                assert wire.closed().code == 1011
            assert application.closes.get(timeout=PATIENCE)[0] == "/fail"
            other.send("on it goes")
            assert other.message() == "on it goes"
    assert caplog.text.count("the application's own") >= 20


@pytest.mark.parametrize("kind", ["selector", "asyncio"])
def test_d08_a_handler_that_blocks_makes_others_wait_and_loses_none(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seconds exceed all deadlines, but nobody that answered is timed out."""
    monkeypatch.setattr("tests.servers.kind", kind)
    heard: queue.Queue[int] = queue.Queue()
    timeouts = Timeouts(ping_interval=0.4, pong=1.5)
    application = Misbehaving()
    with (
        running(application, timeouts=timeouts) as server,
        Wire(server.address, "/block") as blocking,
        Crowd(server.address, 10, hear=lambda number, message: heard.put(number)) as crowd,
    ):
        blocking.send("go")
        for number in range(10):
            crowd.send(number, "waits")
        assert blocking.message() == "done"
        assert {heard.get(timeout=PATIENCE) for _ in range(10)} == set(range(10))
        assert crowd.closes == {}
        assert application.closes.empty()


@pytest.mark.usefixtures("each_server")
def test_d08_a_handler_that_floods_its_peer_ends_that_alone() -> None:
    application = Misbehaving()
    limits = Limits(max_queue=1 << 20)
    with (
        running(application, limits=limits) as server,
        Wire(server.address, "/flood", receive_buffer=4096) as flooded,
        Wire(server.address, "/echo") as other,
    ):
        flooded.send("go")
        path, close = application.closes.get(timeout=PATIENCE)
        assert (path, close.code) == ("/flood", 4008)
        other.send("on it goes")
        assert other.message() == "on it goes"
        until(lambda: server.call(lambda: len(server.server._transports)) == 1)
