"""Other implementations as servers and clients, with one interface for the tests.

A server echoes, and obeys two texts: `fragments` and `close CODE REASON`. It takes the
subprotocol `chat`. A client has the methods of `Client`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl as tls
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

FRAGMENTS = ("one ", "two ", "three")
SUBPROTOCOL = "chat"
MAX_MESSAGE = 4 << 20  # bytes


@dataclass(frozen=True)
class Options:
    """The options of both sides."""

    deflate: bool = False
    server_tls: tls.SSLContext | None = None
    client_tls: tls.SSLContext | None = None

    def url(self, port: int) -> str:
        return f"{'wss' if self.client_tls else 'ws'}://localhost:{port}/"


class Client(Protocol):
    """A client as the tests use it."""

    subprotocol: str | None

    async def send(self, message: str | bytes) -> None:
        """A message."""

    async def send_fragments(self) -> bool:
        """`FRAGMENTS` as one message; False if this client cannot."""

    async def recv(self) -> str | bytes:
        """A message."""

    async def ping(self) -> None:
        """Wait for the pong."""

    async def close(self, code: int, reason: str) -> int:
        """Close; returns the code of the answer."""

    async def closed(self) -> tuple[int, str]:
        """Wait for the server's close."""


# -- servers ------------------------------------------------------------------------------------


def command(message: object) -> tuple[str, int, str]:
    """The command, code and reason in a text."""
    name, _, rest = (message if isinstance(message, str) else "").partition(" ")
    if name not in ("close", "fragments"):
        return "", 0, ""
    code, _, reason = rest.partition(" ")
    return name, int(code or 0), reason


@contextlib.asynccontextmanager
async def websockets_server(options: Options) -> AsyncIterator[str]:
    from websockets.asyncio.server import serve

    async def handle(ws: Any) -> None:
        async for message in ws:
            name, code, reason = command(message)
            if name == "close":
                await ws.close(code, reason)
            else:
                await ws.send(list(FRAGMENTS) if name else message)

    async with serve(
        handle,
        "127.0.0.1",
        0,
        subprotocols=[SUBPROTOCOL],
        compression="deflate" if options.deflate else None,
        ssl=options.server_tls,
    ) as server:
        yield options.url(server.sockets[0].getsockname()[1])


@contextlib.asynccontextmanager
async def aiohttp_server(options: Options) -> AsyncIterator[str]:
    from aiohttp import WSMsgType, web

    async def handle(request: Any) -> Any:
        ws = web.WebSocketResponse(protocols=[SUBPROTOCOL], compress=options.deflate)
        await ws.prepare(request)
        async for message in ws:
            name, code, reason = command(message.data)
            if name == "close":
                await ws.close(code=code, message=reason.encode())
            elif name or message.type == WSMsgType.TEXT:  # it can only write whole messages
                await ws.send_str("".join(FRAGMENTS) if name else message.data)
            else:
                await ws.send_bytes(message.data)
        return ws

    application = web.Application()
    application.router.add_get("/", handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=options.server_tls)
    await site.start()
    try:
        yield options.url(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def picows_server(options: Options) -> AsyncIterator[str]:
    from picows import (
        WSListener,
        WSMsgType,
        WSUpgradeResponse,
        WSUpgradeResponseWithListener,
        ws_create_server,
    )

    class Listener(WSListener):  # type: ignore[misc]
        def __init__(self) -> None:
            self.parts = bytearray()
            self.kind = WSMsgType.BINARY

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            kind = frame.msg_type
            if kind == WSMsgType.PING:
                transport.send_pong(frame.get_payload_as_bytes())
            elif kind == WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code(), frame.get_close_message())
                transport.disconnect()
            elif kind in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
                if kind != WSMsgType.CONTINUATION:
                    self.kind = kind
                self.parts += frame.get_payload_as_memoryview()
                if frame.fin:
                    message, self.parts = bytes(self.parts), bytearray()
                    self.answer(transport, message)

        def answer(self, transport: Any, message: bytes) -> None:
            name, code, reason = command(
                message.decode() if self.kind == WSMsgType.TEXT else message
            )
            if name == "close":
                transport.send_close(code, reason.encode())
            elif name:
                first, second, third = (part.encode() for part in FRAGMENTS)
                transport.send(WSMsgType.TEXT, first, fin=False)
                transport.send(WSMsgType.CONTINUATION, second, fin=False)
                transport.send(WSMsgType.CONTINUATION, third)
            else:
                transport.send(self.kind, message)

    def listen(request: Any) -> Any:
        headers = {}
        if SUBPROTOCOL in request.headers.get("Sec-WebSocket-Protocol", ""):
            headers["Sec-WebSocket-Protocol"] = SUBPROTOCOL
        response = WSUpgradeResponse.create_101_response(headers)
        return WSUpgradeResponseWithListener(response, Listener())

    server = await ws_create_server(
        listen,
        "127.0.0.1",
        0,
        ssl=options.server_tls,
        enable_auto_pong=False,
        max_frame_size=MAX_MESSAGE,
    )
    async with server:
        yield options.url(server.sockets[0].getsockname()[1])


@contextlib.asynccontextmanager
async def wsproto_server(options: Options) -> AsyncIterator[str]:
    from wsproto import ConnectionType, WSConnection
    from wsproto import events as e
    from wsproto.extensions import PerMessageDeflate

    class Serving(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            self.ws = WSConnection(ConnectionType.SERVER)
            self.parts: list[Any] = []

        def data_received(self, data: bytes) -> None:
            self.ws.receive_data(data)
            for event in self.ws.events():
                if isinstance(event, e.Request):
                    chosen = SUBPROTOCOL if SUBPROTOCOL in event.subprotocols else None
                    extensions = [PerMessageDeflate()] if options.deflate else []
                    self.send(e.AcceptConnection(subprotocol=chosen, extensions=extensions))
                elif isinstance(event, e.Message):
                    self.parts.append(event.data)
                    if event.message_finished:
                        message, self.parts = event.data[:0].join(self.parts), []
                        self.answer(message)
                elif isinstance(event, e.Ping):
                    self.send(event.response())
                elif isinstance(event, e.CloseConnection):
                    if self.ws.state.name == "REMOTE_CLOSING":
                        self.send(event.response())
                    self.transport.close()

        def send(self, event: Any) -> None:
            self.transport.write(self.ws.send(event))

        def answer(self, message: str | bytes) -> None:
            name, code, reason = command(message)
            if name == "close":
                self.send(e.CloseConnection(code, reason))
            elif name:
                for part in FRAGMENTS:
                    self.send(e.TextMessage(part, message_finished=part == FRAGMENTS[-1]))
            else:
                self.send(e.Message(message))

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Serving, "127.0.0.1", 0, ssl=options.server_tls)
    async with server:
        yield options.url(server.sockets[0].getsockname()[1])


# -- clients ------------------------------------------------------------------------------------


class WebsocketsClient:
    def __init__(self, ws: Any) -> None:
        self.ws = ws
        self.send = ws.send
        self.recv = ws.recv
        self.subprotocol = ws.subprotocol

    async def send_fragments(self) -> bool:
        await self.ws.send(list(FRAGMENTS))
        return True

    async def ping(self) -> None:
        await (await self.ws.ping(b"hello"))

    async def close(self, code: int, reason: str) -> int:
        await self.ws.close(code, reason)
        return int(self.ws.close_code)

    async def closed(self) -> tuple[int, str]:
        await self.ws.wait_closed()
        return self.ws.close_code, self.ws.close_reason


@contextlib.asynccontextmanager
async def websockets_client(url: str, options: Options) -> AsyncIterator[Client]:
    from websockets.asyncio.client import connect

    compression = "deflate" if options.deflate else None
    async with connect(
        url, subprotocols=["other", SUBPROTOCOL], compression=compression, ssl=options.client_tls
    ) as ws:
        agreed = "permessage-deflate" in ws.response.headers.get("Sec-WebSocket-Extensions", "")
        assert agreed is options.deflate
        yield WebsocketsClient(ws)


class AiohttpClient:
    def __init__(self, ws: Any) -> None:
        self.ws = ws
        self.subprotocol = ws.protocol

    async def send(self, message: str | bytes) -> None:
        await (self.ws.send_str if isinstance(message, str) else self.ws.send_bytes)(message)

    async def send_fragments(self) -> bool:
        return False

    async def recv(self) -> str | bytes:
        message: str | bytes = (await self.ws.receive()).data
        return message

    async def ping(self) -> None:
        await self.ws.ping(b"hello")
        message = await self.ws.receive()  # autoping is off
        assert (message.type.name, bytes(message.data)) == ("PONG", b"hello")

    async def close(self, code: int, reason: str) -> int:
        assert await self.ws.close(code=code, message=reason.encode())
        return int(self.ws.close_code)

    async def closed(self) -> tuple[int, str]:
        message = await self.ws.receive()
        assert message.type.name == "CLOSE"
        await self.ws.close(code=message.data)
        return message.data, message.extra


@contextlib.asynccontextmanager
async def aiohttp_client(url: str, options: Options) -> AsyncIterator[Client]:
    from aiohttp import ClientSession

    async with (
        ClientSession() as session,
        session.ws_connect(
            url,
            protocols=["other", SUBPROTOCOL],
            compress=15 if options.deflate else 0,
            autoping=False,
            autoclose=False,
            ssl=options.client_tls or True,
        ) as ws,
    ):
        assert bool(ws.compress) is options.deflate
        yield AiohttpClient(ws)


class PicowsClient:
    subprotocol: str | None

    def __init__(self, transport: Any, events: asyncio.Queue[Any]) -> None:
        self.transport = transport
        self.events = events
        headers = transport.response.headers
        self.subprotocol = headers.get("Sec-WebSocket-Protocol")

    async def send(self, message: str | bytes) -> None:
        from picows import WSMsgType

        kind = WSMsgType.TEXT if isinstance(message, str) else WSMsgType.BINARY
        self.transport.send(kind, message.encode() if isinstance(message, str) else message)

    async def send_fragments(self) -> bool:
        from picows import WSMsgType

        first, second, third = (part.encode() for part in FRAGMENTS)
        self.transport.send(WSMsgType.TEXT, first, fin=False)
        self.transport.send(WSMsgType.CONTINUATION, second, fin=False)
        self.transport.send(WSMsgType.CONTINUATION, third)
        return True

    async def recv(self) -> str | bytes:
        kind, data = await self.events.get()
        assert kind in ("TEXT", "BINARY"), kind
        message: str | bytes = data.decode() if kind == "TEXT" else data
        return message

    async def ping(self) -> None:
        self.transport.send_ping(b"hello")
        assert await self.events.get() == ("PONG", b"hello")

    async def close(self, code: int, reason: str) -> int:
        self.transport.send_close(code, reason.encode())
        return (await self.closed())[0]

    async def closed(self) -> tuple[int, str]:
        kind, (code, reason) = await self.events.get()
        assert kind == "CLOSE"
        return code, reason


@contextlib.asynccontextmanager
async def picows_client(url: str, options: Options) -> AsyncIterator[Client]:
    from picows import WSListener, WSMsgType, ws_connect

    events: asyncio.Queue[Any] = asyncio.Queue()

    class Listener(WSListener):  # type: ignore[misc]
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            kind = WSMsgType(frame.msg_type).name
            if kind == "CLOSE":
                code, reason = frame.get_close_code(), frame.get_close_message() or b""
                events.put_nowait((kind, (int(code), reason.decode())))
                if not transport.is_close_frame_sent:
                    transport.send_close(code)
            else:
                events.put_nowait((kind, frame.get_payload_as_bytes()))

    transport, _ = await ws_connect(
        Listener,
        url,
        ssl_context=options.client_tls,
        max_frame_size=MAX_MESSAGE,
        extra_headers={"Sec-WebSocket-Protocol": f"other, {SUBPROTOCOL}"},
    )
    try:
        yield PicowsClient(transport, events)
    finally:
        transport.disconnect()
        await transport.wait_disconnected()


class WebsocketClient:
    """Of `websocket-client`, which blocks."""

    def __init__(self, ws: Any) -> None:
        self.ws = ws
        self.subprotocol = ws.subprotocol

    async def send(self, message: str | bytes) -> None:
        function = self.ws.send if isinstance(message, str) else self.ws.send_binary
        await asyncio.to_thread(function, message)

    async def send_fragments(self) -> bool:
        from websocket import ABNF

        for index, part in enumerate(FRAGMENTS):
            opcode = ABNF.OPCODE_CONT if index else ABNF.OPCODE_TEXT
            self.ws.send_frame(ABNF.create_frame(part, opcode, fin=int(index == 2)))
        return True

    async def recv(self) -> str | bytes:
        opcode, data = await asyncio.to_thread(self.ws.recv_data)
        message: str | bytes = data.decode() if opcode == 1 else data
        return message

    async def ping(self) -> None:
        self.ws.ping(b"hello")
        opcode, frame = await asyncio.to_thread(self.ws.recv_data_frame, True)
        assert (opcode, frame.data) == (10, b"hello")

    async def close(self, code: int, reason: str) -> int:
        self.ws.send_close(code, reason.encode())
        return (await self.closed())[0]

    async def closed(self) -> tuple[int, str]:
        opcode, data = await asyncio.to_thread(self.ws.recv_data)
        assert opcode == 8
        return int.from_bytes(data[:2], "big"), data[2:].decode()


@contextlib.asynccontextmanager
async def websocket_client(url: str, options: Options) -> AsyncIterator[Client]:
    from websocket import create_connection

    def connect() -> Any:
        sslopt = {"context": options.client_tls} if options.client_tls else None
        return create_connection(
            url, timeout=10, subprotocols=["other", SUBPROTOCOL], sslopt=sslopt
        )

    ws = await asyncio.to_thread(connect)
    try:
        yield WebsocketClient(ws)
    finally:
        ws.shutdown()
