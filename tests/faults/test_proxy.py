"""The proxy follows its plan, and does the same each time."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import Plan, Proxy
from tests.servers import PATIENCE, Address, dial, read_all

DATA = bytes(range(256)) * 100


@contextlib.contextmanager
def sink() -> Iterator[tuple[Address, list[list[int]]]]:
    """A server that sends everything back; yields the sizes of its reads, by connection."""
    reads: list[list[int]] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listening.accept()
                sizes: list[int] = []
                reads.append(sizes)
                with sock, contextlib.suppress(OSError):
                    while data := sock.recv(1 << 16):
                        sizes.append(len(data))
                        sock.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname(), reads
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(PATIENCE)


def through(proxy: Proxy, data: bytes = DATA) -> tuple[bytes, BaseException | None]:
    """The bytes that come back, and the error that ended them, if any."""
    came = b""
    with dial(proxy.address) as sock:
        sender = threading.Thread(target=send_all, args=(sock, data))
        sender.start()
        try:
            while part := sock.recv(1 << 16):
                came += part
        except OSError as error:
            return came, error
        finally:
            sender.join()
    return came, None


def send_all(sock: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)


def test_without_a_plan_everything_is_passed_on() -> None:
    with sink() as (address, _), Proxy(address, Plan()) as proxy:
        assert through(proxy) == (DATA, None)
        assert proxy.faults == {}


def test_slices() -> None:
    """Slices are apart in time too, so that a quick receiver reads them one by one."""
    plan = Plan(slices=3, latency=0.001)
    assert {size for size, _ in itertools.islice(plan.steps(0, "up"), 200)} == {1, 2, 3}
    with sink() as (address, reads), Proxy(address, plan) as proxy:
        assert through(proxy, DATA[:400]) == (DATA[:400], None)
        assert sum(reads[0]) == 400
        assert len(reads[0]) > 4


def test_latency_and_stalls_take_their_time() -> None:
    plan = Plan(slices=1000, stall=2000, pause=0.05, latency=0.001)
    with sink() as (address, _), Proxy(address, plan) as proxy:
        started = time.monotonic()
        assert through(proxy) == (DATA, None)
        assert proxy.faults["stall"] > 1
        assert time.monotonic() - started >= 0.05


@pytest.mark.parametrize(("fault", "end"), [("cut", type(None)), ("reset", ConnectionResetError)])
def test_a_connection_ends_where_the_plan_says(fault: str, end: type) -> None:
    plan = Plan(seed=1, slices=100, **{fault: 5000})
    with sink() as (address, _), Proxy(address, plan) as proxy:
        ends = [through(proxy) for _ in range(20)]
        assert 10 < proxy.faults[fault] <= 40
    broken = [error for came, error in ends if came != DATA]
    assert len(broken) > 10
    assert {type(error) for error in broken} & {end}
    assert all(came == DATA[: len(came)] for came, _ in ends)


def test_once_calm_nothing_happens_any_more() -> None:
    with sink() as (address, _), Proxy(address, Plan(slices=10, reset=20)) as proxy:
        proxy.calm_down()
        assert through(proxy) == (DATA, None)
        assert proxy.faults == {}


def test_the_same_seed_gives_the_same_faults() -> None:
    plan = Plan(seed=7, slices=500, cut=10_000, stall=3000)

    def first(plan: Plan, connection: int) -> list[tuple[int, str]]:
        return list(itertools.islice(plan.steps(connection, "up"), 200))

    assert first(plan, 1) == first(plan, 1)
    assert first(plan, 1) != first(plan, 2)
    assert {fault for _, fault in first(plan, 1)} == {"", "cut", "stall"}


def test_the_beginning_may_be_left_alone() -> None:
    plan = Plan(slices=10, reset=1, calm=1000)
    passed = 0
    for size, fault in itertools.islice(plan.steps(0, "up"), 1000):
        passed += size
        assert bool(fault) == (passed > 1000)


def test_connections_are_limited_and_so_is_what_a_dead_server_does() -> None:
    with sink() as (address, _), Proxy(address, Plan(), limit=1) as proxy:
        assert through(proxy) == (DATA, None)
        with dial(proxy.address) as sock, contextlib.suppress(ConnectionResetError):
            assert read_all(sock) == b""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        gone: Address = nobody.getsockname()
    reset = contextlib.suppress(ConnectionResetError)
    with Proxy(gone, Plan()) as proxy, dial(proxy.address) as sock, reset:
        assert read_all(sock) == b""
