"""Faults of time: stopped processes and a wall clock that jumps (D4, D10)."""

from __future__ import annotations

import ast
import json
import re
import signal
import threading
from pathlib import Path

import pytest

from sono_core import Ping
from tests.faults.crowd import Crowd
from tests.faults.victims import KINDS, until, victim
from tests.processes import ROOT, program
from tests.servers import Wire

ROUNDS = 3  # of a measured time: another process may spoil one, the server's fault spoils all

PACKAGES = ("sono_core", "sono_server", "sono_client")


def say(wire: Wire, protocol: str, **payload: object) -> None:
    wire.send(json.dumps({"protocol": protocol, "payload": payload}))


def listing(wire: Wire, kind: str) -> list[str]:
    """The answer to a grab."""
    say(wire, "grab", message=kind)
    while True:
        packet = json.loads(wire.message())
        if packet["protocol"] == "grab":
            items: list[str] = packet["payload"]["message"]
            return items


@pytest.mark.parametrize("kind", KINDS)
def test_d04_a_stopped_client_is_detected_in_time_and_its_presence_cleared(kind: str) -> None:
    interval, pong = 0.4, 1.5
    with victim(kind, ping_interval=interval, pong=pong) as server:

        def is_detected_in_time() -> bool:
            before = server.closed().get("1006", 0)
            url = f"ws://127.0.0.1:{server.address[1]}/ws"
            with program("-m", "tests.faults.client", url, "room") as client:
                assert client.line() == "there"
                observer = server.wire("/ws")  # not before: it answers pings only while it asks
                say(observer, "changeChannel", to="room")
                assert len(listing(observer, "mychannelclients")) == 2
                client.process.send_signal(signal.SIGSTOP)
                taken = until(lambda: len(listing(observer, "mychannelclients")) == 1)
                assert len(listing(observer, "clients")) == 1
                assert server.closed() == {"1006": before + 1}
                observer.close()
                until(lambda: server.stats()["open"] == 0)
            return taken < interval + pong + 1.0

        assert any(is_detected_in_time() for _ in range(ROUNDS))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_d04_a_client_that_is_alive_is_never_taken_for_a_stopped_one(kind: str) -> None:
    with (
        victim(kind, ping_interval=0.1, pong=2.0) as server,
        Crowd(server.address, 5) as crowd,
    ):
        assert crowd.wait(lambda: min(crowd.pings) >= 1)
        threading.Event().wait(2.5)  # an answer that was not noticed would end its connection
        assert crowd.wait(lambda: min(crowd.pings) >= 10)
        assert crowd.closes == {}
        assert server.closed() == {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_d10_steps_of_the_wall_clock_time_nothing_out(kind: str) -> None:
    """Each reading of the wall clock is an hour off; deadlines are those of every other test."""
    settings = {"ping_interval": 0.2, "pong": 2.0, "handshake": 2.0}
    with (
        victim(kind, "--stepping-clock", **settings) as server,
        Crowd(server.address, 5) as crowd,
    ):
        assert crowd.wait(lambda: min(crowd.pings) >= 1)
        threading.Event().wait(2.5)  # beyond the deadlines of pong and handshake
        assert crowd.wait(lambda: min(crowd.pings) >= 3)
        assert crowd.closes == {}
        assert server.closed() == {}
        with server.wire() as late:
            late.send("still in time")
            assert late.message() == "still in time"
        silent = server.wire()  # deadlines still come
        with silent:
            until(lambda: server.closed().get("1006", 0) == 1)


def test_d10_the_wall_clock_is_looked_at_in_one_place() -> None:
    """Neither through Python's functions, however they are imported, nor through C's."""
    found = []
    for path in sources("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                called = f"{node.value.id}.{node.attr}"
                if called in ("time.time", "time.time_ns", "datetime.now", "datetime.utcnow"):
                    found.append(f"{path}: {called}")
            elif isinstance(node, ast.ImportFrom) and node.module == "time":
                found += [f"{path}: {alias.name}" for alias in node.names if "time" in alias.name]
    wall = re.compile(r"CLOCK_REALTIME|gettimeofday|[^\w]time\((NULL|0|&)")
    found += [str(path) for path in sources("*.[ch]") if wall.search(path.read_text())]
    assert found == [f"{ROOT / 'sono_server' / 'serving' / 'date.py'}: time.time"]


def sources(pattern: str) -> list[Path]:
    found = [path for name in PACKAGES for path in (ROOT / name).rglob(pattern)]
    assert found
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_d10_a_server_that_was_stopped_reads_before_it_times_anybody_out(kind: str) -> None:
    with (
        victim(kind, ping_interval=0.3, pong=4.0) as server,
        Crowd(server.address, 10) as crowd,
        server.wire() as silent,
    ):
        assert isinstance(silent.next(), Ping)  # at this point the server waits for pongs
        server.signal(signal.SIGSTOP)
        for number in range(10):
            crowd.send(number, "sent while it was stopped")
        threading.Event().wait(4.5)  # longer than all deadlines
        server.signal(signal.SIGCONT)
        until(lambda: server.closed() == {"1006": 1})  # the one that did not answer
        assert crowd.closes == {}
