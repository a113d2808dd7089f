"""`connect_async` and its connection, on both event loops: with servers real and odd."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import struct
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from sono_client import AsyncWebSocket, ConnectionClosed, connect_async
from sono_core import Close, Limits, LocalProtocolError, Timeouts, native_available
from sono_server import HTTPRequest
from tests.async_peers import (
    CLOSE,
    LOOPS,
    MIB,
    PING,
    PONG,
    QUICK,
    TEXT,
    Loop,
    Peer,
    commanded,
    echo,
    eventually,
    frame,
    new_loop,
    open_descriptors,
    scripted,
    serving,
    switching,
    turns,
)

BIG = Limits(max_message=200 * MIB, max_frame=200 * MIB, max_queue=MIB)


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Iterator[Loop]:
    new_loop(request.param).close()  # the first one opens what the process keeps
    before = open_descriptors()
    yield Loop(request.param)
    gc.collect()
    assert open_descriptors() == before


async def silent(peer: Peer) -> None:
    """Accepts, and never reads nor writes again."""
    await peer.accept()
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.Event().wait()


async def deaf(peer: Peer) -> None:
    """Accepts, and reads without an answer."""
    await peer.accept()
    await peer.gone()


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


# -- callbacks ------------------------------------------------------------------------------------


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


# -- back-pressure --------------------------------------------------------------------------------


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
            assert ws._out.size == waiting  # ten may not add up to more than may wait
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


@pytest.mark.parametrize("size", [64 * 1024, 700 * 1024, 50 * MIB])
def test_two_sides_that_send_much_do_not_wait_for_each_other(run: Loop, size: int) -> None:
    count = 100 * MIB // size

    async def script(peer: Peer) -> None:
        await peer.accept()
        for _ in range(count):  # and not one byte is read before all is written
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
    limits = Limits(max_queue=MIB)

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        while True:
            peer.writer.write(frame(PING, bytes(125)) * 500)
            await peer.writer.drain()

    async def main() -> None:
        async with scripted(script) as url:
            ws = await connect_async(url, limits=limits)
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
    """As when a server refuses a message by its header, and does not read the rest."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.reader.readexactly(1)
        peer.writer.write(frame(CLOSE, (1009).to_bytes(2, "big") + b"too large"))
        # The end of this script is a reset: much is unread.

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
            ws._client_transport._prompt = True  # as in an answer, which is written at once
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
