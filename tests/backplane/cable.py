"""A network between a node and its broker that is silent without a word."""

from __future__ import annotations

import contextlib
import socket
import threading


class Cable:
    """Passes bytes on between one node and a broker; while it is cut it swallows them, and tells
    nobody: both sides think that they are connected.

    Args:
        target: the broker.
        deafens: whether it swallows only what the node hears as a subscriber.
    """

    def __init__(self, target: tuple[str, int], *, deafens: bool = False) -> None:
        self.cut = threading.Event()
        self._deafens = deafens
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._sockets += [near, far]
                hears = threading.Event()
                for ends in ((near, far, hears, True), (far, near, hears, False)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(
        self, source: socket.socket, target: socket.socket, hears: threading.Event, up: bool
    ) -> None:
        spoiled = False  # a connection that has lost bytes is of no use any more
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if up and b"SUBSCRIBE" in data.upper():
                    hears.set()
                swallows = not self._deafens or (hears.is_set() and not up)
                spoiled = spoiled or (self.cut.is_set() and swallows)
                if not spoiled:
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.close()
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
