"""Many at once: idle ones, slow ones, half-handshakes, no descriptors left (D1, D2, D3, D5)."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time

import pytest

from tests.faults.crowd import Crowd
from tests.faults.drip import Drip
from tests.faults.victims import KINDS, Victim, p99, until, victim
from tests.servers import PATIENCE, Wire, dial, read_all, status

MIB = 1 << 20
SLACK = 0.1  # seconds that a busy machine may add to a latency
ROUNDS = 5  # of a measured latency: another process may spoil one, a fault of the server spoils all
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, as only Linux has it")


@pytest.mark.slow
@linux
@pytest.mark.parametrize("kind", KINDS)
def test_d01_idle_connections_take_little_and_none_is_timed_out(kind: str) -> None:
    """The full size is `python -m benchmarks.soak idle`."""
    count, pong = 300, 5.0
    with victim(kind, ping_interval=0.7, pong=pong) as server:
        with server.wire() as wire:
            wire.send("warm")
            wire.message()
        before = server.resident()
        with Crowd(server.address, count) as crowd:
            began, opened = time.monotonic(), server.stats()["cpu"]
            assert crowd.wait(lambda: min(crowd.pings) >= 1)
            time.sleep(pong + 0.5)  # an answer that was not noticed would end its connection
            assert crowd.wait(lambda: min(crowd.pings) >= 2)
            pinged, taken = server.stats(), time.monotonic() - began
            assert crowd.closes == {}
            assert pinged["open"] == count
            assert (server.resident() - before) / count < 64 * 1024
            assert pinged["cpu"] - opened < taken / 8


def latencies(server: Victim, members: int, messages: int, pause: float) -> list[float]:
    """Seconds from sending to each delivery of a fan-out to that many members that read."""
    taken: list[float] = []

    def hear(number: int, message: str | bytes) -> None:
        taken.append(time.monotonic() - float(str(message).split()[0]))

    with Crowd(server.address, members, "/fan", hear) as crowd:
        for _ in range(messages):
            crowd.send(0, f"{time.monotonic()} {'x' * 4000}")
            time.sleep(pause)
        assert crowd.wait(lambda: len(taken) == members * messages)
    return taken


@linux
@pytest.mark.parametrize("kind", KINDS)
def test_d02_members_that_never_read_are_closed_and_slow_nobody_down(kind: str) -> None:
    members, slow, messages = 45, 5, 150
    options = ("--send-buffer=8192",)
    with victim(kind, *options, max_queue=128 * 1024, pause_reading_at=65536) as server:

        def none_slowed_down() -> bool:
            alone = latencies(server, members, messages, 0.004)
            until(lambda: server.stats()["open"] == 0)
            before, closed = server.resident(), server.closed().get("4008", 0)
            with contextlib.ExitStack() as stack:
                for _ in range(slow):
                    stack.enter_context(server.wire("/fan", receive_buffer=4096))
                together = latencies(server, members, messages, 0.004)
                until(lambda: server.closed().get("4008", 0) == closed + slow)
            until(lambda: server.stats()["open"] == 0)
            assert server.resident() - before < 8 * MIB
            return p99(together) < 2 * p99(alone) + SLACK

        assert any(none_slowed_down() for _ in range(ROUNDS))


@pytest.mark.parametrize("kind", KINDS)
def test_d03_half_handshakes_are_cut_at_the_deadline_while_others_connect(kind: str) -> None:
    count, deadline = 150, 2.0
    with victim(kind, handshake=deadline) as server:

        def all_are_in_time() -> bool:
            honest: list[float] = []
            with Drip(server.address, count, 0.05) as drip:
                assert drip.begun.wait(PATIENCE)
                given_up = time.monotonic() + PATIENCE
                while not drip.over and time.monotonic() < given_up:
                    started = time.monotonic()
                    with server.wire() as wire:
                        wire.send("in between")
                        assert wire.message() == "in between"
                    honest.append(time.monotonic() - started)
                assert drip.over
            assert set(drip.answers) == {b"HTTP/1.1 408 Request Timeout"}
            assert min(drip.lasted) >= deadline - 0.5
            in_time = p99(honest) < 0.5 and max(drip.lasted) < deadline + 1.5
            return len(honest) > 10 and in_time

        assert any(all_are_in_time() for _ in range(ROUNDS))


@linux
@pytest.mark.parametrize("kind", KINDS)
def test_d05_without_descriptors_nothing_spins_nobody_is_harmed_and_accepting_resumes(
    kind: str,
) -> None:
    limit, excess = 48, 20
    with victim(kind, f"--descriptors={limit}") as server, contextlib.ExitStack() as stack:
        members = [stack.enter_context(server.wire()) for _ in range(3)]
        waiting = [stack.enter_context(dial(server.address)) for _ in range(limit + excess)]
        until(lambda: len(os.listdir(f"/proc/{server.pid}/fd")) >= limit, what="the shortage")
        began, cpu = time.monotonic(), cpu_of(server)
        threading.Event().wait(1.5)
        taken = time.monotonic() - began
        assert cpu_of(server) - cpu < taken / 10
        for number, member in enumerate(members):
            member.send(f"unharmed {number}")
            assert member.message() == f"unharmed {number}"
        for sock in waiting[:-1]:
            sock.close()
        waiting[-1].sendall(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status(read_all(waiting[-1])) == 404
        with Wire(server.address, "/echo") as late:
            late.send("accepted again")
            assert late.message() == "accepted again"


def cpu_of(server: Victim) -> float:
    """Seconds of CPU time that it has used, without a connection to it."""
    return time.clock_gettime(clock_of(server.pid))


def clock_of(pid: int) -> int:
    """The clock of a process's CPU time, as clock_getcpuclockid(3) says it is on Linux."""
    return (~pid << 3) | 2
