"""An asynchronous connection to a server that does not read, or that sends much itself."""

from __future__ import annotations

import asyncio
import socket

import pytest

from sono_client import ConnectionClosed, connect_async
from sono_core import Limits, Timeouts
from tests.async_peers import (
    MIB,
    PING,
    Loop,
    Peer,
    echo,
    eventually,
    frame,
    scripted,
    serving,
    silent,
    turns,
)


def test_send_waits_for_a_server_that_does_not_read_and_cancelled_it_was_not_sent(
    run: Loop,
) -> None:
    async def main() -> None:
        async with scripted(silent) as url:
            ws = await connect_async(url, deflate=None)
            sent = 0
            with pytest.raises(asyncio.TimeoutError):
                while True:
                    await asyncio.wait_for(ws.send(bytes(100_000)), 0.1)
                    sent += 1
            waiting = ws._out.size
            assert 0 < waiting <= 64 * 1024 + 100_014
            tasks = [asyncio.ensure_future(ws.send(bytes(MIB))) for _ in range(10)]
            await turns(5)
            assert ws._out.size == waiting  # ten together may not exceed the limit either
            ws.cut_off()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(result, ConnectionClosed)

    run(main())


def test_a_server_that_reads_nothing_is_given_up_when_it_stalls(run: Loop) -> None:
    async def main() -> None:
        timeouts = Timeouts(write_stall=0.2)
        async with scripted(silent) as url, connect_async(url, timeouts=timeouts) as ws:
            with pytest.raises(ConnectionClosed, match="4008: nothing could be written in time"):
                while True:
                    await ws.send(bytes(100_000))

    run(main())


BIG = Limits(max_message=200 * MIB, max_frame=200 * MIB, max_queue=MIB)


@pytest.mark.parametrize("size", [64 * 1024, 700 * 1024, 50 * MIB])
def test_two_sides_that_send_much_do_not_wait_for_each_other(run: Loop, size: int) -> None:
    count = 100 * MIB // size

    async def script(peer: Peer) -> None:
        await peer.accept()
        for _ in range(count):  # the server reads nothing until it has written everything
            peer.writer.write(frame(2, bytes(size)))
            await peer.writer.drain()
        await peer.reader.readexactly(count * (size + 14))

    async def main() -> None:
        async with scripted(script) as url:
            ws = await connect_async(url, limits=BIG, deflate=None)

            async def send() -> None:
                for _ in range(count):
                    await ws.send(bytes(size))

            sending = asyncio.ensure_future(send())
            for _ in range(count):
                assert len(await ws.recv()) == size
            await sending
            assert (await ws.wait_closed()).code == 1006

    run(main())


def test_a_flood_of_pings_by_a_server_that_never_reads_is_bounded(run: Loop) -> None:
    limits = Limits(max_queue=MIB, control_rate=1 << 20)

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        while True:
            peer.writer.write(frame(PING, bytes(125)) * 500)
            await peer.writer.drain()

    async def main() -> None:
        async with scripted(script) as url:
            ws = await connect_async(url, limits=limits)
            sock = ws._client_transport._stream.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)  # full all the sooner
            await eventually(lambda: ws._out.size > 10_000 and not ws._client_transport._reads)
            await asyncio.sleep(0.02)
            assert ws._out.size < MIB
            assert ws.closed is None
            ws.cut_off()

    run(main())


def test_send_nowait_and_drain(run: Loop) -> None:
    async def main() -> None:
        async with serving(echo) as url, connect_async(url, deflate=None) as ws:
            for number in range(30):
                assert ws.send_nowait(bytes([number]) * 100_000)
            await ws.drain()
            assert ws._out.size <= 64 * 1024
            for number in range(30):
                assert await ws.recv() == bytes([number]) * 100_000

    run(main())


def test_more_than_the_queue_holds_sent_without_waiting_ends_the_connection(run: Loop) -> None:
    async def main() -> None:
        async with scripted(silent) as url:
            ws = await connect_async(url, limits=Limits(max_queue=MIB), deflate=None)
            while ws.send_nowait(bytes(100_000)):
                pass
            assert (await ws.wait_closed()).code == 4008

    run(main())
