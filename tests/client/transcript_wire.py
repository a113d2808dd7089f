"""The server's side of transcripts, on real sockets: it says what it is told to."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import struct
from collections import deque
from collections.abc import Mapping
from itertools import count

from sono_core.websocket.upgrade import accept_key
from sono_server.conformance import Closed, Message
from sono_server.conformance.codec import read, written
from tests.servers import PATIENCE

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_LOST = Closed(1006)


class Wire:
    """One connection of a client."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sock.settimeout(PATIENCE)
        self._bytes = b""
        self._numbers = count()
        self._pong = b""
        self._protocol: str | None = None
        self.heard: deque[Message | Closed] = deque()
        self.over = False
        while b"\r\n\r\n" not in self._bytes:
            self._bytes += self._sock.recv(65536)
        head, _, self._bytes = self._bytes.partition(b"\r\n\r\n")
        self._head = head.decode()

    @property
    def offers(self) -> list[str]:
        """The subprotocols that the client offers."""
        offered = self._field("Sec-WebSocket-Protocol") or ""
        return [name.strip() for name in offered.split(",") if name.strip()]

    def _field(self, name: str) -> str | None:
        found = re.search(rf"^{name}: *(.*?)\r?$", self._head, re.IGNORECASE | re.MULTILINE)
        return found[1] if found else None

    def accept(self, protocol: str | None) -> None:
        """Let the client in."""
        self._protocol = protocol
        agreed = f"Sec-WebSocket-Protocol: {protocol}\r\n" if protocol else ""
        key = accept_key(self._field("Sec-WebSocket-Key") or "")
        self._send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {key}\r\n{agreed}\r\n".encode()
        )

    def refuse(self, status: int, headers: Mapping[str, str]) -> None:
        """Do not."""
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._send(f"HTTP/1.1 {status} No\r\n{fields}Content-Length: 0\r\n\r\n".encode())
        self._end()

    def say(self, message: Message) -> None:
        """Send a packet."""
        self.say_raw(written(message.content, self._protocol))

    def say_raw(self, message: str | bytes) -> None:
        """Send a message."""
        binary = isinstance(message, bytes)
        self._frame(_BINARY if binary else _TEXT, message if binary else message.encode())

    def close(self, code: int, reason: str) -> None:
        """Close, and wait for the client's part."""
        self._frame(_CLOSE, code.to_bytes(2, "big") + reason.encode())
        while not self.over:
            self._receive()

    def lose(self) -> None:
        """Lose the connection."""
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._end()

    def catch_up(self) -> None:
        """Hear all that the client has said to what it was told, as far as it has read that."""
        payload = b"%d" % next(self._numbers)
        self._frame(_PING, payload)
        while not self.over and self._pong != payload:
            self._receive()

    def hear(self) -> None:
        """Wait for the client to say something."""
        while not self.over and not self.heard:
            self._receive()

    def _receive(self) -> None:
        """Take one frame."""
        try:
            first, second = self._take(2)
            size = second & 127
            if size > 125:
                size = int.from_bytes(self._take(2 if size == 126 else 8), "big")
            key = self._take(4)
            masked = self._take(size)
        except (ConnectionError, EOFError):
            if not self.over:
                self.heard.append(_LOST)
                self._end()
            return
        payload = bytes(byte ^ key[number % 4] for number, byte in enumerate(masked))
        opcode = first & 15
        if opcode == _PONG:
            self._pong = payload
        elif opcode == _CLOSE:
            code = int.from_bytes(payload[:2], "big") if payload else 1005
            self.heard.append(Closed(code, payload[2:].decode()))
            self._frame(_CLOSE, payload)
            self._end()
        elif opcode == _TEXT:
            self.heard.append(Message(read(payload.decode(), self._protocol)))
        else:
            self.heard.append(Message(read(payload, self._protocol)))

    def _take(self, size: int) -> bytes:
        while len(self._bytes) < size:
            part = self._sock.recv(65536)
            if not part:
                raise EOFError
            self._bytes += part
        taken, self._bytes = self._bytes[:size], self._bytes[size:]
        return taken

    def _frame(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        length = bytes((size,)) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
        self._send(bytes((0x80 | opcode,)) + length + payload)

    def _send(self, data: bytes) -> None:
        if not self.over:
            with contextlib.suppress(ConnectionError):  # the client has gone, as it may
                self._sock.sendall(data)

    def _end(self) -> None:
        self.over = True
        self._sock.close()


class Listener:
    """Where clients connect to."""

    def __init__(self) -> None:
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.url: str = f"ws://127.0.0.1:{self._sock.getsockname()[1]}/ws"

    def next(self, patience: float) -> Wire | None:
        """The next connection; None if there is none in time."""
        ready, _, _ = select.select([self._sock], [], [], patience)
        return Wire(self._sock.accept()[0]) if ready else None

    def close(self) -> None:
        """Listen no longer."""
        self._sock.close()
