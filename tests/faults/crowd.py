"""Many clients in one thread that read, answer pings, and record messages and closes."""

from __future__ import annotations

import contextlib
import selectors
import threading
from collections.abc import Callable
from typing import Any

from sono_core import BinaryMessage, Close, Event, Ping, TextMessage
from tests.servers import PATIENCE, Address, Wire

_TURN = 0.02  # seconds between two checks whether the thread must end

Hear = Callable[[int, "str | bytes"], object]


class Crowd:
    """Connected clients, for a with statement.

    Args:
        address: of the server.
        count: how many.
        target: of their requests.
        hear: called in the crowd's thread with a client's number and each message.
    """

    def __init__(
        self, address: Address, count: int, target: str = "/echo", hear: Hear | None = None
    ) -> None:
        self._hear = hear or (lambda number, message: None)
        self._lock = threading.Lock()  # sending and receiving share the connections' state
        self._wires: list[Wire] = []
        self._ended = threading.Event()
        self._selector = selectors.DefaultSelector()
        self.closes: dict[int, Close] = {}
        """How connections ended, by number; 1006 for those without a Close."""
        self.pings = [0] * count
        """Pings that each client has received; the core answers them."""
        self._thread = threading.Thread(target=self._run, name="crowd")
        try:
            for number in range(count):
                self._wires.append(Wire(address, target))
                self._selector.register(self._wires[-1].sock, selectors.EVENT_READ, number)
        except BaseException:
            self._close()
            raise

    def send(self, number: int, *messages: str | bytes) -> None:
        """Send messages as that client; none if its connection has ended."""
        with self._lock:
            if number not in self.closes:
                with contextlib.suppress(OSError):
                    self._wires[number].send(*messages)

    def wait(self, done: Callable[[], bool], patience: float = PATIENCE) -> bool:
        """Whether this becomes true in time; `closes`, `pings` and `hear` may make it so."""
        gave_up = threading.Event()
        for _ in range(int(patience / _TURN)):
            if done():
                return True
            gave_up.wait(_TURN)
        return done()

    def __enter__(self) -> Crowd:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join(PATIENCE)
        self._close()

    def _close(self) -> None:
        self._selector.close()
        for wire in self._wires:
            wire.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            for key, _ in self._selector.select(_TURN):
                with self._lock:
                    self._read(key.data, self._wires[key.data])

    def _read(self, number: int, wire: Wire) -> None:
        try:
            data = wire.sock.recv(1 << 18)
        except OSError:
            data = b""
        for event in wire.connection.receive_data(data):
            self._take(number, event)
        with contextlib.suppress(OSError):
            wire.flush()
        if not data:
            self.closes.setdefault(number, Close(1006, "", False))
            self._selector.unregister(wire.sock)
            wire.close()

    def _take(self, number: int, event: Event | Any) -> None:
        if isinstance(event, TextMessage):
            self._hear(number, event.text)
        elif isinstance(event, BinaryMessage):
            self._hear(number, event.data)
        elif isinstance(event, Ping):
            self.pings[number] += 1
        elif isinstance(event, Close):
            self.closes[number] = event
