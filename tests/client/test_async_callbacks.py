"""Callbacks of an asynchronous connection: from the first frame on, and when they raise."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from sono_client import AsyncWebSocket, ConnectionClosed, connect_async
from sono_core import Close, Limits
from tests.async_peers import (
    CLOSE,
    MIB,
    PING,
    PONG,
    TEXT,
    Loop,
    Peer,
    echo,
    eventually,
    frame,
    scripted,
    serving,
    turns,
)


def test_the_callback_gets_what_came_with_the_101_and_what_follows_it(run: Loop) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(b"".join(frame(TEXT, str(n).encode()) for n in range(2000)))
        for number in range(2000, 2003):
            peer.writer.write(frame(TEXT, str(number).encode()))
            await turns(3)
        await peer.frame()

    async def main() -> None:
        got: list[Any] = []
        async with (
            scripted(script) as url,
            connect_async(url, on_message=lambda ws, message: got.append(message)),
        ):
            await eventually(lambda: len(got) == 2003)
        assert got == [str(n) for n in range(2003)]

    run(main())


@pytest.mark.parametrize("early", [True, False])
def test_a_callback_that_raises_is_logged_and_closes_with_1011(
    run: Loop, early: bool, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []
    two = frame(TEXT, b"a") + frame(TEXT, b"b")

    async def script(peer: Peer) -> None:
        await peer.accept(two if early else b"")
        if not early:
            await asyncio.sleep(0.01)
            peer.writer.write(two)
        seen.append(await peer.frame())
        peer.writer.write(frame(CLOSE, seen[-1][1]))

    def fail(ws: AsyncWebSocket, message: object) -> None:
        seen.append(message)
        raise RuntimeError("oops")

    async def main() -> None:
        async with scripted(script) as url:
            ws = await connect_async(url, on_message=fail)
            assert (await ws.wait_closed()).code == 1011
            await ws.close()

    with caplog.at_level(logging.ERROR, "sono"):
        run(main())
    assert seen == ["a", (0x88, (1011).to_bytes(2, "big") + b"internal error")]
    assert caplog.text.count("RuntimeError: oops") == 1


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("callback", [True, False])
def test_an_answer_leaves_though_what_follows_the_message_ends_the_connection(
    run: Loop, early: bool, callback: bool
) -> None:
    seen: list[Any] = []
    wrong = frame(TEXT, b"a") + frame(PING, b"p") + frame(TEXT, b"b") + b"\xf1\x00"

    async def script(peer: Peer) -> None:
        await peer.accept(wrong if early else b"")
        if not early:
            await asyncio.sleep(0.01)
            peer.writer.write(wrong)
        while len(seen) < 4:
            seen.append(await peer.frame())

    def answer(ws: AsyncWebSocket, message: Any) -> None:
        ws.send_nowait(message)

    async def main() -> None:
        async with scripted(script) as url:
            ws = await connect_async(url, on_message=answer if callback else None)
            with pytest.raises(ConnectionClosed, match="1002"):
                async for message in ws:
                    await ws.send(message)
            await ws.close()

    run(main())
    first, pong, second, close = seen
    assert (first, pong, second) == ((0x81, b"a"), (0x80 | PONG, b"p"), (0x81, b"b"))
    assert close[1][:2] == (1002).to_bytes(2, "big")


@pytest.mark.parametrize("early", [True, False])
def test_a_callback_may_close_and_gets_nothing_more(run: Loop, early: bool) -> None:
    seen: list[Any] = []
    three = b"".join(frame(TEXT, text) for text in (b"a", b"b", b"c"))

    async def script(peer: Peer) -> None:
        await peer.accept(three if early else b"")
        if not early:
            await asyncio.sleep(0.01)
            peer.writer.write(three)
        seen.append(await peer.frame())
        peer.writer.write(frame(TEXT, b"d") + frame(CLOSE, seen[-1][1]))

    def close(ws: AsyncWebSocket, message: object) -> None:
        seen.append(message)
        ws.close_nowait(4000, "enough")

    async def main() -> None:
        async with scripted(script) as url, connect_async(url, on_message=close) as ws:
            assert await ws.wait_closed() == Close(4000, "enough", True)

    run(main())
    assert seen == ["a", (0x88, (4000).to_bytes(2, "big") + b"enough")]


def test_a_callback_may_cut_off(run: Loop) -> None:
    async def main() -> None:
        def cut(ws: AsyncWebSocket, message: object) -> None:
            ws.cut_off()
            assert ws.send_nowait("more") is False

        async with serving(echo) as url, connect_async(url, on_message=cut) as ws:
            await ws.send("x")
            assert (await ws.wait_closed()).code == 1006

    run(main())


def test_a_callback_that_sends_much_is_held_up_by_a_server_that_does_not_read(run: Loop) -> None:
    limits = Limits(max_queue=2 * MIB)

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        while True:  # as long as somebody reads
            peer.writer.write(frame(TEXT, b"x" * 1000))
            await peer.writer.drain()

    async def main() -> None:
        def answer(ws: AsyncWebSocket, message: Any) -> None:
            assert ws.send_nowait(message)

        async with scripted(script) as url:
            ws = await connect_async(url, on_message=answer, limits=limits)
            await eventually(lambda: ws._out.size >= MIB and not ws._client_transport._reads)
            assert ws._out.size <= 1.5 * MIB
            ws.cut_off()

    run(main())
