"""A call that is cancelled leaves the connection as it was, and loses no message."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from sono_client import AsyncSonoClient, AsyncWebSocket, connect_async
from sono_server import HTTPRequest, Sono, WebSocket
from tests.async_peers import Loop, eventually, scripted, serving, silent, turns

TOLD = [str(number) for number in range(40)]


def count(request: HTTPRequest) -> None:
    """Answers each message with the next of `TOLD`."""
    left = iter(TOLD)
    request.accept(on_message=lambda ws, message: ws.send(next(left)))


async def cancelled_after(number: int, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns if it is quicker than that many turns of the loop, else None."""
    task = asyncio.ensure_future(coroutine)
    await turns(number)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        return await task
    return None


async def within(ws: AsyncWebSocket) -> Any:
    return await asyncio.wait_for(ws.recv(), 1000)


@pytest.mark.parametrize("way", ["recv", "anext", "wait_for"])
def test_a_message_is_never_lost_with_who_waited_for_it(run: Loop, way: str) -> None:
    ways: dict[str, Callable[[AsyncWebSocket], Coroutine[Any, Any, Any]]] = {
        "recv": lambda ws: ws.recv(),
        "anext": lambda ws: ws.__anext__(),
        "wait_for": within,
    }

    async def main() -> None:
        async with serving(count) as url, connect_async(url, proxy=None) as ws:
            got: list[Any] = []
            for number in range(len(TOLD)):
                await ws.send("next")
                message = await cancelled_after(number % 8, ways[way](ws))
                got.append(message or await ws.recv())
            assert got == TOLD

    run(main())


def test_an_iteration_that_is_broken_off_can_be_taken_up(run: Loop) -> None:
    def all_at_once(ws: WebSocket, message: object) -> None:
        for text in TOLD:
            ws.send(text)

    async def main() -> None:
        async with (
            serving(lambda request: request.accept(on_message=all_at_once)) as url,
            connect_async(url, proxy=None) as ws,
        ):
            await ws.send("all")
            got: list[Any] = []
            while len(got) < len(TOLD):
                async for message in ws:
                    got.append(message)
                    break
                if len(got) < len(TOLD):
                    got.append(await ws.recv())
            assert got == TOLD

    run(main())


def test_an_event_is_never_lost_with_who_waited_for_it(run: Loop) -> None:
    async def main() -> None:
        async with (
            serving(Sono().connect) as url,
            AsyncSonoClient(url, proxy=None) as client,
        ):
            events = client.__aiter__()
            got: list[Any] = []
            for number in range(40):
                await client.message(number, "n")
                event = await cancelled_after(number % 8, events.__anext__())
                got.append(event or await events.__anext__())
            assert [event.payload["message"] for event in got] == list(range(40))

    run(main())


def test_a_question_that_is_cancelled_takes_no_other_answer(run: Loop) -> None:
    async def main() -> None:
        async with (
            serving(Sono().connect) as url,
            AsyncSonoClient(url, proxy=None) as client,
        ):
            (own,) = await client.grab("myid")
            for number in range(20):
                await cancelled_after(number % 8, client.grab("mychannel"))
                assert await client.grab("myid") == [own]

    run(main())


def test_who_was_cancelled_as_it_connected_may_connect_again(run: Loop) -> None:
    async def main() -> None:
        async with serving(Sono().connect) as url:
            client = AsyncSonoClient(url, proxy=None)
            for number in range(6):
                if await cancelled_after(number, client.__aenter__()):
                    await client.close()
            async with client:
                assert await client.grab("myid")

    run(main())


def test_who_is_cancelled_as_it_closes_is_cut_off(run: Loop) -> None:
    async def main() -> None:
        async with scripted(silent) as url:
            ws = await connect_async(url, proxy=None)
            await cancelled_after(3, ws.close())
            await eventually(lambda: ws._client_transport.layer.over)

    run(main())
