"""Every socket call may fail, every handler may do anything: what the server still promises."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import random
import socket
import threading
import time
from collections import Counter
from typing import Any

import pytest

from sono_core import BinaryMessage, Close, Limits, LocalProtocolError, Ping, TextMessage, Timeouts
from sono_server import HTTPRequest, WebSocket
from tests.servers import PATIENCE, Running, Wire, dial, listener

FAULTS = (errno.EAGAIN, errno.EINTR, errno.EPIPE, errno.ECONNRESET, errno.ENOBUFS)


def unreliable(rng: random.Random) -> socket.socket:
    """A listening socket whose connections fail, or do half, in one of twenty calls."""

    class Unreliable(socket.socket):
        def fault(self) -> None:
            if rng.random() < 0.05:
                number = rng.choice(FAULTS)
                raise OSError(number, os.strerror(number))

        def send(self, data: Any, flags: int = 0) -> int:
            self.fault()
            return super().send(data[: rng.randrange(1, 5000)], flags)

        def recv_into(self, buffer: Any, *arguments: Any) -> int:
            self.fault()
            return super().recv_into(buffer[: rng.randrange(1, 5000)], *arguments)

        def shutdown(self, how: int) -> None:
            self.fault()
            super().shutdown(how)

    class Listener(socket.socket):
        def accept(self) -> tuple[socket.socket, Any]:
            if rng.random() < 0.05:
                raise OSError(errno.ECONNABORTED, "aborted")
            sock, address = super().accept()
            return Unreliable(fileno=sock.detach()), address

    sock: socket.socket = listener(kind=Listener)
    return sock


class Application:
    """Does anything to any connection in every handler, and counts the ends of connections."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.inside = False
        self.broken: list[str] = []
        """Violations."""
        self.opened: list[WebSocket] = []
        self.closed: Counter[WebSocket] = Counter()

    def __call__(self, request: HTTPRequest) -> None:
        if self.rng.random() < 0.1:
            request.respond(self.rng.choice((200, 404)), b"x" * self.rng.randrange(1000))
            return
        ws = request.accept(self.on_message, self.on_close)
        if ws.open:
            self.opened.append(ws)
            self.anything()

    def on_message(self, ws: WebSocket, message: str | bytes) -> None:
        self.enter(ws)
        try:
            self.anything()
            if self.rng.random() < 0.02:
                raise ValueError("a handler's own fault")
        finally:
            self.inside = False

    def on_close(self, ws: WebSocket, close: Close) -> None:
        self.enter(ws)
        self.closed[ws] += 1
        try:
            self.anything()
            if self.rng.random() < 0.1:
                raise ValueError("a handler's own fault")
        finally:
            self.inside = False

    def enter(self, ws: WebSocket) -> None:
        if self.inside:
            self.broken.append("a handler was called in the middle of another")
        if self.closed[ws]:
            self.broken.append("a handler was called after on_close")
        self.inside = True

    def anything(self) -> None:
        for _ in range(self.rng.randrange(4)):
            ws = self.rng.choice(self.opened)
            action = self.rng.randrange(20)
            if action < 12:
                ws.send(bytes(self.rng.randrange(3000)))
            elif action < 15:
                for other in self.opened[-10:]:
                    other.send("to many" * 100)
            elif action < 17:
                ws.ping(b"?")
            elif action < 18:
                ws.close(4000, "anything")
            elif action < 19:
                ws._session.abort()
            else:
                ws.send(bytes(200_000))


def misbehave(address: tuple[str, int], rng: random.Random) -> None:
    """Behave as one client, at random."""
    with contextlib.suppress(OSError, AssertionError, LocalProtocolError), Wire(address) as wire:
        for _ in range(rng.randrange(8)):
            choice = rng.randrange(10)
            if choice < 6:
                events = [TextMessage("x" * rng.randrange(300)) for _ in range(rng.randrange(5))]
                wire.send(*events, BinaryMessage(b"y"), Ping())
            elif choice < 7:
                wire.sock.sendall(rng.randbytes(rng.randrange(1, 50)))
            elif choice < 8:
                wire.sock.shutdown(socket.SHUT_WR)
            elif wire.sock.recv(100_000) == b"":
                break
        end = rng.randrange(4)
        if end == 0:
            wire.reset()
        elif end == 1:
            wire.send(Close(1000))
            wire.wait_for_end()
        elif end == 2:
            wire.sock.sendall(wire.encoded(TextMessage("half a frame"))[:5])


@pytest.mark.parametrize("seed", range(6))
def test_every_connection_is_told_its_end_once_whatever_fails(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger="sono")
    rng = random.Random(seed)
    application = Application(rng)
    timeouts = Timeouts(handshake=1.0, ping_interval=0.1, pong=0.2, close=0.2, write_stall=0.2)
    limits = Limits(pause_reading_at=4096, max_queue=100_000, max_turn_messages=3)
    server = Running(application, sock=unreliable(rng), timeouts=timeouts, limits=limits, drain=1.0)
    until = time.monotonic() + PATIENCE

    def live(number: int) -> None:
        own = random.Random(f"{seed} {number}")
        lives = 0
        # On a busy machine many a request meets its deadline.
        while lives < 12 or (len(application.opened) <= 20 and time.monotonic() < until):
            misbehave(server.address, own)
            lives += 1

    threads = [threading.Thread(target=live, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE * 2)
        assert not thread.is_alive()
    deadline = time.monotonic() + PATIENCE
    while server.call(lambda: len(server.server._transports)):
        assert time.monotonic() < deadline, "a connection is never given up"
        time.sleep(0.001)
    assert application.broken == []
    assert len(application.opened) > 20
    assert set(application.closed) == set(application.opened)
    assert set(application.closed.values()) == {1}
    dial(server.address).close()
    server.server.stop()
    server.join()
    assert server.error is None
