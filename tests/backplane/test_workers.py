"""`sono serve --workers` on a broker: two processes, one of which follows the other."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sono_client import AsyncJoinedChannel, AsyncSonoClient, RequestFailed
from sono_server import Publisher
from tests.backplane.brokers import Broker, broker, require_redis
from tests.backplane.test_two_processes import Heard, run
from tests.processes import Log, Program, program
from tests.servers import PATIENCE, Address

APPLICATION = """
import os
from sono_server import History, Sono

sono = Sono(open_channels=True, history={"*": History(count=10_000, size=1 << 22)})

@sono.on_request("worker")
def worker(client, data):
    return os.getpid()
"""
WORKERS = 2
PACE = 0.005
"""Seconds from one publication to the next of the same publisher, and more."""


class Supervised:
    """A broker, a supervisor and its workers."""

    def __init__(self, server: Broker, started: Program) -> None:
        self.broker = server
        self.program = started
        self.address: Address = started.address()
        self.log = Log(started)

    @property
    def url(self) -> str:
        return f"ws://{self.address[0]}:{self.address[1]}/ws"


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    require_redis()
    (tmp_path / "app.py").write_text(APPLICATION)
    with broker() as server:
        options = ["--workers", str(WORKERS), "--port", "0", "--log-level", "info"]
        options += ["--backplane", server.url, "--drain", "20"]
        with program("-m", "sono_server", "serve", "app", *options, cwd=tmp_path) as started:
            yield Supervised(server, started)
            assert started.process.poll() is None
            started.process.send_signal(signal.SIGTERM)
            assert started.process.wait(PATIENCE) == 0


class Member:
    """A client that is in the room, and perhaps publishes there."""

    def __init__(self, client: AsyncSonoClient) -> None:
        self.client = client
        self.back = asyncio.Event()  # it has had a connection and has another
        self._connections = 0
        client.on_session(self._connected)

    def _connected(self, session: Any) -> None:
        self._connections += 1
        if self._connections > 1:
            self.back.set()

    async def join(self) -> None:
        self.room: AsyncJoinedChannel = await self.client.join("room")
        self.heard = Heard(self.room)


async def publish(member: Member, name: str, going: asyncio.Event, told: dict[Any, Any]) -> None:
    """Publish one thing after the other, and note what becomes of each."""
    number = 0
    while going.is_set():
        number += 1
        try:
            position = await member.room.publish("chat", [name, number])
        except RequestFailed as error:
            told[name, number] = error.code
        else:
            told[name, number] = position
        await asyncio.sleep(PACE)


def test_a_rolling_restart_under_load_loses_nothing_in_silence(supervised: Supervised) -> None:
    """What a client publishes as its worker ends may have no known result: that is told."""

    async def test() -> None:
        async with AsyncExitStack() as stack:
            members = [Member(AsyncSonoClient(supervised.url)) for _ in range(8)]
            for member in members:
                await stack.enter_async_context(member.client)
            for member in members:
                await member.join()
            former = {await member.client.request("worker") for member in members}
            told: dict[Any, Any] = {}
            going = asyncio.Event()
            going.set()
            stack.callback(going.clear)  # whatever happens, as a thread looks at it
            outside = asyncio.create_task(
                asyncio.to_thread(publish_from_outside, supervised.broker.url, going, told)
            )
            tasks = [
                asyncio.create_task(publish(member, f"client {number}", going, told))
                for number, member in enumerate(members[:4])
            ]
            supervised.program.process.send_signal(signal.SIGHUP)
            for number in range(WORKERS):
                pattern = f"worker {number + 1} has been replaced"
                await asyncio.to_thread(supervised.log.wait_for, pattern)
            for member in members:
                await member.back.wait()
            heard = members[0].heard
            count = len(heard.items)
            await heard.until(lambda: len(heard.items) >= count + 100)
            going.clear()
            await asyncio.gather(outside, *tasks)
            with Publisher(supervised.broker.url) as publisher:
                last = await asyncio.to_thread(publisher.publish, "room", "chat", ["end", 1])
            for member in members:
                await member.heard.until(partial(ended, member))
            check(members, told, last)
            assert former.isdisjoint({await one.client.request("worker") for one in members})

    run(test())
    assert supervised.log.having("ERROR") == []


def publish_from_outside(url: str, going: asyncio.Event, told: dict[Any, Any]) -> None:
    number = 0
    with Publisher(url) as publisher:
        while going.is_set():
            number += 1
            told["publisher", number] = publisher.publish("room", "chat", ["publisher", number])
            time.sleep(PACE)


def ended(member: Member) -> bool:
    return bool(member.heard.items) and member.heard.items[-1][0] == ["end", 1]


def check(members: list[Member], told: dict[Any, Any], last: Any) -> None:
    """Each member has each publication once, in order, and each result is true."""
    offsets = {}
    for member in members:
        assert "gap" not in member.heard.items
        positions = [position for _, position in member.heard.items]
        first = positions[0].offset
        assert [one.offset for one in positions] == list(range(first, last.offset + 1))
        assert {one.epoch for one in positions} == {last.epoch}
        offsets.update({one.offset: tuple(data) for data, one in member.heard.items})
        assert all(offsets[one.offset] == tuple(data) for data, one in member.heard.items)
    assert max(Counter(offsets.values()).values()) == 1
    unknown = Counter(result for result in told.values() if isinstance(result, str))
    assert set(unknown) <= {"unknown", "unavailable"}, unknown
    for item, result in told.items():
        if not isinstance(result, str):
            assert offsets[result.offset] == item
    assert sum(unknown.values()) < len(told) / 10
