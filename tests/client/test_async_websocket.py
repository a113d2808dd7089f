"""`connect_async` and its connection, on both event loops: messages and options."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sono_client import ConnectionClosed, connect_async
from sono_core import Close, LocalProtocolError
from sono_server import HTTPRequest
from tests.async_peers import (
    CLOSE,
    MIB,
    TEXT,
    Loop,
    Peer,
    commanded,
    echo,
    eventually,
    frame,
    scripted,
    serving,
    turns,
)

# -- messages -------------------------------------------------------------------------------------


def test_messages_come_back_in_order_and_of_their_kind(run: Loop) -> None:
    messages: list[str | bytes] = ["", "text ü 🎈", b"", b"\x00\xff", "x" * 5000, bytes(MIB)]

    async def main() -> None:
        async with serving(echo) as url, connect_async(url) as ws:
            for message in messages:
                await ws.send(message)
            assert [await ws.recv() for _ in messages] == messages

    run(main())


def test_several_tasks_receive_and_each_message_goes_to_one(run: Loop) -> None:
    async def main() -> None:
        async with serving(commanded) as url, connect_async(url) as ws:
            waiting = [asyncio.ensure_future(ws.recv()) for _ in range(5)]
            await turns(3)
            await ws.send("send 5")
            assert sorted(map(str, await asyncio.gather(*waiting))) == ["0", "1", "2", "3", "4"]

    run(main())


def test_recv_that_is_cancelled_or_timed_out_at_any_moment_loses_nothing(run: Loop) -> None:
    async def main() -> None:
        async with serving(commanded) as url, connect_async(url) as ws:
            got: list[Any] = []
            for number in range(40):
                task = asyncio.ensure_future(ws.recv())
                await turns(1)
                await ws.send(f"say {number}")
                await turns(number % 8)
                task.cancel()
                if not (await asyncio.gather(task, return_exceptions=True)) or not task.cancelled():
                    got.append(task.result())
            while len(got) < 40:
                got.append(await asyncio.wait_for(ws.recv(), 5))
            assert got == [str(number) for number in range(40)]

    run(main())


def test_recv_times_out_and_the_connection_lives_on(run: Loop) -> None:
    async def main() -> None:
        async with serving(commanded) as url, connect_async(url) as ws:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ws.recv(), 0.01)
            await ws.send("say hello")
            assert await ws.recv() == "hello"

    run(main())


def test_more_than_1024_messages_unread_pause_reading_and_none_is_lost(run: Loop) -> None:
    count = 5000

    async def main() -> None:
        async with serving(commanded) as url, connect_async(url) as ws:
            await ws.send(f"send {count}")
            wire = ws._client_transport
            await eventually(lambda: len(wire.messages) >= 1024)
            await asyncio.sleep(0.02)
            assert len(wire.messages) == 1024
            assert [await ws.recv() for _ in range(count)] == [str(n) for n in range(count)]

    run(main())


def test_more_than_a_mebibyte_unread_pauses_reading_and_none_is_lost(run: Loop) -> None:
    def flood(request: HTTPRequest) -> None:
        ws = request.accept()
        for number in range(30):
            ws.send(bytes([number]) * 100_000)

    async def main() -> None:
        async with serving(flood) as url, connect_async(url) as ws:
            wire = ws._client_transport
            await eventually(lambda: sum(map(len, wire.messages)) >= MIB)
            await asyncio.sleep(0.02)
            assert len(wire.messages) == 11
            for number in range(30):
                assert await ws.recv() == bytes([number]) * 100_000

    run(main())


@pytest.mark.parametrize("code", [1000, 1001, None])
def test_iteration_ends_with_a_normal_close(run: Loop, code: int | None) -> None:
    async def script(peer: Peer) -> None:
        payload = b"" if code is None else code.to_bytes(2, "big")
        await peer.accept(frame(TEXT, b"a") + frame(TEXT, b"b") + frame(CLOSE, payload))
        await peer.frame()

    async def main() -> None:
        async with scripted(script) as url, connect_async(url) as ws:
            assert [message async for message in ws] == ["a", "b"]
            assert ws.closed == Close(code or 1005, "", True)

    run(main())


def test_iteration_raises_for_any_other_close(run: Loop) -> None:
    async def main() -> None:
        async with serving(commanded) as url, connect_async(url) as ws:
            await ws.send("say x")
            await ws.send("close 4321 because")
            seen = []
            with pytest.raises(ConnectionClosed, match="closed with 4321: because") as caught:
                async for message in ws:
                    seen.append(message)
            assert (seen, caught.value.code) == (["x"], 4321)
            with pytest.raises(ConnectionClosed):
                await ws.send("late")
            with pytest.raises(ConnectionClosed):
                await ws.drain()
            with pytest.raises(ConnectionClosed):
                await ws.ping()

    run(main())


@pytest.mark.parametrize("message", [5, None, ["x"], memoryview(b"x")[::1].cast("B")])
def test_what_is_no_message_is_refused(run: Loop, message: Any) -> None:
    async def main() -> None:
        async with serving(echo) as url, connect_async(url) as ws:
            if isinstance(message, memoryview):
                await ws.send(message)  # type: ignore[arg-type]
            else:
                with pytest.raises(TypeError):
                    await ws.send(message)
                await ws.send("x")
            assert len(await ws.recv()) == 1
            with pytest.raises(LocalProtocolError):
                await ws.send("\ud800")

    run(main())


def test_answers_leave_at_once_and_a_burst_in_one_write(run: Loop) -> None:
    reads: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.accept(frame(TEXT, b"question"))
        reads.append(await peer.reader.read(1000))
        reads.append(await peer.reader.read(1000))
        await peer.gone()

    async def main() -> None:
        async with scripted(script) as url:
            ws = await connect_async(url, deflate=None)
            await ws.recv()
            await ws.send("answer")
            assert ws._out.size == 0  # before the loop has turned
            await eventually(lambda: len(reads) == 1)
            for _ in range(10):
                await ws.send("burst")
            await eventually(lambda: len(reads) == 2)
            ws.cut_off()

    run(main())
    assert [len(data) for data in reads] == [6 + 6, 10 * (6 + 5)]


# -- what was agreed --------------------------------------------------------------------------


def test_addresses_subprotocol_and_headers(run: Loop) -> None:
    async def main() -> None:
        async with serving(commanded) as url:
            async with connect_async(url, subprotocols=["x", "y"], headers={"X-A": "b"}) as ws:
                assert ws.subprotocol == "x"
                assert ws.remote_address == ("127.0.0.1", int(url.rsplit(":")[-1].strip("/")))
                assert ws.local_address[0] == "127.0.0.1"
            assert ws.response.subprotocol == "x"

    run(main())


def test_a_server_with_compression_gets_and_sends_it(run: Loop) -> None:
    def accept(request: HTTPRequest) -> None:
        request.accept(on_message=lambda ws, message: ws.send(message))

    async def main() -> None:
        from sono_core import Deflate

        async with serving(accept, deflate=Deflate()) as url, connect_async(url) as ws:
            extension = ws.response.headers.get_all("sec-websocket-extensions")
            assert extension[0].startswith("permessage-deflate")
            for message in ("text " * 1000, bytes(100_000)):
                await ws.send(message)
                assert await ws.recv() == message

    run(main())
