"""Clients whose process is lost, ends or stops, and whose sessions go on in another one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sono_client import AsyncJoinedChannel, AsyncSonoClient
from sono_core.errors import LocalProtocolError
from sono_core.events import Close
from tests.backplane.test_two_processes import (
    EVERYWHERE,
    Heard,
    Nodes,
    Relay,
    run,
    serving,
    wait_for,
)
from tests.lossless_wire import Speaker

APPLICATION = """
from sono_server import History, Sono

sono = Sono(open_channels=True, history={"room": History(count=1000)})
calls = []

@sono.authenticate
def who(request):
    return {"sub": request.token or "anybody"}

@sono.on_connect
def connected(client):
    client.data = "known"
    calls.append(["connect", client.id])

@sono.on_suspend
def suspended(client):
    calls.append(["suspend", client.id])

@sono.on_resume
def resumed(client):
    calls.append(["resume", client.id])

@sono.on_disconnect
def disconnected(client, close):
    calls.append(["disconnect", client.id])

@sono.on_request("about")
def about(client, _):
    return {"data": client.data, "identity": client.identity, "calls": calls}
"""
NUMBERS = 300
AT_ONCE = 50
"""Publications that have no result yet: a session's stream keeps 100 entries."""


@pytest.fixture
def nodes(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Nodes]:
    """Two of the same application: one on selectors, one on asyncio."""
    (tmp_path / "plain.py").write_text(APPLICATION)
    awaiting = APPLICATION.replace("def about", "async def about")
    (tmp_path / "awaiting.py").write_text(awaiting)
    with serving(request, tmp_path, ("plain", "awaiting")) as running:
        yield running


class Traveller:
    """A client that is led from the first node to the second."""

    def __init__(self, client: AsyncSonoClient, relay: Relay, nodes: Nodes) -> None:
        self.client = client
        self._relay = relay
        self._nodes = nodes
        self._sessions: asyncio.Queue[bool] = asyncio.Queue()
        client.on_session(lambda session: self._sessions.put_nowait(session.resumed))

    def leave(self) -> None:
        """Lose the connection; the next one leads to the second node."""
        self._relay.target = self._nodes.addresses[1]
        self._relay.cut()

    async def resumed(self) -> bool:
        return await self._sessions.get()


@asynccontextmanager
async def traveller(nodes: Nodes) -> AsyncIterator[Traveller]:
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(Relay(nodes.addresses[0]))
        url = f"ws://127.0.0.1:{relay.port}/ws"
        client = await stack.enter_async_context(AsyncSonoClient(url))
        yield Traveller(client, relay, nodes)


async def say_all(room: AsyncJoinedChannel) -> list[Any]:
    """Publish all numbers, in order; their positions."""
    room_for = asyncio.Semaphore(AT_ONCE)
    saying = []
    for number in range(NUMBERS):
        await room_for.acquire()
        said = asyncio.ensure_future(room.publish("chat", number))
        said.add_done_callback(lambda _: room_for.release())
        saying.append(said)
    return await asyncio.gather(*saying)


async def about(client: AsyncSonoClient) -> Any:
    return await client.request("about")


@EVERYWHERE
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
def test_a_client_whose_node_goes_loses_and_repeats_nothing(nodes: Nodes, how: int) -> None:
    """Killed, ended in good order, or stopped; and what is under way is published once."""

    async def test() -> None:
        async with traveller(nodes) as ann, nodes.client(1) as bob:
            heard = Heard(await bob.join("room"))
            room = await ann.client.join("room")
            mine = Heard(room)
            await ann.client.join("hall")
            before = ann.client.id
            saying = asyncio.ensure_future(say_all(room))
            await heard.until(lambda: heard.items)
            assert not saying.done()
            process = nodes.programs[0].process
            process.send_signal(how)
            if how == signal.SIGTERM:
                ann._relay.target = nodes.addresses[1]
            else:
                ann.leave()
            positions = await saying
            assert await ann.resumed()
            assert ann.client.id == before
            assert set(ann.client.channels) == {"Home", "room", "hall"}
            if how == signal.SIGSTOP:
                process.send_signal(signal.SIGCONT)  # it still has packets of hers to read
                await asyncio.to_thread(wait_for, lambda: nodes.ready(0))
            last = await room.publish("chat", "last")
            expected = [*zip(range(NUMBERS), positions, strict=True), ("last", last)]
            for one in (heard, mine):
                await one.until(lambda one=one: one.items[-1:] == [("last", last)])
                assert one.items == expected
            assert [at.offset for at in (*positions, last)] == list(range(1, NUMBERS + 2))

    run(test())


@EVERYWHERE
def test_the_application_hears_of_a_client_that_comes_from_another_node(nodes: Nodes) -> None:
    async def test() -> None:
        async with traveller(nodes) as ann, nodes.client(0) as bob:
            assert (await about(ann.client))["data"] == "known"
            ann.leave()
            assert await ann.resumed()
            there = await about(ann.client)
            assert (there["data"], there["identity"]) == (None, {"sub": "anybody"})
            assert there["calls"] == [["resume", ann.client.id]]
            hers = [call for call, id in (await about(bob))["calls"] if id == ann.client.id]
            assert hers == ["connect", "suspend"]

    run(test())


@EVERYWHERE
def test_a_request_that_is_under_way_is_answered_where_the_client_goes_on(nodes: Nodes) -> None:
    async def test() -> None:
        async with traveller(nodes) as ann:
            room = await ann.client.join("room")
            asked = [asyncio.ensure_future(about(ann.client)) for _ in range(50)]
            await asyncio.sleep(0)  # they are written
            ann.leave()
            assert await ann.resumed()
            for answer in await asyncio.gather(*asked):
                assert answer["identity"] == {"sub": "anybody"}
            assert (await room.publish("chat", 1)).offset == 1

    run(test())


@EVERYWHERE
def test_others_do_not_see_it_leave(nodes: Nodes) -> None:
    async def test() -> None:
        async with traveller(nodes) as ann, nodes.client(0) as bob:
            await ann.client.join("room")
            room = await bob.join("room", presence=True)
            changes: list[Any] = []
            news = asyncio.Event()

            @room.on_presence
            def changed(change: Any) -> None:
                changes.append(change)
                news.set()

            await room.present("here")
            ann.leave()
            assert await ann.resumed()
            await about(ann.client)
            await bob.join("other")
            async with nodes.client(0) as carol:
                await carol.join("room")
                while (
                    carol.id not in room.presence
                ):  # what went before was told before, or is in it
                    news.clear()
                    await news.wait()
            assert ann.client.id not in [id for change in changes for id in change.gone]

    run(test())


def closed(speaker: Speaker) -> int:
    while not isinstance(event := speaker.wire.next(), Close):
        pass
    assert event.code is not None
    return event.code


@EVERYWHERE
def test_a_key_in_the_hands_of_another_identity_is_refused(nodes: Nodes) -> None:
    one, other = nodes.addresses
    with Speaker(one, {"token": "ann"}) as ann:
        with Speaker(other) as thief:
            thief.say("hello", token="eve", key=ann.welcome["key"])
            assert closed(thief) == 4011
        ann.beat()
        with ann.resume(other, token="ann") as again:
            assert again.welcome["resumed"]
            assert again.id == ann.id
        assert closed(ann) == 4012


@EVERYWHERE
def test_a_key_that_is_used_at_both_nodes_at_once_has_one_winner(nodes: Nodes) -> None:
    for _ in range(10):
        with Speaker(nodes.addresses[0], {}) as first, ExitStack() as stack:
            first.lose()
            rivals = [stack.enter_context(Speaker(address)) for address in nodes.addresses]
            for rival in rivals:
                rival.say("hello", key=first.welcome["key"])
            has_it = [rival for rival in rivals if resumed(rival)]
            assert has_it
            for rival in has_it:
                with contextlib.suppress(LocalProtocolError):  # it is closed already
                    rival.say("beat")
            assert [lives(rival) for rival in has_it].count(True) == 1


def resumed(speaker: Speaker) -> bool:
    """Whether it is welcome in the session, and neither in a new one nor closed."""
    event: Any = speaker.wire.next()
    return not isinstance(event, Close) and json.loads(event.text)["resumed"]


def lives(speaker: Speaker) -> bool:
    """Whether it is answered, and not closed as a newer connection has the session."""
    event: Any
    while not isinstance(event := speaker.wire.next(), Close):
        if json.loads(event.text)["type"] == "beat":
            return True
    assert event.code == 4012
    return False
