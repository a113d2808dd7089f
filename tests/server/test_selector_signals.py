"""Signals drain, then cut off; the server restores their handlers."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sono_core import Close, Timeouts
from sono_server import WebSocket, serve
from sono_server.serving import StopSignals, taken
from tests.server.selector_helpers import assert_serves
from tests.servers import PATIENCE, Wire, dial, echo, read_all, running


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_and_the_handlers_are_restored(number: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    old = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    seen: queue.Queue[Close] = queue.Queue()

    def connect(address: tuple[str, int]) -> None:
        with Wire(address) as wire:
            os.kill(os.getpid(), number)
            seen.put(wire.closed())

    try:
        with serve("127.0.0.1", 0) as server:
            client = threading.Thread(target=connect, args=(server.address,))
            client.start()
            for request in server:
                assert signal.getsignal(number) not in before
                request.accept(echo)
        client.join()
        assert seen.get(timeout=PATIENCE).code == 1001
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
        assert signal.set_wakeup_fd(old) == theirs.fileno()
    finally:
        signal.set_wakeup_fd(old)
        ours.close()
        theirs.close()


def test_a_second_signal_cuts_off() -> None:
    def connect(address: tuple[str, int]) -> None:
        with Wire(address) as wire:
            os.kill(os.getpid(), signal.SIGTERM)
            assert wire.next() == Close(1001, "the server is stopping", True)
            os.kill(os.getpid(), signal.SIGTERM)
            with contextlib.suppress(ConnectionResetError):
                read_all(wire.sock)

    closes: list[Close] = []
    start = time.monotonic()
    with serve("127.0.0.1", 0, timeouts=Timeouts(close=3600.0), drain=3600.0) as server:
        client = threading.Thread(target=connect, args=(server.address,))
        client.start()
        for request in server:
            request.accept(echo, lambda ws, close: closes.append(close))
    client.join()
    assert len(closes) == 1
    assert time.monotonic() - start < PATIENCE


def test_signals_are_not_touched_in_another_thread() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with running() as server:
        assert_serves(server)
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.fixture
def keyboard_interrupt() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, even if a shell started the tests in the background.

    Such a shell makes them ignore it.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("keyboard_interrupt")
def test_after_a_second_signal_a_third_does_what_it_did_before() -> None:
    """A loop that was left by break must not keep the process alive."""
    before = signal.getsignal(signal.SIGINT)
    with serve("127.0.0.1", 0) as server, dial(server.address[:2]) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        next(server)
        os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is not before
        os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is before
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def handlers() -> Iterator[None]:
    """Those of the signals that servers take, restored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("before", [signal.SIG_IGN, signal.SIG_DFL, lambda *_: None])
@pytest.mark.usefixtures("handlers")
def test_whatever_stood_there_before_is_restored(before: signal.Handlers) -> None:
    signal.signal(signal.SIGTERM, before)
    signals = StopSignals(lambda: None)
    signals.take()
    assert signal.getsignal(signal.SIGTERM) is not before
    signals.give_back()
    signals.give_back()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.usefixtures("handlers")
def test_a_handler_that_python_cannot_restore_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """C code has set it."""
    stops: list[int] = []
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    monkeypatch.setattr(signal, "signal", lambda *_: stops.append(1))
    signals = StopSignals(lambda: None)
    signals.take()
    signals.give_back()
    assert stops == []


@pytest.mark.usefixtures("handlers")
def test_a_handler_that_the_application_sets_meanwhile_stays() -> None:
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    signals = StopSignals(lambda: None, ours.fileno())
    signals.take()
    own = lambda *_: None  # noqa: E731 - compared by identity
    signal.signal(signal.SIGTERM, own)
    before = signal.set_wakeup_fd(theirs.fileno())
    assert before == ours.fileno()
    signals.give_back()
    try:
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        assert signal.set_wakeup_fd(-1) == theirs.fileno()
    ours.close()
    theirs.close()


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.usefixtures("handlers")
def test_a_signal_stops_all_servers_of_the_process_whichever_ends_first(first: int) -> None:
    before = signal.getsignal(signal.SIGTERM)
    stopped: list[int] = []
    pairs = [socket.socketpair() for _ in range(2)]
    ends = [end for pair in pairs for end in pair]
    for end in ends:
        end.setblocking(False)
    servers = [
        StopSignals(lambda index=index: stopped.append(index), pairs[index][0].fileno())  # type: ignore[misc]
        for index in range(2)
    ]
    for signals in servers:
        signals.take()
    os.kill(os.getpid(), signal.SIGTERM)
    assert stopped == [0, 1]
    servers[first].give_back()
    os.kill(os.getpid(), signal.SIGTERM)  # the second one of the other
    assert stopped == [0, 1, 1 - first]
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.set_wakeup_fd(-1) == -1
    for end in ends:
        end.close()


@pytest.mark.usefixtures("handlers")
def test_another_signal_is_taken_for_a_while_in_the_main_thread() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    calls: list[int] = []
    with taken(signal.SIGUSR1, lambda: calls.append(1)):
        os.kill(os.getpid(), signal.SIGUSR1)
        assert calls == [1]
    assert signal.getsignal(signal.SIGUSR1) is before

    def elsewhere() -> None:
        with taken(signal.SIGUSR1, lambda: None), taken(None, lambda: None):
            assert signal.getsignal(signal.SIGUSR1) is before

    with ThreadPoolExecutor() as pool:
        pool.submit(elsewhere).result(PATIENCE)


@pytest.mark.usefixtures("keyboard_interrupt")
def test_an_interrupt_in_a_handler_leaves_the_loop_in_good_order() -> None:
    before = signal.getsignal(signal.SIGINT)

    def interrupted(ws: WebSocket, message: str) -> None:
        raise KeyboardInterrupt

    def connect(address: tuple[str, int]) -> None:
        with Wire(address) as wire, contextlib.suppress(ConnectionResetError):
            wire.send("x")
            read_all(wire.sock)

    with pytest.raises(KeyboardInterrupt), serve("127.0.0.1", 0) as server:
        client = threading.Thread(target=connect, args=(server.address,))
        client.start()
        for request in server:
            request.accept(interrupted)
    client.join(PATIENCE)
    assert not client.is_alive()
    assert signal.getsignal(signal.SIGINT) is before
