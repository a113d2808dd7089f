"""What the tests of the asyncio clients share: loops that clean up, servers of any kind."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest

from sono_core import Deflate, Timeouts
from sono_core.websocket.upgrade import accept_key
from sono_server import HTTPRequest, WebSocket, serve_async
from tests.servers import PATIENCE

Result = TypeVar("Result")

MIB = 1 << 20
QUICK = Timeouts(handshake=1.0, ping_interval=0.1, pong=0.1, close=0.2, write_stall=0.2)
LOOPS = ("asyncio", "uvloop")


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    if name == "asyncio":
        return asyncio.new_event_loop()
    uvloop = pytest.importorskip("uvloop", reason="install it with: pip install uvloop")
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class Loop:
    """Runs coroutines on a fresh loop, and checks that nothing is left on it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, main: Coroutine[Any, Any, Result]) -> Result:
        complaints: list[Any] = []
        loop = new_loop(self.name)
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        try:
            result = loop.run_until_complete(asyncio.wait_for(main, PATIENCE))
            loop.run_until_complete(turns(3))
            assert not asyncio.all_tasks(loop)
            timers = getattr(loop, "_scheduled", [])
            assert not [timer for timer in timers if not timer.cancelled()]
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(turns(2))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
        assert complaints == []
        return result


async def turns(number: int) -> None:
    """Let the loop turn that many times."""
    for _ in range(number):
        await asyncio.sleep(0)


async def eventually(done: Callable[[], object]) -> None:
    """Let the loop turn until this is true; only the test's own time-out bounds it."""
    while not done():  # noqa: ASYNC110 - there is nothing that would tell
        await asyncio.sleep(0.001)


# -- the real server ------------------------------------------------------------------------------


def echo(request: HTTPRequest) -> None:
    request.accept(on_message=lambda ws, message: ws.send(message))


def commanded(request: HTTPRequest) -> None:
    """Accepts, and obeys each message."""

    def obey(ws: WebSocket, message: str | bytes) -> None:
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


@contextlib.asynccontextmanager
async def serving(
    handle: Callable[[HTTPRequest], object], *, deflate: Deflate | None = None, **options: Any
) -> AsyncIterator[str]:
    """A server on this loop, and its URL."""
    async with serve_async("127.0.0.1", 0, deflate=deflate, **options) as server:

        async def serve() -> None:
            async for request in server:
                handle(request)

        task = asyncio.ensure_future(serve())
        try:
            yield f"ws://127.0.0.1:{server.address[1]}/"
        finally:
            await server.close()
            await task


# -- servers that do anything ---------------------------------------------------------------------


class Peer:
    """A connection to a `scripted` server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> str:
        """The value of the request's header."""
        return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def accept(self, after: bytes = b"") -> None:
        """Answer the handshake, with more bytes in the same segment."""
        self.writer.write(switching(await self.head()) + after)
        await self.writer.drain()

    async def answer(self, status: str, *headers: str, body: bytes = b"") -> None:
        """Refuse the handshake."""
        await self.head()
        fields = "".join(f"{line}\r\n" for line in (*headers, f"Content-Length: {len(body)}"))
        self.writer.write(f"HTTP/1.1 {status}\r\n{fields}\r\n".encode() + body)
        await self.writer.drain()

    async def frame(self) -> tuple[int, bytes]:
        """First byte and unmasked payload of the next frame, which must be short."""
        first, second = await self.reader.readexactly(2)
        key = await self.reader.readexactly(4)
        masked = await self.reader.readexactly(second & 127)
        return first, bytes(byte ^ key[i % 4] for i, byte in enumerate(masked))

    async def gone(self) -> bytes:
        """Return everything up to the end of the client's stream."""
        with contextlib.suppress(ConnectionError):
            return await self.reader.read()
        return b""


def switching(head: str) -> bytes:
    """The 101 for a request."""
    match = re.search(r"Sec-WebSocket-Key: (\S+)", head, re.IGNORECASE)
    assert match
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_key(match[1])}\r\n\r\n"
    ).encode()


Script = Callable[[Peer], Awaitable[object]]


@contextlib.asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[str]:
    """Start a server that runs a script for each connection and then ends it; yields its URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            await script(Peer(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def frame(opcode: int, payload: bytes = b"") -> bytes:
    """A server's whole frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 1 << 16:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


async def silent(peer: Peer) -> None:
    """Accepts, then never reads or writes again."""
    await peer.accept()
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.Event().wait()


async def deaf(peer: Peer) -> None:
    """Accepts, and reads without answering."""
    await peer.accept()
    await peer.gone()
