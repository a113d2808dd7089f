"""Clients of `sono.v2` under an ASGI server in memory: they join, are suspended and come back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sono_core import Close
from sono_server import Client, HTTPRequest, Sono
from tests.server.test_asgi import Talk, run
from tests.servers import PATIENCE


@asynccontextmanager
async def speaking(application: Any, **hello: Any) -> AsyncIterator[tuple[Talk, Any]]:
    """A connection, and the welcome that it got."""
    talk = Talk()
    scope = {
        "type": "websocket",
        "path": "/ws",
        "scheme": "ws",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "subprotocols": ["sono.v2"],
    }
    task = asyncio.create_task(application(scope, talk.receive, talk.send))
    accepted = await talk.next()
    assert (accepted["type"], accepted["subprotocol"]) == ("websocket.accept", "sono.v2")
    yield talk, await answer(talk, "welcome", type="hello", **hello)
    talk.give("disconnect", code=1006)
    await asyncio.wait_for(task, PATIENCE)


async def answer(talk: Talk, kind: str, **packet: Any) -> Any:
    """What comes of that type after a packet."""
    talk.give("receive", text=json.dumps(packet))
    while True:
        event = await talk.next()
        assert event["type"] == "websocket.send", event
        told = json.loads(event["text"])
        if told["type"] == kind:
            return told


def test_join_suspend_and_resume() -> None:
    sono = Sono()
    told: asyncio.Queue[str] = asyncio.Queue()

    @sono.authenticate
    async def who(request: HTTPRequest) -> str | None:
        return request.token

    @sono.on_join("room:*")
    async def may_enter(client: Client, channel: str) -> bool:
        await asyncio.sleep(0)
        return channel != "room:0"

    @sono.on_suspend
    async def suspended(client: Client) -> None:
        told.put_nowait(f"suspend {client.identity}")

    @sono.on_resume
    def resumed(client: Client) -> None:
        told.put_nowait(f"resume {client.identity}")

    @sono.on_disconnect
    def gone(client: Client, close: object) -> None:
        told.put_nowait("gone")

    async def main() -> None:
        application = sono.asgi()
        async with speaking(application, token="ann") as (talk, welcome):
            result = await answer(talk, "result", type="join", seq=1, channel="room:1")
            assert result["data"]["stream"] == "#room:1"
            result = await answer(talk, "result", type="join", seq=2, channel="room:0")
            assert result["error"]["code"] == "forbidden"
        assert await asyncio.wait_for(told.get(), PATIENCE) == "suspend ann"
        async with speaking(application, token="ann", key=welcome["key"]) as (talk, again):
            assert again["resumed"]
            assert {begun["stream"] for begun in again["streams"]} >= {"#Home", "#room:1"}
            assert await asyncio.wait_for(told.get(), PATIENCE) == "resume ann"
            assert sono.disconnect(identity="ann") == 1
            assert await asyncio.wait_for(told.get(), PATIENCE) == "gone"
        assert sono.clients == {}

    run(main())


def test_sessions_end_with_the_lifespan() -> None:
    sono = Sono()
    ended: list[tuple[str, int]] = []

    @sono.on_disconnect
    async def gone(client: Client, close: Close) -> None:
        await asyncio.sleep(0)
        ended.append((client.id, close.code))

    async def main() -> None:
        application = sono.asgi()
        given: asyncio.Queue[Any] = asyncio.Queue()
        sent: asyncio.Queue[Any] = asyncio.Queue()
        life = asyncio.create_task(application({"type": "lifespan"}, given.get, sent.put))
        given.put_nowait({"type": "lifespan.startup"})
        assert (await sent.get())["type"] == "lifespan.startup.complete"
        async with speaking(application) as (_, welcome):
            pass
        assert ended == []
        given.put_nowait({"type": "lifespan.shutdown"})
        assert (await asyncio.wait_for(sent.get(), PATIENCE))[
            "type"
        ] == "lifespan.shutdown.complete"
        await life
        assert ended == [(welcome["id"], 1001)]

    run(main())
