"""Our clients with other servers, and other clients with our servers: all understand each other.

Only installed peers are tested: `pip install '.[test]'`, `npm install --prefix benchmarks/peers`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from sono_client import connect, connect_async
from sono_core import Deflate, Limits
from sono_server import HTTPRequest, WebSocket
from tests.async_peers import serving
from tests.certificates import client_side, save, save_authority, server_side
from tests.conftest import require
from tests.interop import peers
from tests.interop.peers import FRAGMENTS, MAX_MESSAGE, SUBPROTOCOL, Client, Options, command
from tests.servers import PATIENCE, running

NODE_SCRIPT = Path(__file__).with_name("peers.mjs")
LIMITS = Limits(max_message=MAX_MESSAGE, max_frame=MAX_MESSAGE)
MESSAGES: tuple[str | bytes, ...] = ("text ü 🎈", "", b"", b"\x00\xff", "x" * (1 << 20))
COMPRESSED = {True: Deflate(threshold=0), False: None}

OpenServer = Callable[[Options], AbstractAsyncContextManager[str]]
OpenClient = Callable[[str, Options], AbstractAsyncContextManager[Client]]


# -- ours ---------------------------------------------------------------------------------------


def obey(ws: WebSocket, message: str | bytes) -> None:
    name, code, reason = command(message)
    if name == "close":
        ws.close(code, reason)
    else:
        ws.send(message)


def accept(request: HTTPRequest) -> None:
    request.accept(obey, subprotocol=SUBPROTOCOL)


@contextlib.asynccontextmanager
async def selector_server(options: Options) -> AsyncIterator[str]:
    deflate = COMPRESSED[options.deflate]
    tls = {"ssl": options.server_tls} if options.server_tls else {}
    with running(accept, limits=LIMITS, deflate=deflate, **tls) as server:
        yield options.url(server.address[1])


@contextlib.asynccontextmanager
async def asyncio_server(options: Options) -> AsyncIterator[str]:
    tls = {"ssl": options.server_tls} if options.server_tls else {}
    async with serving(accept, deflate=COMPRESSED[options.deflate], limits=LIMITS, **tls) as url:
        yield options.url(int(url.rpartition(":")[2].strip("/")))


class AsyncClient:
    """Of `connect_async`."""

    def __init__(self, ws: Any) -> None:
        self.ws = ws
        self.send = ws.send
        self.recv = ws.recv
        self.subprotocol = ws.subprotocol

    async def send_fragments(self) -> bool:
        return False

    async def ping(self) -> None:
        assert await self.ws.ping() > 0

    async def close(self, code: int, reason: str) -> int:
        await self.ws.close(code, reason)
        assert self.ws.closed.clean
        return int(self.ws.closed.code)

    async def closed(self) -> tuple[int, str]:
        close = await self.ws.wait_closed()
        assert close.clean
        return close.code, close.reason


class BlockingClient:
    """Of `connect`, in threads."""

    def __init__(self, ws: Any) -> None:
        self.ws = ws
        self.subprotocol = ws.subprotocol

    async def send(self, message: str | bytes) -> None:
        await asyncio.to_thread(self.ws.send, message)

    async def send_fragments(self) -> bool:
        return False

    async def recv(self) -> str | bytes:
        message: str | bytes = await asyncio.to_thread(self.ws.recv, PATIENCE)
        return message

    async def ping(self) -> None:
        assert await asyncio.to_thread(self.ws.ping, PATIENCE) > 0

    async def close(self, code: int, reason: str) -> int:
        await asyncio.to_thread(self.ws.close, code, reason)
        assert self.ws.closed.clean
        return int(self.ws.closed.code)

    async def closed(self) -> tuple[int, str]:
        assert await asyncio.to_thread(lambda: list(map(str, _left(self.ws)))) == []
        assert self.ws.closed.clean
        return self.ws.closed.code, self.ws.closed.reason


def _left(ws: Any) -> list[Any]:
    """Messages up to the end, whatever that is."""
    from sono_client import ConnectionClosed

    messages: list[Any] = []
    with contextlib.suppress(ConnectionClosed):
        messages.extend(ws)
    return messages


def _arguments(options: Options) -> dict[str, Any]:
    return {
        "subprotocols": ["other", SUBPROTOCOL],
        "deflate": COMPRESSED[options.deflate],
        "limits": LIMITS,
        **({"ssl": options.client_tls} if options.client_tls else {}),
    }


def compresses(ws: Any) -> bool:
    return bool(ws.response.headers.get_all("sec-websocket-extensions"))


@contextlib.asynccontextmanager
async def async_client(url: str, options: Options) -> AsyncIterator[Client]:
    async with connect_async(url, **_arguments(options)) as ws:
        assert compresses(ws) is options.deflate
        yield AsyncClient(ws)


@contextlib.asynccontextmanager
async def blocking_client(url: str, options: Options) -> AsyncIterator[Client]:
    ws = await asyncio.to_thread(connect, url, **_arguments(options))
    assert compresses(ws) is options.deflate
    try:
        yield BlockingClient(ws)
    finally:
        await asyncio.to_thread(ws.close)


# -- node's -------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def node(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The script, for the length of a with statement."""
    process = await asyncio.create_subprocess_exec(
        "node", NODE_SCRIPT, *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@contextlib.asynccontextmanager
async def node_server(options: Options) -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        files = save(Path(folder)) if options.server_tls else ()
        async with node("server", str(int(options.deflate)), *files) as process:
            assert process.stdout
            line = (await process.stdout.readline()).decode()
            yield options.url(int(line.rpartition(":")[2]))


# -- the conversation ---------------------------------------------------------------------------


async def converse(
    open_client: OpenClient, url: str, options: Options, *, fragments: bool, answer: int = 4001
) -> None:
    """Exercise everything that both sides support.

    Args:
        fragments: the server can send them.
        answer: the code of its answer to a close with 4001.
    """
    async with open_client(url, options) as client:
        assert client.subprotocol == SUBPROTOCOL
        for message in MESSAGES:
            await client.send(message)
            assert await client.recv() == message
        if await client.send_fragments():
            assert await client.recv() == "".join(FRAGMENTS)
        if fragments:
            await client.send("fragments")
            assert await client.recv() == "".join(FRAGMENTS)
        await client.ping()
        assert await client.close(4001, "bye") == answer
    async with open_client(url, options) as client:
        await client.send("close 4002 over")
        assert await client.closed() == (4002, "over")


def run(main: Any) -> None:
    asyncio.run(asyncio.wait_for(main, PATIENCE))


# Whether each can compress, and what must be installed.
SERVERS: dict[str, tuple[OpenServer, bool]] = {
    "websockets": (peers.websockets_server, True),
    "aiohttp": (peers.aiohttp_server, True),
    "picows": (peers.picows_server, False),
    "wsproto": (peers.wsproto_server, True),
    "ws": (node_server, True),
}
CLIENTS: dict[str, tuple[OpenClient, bool]] = {
    "websockets": (peers.websockets_client, True),
    "aiohttp": (peers.aiohttp_client, True),
    "picows": (peers.picows_client, False),
    "websocket-client": (peers.websocket_client, False),
}
FRAGMENTING = ("websockets", "picows", "wsproto", "ws")
ANSWERS = {"aiohttp": 1000}
OUR_CLIENTS = {"blocking": blocking_client, "asyncio": async_client}
OUR_SERVERS = {"selector": selector_server, "asyncio": asyncio_server}
MODULES = {"websocket-client": "websocket"}


def need(name: str, deflate: bool, can_compress: bool = True) -> None:
    """Skip what this peer, or this machine, lacks."""
    if name == "ws":
        found = shutil.which("node") is not None
        module = NODE_SCRIPT.parents[2] / "benchmarks/peers/node_modules/ws"
        how = "install node, then: npm install --prefix benchmarks/peers"
        require("ws", found and module.exists(), how)
    else:
        found = importlib.util.find_spec(MODULES.get(name, name)) is not None
        require(name, found, f"install it with: pip install {name}")
    if deflate and not can_compress:
        pytest.skip(f"{name} has no permessage-deflate in this role")


deflating = pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflate"])
secured = pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])


def options_for(deflate: bool, secure: bool) -> Options:
    return Options(deflate, server_side(), client_side()) if secure else Options(deflate)


@secured
@deflating
@pytest.mark.parametrize("client", OUR_CLIENTS)
@pytest.mark.parametrize("server", SERVERS)
def test_our_client_and_another_server(
    server: str, client: str, deflate: bool, secure: bool
) -> None:
    open_server, can_compress = SERVERS[server]
    need(server, deflate, can_compress)
    options = options_for(deflate, secure)

    async def main() -> None:
        async with open_server(options) as url:
            answer = ANSWERS.get(server, 4001)
            await converse(
                OUR_CLIENTS[client], url, options, fragments=server in FRAGMENTING, answer=answer
            )

    run(main())


@secured
@deflating
@pytest.mark.parametrize("server", OUR_SERVERS)
@pytest.mark.parametrize("client", CLIENTS)
def test_another_client_and_our_server(
    server: str, client: str, deflate: bool, secure: bool
) -> None:
    open_client, can_compress = CLIENTS[client]
    need(client, deflate, can_compress)
    options = options_for(deflate, secure)

    async def main() -> None:
        async with OUR_SERVERS[server](options) as url:
            await converse(open_client, url, options, fragments=False)

    run(main())


@secured
@deflating
@pytest.mark.parametrize("server", OUR_SERVERS)
def test_the_client_of_node_and_our_server(
    server: str, deflate: bool, secure: bool, tmp_path: Path
) -> None:
    need("ws", deflate)
    options = options_for(deflate, secure)
    authority = [save_authority(tmp_path)] if secure else []

    async def main() -> bytes:
        async with (
            OUR_SERVERS[server](options) as url,
            node("client", str(int(deflate)), url, *authority) as process,
        ):
            output, _ = await process.communicate()
            return output

    seen = json.loads(asyncio.run(asyncio.wait_for(main(), PATIENCE)))
    assert seen == {
        "subprotocol": SUBPROTOCOL,
        "deflate": deflate,
        "text": "text ü 🎈",
        "empty": ["", []],
        "binary": [0, 255],
        "large": 1 << 20,
        "fragments": "".join(FRAGMENTS),
        "pong": "hello",
        "closed": [4001, ""],
        "closedByServer": [4002, "over"],
    }
