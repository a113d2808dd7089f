"""A server in a thread, and clients made of a socket and the core. Nothing sleeps."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import queue
import random
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from sono_core import (
    Accept,
    BinaryMessage,
    Close,
    Connection,
    Deflate,
    Event,
    Headers,
    Limits,
    Ping,
    Reject,
    Request,
    Role,
    TextMessage,
)
from sono_core.limits import DEFAULT_LIMITS
from sono_server import AsyncServer, HTTPRequest, Server, WebSocket, serve, serve_async

Result = TypeVar("Result")
Address = tuple[str, int]

PATIENCE = 120.0
"""Seconds after which a test gives up waiting for what is sure to happen.

Measuring coverage in pure Python beside the conformance suite takes thirty times as long as alone.
"""


def echo(ws: WebSocket, message: str | bytes) -> None:
    ws.send(message)


def accept_echo(request: HTTPRequest) -> None:
    """The simplest application."""
    request.accept(echo)


kind = "selector"
"""The server that `Running` runs: selector, asyncio or uvloop. Set by the fixture `each_server`."""


class Running:
    """A server that runs in a thread of its own.

    Args:
        handle: called with each request; on asyncio it may be a coroutine function.
        options: for `serve`; by default the server listens on a free port of 127.0.0.1.
    """

    def __init__(self, handle: Callable[[HTTPRequest], object], **options: Any) -> None:
        if "sock" not in options and "unix" not in options:
            options = {"host": "127.0.0.1", "port": 0, **options}
        self._kind = kind
        self.server: Any = serve(**options) if kind == "selector" else serve_async(**options)
        self.address: Address = self.server.address[:2]
        self.error: BaseException | None = None
        """The exception that ended the loop, if any."""
        self._handle = handle
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            if self._kind == "selector":
                self._serve(self.server)
            elif self._kind == "asyncio":
                asyncio.run(self._serve_async(self.server))
            else:
                import uvloop

                uvloop.run(self._serve_async(self.server))
        except BaseException as error:
            self.error = error

    def _serve(self, server: Server) -> None:
        with server:
            for request in server:
                self._handle(request)

    async def _serve_async(self, server: AsyncServer) -> None:
        async with server:
            async for request in server:
                result = self._handle(request)
                if inspect.isawaitable(result):
                    await result

    def call(self, function: Callable[[], Result]) -> Result:
        """The result of the function, called in the server's thread."""
        results: queue.Queue[Result] = queue.Queue()
        self.server.call_soon(lambda: results.put(function()))
        return results.get(timeout=PATIENCE)

    def turn(self) -> None:
        """Wait until the loop has done all that was waiting."""
        self.call(lambda: None)

    def join(self) -> None:
        """Wait until the loop has ended."""
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "the server does not end"

    def end(self) -> None:
        """Cut everything off and wait until the loop has ended."""
        self.server.stop()
        self.server.stop()
        self.join()


@contextlib.contextmanager
def running(
    handle: Callable[[HTTPRequest], object] = accept_echo, **options: Any
) -> Iterator[Running]:
    """A server for the length of a with statement; raises what its loop raised."""
    server = Running(handle, **options)
    try:
        yield server
    finally:
        server.end()
    if server.error:
        raise server.error


def listener(send_buffer: int | None = None, kind: type[socket.socket] = socket.socket) -> Any:
    """A listening socket on 127.0.0.1, whose connections have that SO_SNDBUF."""
    sock = kind(socket.AF_INET, socket.SOCK_STREAM)
    if send_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    sock.bind(("127.0.0.1", 0))
    sock.listen(128)
    return sock


def free_port() -> int:
    """A port of 127.0.0.1 for a program that must be told one.

    It is not one of those that the kernel gives to whoever asks for any: such a port, free a moment
    before, may be another test's by the time the program listens.
    """
    while True:  # not of `random` itself, which each process of the tests may seed alike
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def has_ipv6() -> bool:
    """Whether the machine can listen on ::1."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


class SecureAddress(tuple[str, int]):
    """An address of a server that speaks TLS, to which `dial` does too."""

    context: ssl.SSLContext


def dial(address: Address, receive_buffer: int | None = None) -> socket.socket:
    """A connected socket."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(PATIENCE)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    try:
        sock.connect(address)
        if isinstance(address, SecureAddress):
            return address.context.wrap_socket(sock, server_hostname=address[0])
    except OSError:
        sock.close()
        raise
    return sock


def read_all(sock: socket.socket) -> bytes:
    """Everything up to the end of the stream."""
    parts = []
    while part := sock.recv(1 << 18):
        parts.append(part)
    return b"".join(parts)


def ask(address: Address, request: bytes) -> bytes:
    """The whole response to a plain HTTP request."""
    with dial(address) as sock:
        sock.sendall(request)
        return read_all(sock)


def get(address: Address, target: str = "/", method: str = "GET", headers: str = "") -> bytes:
    """The whole response to a request without a body."""
    host = f"Host: {address[0]}:{address[1]}\r\n"
    return ask(address, f"{method} {target} HTTP/1.1\r\n{host}{headers}\r\n".encode())


def status(response: bytes) -> int:
    """The status of a response."""
    version, code, _ = response.split(b" ", 2)
    assert version == b"HTTP/1.1", response
    return int(code)


class Wire:
    """A client: a blocking socket and the core's connection, without a session.

    Args:
        upgrade: whether to send the request and wait for the 101.
    """

    def __init__(
        self,
        address: Address,
        target: str = "/",
        *,
        upgrade: bool = True,
        headers: Headers = Headers(),  # noqa: B008 - immutable
        subprotocols: tuple[str, ...] = (),
        limits: Limits = DEFAULT_LIMITS,
        deflate: Deflate | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        self.sock = dial(address, receive_buffer)
        self.connection = Connection(Role.CLIENT, limits=limits, deflate=deflate, random=os.urandom)
        self._events: deque[Event] = deque()
        self.ended = False
        """Whether the server has ended its half of the stream."""
        host = f"{address[0]}:{address[1]}"
        self.connection.send(Request(target, headers, host=host, subprotocols=subprotocols))
        self.answer: Event | None = None
        if upgrade:
            try:
                self.flush()
                self.answer = self.next()
            except BaseException:
                self.sock.close()
                raise

    def encoded(self, *events: Event) -> bytes:
        """The bytes of events, without sending them."""
        for event in events:
            self.connection.send(event)
        return self.connection.data_to_send()

    def flush(self) -> None:
        if data := self.connection.data_to_send():  # sendall waits for room even to send nothing
            self.sock.sendall(data)

    def send(self, *events: Event | str | bytes) -> None:
        """Send events or messages, in one segment."""
        for event in events:
            if isinstance(event, str):
                event = TextMessage(event)
            elif isinstance(event, bytes):
                event = BinaryMessage(event)
            self.connection.send(event)
        self.flush()

    def next(self) -> Event:
        """The next event; sends the core's automatic answers."""
        while not self._events:
            assert not self.ended, "the stream has ended"
            data = self.sock.recv(1 << 18)
            self.ended = not data
            self._events.extend(self.connection.receive_data(data))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.flush()
        return self._events.popleft()

    def message(self) -> str | bytes:
        """The message in the next event, which must be one. Pings are passed over."""
        event = self.next()
        while isinstance(event, Ping):
            event = self.next()
        if isinstance(event, TextMessage):
            return event.text
        assert isinstance(event, BinaryMessage), event
        return event.data

    def closed(self) -> Close:
        """The next Close, after any messages and pings."""
        while not isinstance(event := self.next(), Close):
            assert not isinstance(event, (Accept, Reject)), event
        return event

    def wait_for_end(self) -> None:
        """Read up to the end of the stream."""
        if not self.ended:
            read_all(self.sock)
            self.ended = True

    def close(self) -> None:
        """End the stream without a Close."""
        self.sock.close()

    def reset(self) -> None:
        """End the stream with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
