"""One connection of the selector server over a socket pair, without a loop around it."""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from sono_core import Close, Connection, Deflate, Event, Limits, Request, Role
from sono_core.lifecycle import Layer
from sono_core.lifecycle.session import Session
from sono_core.limits import DEFAULT_LIMITS
from sono_core.tls.layer import SecureSession
from sono_io.fast import new_context
from sono_server import HTTPRequest, WebSocket
from sono_server.selector.transport import READ, WRITE, SelectorTransport
from sono_server.serving.requests import RequestHandler
from tests.certificates import client_side, server_side
from tests.helpers import new_connection

MASK = b"\x01\x02\x03\x04"
MIB = 1 << 20


native = pytest.mark.native


OnMessage = Callable[[WebSocket, Any], object]


class FakeLoop:
    """What a transport needs of its loop, with a clock that stands still."""

    ended = False

    def __init__(self, limits: Limits) -> None:
        self.buffer = memoryview(bytearray(256 * 1024))
        self.context = new_context(self.buffer, limits)
        self.context.thread = threading.get_ident()
        self.again: deque[SelectorTransport] = deque()
        self.next_turn: list[Callable[[], object]] = []
        self.events = 0
        self.forgotten = False
        self.posted: queue.Queue[tuple[Callable[..., object], tuple[object, ...]]] = queue.Queue()

    def time(self) -> float:
        return 0.0

    def in_loop(self) -> bool:
        return threading.get_ident() == self.context.thread

    def call_soon(self, function: Callable[..., object], *arguments: object) -> bool:
        self.posted.put((function, arguments))
        return True

    def watch(
        self, sock: socket.socket, transport: SelectorTransport, before: int, events: int
    ) -> None:
        self.events = events

    def call_next_turn(self, function: Callable[[], object]) -> None:
        self.next_turn.append(function)

    def pump_later(self, transport: SelectorTransport) -> None:
        self.again.append(transport)

    def schedule(self, transport: SelectorTransport, due: float) -> None:
        transport.scheduled = due

    def forget(self, transport: SelectorTransport) -> None:
        self.forgotten = True


def readable(sock: socket.socket) -> bool:
    if sock.fileno() < 0:
        return False
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


class Wired:
    """A transport on a socket pair, with a client's `Connection` at the other end."""

    def __init__(
        self,
        on_message: OnMessage | None = None,
        *,
        limits: Limits = DEFAULT_LIMITS,
        deflate: Deflate | None = None,
        loop: FakeLoop | None = None,
    ) -> None:
        self.received: list[Any] = []
        self._unread = b""
        self.closes: list[Close] = []
        self.loop = loop or FakeLoop(limits)
        self.here, there = socket.socketpair()
        for sock in (self.here, there):
            sock.setblocking(False)
        self.transport = SelectorTransport(self.loop, there)
        handler = RequestHandler(self.loop, "client", self._accept)
        connection = Connection(Role.SERVER, limits=limits, deflate=deflate)
        self.session = Session(
            connection, self.transport, handler, now=0.0, limits=limits, turn=self.loop.context
        )
        handler.session = self.session
        self.transport.layer = self.layer()
        self._on_message = on_message or (lambda ws, message: self.received.append(message))
        self.transport.flush(0.0)
        self.client = new_connection(
            Role.CLIENT, deflate=deflate, limits=Limits(max_message=64 * MIB, max_frame=64 * MIB)
        )
        self.ws: WebSocket
        self.begin()
        self.write(Request("/", host="a"))
        self.turn()
        self.read()
        self.turn()  # this turn finds that no frame came with the request

    def layer(self) -> Layer:
        """What the transport drives."""
        return self.session

    def begin(self) -> None:
        """Do what comes before the request."""

    def _accept(self, request: HTTPRequest) -> None:
        self.ws = request.accept(self._on_message, lambda ws, close: self.closes.append(close))

    def write(self, *events: Event) -> None:
        for event in events:
            self.client.send(event)
        self.write_raw(self.client.data_to_send())

    def write_raw(self, data: bytes) -> None:
        """Send bytes of the client's connection."""
        self.put(self.encrypted(data))

    def encrypted(self, data: bytes) -> bytes:
        """What to put into the socket for them; it must all be put there, in order."""
        return data

    def put(self, data: bytes) -> None:
        """Send into the socket until it is full, with turns of the server in between."""
        view = memoryview(data)
        while view:
            try:
                view = view[self.here.send(view) :]
            except BlockingIOError:
                self.turn()
                self._unread += self._receive()

    def turn(self) -> None:
        """The selector server's work for this connection in one turn."""
        self.loop.context.flush(0.0)
        again, self.loop.again = self.loop.again, deque()
        if self.loop.events & READ and readable(self.transport._sock):
            self.transport.ready(READ, 0.0)
        if self.loop.events & WRITE and not self.session.over:
            self.transport.ready(WRITE, 0.0)
        for transport in again:
            transport.pump_scheduled = False
            transport.layer.pump(0.0)
            transport.flush(0.0)

    def read_raw(self) -> bytes:
        """Everything that was written to the client's connection and not read yet."""
        return self.got()

    def got(self) -> bytes:
        """Everything that was written to the socket and not read yet."""
        unread, self._unread = self._unread, b""
        return unread + self._receive()

    def _receive(self) -> bytes:
        found = bytearray()
        while True:
            try:
                data = self.here.recv(MIB)
            except BlockingIOError:
                return bytes(found)
            if not data:
                return bytes(found)
            found += data

    def read(self) -> list[Event]:
        """The client's events in everything that was written to it."""
        data = self.read_raw()
        events = list(self.client.receive_data(data)) if data else []
        self.write_raw(self.client.data_to_send())
        return events

    def exchange(self) -> list[Event]:
        """Take turns until nothing moves any more; returns what the client received."""
        found: list[Event] = []
        quiet = 0
        while quiet < 2:
            self.turn()
            self._unread += self._receive()
            quiet = 0 if self._unread or readable(self.transport._sock) else quiet + 1
            found += self.read()
        return found

    def close(self) -> None:
        self.here.close()
        if not self.session.over:
            self.session.lost()


class SecureWired(Wired):
    """The same over TLS, of `version`, or of any; the client's is OpenSSL's without a transport."""

    version: ssl.TLSVersion | None = None
    tls: SecureSession
    secret: ssl.SSLObject

    def layer(self) -> Layer:
        self.tls = SecureSession(self.session, server_side(), turn=self.loop.context)
        return self.tls

    def begin(self) -> None:
        context = client_side()
        if self.version:
            context.minimum_version = context.maximum_version = self.version
        self.from_server, self.to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.secret = context.wrap_bio(
            self.from_server, self.to_server, server_hostname="localhost"
        )
        for _ in range(3):
            with contextlib.suppress(ssl.SSLWantReadError):
                self.secret.do_handshake()
            self.put(self.to_server.read())
            self.turn()
            self.from_server.write(self.got())

    def turn(self) -> None:
        """What waits leaves before the loop waits, so that whoever reads then finds it."""
        super().turn()
        self.loop.context.flush(0.0)

    def encrypted(self, data: bytes) -> bytes:
        if data:
            self.secret.write(data)
        return self.to_server.read()

    def read_raw(self) -> bytes:
        self.from_server.write(self.got())
        found = bytearray()
        with contextlib.suppress(ssl.SSLError):  # it wants more, or there was an alert
            while piece := self.secret.read(MIB):
                found += piece
        return bytes(found)


def echo(ws: WebSocket, message: str | bytes) -> None:
    assert ws.send(message)


class Stop(BaseException):
    """Exceptions that are not for an error handler."""
