"""Servers and their connections in other threads and event loops: as documented, or refused."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable

import pytest

from sono_server import HTTPRequest, WebSocket, serve_async
from tests.server.asyncio_helpers import run
from tests.servers import PATIENCE, Wire, get, running, status


@pytest.mark.parametrize(
    "use",
    [
        lambda request: request.accept(),
        lambda request: request.respond(200),
        lambda request: request.verify(),
    ],
    ids=["accept", "respond", "verify"],
)
def test_a_request_is_refused_to_other_threads(
    each_server: str, use: Callable[[HTTPRequest], object]
) -> None:
    caught: list[BaseException] = []

    def handle(request: HTTPRequest) -> None:
        def elsewhere() -> None:
            try:
                use(request)
            except RuntimeError as error:
                caught.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        request.respond(204)

    with running(handle) as server:
        assert status(get(server.address)) == 204
    assert "in its server's thread" in str(caught[0])


def test_what_others_call_runs_in_the_servers_thread(each_server: str) -> None:
    sockets: queue.Queue[WebSocket] = queue.Queue()
    threads: list[threading.Thread] = []

    def function(ws: WebSocket, word: object) -> None:
        threads.append(threading.current_thread())
        ws.send(str(word))

    with (
        running(lambda request: sockets.put(request.accept())) as server,
        Wire(server.address) as wire,
    ):
        ws = sockets.get(timeout=PATIENCE)
        ws.call(function, "called")
        assert wire.message() == "called"
        ws.send("from another thread")
        assert wire.message() == "from another thread"
        assert threads == [server.thread]


def test_a_server_is_refused_to_other_loops(on_asyncio: str) -> None:
    server = serve_async("127.0.0.1", 0)
    refused: list[str] = []

    async def elsewhere() -> None:
        for use in (server.__anext__, server.close):
            with pytest.raises(RuntimeError, match="another event loop") as caught:
                await asyncio.wait_for(use(), PATIENCE)
            refused.append(str(caught.value))

    async def main() -> None:
        async with server:
            thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
            thread.start()
            await asyncio.to_thread(thread.join)

    run(on_asyncio, main())
    assert len(refused) == 2
