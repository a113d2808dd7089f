"""What the tests of the selector server share."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from sono_core import Close, Timeouts
from sono_server import HTTPRequest, WebSocket
from tests.servers import PATIENCE, Running, Wire, echo

ENDLESS: dict[str, Any] = {
    "drain": 3600.0,
    "timeouts": Timeouts(handshake=3600.0, close=3600.0, write_stall=3600.0),
}
"""Options of a server in which no time-out ends a wait: what ends it is what is tested."""


class Closes:
    """Accepts everything as an echo, and records how the connections ended."""

    def __init__(self) -> None:
        self.sockets: queue.Queue[WebSocket] = queue.Queue()
        self.closes: queue.Queue[Close] = queue.Queue()

    def __call__(self, request: HTTPRequest) -> None:
        ws = request.accept(echo, lambda ws, close: self.closes.put(close))
        self.sockets.put(ws)

    def socket(self) -> WebSocket:
        return self.sockets.get(timeout=PATIENCE)

    def closed(self) -> Close:
        return self.closes.get(timeout=PATIENCE)


@contextlib.contextmanager
def held(server: Running) -> Iterator[None]:
    """Hold the loop still for the length of a with statement."""
    inside, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        inside.set()
        assert go_on.wait(PATIENCE)

    server.server.call_soon(hold)
    assert inside.wait(PATIENCE)
    try:
        yield
    finally:
        go_on.set()


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that has no event."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.001)


def assert_serves(server: Running) -> None:
    with Wire(server.address) as wire:
        wire.send("alive?")
        assert wire.message() == "alive?"


def assert_gone(server: Running, left: int) -> None:
    """The server has only that many connections left."""
    until(lambda: server.call(lambda: len(server.server._transports)) == left)


def count_turns(server: Running) -> Callable[[], int]:
    """The number of turns since this call; ask for it after the loop was busy."""
    count = itertools.count()
    original = server.server._wait
    turns = 0

    def counting(due: float) -> Any:
        nonlocal turns
        turns = next(count)
        return original(due)

    server.call(lambda: setattr(server.server, "_wait", counting))
    return lambda: turns
