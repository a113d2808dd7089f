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

import pytest

from sono_core import Close, Timeouts
from sono_server import serve
from tests.server.selector_helpers import SOON, assert_serves
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
    assert time.monotonic() - start < SOON


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
