"""The blocking client, and the asyncio client on each loop, as functions that do the same."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from sono_client import connect, connect_async
from tests.async_peers import LOOPS, new_loop
from tests.client.blocking_peers import PATIENCE

Client = Callable[..., object]
"""Connects, sends "x", and returns the answer; takes the options of `connect`."""


def blocking(url: str, **options: Any) -> object:
    with connect(url, **options) as ws:
        ws.send("x")
        return ws.recv(PATIENCE)


def on(kind: str) -> Client:
    """The asyncio client on a loop of that kind, which leaves no task."""

    def client(url: str, **options: Any) -> object:
        async def main() -> object:
            async with connect_async(url, **options) as ws:
                await ws.send("x")
                return await ws.recv()

        return run(kind, main())

    return client


CLIENTS: dict[str, Client] = {"blocking": blocking, **{kind: on(kind) for kind in LOOPS}}


def run(kind: str, main: Any) -> object:
    """Run a coroutine on a loop that looks up as the module `socket` does, which a test replaces.

    uvloop has a way of its own.
    """
    made = type(used(kind))

    class Looking(made):  # type: ignore[misc, valid-type]
        async def getaddrinfo(self, *arguments: Any, **options: Any) -> Any:
            return socket.getaddrinfo(*arguments, **options)

    loop: asyncio.AbstractEventLoop = Looking()
    try:
        return loop.run_until_complete(_settled(main))
    finally:
        loop.close()


def used(kind: str) -> asyncio.AbstractEventLoop:
    """A loop of that kind that has run: the first one opens descriptors that stay open."""
    loop = new_loop(kind)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    return loop


async def _settled(main: Any) -> object:
    try:
        return await main
    finally:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
