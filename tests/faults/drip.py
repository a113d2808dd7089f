"""Slowloris: handshakes that arrive one byte at a time."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections import Counter

from tests.servers import PATIENCE, Address, dial

_HEAD = b"GET /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Filler: " + b"x" * 4000


class Drip:
    """Connections that never finish their request, in a thread, for a with statement.

    Args:
        address: of the server.
        count: of connections.
        interval: seconds from one byte to the next.
    """

    def __init__(self, address: Address, count: int, interval: float) -> None:
        self._address = address
        self._count = count
        self._interval = interval
        self._selector = selectors.DefaultSelector()
        self._began: dict[socket.socket, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drip")
        self.begun = threading.Event()
        """All are connected."""
        self.lasted: list[float] = []
        """Seconds until the server ended each."""
        self.answers: Counter[bytes] = Counter()
        """The status lines with which it ended them."""

    @property
    def over(self) -> bool:
        """Whether the server has ended all of them."""
        return len(self.lasted) == self._count

    def __enter__(self) -> Drip:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join(PATIENCE)
        for sock in self._began:
            sock.close()
        self._selector.close()

    def _run(self) -> None:
        for _ in range(self._count):
            began = time.monotonic()
            sock = dial(self._address)
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, [])
            self._began[sock] = began
        self.begun.set()
        sent = 0
        due = time.monotonic()
        while self._began and not self._ended.is_set():
            if time.monotonic() >= due:
                due += self._interval
                for sock in self._began:
                    with contextlib.suppress(OSError):
                        sock.send(_HEAD[sent : sent + 1])
                sent += 1
            for key, _ in self._selector.select(max(0.0, due - time.monotonic())):
                assert isinstance(key.fileobj, socket.socket)
                self._read(key.fileobj, key.data)

    def _read(self, sock: socket.socket, answer: list[bytes]) -> None:
        try:
            data = sock.recv(1 << 16)
        except OSError:
            data = b""
        if data:
            answer.append(data)
            return
        self.lasted.append(time.monotonic() - self._began.pop(sock))
        self.answers[b"".join(answer).partition(b"\r\n")[0]] += 1
        self._selector.unregister(sock)
        sock.close()
