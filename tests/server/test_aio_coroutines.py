"""Coroutine functions as handlers: one at a time, and what happens when they raise."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from sono_core import Close, TextMessage
from sono_server import AsyncServer, Client, Sono, WebSocket, serve_async
from sono_server.aio import base
from tests.server.asyncio_helpers import run, wait_for
from tests.servers import PATIENCE, Wire, accept_echo, listener, running

pytestmark = pytest.mark.usefixtures("on_asyncio")


def test_coroutine_functions_are_awaited_one_after_the_other() -> None:
    log: list[object] = []
    gates: dict[str, asyncio.Event] = {}

    async def on_message(ws: WebSocket, message: str) -> None:
        log.append(message)
        gates[message] = asyncio.Event()
        await gates[message].wait()
        ws.send(f"done {message}")

    async def on_close(ws: WebSocket, close: Close) -> None:
        log.append(close.code)

    with running(lambda request: request.accept(on_message, on_close)) as server:
        with Wire(server.address) as wire, Wire(server.address) as other:
            wire.send("a", "b")
            other.send("c")
            for client, name in ((other, "c"), (wire, "a"), (wire, "b")):
                assert name == "b" or "b" not in gates  # before a is done, although c is
                wait_for(lambda name=name: name in gates)  # type: ignore[misc]
                server.call(gates[name].set)
                assert client.message() == f"done {name}"
            wire.send(Close(1000))
            wire.closed()
            wait_for(lambda: 1000 in log)
        assert log.index("a") < log.index("b") < log.index(1000)


def test_a_slow_coroutine_makes_its_own_peer_wait_and_memory_stays_bounded() -> None:
    gate: list[asyncio.Event] = []
    seen: list[int] = []

    async def on_message(ws: WebSocket, message: bytes) -> None:
        seen.append(len(message))
        if not gate:
            gate.append(asyncio.Event())
            await gate[0].wait()

    sock = listener()
    with (
        running(lambda request: request.accept(on_message), sock=sock) as server,
        Wire(server.address) as wire,
    ):
        wire.sock.settimeout(1.0)
        data = wire.encoded(*[TextMessage("x" * 60_000)] * 400)
        with pytest.raises(TimeoutError):  # 24 MB do not leave, because nobody reads them
            wire.sock.sendall(data)
        assert seen == [60_000]
        server.call(lambda: gate[0].set())
        wire.sock.settimeout(PATIENCE)


@pytest.mark.parametrize("coroutine", [False, True])
def test_what_a_handler_raises_closes_its_connection_with_1011(
    coroutine: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def awaited(ws: WebSocket, message: str) -> None:
        await asyncio.sleep(0)
        raise ValueError(message)

    def called(ws: WebSocket, message: str) -> None:
        raise ValueError(message)

    function: Callable[..., object] = awaited if coroutine else called
    with (
        running(lambda request: request.accept(function)) as server,
        Wire(server.address) as wire,
    ):
        wire.send("why")
        assert wire.closed().code == 1011
    assert "why" in caplog.text


def test_what_is_raised_after_the_end_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    ended = threading.Event()

    async def on_close(ws: WebSocket, close: Close) -> None:
        ended.set()
        raise ValueError("too late")

    with (
        running(lambda request: request.accept(on_close=on_close)) as server,
        Wire(server.address) as wire,
    ):
        wire.send("nobody looks")
        wire.reset()
        assert ended.wait(PATIENCE)
    assert "too late" in caplog.text


def test_a_sono_with_coroutine_functions() -> None:
    sono = Sono()
    log: list[object] = []

    @sono.on_connect
    async def greet(client: Client) -> None:
        await asyncio.sleep(0)
        client.send("welcome", client.id)

    @sono.on("chat")
    async def check(client: Client, message: object) -> bool:
        await asyncio.sleep(0)
        return message != "no"

    @sono.on_disconnect
    async def gone(client: Client, close: Close) -> None:
        log.append(close.code)

    async def connected(client: Client) -> None:
        client.send("last", 1)

    with (
        running(lambda request: sono.connect(request, connected)) as server,
        Wire(server.address, "/ws") as wire,
    ):
        wire.send('{"protocol":"message","event":"chat","payload":{"message":"no"}}')
        wire.send('{"protocol":"message","event":"chat","payload":{"message":"yes"}}')
        got = [str(wire.message()) for _ in range(3)]
        wire.send(Close(1000))
        wire.closed()
        wait_for(lambda: bool(log))
    assert ['"welcome"' in got[0], '"last"' in got[1], '"yes"' in got[2]] == [True] * 3
    assert log == [1000]


def test_a_connect_callback_that_fails_closes_its_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sono = Sono()

    async def fail() -> None:
        raise ValueError("not today")

    with (
        running(lambda request: sono.connect(request, fail)) as server,
        Wire(server.address, "/ws") as wire,
    ):
        assert wire.closed().code == 1011
    assert "not today" in caplog.text


def test_an_accepted_echo_needs_no_coroutine(on_asyncio: str) -> None:
    """The README's plain server, with `async for`."""

    async def main() -> None:
        async with serve_async("127.0.0.1", 0) as server:
            assert isinstance(server, AsyncServer)
            wire = asyncio.create_task(asyncio.to_thread(Wire, server.address[:2]))
            async for request in server:
                accept_echo(request)
                break
            (await wire).close()

    run(on_asyncio, main())


def test_an_answer_does_not_wait_for_what_is_written_to_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    members = 100
    sockets: list[WebSocket] = []
    unwritten: list[int] = []
    flush = base.AsyncBaseServer._flush

    def counted(server: base.AsyncBaseServer) -> None:
        if len(server.context.to_flush) > members:
            unwritten.append(sockets[-1]._session.outbox.size)
        flush(server)

    monkeypatch.setattr(base.AsyncBaseServer, "_flush", counted)

    async def on_message(ws: WebSocket, message: str) -> None:
        for other in sockets[:-1]:
            other.send("news")
        ws.send("an answer")

    with running(lambda request: sockets.append(request.accept(on_message))) as server:
        wires = [Wire(server.address) for _ in range(members + 1)]
        wait_for(lambda: len(sockets) == members + 1)
        with wires.pop() as asker:
            asker.send("a question")
            assert asker.message() == "an answer"
        for wire in wires:
            assert wire.message() == "news"
            wire.close()
    assert unwritten == [0]
