"""What the tests of the blocking clients share: the real server, and servers that misbehave."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

from sono_client import SonoClient, WebSocket
from sono_core import Timeouts
from sono_core.websocket.upgrade import accept_key
from sono_server import Client, Sono, serve
from sono_server.selector.server import Server
from sono_server.serving.requests import HTTPRequest
from sono_server.serving.websocket import WebSocket as ServerSocket
from tests.servers import PATIENCE

SHORT = 0.05  # seconds for events that are sure not to happen
MIB = 1 << 20
QUICK = Timeouts(handshake=1.0, ping_interval=0.1, pong=0.1, close=0.2, write_stall=0.2)


Handle = Callable[[HTTPRequest], object]


@contextlib.contextmanager
def serving(handle: Handle, **options: Any) -> Iterator[Server]:
    """A server in a thread, which gives each request to `handle`."""
    with serve(port=0, drain=1.0, **options) as server:

        def run() -> None:
            for request in server:
                handle(request)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield server
        finally:
            server.stop()
            thread.join(PATIENCE)
            assert not thread.is_alive()


def url_of(server: Server, path: str = "/ws") -> str:
    return f"ws://localhost:{server.address[1]}{path}"


def echo(request: HTTPRequest) -> None:
    request.accept(on_message=lambda ws, message: ws.send(message))


def commanded(request: HTTPRequest) -> None:
    """Accepts, and obeys each message."""

    def obey(ws: ServerSocket, message: str | bytes) -> None:
        command, _, argument = str(message).partition(" ")
        if command == "close":
            code, _, reason = argument.partition(" ")
            ws.close(int(code), reason)
        elif command == "send":
            for number in range(int(argument)):
                ws.send(str(number))
        elif command == "say":
            ws.send(argument)

    request.accept(on_message=obey, subprotocol="x")


class Faulty:
    """A server of one raw connection, in a thread: reads the request, then runs `script`."""

    def __init__(self, script: Script, listener: socket.socket | None = None) -> None:
        self._script = script
        self._listener = listener or socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]  # has no meaning for a Unix socket
        self.url = f"ws://127.0.0.1:{self.port}/ws"
        self.authority = self.url[5:-3]
        self.released = threading.Event()
        """Set when the client's part of the test is done."""
        self.request = b""
        self.received = b""
        """The bytes after the request."""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._listener:
            sock, _ = self._listener.accept()
        with sock, contextlib.suppress(ConnectionError):
            sock.settimeout(PATIENCE)
            while b"\r\n\r\n" not in self.request:
                if not (data := sock.recv(1)):
                    return
                self.request += data
            self._script(self, sock)
            if sock.fileno() >= 0:
                sock.shutdown(socket.SHUT_WR)
                while data := sock.recv(65536):
                    self.received += data

    def accept(self) -> bytes:
        """The valid 101."""
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", self.request, re.IGNORECASE)
        assert key
        return (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept_key(key[1].decode())}\r\n\r\n"
        ).encode()

    def join(self) -> None:
        self.released.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


Script = Callable[[Faulty, socket.socket], object]


@contextlib.contextmanager
def faulty(script: Script) -> Iterator[Faulty]:
    server = Faulty(script)
    try:
        yield server
    finally:
        server.join()


def unmasked(data: bytes) -> list[bytes]:
    """First byte and payload of a client's short frames."""
    frames = []
    while len(data) >= 6:
        size = data[1] & 0x7F
        key, payload = data[2:6], data[6 : 6 + size]
        plain = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
        frames.append(data[:1] + plain)
        data = data[6 + size :]
    return frames


class Accepted:
    """A script: sends the valid 101 and these frames in one segment; then only listens."""

    def __init__(self, frames: bytes = b"") -> None:
        self._frames = frames

    def __call__(self, server: Faulty, sock: socket.socket) -> None:
        sock.sendall(server.accept() + self._frames)
        while data := sock.recv(65536):
            server.received += data
            if any(frame[0] == 0x88 for frame in unmasked(server.received)):  # a Close
                break


def silent(server: Faulty, sock: socket.socket) -> None:
    """A script: neither reads nor writes."""
    server.released.wait(PATIENCE)


def unresponsive(server: Faulty, sock: socket.socket) -> None:
    """A script: sends the valid 101, then neither reads nor writes."""
    sock.sendall(server.accept())
    server.released.wait(PATIENCE)


def reset(sock: socket.socket) -> None:
    """Close with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def refused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def count_waits(ws: WebSocket) -> list[float]:
    """Records the deadline of each wait for the socket from now on."""
    poll_once, waits = ws._transport._poll_once, []

    def counted(now: float, deadline: float) -> None:
        waits.append(deadline)
        poll_once(now, deadline)

    ws._transport._poll_once = counted  # type: ignore[method-assign]
    return waits


class Room:
    """A Sono server with open channels, and its clients as they connect."""

    def __init__(self) -> None:
        self.sono = Sono(open_channels=True)
        self.joined: list[Client] = []

    def handle(self, request: HTTPRequest) -> None:
        client = self.sono.connect(request)
        if client:
            self.joined.append(client)


def heard(sono: SonoClient, event: str = "message") -> list[Any]:
    """The payloads of that event from now on."""
    payloads: list[Any] = []
    sono.on(event, payloads.append)
    return payloads
