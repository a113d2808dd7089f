"""How the server on asyncio ends: it drains, cancels, and leaves nothing open."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import signal
import socket
import threading
import time
from typing import Any

import pytest

from sono_core import Close
from sono_server import WebSocket, serve_async
from tests.descriptors import open_descriptors
from tests.server.asyncio_helpers import run
from tests.servers import PATIENCE, Wire, dial, echo, get, running, status

pytestmark = pytest.mark.usefixtures("on_asyncio")


def test_stop_closes_with_1001_and_a_second_one_cuts_off() -> None:
    with running() as server, Wire(server.address) as wire, Wire(server.address) as silent:
        server.server.stop()
        assert wire.closed().code == 1001
        with pytest.raises(ConnectionRefusedError):
            dial(server.address)
        server.server.stop()
        server.join()
        silent.sock.settimeout(PATIENCE)
        with pytest.raises((ConnectionResetError, AssertionError)):
            while True:
                silent.next()


def test_who_does_not_close_in_the_drain_time_is_cut_off() -> None:
    with running(drain=0.1) as server, Wire(server.address):
        server.server.stop()
        server.join()


def test_closing_takes_the_drain_time_once(on_asyncio: str) -> None:
    begun = threading.Event()

    async def never(ws: WebSocket, message: str) -> None:
        begun.set()
        await asyncio.Event().wait()

    drain = 4.0
    with running(lambda r: r.accept(never), drain=drain) as server, Wire(server.address) as wire:
        wire.send("go")
        assert begun.wait(PATIENCE)
        stopped = time.monotonic()
        server.server.stop()
        server.join()
        assert time.monotonic() - stopped < 2 * drain


def test_a_handler_whose_work_is_cancelled_has_failed(
    on_asyncio: str, caplog: pytest.LogCaptureFixture
) -> None:
    closed: queue.Queue[Close] = queue.Queue()

    async def cancelled(ws: WebSocket, message: str) -> None:
        work = asyncio.ensure_future(asyncio.Event().wait())
        work.cancel()
        await work

    async def leave(ws: WebSocket, close: Close) -> None:
        closed.put(close)

    with (
        caplog.at_level(logging.CRITICAL, "sono"),
        running(lambda request: request.accept(cancelled, leave)) as server,
        Wire(server.address) as wire,
    ):
        wire.send("go")
        assert wire.closed().code == 1011
        assert closed.get(timeout=PATIENCE).code == 1011


def test_closing_waits_for_coroutines_and_cancels_them_after_the_drain_time(
    on_asyncio: str,
) -> None:
    log: list[str] = []

    async def on_message(ws: WebSocket, message: str) -> None:
        try:
            await asyncio.sleep(0.01 if message == "short" else 60)
            log.append(message)
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    async def main() -> None:
        async with serve_async("127.0.0.1", 0, drain=0.1) as server:
            wires = [asyncio.to_thread(Wire, server.address[:2]) for _ in range(2)]
            tasks = [asyncio.create_task(wire) for wire in wires]
            for _ in range(2):
                (await server.__anext__()).accept(on_message)
            for task, text in zip(tasks, ("short", "long"), strict=True):
                wire = await task
                wire.send(text)
            await asyncio.sleep(0.05)
        for task in tasks:
            (await task).close()

    run(on_asyncio, main())
    assert sorted(log) == ["cancelled", "short"]


def test_close_is_idempotent_and_frees_a_server_that_never_ran(on_asyncio: str) -> None:
    async def main() -> None:
        server = serve_async("127.0.0.1", 0)
        await server.close()
        await server.close()
        assert server.ended
        assert not server.call_soon(print)
        with pytest.raises(StopAsyncIteration):
            await server.__anext__()

    run(on_asyncio, main())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_iteration_and_are_given_back(
    number: signal.Signals, on_asyncio: str
) -> None:
    before = signal.getsignal(number)

    async def main() -> None:
        async with serve_async("127.0.0.1", 0) as server:
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
            async for _ in server:
                raise AssertionError("nobody asked")

    run(on_asyncio, main())
    assert signal.getsignal(number) == before


def test_cancelled_at_any_await_nothing_is_left_open(on_asyncio: str) -> None:
    """Cancel the task at its first step, at its second, and so on."""

    async def serve_some(address: list[Any]) -> None:
        async with serve_async("127.0.0.1", 0, drain=0.1) as server:
            address.append(server.address[:2])
            async for request in server:
                request.accept(echo)

    async def main() -> None:
        async with serve_async("127.0.0.1", 0):  # a loop opens some once and keeps them
            pass
        await asyncio.sleep(0.01)
        before = open_descriptors()
        for steps in range(6):
            address: list[Any] = []
            task = asyncio.get_running_loop().create_task(serve_some(address))
            for _ in range(steps):
                await asyncio.sleep(0)
            sock = None
            if address:
                sock = socket.create_connection(address[0])
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            if sock:
                sock.close()
            for _ in range(100):  # uvloop closes its descriptors some turns later
                if open_descriptors() <= before:
                    break
                await asyncio.sleep(0.001)
            assert open_descriptors() <= before, f"cancelled at step {steps}"

    run(on_asyncio, main())


def test_too_many_connections() -> None:
    with running(max_connections=1) as server, Wire(server.address) as wire:
        assert status(get(server.address)) == 503
        wire.send("x")
        assert wire.message() == "x"


@pytest.mark.parametrize("turns", range(6))
def test_a_connection_that_comes_as_the_server_closes_is_closed(
    on_asyncio: str, turns: int
) -> None:
    async def main() -> None:
        server = serve_async("127.0.0.1", 0)
        await server.start()
        with dial(server.address) as sock:
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.close()
            try:
                assert await asyncio.to_thread(sock.recv, 1) == b""
            except ConnectionResetError:
                pass

    run(on_asyncio, main())
