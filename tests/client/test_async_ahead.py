"""The asyncio client while nobody asks for its messages: pings and a Close are answered."""

from __future__ import annotations

from typing import Any

import pytest

from sono_client import ConnectionClosed, connect_async
from sono_core import Close
from tests.async_peers import CLOSE, PING, PONG, TEXT, Loop, Peer, eventually, frame, scripted

UNREAD = [str(number) for number in range(1100)]  # more than the client keeps
WHY = (4001).to_bytes(2, "big") + b"bye"


@pytest.mark.parametrize("early", [True, False])
def test_pings_and_a_close_behind_unread_messages_are_answered(run: Loop, early: bool) -> None:
    seen: list[Any] = []

    async def script(peer: Peer) -> None:
        messages = b"".join(frame(TEXT, text.encode()) for text in UNREAD)
        await peer.accept(messages if early else b"")
        if not early:
            peer.writer.write(messages)
        for _ in range(2):
            peer.writer.write(frame(PING, b"p"))
            seen.append(await peer.frame())
        peer.writer.write(frame(CLOSE, WHY))
        seen.append(await peer.frame())

    async def main() -> None:
        async with scripted(script) as url:
            ws = await connect_async(url, proxy=None)
            await ws.wait_closed()
            assert ws.closed == Close(4001, "bye")
            assert [await ws.recv() for _ in UNREAD] == UNREAD
            with pytest.raises(ConnectionClosed, match="4001: bye"):
                await ws.recv()
            await eventually(lambda: len(seen) == 3)

    run(main())
    assert seen == [(0x80 | PONG, b"p"), (0x80 | PONG, b"p"), (0x80 | CLOSE, WHY[:2])]


def test_a_ping_of_ones_own_is_answered_though_messages_wait(run: Loop) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(b"".join(frame(TEXT, text.encode()) for text in UNREAD))
        _, payload = await peer.frame()
        peer.writer.write(frame(PONG, payload))
        await peer.gone()

    async def main() -> None:
        async with scripted(script) as url:
            ws = await connect_async(url, proxy=None)
            await eventually(lambda: ws._client_transport._held)
            assert await ws.ping() > 0
            assert [await ws.recv() for _ in UNREAD] == UNREAD
            ws.cut_off()

    run(main())


def test_reading_goes_on_as_messages_are_taken(run: Loop) -> None:
    many = 20_000  # far more than is kept and read ahead

    async def script(peer: Peer) -> None:
        await peer.accept()
        for number in range(many):
            peer.writer.write(frame(TEXT, str(number).encode()))
            await peer.writer.drain()
        await peer.gone()

    async def main() -> None:
        async with scripted(script) as url:
            ws = await connect_async(url, proxy=None)
            transport = ws._client_transport
            session = transport.session
            await eventually(
                lambda: transport._held and not session.reading and not session.pump_due
            )
            assert len(transport.messages) == 1024
            assert [await ws.recv() for _ in range(many)] == list(map(str, range(many)))
            ws.cut_off()

    run(main())


def test_a_callback_gets_what_came_before_it_was_there(
    run: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    """The server may have ended the connection before the application has it."""
    got: list[str | bytes] = []

    def fail(message: str | bytes) -> None:
        got.append(message)
        raise ValueError("no")

    async def script(peer: Peer) -> None:
        await peer.accept(frame(TEXT, b"a") + frame(TEXT, b"b") + frame(CLOSE, WHY))
        await peer.frame()

    async def main() -> None:
        async with scripted(script) as url:
            for function in (got.append, fail):
                ws = await connect_async(url, proxy=None)
                await ws.wait_closed()
                ws._client_transport.begin(function)
                assert not ws._client_transport.messages
                await ws.close()

    run(main())
    assert got == ["a", "b", "a"]
    assert "a handler failed" in caplog.text


def test_a_program_that_only_sends_learns_of_the_close(run: Loop) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(frame(CLOSE, WHY))
        await peer.gone()

    async def main() -> None:
        async with scripted(script) as url:
            ws = await connect_async(url, proxy=None)
            with pytest.raises(ConnectionClosed, match="4001: bye"):
                for _ in range(100_000):
                    await ws.send("x")
            ws.cut_off()

    run(main())
