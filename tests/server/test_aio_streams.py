"""Other ways in: Unix sockets, streams that asyncio accepts, `run_async`."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from sono_client import ConnectionClosed, connect
from sono_core import Close, Limits
from sono_server import Sono, serve, serve_async
from tests.server.asyncio_helpers import run
from tests.servers import PATIENCE, Wire, get, listener, running, status

pytestmark = pytest.mark.usefixtures("on_asyncio")


# -- Unix sockets -----------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_a_server_leaves_its_successors_unix_socket_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "sono")
    with running(unix=path) as old:
        Path(path).unlink()
        with running(unix=path):
            old.end()
            with connect("ws://localhost/", unix=path) as ws:
                ws.send("still there")
                assert ws.recv(PATIENCE) == "still there"
    assert not Path(path).exists()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
@pytest.mark.parametrize("given", [False, True], ids=["path", "sock"])
def test_a_file_that_others_made_stays_where_it_is(
    on_asyncio: str, given: bool, tmp_path: Path
) -> None:
    path = str(tmp_path / "sono")
    if given:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        sock.listen()
        server = serve_async(sock=sock)
    else:
        server = serve_async(unix=path)
        Path(path).unlink()
        Path(path).touch()

    async def main() -> None:
        async with server:
            pass

    run(on_asyncio, main())
    assert Path(path).exists()


def test_a_unix_socket_whose_file_goes_with_the_server(tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    with socket.socket(socket.AF_UNIX) as dead:  # nobody listens there any more
        dead.bind(path)
    with running(unix=path) as server:
        assert server.server.address == path
        with connect("ws://localhost/", unix=path) as ws:
            ws.send("x")
            assert ws.recv(PATIENCE) == "x"
        with pytest.raises(OSError, match="in use"):
            serve(unix=path)
    assert not os.path.exists(path)


# -- streams ----------------------------------------------------------------------------------


def test_a_sonos_limits_are_those_of_the_connections_that_it_serves(
    on_asyncio: str, tmp_path: Path
) -> None:
    sono = Sono(limits=Limits(max_message=100))
    path = str(tmp_path / "sono")

    def too_long(unix: str) -> int:
        with connect("ws://localhost/ws", unix=unix) as ws:
            ws.send("x" * 101)
            with pytest.raises(ConnectionClosed) as raised:
                ws.recv(PATIENCE)
        return raised.value.code

    async def main() -> list[int]:
        ran = asyncio.ensure_future(sono.run_async(unix=path))
        streams = await asyncio.start_unix_server(sono.handle_stream, path + "2")
        await asyncio.sleep(0)
        codes = [await asyncio.to_thread(too_long, unix) for unix in (path, path + "2")]
        streams.close()
        ran.cancel()
        await asyncio.wait([ran])
        return codes

    assert asyncio.run(main()) == [1009, 1009]


def test_streams_that_asyncio_accepts(on_asyncio: str) -> None:
    sono = Sono()

    async def main() -> None:
        server = await asyncio.start_server(sono.handle_stream, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()[:2]

        def talk() -> None:
            assert status(get(address, "/nothing")) == 404
            assert status(get(address, "/sono.js")) == 200
            with Wire(address, "/ws") as wire, Wire(address, "/ws") as other:
                packet = '{"protocol":"message","event":"x","payload":{"message":"%s"}}'
                wire.send(packet % ("y" * 300_000))
                assert "y" * 300_000 in str(other.message())
                assert "y" * 300_000 in str(wire.message())
                other.send(Close(1000))
                assert other.closed() == Close(1000)
                other.wait_for_end()
                wire.reset()

        async with server:
            await asyncio.to_thread(talk)
            for _ in range(1000):
                if not sono.clients:
                    break
                await asyncio.sleep(0.01)
            assert not sono.clients

    run(on_asyncio, main())


def test_streams_have_ended_when_their_clients_were_closed(on_asyncio: str) -> None:
    sono = Sono()

    async def main() -> None:
        server = await asyncio.start_server(sono.handle_stream, "127.0.0.1", 0)
        wire = await asyncio.to_thread(Wire, server.sockets[0].getsockname()[:2], "/ws")
        server.close()
        for client in list(sono.clients.values()):
            client.close(1001, "the end")
        with wire:
            assert await asyncio.to_thread(wire.closed) == Close(1001, "the end")
            await asyncio.to_thread(wire.wait_for_end)
        await asyncio.wait_for(server.wait_closed(), 10)
        assert not sono.clients

    run(on_asyncio, main())


def test_a_stream_that_is_cancelled_is_cut_off(on_asyncio: str) -> None:
    sono = Sono()
    tasks: list[asyncio.Task[Any]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())  # type: ignore[arg-type]
        await sono.handle_stream(reader, writer)

    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()[:2]
        async with server:
            wire = await asyncio.to_thread(Wire, address, "/ws")
            assert len(sono.clients) == 1
            tasks[0].cancel()
            await asyncio.wait(tasks)
            assert not sono.clients
            wire.close()

    run(on_asyncio, main())


def test_a_slow_reader_of_a_stream_gets_everything_in_the_end(on_asyncio: str) -> None:
    sono = Sono()

    async def main() -> None:
        server = await asyncio.start_server(sono.handle_stream, sock=listener(send_buffer=8192))
        address = server.sockets[0].getsockname()[:2]

        def talk() -> None:
            with Wire(address, "/ws", receive_buffer=8192) as wire:
                packet = '{"protocol":"message","event":"x","payload":{"message":"%s"}}'
                for letter in "abcd":
                    wire.send(packet % (letter * 500_000))
                for letter in "abcd":
                    assert letter * 500_000 in str(wire.message())

        async with server:
            await asyncio.to_thread(talk)
            await asyncio.sleep(0.05)

    run(on_asyncio, main())


# -- run_async --------------------------------------------------------------------------------


def test_run_async_serves_as_run_does(on_asyncio: str) -> None:
    sono = Sono()

    async def main() -> None:
        sock = listener()
        task = asyncio.get_running_loop().create_task(sono.run_async(sock=sock))
        address = sock.getsockname()[:2]
        assert status(await asyncio.to_thread(get, address, "/sono.js")) == 200
        wire = await asyncio.to_thread(Wire, address, "/ws")
        assert len(sono.clients) == 1
        wire.close()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not sono.clients

    run(on_asyncio, main())
