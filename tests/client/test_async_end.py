"""Pings and deadlines of an asynchronous connection, and all ways in which it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import struct
import weakref
from typing import Any

import pytest

from sono_client import AsyncWebSocket, ConnectionClosed, connect_async
from sono_core import Close, LocalProtocolError, Timeouts, native_available
from tests.async_peers import (
    CLOSE,
    MIB,
    PING,
    PONG,
    QUICK,
    TEXT,
    Loop,
    Peer,
    deaf,
    echo,
    eventually,
    frame,
    scripted,
    serving,
    silent,
    switching,
    turns,
)

# -- pings and deadlines --------------------------------------------------------------------------


def test_a_ping_takes_its_time_and_several_may_be_under_way(run: Loop) -> None:
    async def main() -> None:
        async with serving(echo) as url, connect_async(url) as ws:
            times = await asyncio.gather(*(ws.ping() for _ in range(5)))
            assert all(0 < seconds < 5 for seconds in times)
            assert ws._client_transport.pongs == {}

    run(main())


def test_pings_are_answered_and_sent_while_the_application_does_something_else(run: Loop) -> None:
    frames: list[Any] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.writer.write(frame(PING, b"hi"))
        frames.append(await peer.frame())
        frames.append(await peer.frame())
        peer.writer.write(frame(PONG, frames[-1][1]))
        frames.append(await peer.frame())

    async def main() -> None:
        timeouts = Timeouts(ping_interval=0.05, pong=1.0)
        async with scripted(script) as url:
            ws = await connect_async(url, timeouts=timeouts)
            await eventually(lambda: len(frames) == 3)
            ws.cut_off()

    run(main())
    assert frames == [(0x80 | PONG, b"hi"), (0x80 | PING, b""), (0x80 | PING, b"")]


def test_a_server_that_answers_no_ping_is_given_up(run: Loop) -> None:
    async def main() -> None:
        async with scripted(deaf) as url, connect_async(url, timeouts=QUICK) as ws:
            with pytest.raises(ConnectionClosed, match="1006: no answer to a ping"):
                await ws.recv()

    run(main())


def test_a_server_that_does_not_finish_a_message_is_given_up(run: Loop) -> None:
    async def half(peer: Peer) -> None:
        await peer.accept(after=frame(TEXT, b"only a part of it")[:-1])
        await peer.gone()

    async def main() -> None:
        timeouts = Timeouts(message=0.05)
        async with scripted(half) as url, connect_async(url, timeouts=timeouts) as ws:
            with pytest.raises(ConnectionClosed, match="4009: the message took too long"):
                await ws.recv()

    run(main())


def test_an_own_ping_that_is_cancelled_leaves_nothing(run: Loop) -> None:
    async def main() -> None:
        async with scripted(deaf) as url:
            ws = await connect_async(url)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ws.ping(), 0.01)
            assert ws._client_transport.pongs == {}
            ws.cut_off()

    run(main())


# -- the end --------------------------------------------------------------------------------------


def test_close_wakes_everybody_who_waits(run: Loop) -> None:
    async def main() -> None:
        async with scripted(silent) as url:
            ws = await connect_async(url, timeouts=QUICK, deflate=None)
            tasks = [asyncio.ensure_future(f()) for f in (ws.recv, ws.recv, ws.ping)]
            await ws.send(bytes(10 * MIB))
            tasks += [asyncio.ensure_future(f()) for f in (lambda: ws.send("x"), ws.drain)]
            await turns(3)
            await asyncio.gather(ws.close(), ws.close(), ws.wait_closed())
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(result, ConnectionClosed), result

    run(main())


@pytest.mark.parametrize("script", [silent, deaf])
def test_a_server_that_never_answers_the_close_is_cut_off(run: Loop, script: Any) -> None:
    async def main() -> None:
        async with scripted(script) as url:
            ws = await connect_async(url, timeouts=QUICK)
            await ws.close()
            assert ws.closed == Close(1006, "the close was not answered in time", False)

    run(main())


def test_close_nowait_alone_ends_it_too(run: Loop) -> None:
    async def main() -> None:
        async with scripted(deaf) as url:
            ws = await connect_async(url, timeouts=QUICK)
            ws.close_nowait()
            await eventually(lambda: ws._client_transport.layer.over)

    run(main())


def test_both_may_close_at_once_with_messages_unread(run: Loop) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(frame(TEXT, b"x") * 3000 + frame(CLOSE, (4001).to_bytes(2, "big")))
        await peer.frame()

    async def main() -> None:
        async with scripted(script) as url:
            ws = await connect_async(url)
            await ws.close()
            assert ws.closed is not None
            assert ws.closed.code == 4001
            with pytest.raises(ConnectionClosed):
                await ws.recv()

    run(main())


def test_closing_takes_a_legal_code_and_changes_nothing_otherwise(run: Loop) -> None:
    async def main() -> None:
        async with serving(echo) as url, connect_async(url) as ws:
            with pytest.raises(LocalProtocolError):
                await ws.close(1006)
            with pytest.raises(TypeError):
                ws.close_nowait(1000, 5)  # type: ignore[arg-type]
            await ws.send("still there")
            assert await ws.recv() == "still there"

    run(main())


def test_the_servers_close_is_told_though_writing_failed_first(run: Loop) -> None:
    """As a server does that refuses a message by its header, and does not read the rest."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.reader.readexactly(1)
        peer.writer.write(frame(CLOSE, (1009).to_bytes(2, "big") + b"too large"))
        # The script ends with a reset, because much is unread.

    async def main() -> None:
        async with scripted(script) as url:
            ws = await connect_async(url, deflate=None)
            with pytest.raises(ConnectionClosed, match="1009: too large"):
                while True:
                    await ws.send(bytes(3 * MIB))
            await ws.close()

    run(main())


@pytest.mark.native
@pytest.mark.skipif(not native_available, reason="asyncio writes then, and reads no more")
def test_the_servers_close_is_told_though_the_reset_is_noticed_by_writing(run: Loop) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
            connecting = asyncio.ensure_future(opened(url))
            server, _ = await loop.sock_accept(listener)
            with server:
                await loop.sock_sendall(server, switching((await read_head(server)).decode()))
                ws = await connecting
                await turns(5)
                server.sendall(frame(CLOSE, (1008).to_bytes(2, "big") + b"enough"))
                server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            ws._client_transport._prompt = True  # as an answer, which is written at once
            with contextlib.suppress(ConnectionClosed):
                await ws.send("x")
            assert (await ws.wait_closed()).code == 1008

    async def opened(url: str) -> AsyncWebSocket:
        return await connect_async(url)

    async def read_head(server: socket.socket) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await asyncio.get_running_loop().sock_recv(server, 4096)
        return head

    run(main())


def test_a_connection_that_is_lost_is_1006(run: Loop) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(frame(TEXT, b"last"))

    async def main() -> None:
        async with scripted(script) as url, connect_async(url) as ws:
            assert await ws.recv() == "last"
            with pytest.raises(ConnectionClosed) as caught:
                await ws.recv()
            assert caught.value.code == 1006

    run(main())


@pytest.mark.parametrize("callback", [False, True])
@pytest.mark.parametrize("how", ["closed", "cut off", "lost"])
def test_what_has_ended_is_freed_without_the_garbage_collector(
    run: Loop, how: str, callback: bool
) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(frame(TEXT, b"x"))
        if how == "lost":
            return
        head, payload = await peer.frame()
        peer.writer.write(bytes((head, len(payload))) + payload)

    async def main() -> None:
        on_message = (lambda ws, message: None) if callback else None
        async with scripted(script) as url:
            ws = await connect_async(url, on_message=on_message)
            if how == "closed":
                await ws.close()
            elif how == "cut off":
                ws.cut_off()
            await ws.wait_closed()
            await ws.close()
            await turns(5)
            parts = [
                weakref.ref(ws),
                weakref.ref(ws._client_transport),
                weakref.ref(ws._client_transport._connector),
            ]
            del ws
            assert [part() for part in parts] == [None, None, None]

    gc.collect()
    gc.disable()
    try:
        run(main())
    finally:
        gc.enable()
