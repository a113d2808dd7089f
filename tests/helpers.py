"""What several tests share: open connections, and a Sono application without sockets.

Everything here is deterministic: no clock, no socket, no randomness of the system.
"""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Callable
from typing import Any

from hypothesis import settings

from sono_core import (
    Accept,
    Close,
    Connection,
    Deflate,
    Event,
    Limits,
    Ping,
    Request,
    Role,
    TextMessage,
)
from sono_core.lifecycle import MemoryBudget
from sono_core.lifecycle.session import Session
from sono_core.limits import DEFAULT_LIMITS
from sono_core.websocket.upgrade import accept_key
from sono_io.fast import new_context
from sono_server import Client, Sono
from sono_server.serving.requests import HTTPRequest, RequestHandler

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # the example of RFC 6455, section 1.3
ANY_TAKEOVER = Deflate(context_takeover=True, threshold=0)
"""Agrees to any header of the other side, and compresses every message."""


SOME_LIVES = settings(max_examples=min(settings().max_examples, 250), stateful_step_count=100)
"""For machines whose steps are costly: 25,000 of them, however many examples others have."""


def repeatable(seed: int = 0) -> Callable[[int], bytes]:
    """A source of the same bytes each time; for tests alone."""
    return random.Random(seed).randbytes


def request_bytes(extensions: str | None = None) -> bytes:
    """A valid upgrade request."""
    offer = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
    return (
        "GET /ws HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n"
    ).encode()


def response_bytes(client: Connection, extensions: str | None = None) -> bytes:
    """Send a client's request, and return a valid response to it."""
    client.send(Request("/ws", host="example.com"))
    match = re.search(rb"Sec-WebSocket-Key: (\S+)", client.data_to_send(), re.IGNORECASE)
    assert match
    answer = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_key(match[1].decode())}\r\n{answer}\r\n"
    ).encode()


def new_connection(
    role: Role, deflate: Deflate | None = ANY_TAKEOVER, limits: Limits = DEFAULT_LIMITS
) -> Connection:
    """A connection of either role whose randomness repeats."""
    source = repeatable() if role is Role.CLIENT else None
    return Connection(role, deflate=deflate, limits=limits, random=source)


def opening(connection: Connection, extensions: str | None = None) -> bytes:
    """The peer's half of the handshake; a client has sent its request afterwards."""
    if connection.role is Role.SERVER:
        return request_bytes(extensions)
    return response_bytes(connection, extensions)


def open_connection(
    role: Role,
    extensions: str | None = None,
    *,
    deflate: Deflate | None = ANY_TAKEOVER,
    limits: Limits = DEFAULT_LIMITS,
) -> Connection:
    """A connection after its handshake, with an empty outbox.

    Args:
        extensions: the peer's Sec-WebSocket-Extensions.
    """
    connection = new_connection(role, deflate, limits)
    (event,) = connection.receive_data(opening(connection, extensions))
    if role is Role.SERVER:
        assert isinstance(event, Request)
        connection.send(Accept())
        connection.data_to_send()
    else:
        assert isinstance(event, Accept), event
    return connection


class FakeLoop:
    """A server's loop in the only thread; its clock stands still until a test sets it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.context = new_context(memoryview(bytearray(4096)), DEFAULT_LIMITS)
        self.context.thread = threading.get_ident()
        self.memory = MemoryBudget(DEFAULT_LIMITS.memory_limit)
        self._next_turn: list[Callable[[], object]] = []

    def time(self) -> float:
        return self.now

    ended = False

    def in_loop(self) -> bool:
        return True

    def call_soon(self, function: Callable[..., object], *arguments: object) -> bool:
        raise AssertionError("there is no other thread")

    def at_end(self, function: Callable[[], object]) -> None:
        """It does not end."""

    def call_next_turn(self, function: Callable[[], object]) -> None:
        self._next_turn.append(function)

    def turn(self) -> None:
        """Begin the next turn."""
        self.context.flush(self.now)
        self._run_next_turn()

    def _run_next_turn(self) -> None:
        functions, self._next_turn = self._next_turn, []
        for function in functions:
            function()


class FakeTransport:
    """Records what a session asks of it; `Application.settle` moves the bytes."""

    def __init__(self) -> None:
        self.closing = False
        self.aborted = False

    def write_soon(self) -> None:
        """`settle` writes everything anyway."""

    def write_now(self) -> None:
        """As `write_soon`."""

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.aborted = True


class Peer:
    """A client of an `Application`: the core's client, speaking raw packets.

    Args:
        callback: for `Sono.connect`.
    """

    def __init__(self, application: Application, callback: Callable[..., object] | None) -> None:
        self._application = application
        self.connection = Connection(Role.CLIENT, random=repeatable(len(application.peers)))
        self.packets: list[Any] = []
        """The packets that came, parsed."""
        self.texts: list[str] = []
        """The same packets, unparsed."""
        self.closed: Close | None = None
        self.client: Client | None = None
        """The application's object for this client."""
        loop = application.loop

        def deliver(request: HTTPRequest) -> None:
            self.client = application.sono.connect(request, callback)

        handler = RequestHandler(loop, ("127.0.0.1", 1), deliver)
        self.transport = FakeTransport()
        self.session = Session(
            Connection(Role.SERVER, limits=application.limits),
            self.transport,
            handler,
            now=loop.time(),
            limits=application.limits,
        )
        handler.session = self.session
        self.connection.send(Request("/ws", host="example.com"))

    @property
    def id(self) -> str:
        assert self.client is not None
        return self.client.id

    def send(self, packet: object) -> None:
        """Send a packet, or a text as it is, and everything that follows."""
        text = packet if isinstance(packet, str) else json.dumps(packet)
        self.send_event(TextMessage(text))

    def send_event(self, event: Any) -> None:
        """Send any event of the core."""
        self.connection.send(event)
        self._application.settle()

    def take(self) -> list[Any]:
        """The packets since the last call."""
        packets, self.packets = self.packets, []
        self.texts.clear()
        return packets

    def end(self) -> None:
        """Let the connection break."""
        self.session.receive(b"", self._application.loop.time())
        self._application.settle()

    def move(self) -> bool:
        """Move the bytes that wait, in both directions; returns whether there were any."""
        session, connection, now = self.session, self.connection, self._application.loop.time()
        moved = False
        while data := bytes(session.outbox.peek()):
            session.written(len(data), now)
            self._receive(data)
            moved = True
        if self.transport.closing and not self.transport.aborted and not session.over:
            self._receive(b"")
            session.receive(b"", now)
            moved = True
        if data := connection.data_to_send():
            if not session.over:
                session.receive(data, now)
            moved = True
        while session.pump_due and not session.over:
            session.pump(now)
            moved = True
        return moved

    def _receive(self, data: bytes) -> None:
        for event in self.connection.receive_data(data):
            self._see(event)

    def _see(self, event: Event) -> None:
        if isinstance(event, TextMessage):
            self.texts.append(event.text)
            self.packets.append(json.loads(event.text))
        elif isinstance(event, Close):
            self.closed = event
        else:
            assert isinstance(event, (Accept, Ping)), event


class Application:
    """A `Sono` whose clients are in memory."""

    def __init__(self, sono: Sono | None = None, limits: Limits = DEFAULT_LIMITS) -> None:
        self.sono = sono or Sono()
        self.limits = limits
        self.loop = FakeLoop()
        self.peers: list[Peer] = []

    def connect(self, callback: Callable[..., object] | None = None) -> Peer:
        """A new client, connected."""
        peer = Peer(self, callback)
        self.peers.append(peer)
        self.settle()
        return peer

    def settle(self) -> None:
        """Move bytes to and fro until none wait."""
        moved = True
        while moved:
            moved = False
            for peer in self.peers:
                moved |= peer.move()

    def assert_serves(self, *peers: Peer) -> None:
        """These clients are connected, and the server answers them."""
        for peer in peers:
            peer.take()
            peer.send({"protocol": "grab", "event": "grab", "payload": {"message": "myid"}})
            assert peer.take() == [
                {"protocol": "grab", "payload": {"message": [peer.id], "type": "myid"}}
            ]
