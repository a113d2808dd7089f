"""Every server answers pings and closes while a handler is busy or a client is paused."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from sono_client import AsyncWebSocket, connect_async
from sono_core import Close, Limits, Ping, Pong
from sono_server import Client, HTTPRequest, Sono, WebSocket, serve_async
from tests.async_peers import eventually
from tests.server.asyncio_helpers import run
from tests.server.sono_packets import message
from tests.server.test_asgi import run as run_asgi
from tests.server.test_asgi import talking
from tests.servers import PATIENCE, Wire, running


class Busy:
    """An application whose handlers wait until `free` is called."""

    def __init__(self) -> None:
        self.log: list[object] = []
        self._gate = asyncio.Event()

    async def on_message(self, subject: WebSocket | Client, text: str) -> None:
        self.log.append(text)
        await self._gate.wait()

    def on_close(self, subject: WebSocket | Client, close: Close) -> None:
        self.log.append(close.code)

    def free(self) -> None:
        self._gate.set()

    def sono(self) -> Sono:
        sono = Sono()
        sono.on("message")(self.on_message)
        sono.on_disconnect(self.on_close)
        return sono


# -- on asyncio, with plain WebSockets, clients of Sono, and streams ------------------------------

Serve = Callable[[Busy], contextlib.AbstractAsyncContextManager[str]]


@contextlib.asynccontextmanager
async def _serving(handle: Callable[[HTTPRequest], object]) -> AsyncIterator[str]:
    async with serve_async("127.0.0.1", 0) as server:

        async def answer() -> None:
            async for request in server:
                handle(request)

        task = asyncio.ensure_future(answer())
        try:
            yield f"ws://127.0.0.1:{server.address[1]}/ws"
        finally:
            await server.close()
            await task


def plain(busy: Busy) -> contextlib.AbstractAsyncContextManager[str]:
    return _serving(lambda request: request.accept(busy.on_message, busy.on_close))


def clients(busy: Busy) -> contextlib.AbstractAsyncContextManager[str]:
    return _serving(busy.sono().connect)


@contextlib.asynccontextmanager
async def streams(busy: Busy) -> AsyncIterator[str]:
    server = await asyncio.start_server(busy.sono().handle_stream, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws"
    finally:
        server.close()


async def say(ws: AsyncWebSocket, serve: Serve, text: str) -> None:
    await ws.send(text if serve is plain else json.dumps(message(text)))


@pytest.mark.parametrize("serve", [plain, clients, streams])
def test_pings_and_a_close_are_answered_while_a_coroutine_runs(
    on_asyncio: str, serve: Serve
) -> None:
    async def main() -> None:
        busy = Busy()
        async with serve(busy) as url, connect_async(url, proxy=None) as ws:
            await say(ws, serve, "a")
            await eventually(lambda: busy.log)
            await say(ws, serve, "b")
            for _ in range(3):
                await ws.ping()
            await ws.close(4000, "enough")
            assert ws.closed == Close(4000)
            assert busy.log == ["a"], "one after the other"
            busy.free()
            await eventually(lambda: len(busy.log) == 3)
            assert busy.log == ["a", "b", 4000]

    run(on_asyncio, asyncio.wait_for(main(), PATIENCE))


@pytest.mark.parametrize("serve", [plain, clients, streams])
def test_a_client_that_vanishes_is_noticed_while_a_coroutine_runs(
    on_asyncio: str, serve: Serve
) -> None:
    async def main() -> None:
        busy = Busy()
        async with serve(busy) as url:
            ws = await connect_async(url, proxy=None)
            await say(ws, serve, "a")
            await eventually(lambda: busy.log)
            await say(ws, serve, "b")
            await ws.ping()
            ws.cut_off()
            busy.free()
            await eventually(lambda: len(busy.log) == 3)
            assert busy.log == ["a", "b", 1006]

    run(on_asyncio, asyncio.wait_for(main(), PATIENCE))


def test_a_coroutine_that_fails_after_the_close_is_the_last_one_but_for_the_end(
    on_asyncio: str,
) -> None:
    async def main() -> None:
        busy = Busy()

        async def fail(ws: WebSocket, text: str) -> None:
            await busy.on_message(ws, text)
            assert not ws.send("answer")
            raise ValueError("the handler fails")

        async with (
            _serving(lambda request: request.accept(fail, busy.on_close)) as url,
            connect_async(url, proxy=None) as ws,
        ):
            await ws.send("a")
            await eventually(lambda: busy.log)
            await ws.send("b")
            await ws.close(4000)
            busy.free()
            await eventually(lambda: len(busy.log) == 2)
            assert busy.log == ["a", 4000]

    run(on_asyncio, asyncio.wait_for(main(), PATIENCE))


def test_a_client_that_sends_more_than_is_held_feels_the_back_pressure(on_asyncio: str) -> None:
    """What is read ahead and what the system buffers is little beside what the client has."""
    size, number = 100_000, 300

    async def main() -> None:
        busy = Busy()
        limits = Limits(max_held=1000)

        async def count(ws: WebSocket, data: bytes) -> None:
            await busy.on_message(ws, str(len(busy.log)))

        async with serve_async("127.0.0.1", 0, limits=limits) as server:

            async def answer() -> None:
                async for request in server:
                    request.accept(count)

            task = asyncio.ensure_future(answer())
            url = f"ws://127.0.0.1:{server.address[1]}/"
            async with connect_async(url, proxy=None, deflate=None) as ws:
                sending = asyncio.ensure_future(flood(ws))
                await eventually(lambda: ws._out.size > 0 and busy.log)
                (transport,) = server._transports
                await eventually(lambda: not transport.layer.reading)
                assert not sending.done()
                busy.free()
                await sending
                await eventually(lambda: len(busy.log) == number)
                assert busy.log == [str(each) for each in range(number)]
            await server.close()
            await task

    async def flood(ws: AsyncWebSocket) -> None:
        for _ in range(number):
            await ws.send(bytes(size))

    run(on_asyncio, asyncio.wait_for(main(), PATIENCE))


# -- paused by the application, on every server --------------------------------------------------


def test_pings_and_a_close_of_a_paused_client_are_answered(each_server: str) -> None:
    log: list[object] = []
    ended = threading.Event()

    def on_message(ws: WebSocket, text: str) -> None:
        log.append(text)
        ws.pause(1000.0)

    def on_close(ws: WebSocket, close: Close) -> None:
        log.append(close.code)
        ended.set()

    with (
        running(lambda request: request.accept(on_message, on_close)) as server,
        Wire(server.address) as wire,
    ):
        wire.send("a", "b", Ping(b"1"))
        assert wire.next() == Pong(b"1")
        wire.send("c", Ping(b"2"))
        assert wire.next() == Pong(b"2")
        assert log == ["a"]
        wire.send(Close(4000, "enough"))
        assert wire.closed() == Close(4000)
        assert ended.wait(PATIENCE)
    assert log == ["a", "b", "c", 4000]


# -- under an ASGI server, which answers pings itself ----------------------------------------------


def test_an_asgi_servers_disconnect_is_seen_while_a_coroutine_runs() -> None:
    async def main() -> None:
        busy = Busy()
        async with talking(busy.sono().asgi()) as talk:
            talk.text("message", "a")
            await eventually(lambda: busy.log)
            talk.text("message", "b")
            talk.give("disconnect", code=1001)
        assert busy.log == ["a"], "the server's task has ended meanwhile"
        busy.free()
        await eventually(lambda: len(busy.log) == 3)
        assert busy.log == ["a", "b", 1001]

    run_asgi(asyncio.wait_for(main(), PATIENCE))
