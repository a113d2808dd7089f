"""Processes of `sono serve` that share a Redis: their clients are in the same channels."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sono_client import AsyncJoinedChannel, AsyncSonoClient, RequestFailed
from sono_server import Publisher
from tests.backplane.brokers import Broker, broker, require_redis
from tests.processes import Program, program
from tests.servers import PATIENCE, Address, get, status

APPLICATION = """
from sono_server import Promise, RequestFailed, Sono

sono = Sono(open_channels=True)

@sono.on("shout")
def shout(client, message):
    sono.emit(message.upper(), "shouted")

sono.channel("secret", listed=False)

@sono.on_connect
def greet(client):
    client.send("greeting", client.id)

def soon(asked, use):
    promise = Promise()

    def done(asked):
        try:
            promise.complete(use(asked.result()))
        except RequestFailed as error:
            promise.complete(error.code)

    asked.then(done)
    return promise

@sono.on_request("who")
def who(client, channel):
    return soon(sono.channel(channel).presence(), lambda found: list(found.members))

@sono.on_request("tell")
def tell(client, id):
    return soon(sono.client(id).send("hey", "you"), bool)

@sono.on_request("ask")
def ask(client, id):
    return soon(sono.client(id).request("colour", "which?"), list)

@sono.on_request("end")
def end(client, id):
    return soon(sono.client(id).close(4000, "enough"), bool)

@sono.authenticate
def authenticate(request):
    return {"name": request.query, "more": [1, None]}

@sono.on_request("revoke")
def revoke(client, data):
    return sono.disconnect(identity={"more": [1, None], "name": "ann"})
"""
APPLICATIONS = {
    "plain": APPLICATION,
    "awaiting": APPLICATION.replace("def shout", "async def shout"),
}
"""One that runs on selectors, and one on asyncio."""
DETECTED = 10.0
"""Seconds within which a node has to notice that its broker is away."""


class Nodes:
    """A broker, and processes that serve an application on it.

    Args:
        server: None: it is a cluster that other tests use too.
    """

    def __init__(self, server: Broker | None, programs: list[Program]) -> None:
        self._broker = server
        self.programs = programs
        self.addresses: list[Address] = [one.address() for one in programs]

    @property
    def broker(self) -> Broker:
        assert self._broker
        return self._broker

    def ready(self, node: int) -> bool:
        return status(get(self.addresses[node], "/readyz")) == 200

    def healthy(self, node: int) -> bool:
        return status(get(self.addresses[node], "/healthz")) == 200

    @asynccontextmanager
    async def client(
        self, node: int, name: str = "", **options: Any
    ) -> AsyncIterator[AsyncSonoClient]:
        host, port = self.addresses[node]
        async with AsyncSonoClient(f"ws://{host}:{port}/ws?{name}", **options) as one:
            yield one


_numbers = itertools.count(1)
EVERYWHERE = pytest.mark.parametrize(
    "nodes", ["alone", pytest.param("cluster", marks=pytest.mark.slow)], indirect=True
)
"""On a server alone, and on a cluster that speaks TLS."""


@contextmanager
def serving(request: pytest.FixtureRequest, folder: Path, names: Iterable[str]) -> Iterator[Nodes]:
    """Two nodes that serve applications of a folder, on what the test is parametrized with."""
    require_redis()
    with ExitStack() as stack:
        if getattr(request, "param", "alone") == "alone":
            server = stack.enter_context(broker())
            url = server.url
        else:
            server = None
            url = f"{request.getfixturevalue('cluster_url')}&prefix=test-nodes-{next(_numbers)}"
        options = ("--port", "0", "--backplane", url)
        both = [
            stack.enter_context(program("-m", "sono_server", "serve", name, *options, cwd=folder))
            for name in names
        ]
        running = Nodes(server, both)
        for node in range(2):
            wait_for(lambda node=node: running.ready(node))
        yield running


@pytest.fixture
def nodes(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Nodes]:
    for name, text in APPLICATIONS.items():
        (tmp_path / f"{name}.py").write_text(text)
    with serving(request, tmp_path, APPLICATIONS) as running:
        yield running


def wait_for(happens: Callable[[], object], within: float = PATIENCE) -> None:
    until = time.monotonic() + within
    while not happens():
        assert time.monotonic() < until
        time.sleep(0.02)


class Heard:
    """What a member of a channel was told, in order."""

    def __init__(self, room: AsyncJoinedChannel, event: str = "chat") -> None:
        self.items: list[Any] = []
        self._news = asyncio.Event()
        room.on(event, lambda data, about: self._add((data, about.at)))
        room.on("gap", lambda gap: self._add("gap"))

    def _add(self, item: Any) -> None:
        self.items.append(item)
        self._news.set()

    async def until(self, happens: Callable[[], object]) -> None:
        while not happens():
            self._news.clear()
            await self._news.wait()


def run(test: Awaitable[None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test, PATIENCE)

    asyncio.run(bounded())


@EVERYWHERE
def test_members_on_all_nodes_get_the_same_entries_with_the_same_positions(nodes: Nodes) -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(nodes.client(n)) for n in (0, 1)]
            classic = await stack.enter_async_context(nodes.client(1, dialect="classic"))
            rooms = [await client.join("room") for client in clients]
            heard = [Heard(room) for room in rooms]
            told: asyncio.Queue[Any] = asyncio.Queue()
            classic.on("chat", lambda data: told.put_nowait(data))
            await classic.change_channel("room")
            assert await classic.grab("mychannel") == ["room"]
            positions = [await rooms[n % 2].publish("chat", n) for n in range(20)]
            assert [position.offset for position in positions] == list(range(1, 21))
            expected = list(zip(range(20), positions, strict=True))
            for one in heard:
                await one.until(lambda one=one: len(one.items) == 20)
                assert one.items == expected
            assert [(await told.get())["message"] for _ in range(20)] == list(range(20))
            await classic.message("from afar", "chat")
            for one in heard:
                await one.until(lambda one=one: len(one.items) == 21)
                assert one.items[-1][0] == "from afar"

    run(test())


@EVERYWHERE
def test_what_the_application_emits_reaches_everybody(nodes: Nodes) -> None:
    async def test() -> None:
        async with nodes.client(0) as ann, nodes.client(1) as bob:
            told: list[asyncio.Queue[Any]] = []
            for client in (ann, bob):
                queue: asyncio.Queue[Any] = asyncio.Queue()
                told.append(queue)
                client.on("shouted", queue.put_nowait)
            await ann.message("hello", "shout")
            assert [(await queue.get())["message"] for queue in told] == ["HELLO", "HELLO"]

    run(test())


async def ids(*clients: AsyncSonoClient) -> list[str]:
    found = []
    for client in clients:
        (id,) = await client.grab("myid")
        found.append(id)
    return found


@EVERYWHERE
@pytest.mark.parametrize("sender", ["v2", "classic"])
@pytest.mark.parametrize("receiver", ["v2", "classic"])
def test_direct_messages_cross_processes(nodes: Nodes, sender: str, receiver: str) -> None:
    async def test() -> None:
        async with (
            nodes.client(0, dialect=sender) as ann,
            nodes.client(1, dialect=receiver) as bob,
        ):
            told: asyncio.Queue[Any] = asyncio.Queue()
            errors: asyncio.Queue[Any] = asyncio.Queue()
            bob.on("whisper", told.put_nowait)
            ann.on("error", errors.put_nowait)
            ann_id, bob_id = await ids(ann, bob)
            await ann.direct_message({"text": "psst"}, bob_id, "whisper")
            got = await told.get()
            assert (got["message"], got["from"]) == ({"text": "psst"}, ann_id)
            await ann.direct_message("hello?", "nobody", "whisper")
            assert (await errors.get())["code"] == "unknown-client"
            if sender == "v2":
                await ann.send(bob_id, "whisper", 1)
                assert (await told.get())["message"] == 1
                with pytest.raises(RequestFailed, match="unknown-client"):
                    await ann.send("nobody", "whisper", 1)
                await ann.send(bob_id, "whisper", 2, volatile=True)
                assert (await told.get())["message"] == 2

    run(test())


@EVERYWHERE
def test_who_is_gone_is_unknown_on_all_nodes(nodes: Nodes) -> None:
    async def test() -> None:
        async with nodes.client(0) as ann:
            for dialect in ("v2", "classic"):
                async with nodes.client(1, dialect=dialect) as bob:
                    (bob_id,) = await ids(bob)
                    await ann.send(bob_id, "whisper", 1)
                refused = None
                while refused is None:  # its node may still be about to notice that it has left
                    try:
                        await ann.send(bob_id, "whisper", 2)
                    except RequestFailed as error:
                        refused = error.code
                assert refused == "unknown-client"

    run(test())


def test_a_broker_that_starts_again_is_noticed_and_told_and_nobody_is_disconnected(
    nodes: Nodes,
) -> None:
    async def test() -> None:
        async with nodes.client(0) as ann, nodes.client(1) as bob:
            rooms = [await client.join("room") for client in (ann, bob)]
            heard = [Heard(room) for room in rooms]
            await rooms[0].publish("chat", "before")
            for one in heard:
                await one.until(lambda one=one: one.items)
            await asyncio.to_thread(nodes.broker.kill)
            for node in (0, 1):
                wait = (wait_for, lambda node=node: not nodes.ready(node), DETECTED)
                await asyncio.to_thread(*wait)
                assert await asyncio.to_thread(nodes.healthy, node)
            await asyncio.to_thread(nodes.broker.start)
            for node in (0, 1):
                await asyncio.to_thread(wait_for, lambda node=node: nodes.ready(node))
            # not by a client: where its own stream has a gap, nobody knows what became of that
            with Publisher(nodes.broker.url) as publisher:
                await asyncio.to_thread(publisher.publish, "room", "chat", "after")
            for one in heard:
                await one.until(lambda one=one: one.items[-1] != "gap" and len(one.items) > 1)
                kinds = [item if item == "gap" else item[0] for item in one.items]
                assert kinds == ["before", "gap", "after"]

    run(test())


class Relay:
    """A port that leads to one of several servers, and to another one later."""

    def __init__(self, target: Address) -> None:
        self.target = target
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        writers, self._writers = self._writers, []
        for writer in writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(*self.target)
        self._writers += [writer, there[1]]
        with contextlib.suppress(OSError):
            await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
    writer.close()


@EVERYWHERE
def test_who_comes_back_to_another_node_misses_nothing_in_its_channels(nodes: Nodes) -> None:
    async def test() -> None:
        async with Relay(nodes.addresses[0]) as relay, nodes.client(1) as ann:
            url = f"ws://127.0.0.1:{relay.port}/ws"
            async with AsyncSonoClient(url) as bob:
                sessions: asyncio.Queue[bool] = asyncio.Queue()
                bob.on_session(lambda session: sessions.put_nowait(session.resumed))
                room = await bob.join("room")
                heard = Heard(room)
                there = await ann.join("room")
                await there.publish("chat", 1)
                await heard.until(lambda: len(heard.items) == 1)
                relay.target = nodes.addresses[1]
                relay.cut()
                positions = [await there.publish("chat", number) for number in range(2, 50)]
                assert await sessions.get() is True
                await heard.until(lambda: len(heard.items) == 49)
                assert heard.items[1:] == list(zip(range(2, 50), positions, strict=True))

    run(test())


@EVERYWHERE
def test_a_node_that_is_killed_takes_nobody_else_along(nodes: Nodes) -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            ann = await stack.enter_async_context(nodes.client(0, reconnect=False))
            bob = await stack.enter_async_context(nodes.client(1))
            rooms = [await client.join("room") for client in (ann, bob)]
            heard = Heard(rooms[1])
            await rooms[0].publish("chat", 1)
            nodes.programs[0].process.send_signal(signal.SIGKILL)
            await rooms[1].publish("chat", 2)
            await heard.until(lambda: len(heard.items) == 2)
            assert [data for data, _ in heard.items] == [1, 2]

    run(test())


def test_a_node_ends_as_soon_as_it_is_told_although_the_broker_is_away(nodes: Nodes) -> None:
    nodes.broker.kill()
    wait_for(lambda: not nodes.ready(0))
    for one in nodes.programs:
        code, _ = one.end(signal.SIGTERM)
        assert code == 0


def test_who_was_on_a_node_that_ended_in_good_order_is_unknown_unless_it_may_come_back(
    nodes: Nodes,
) -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            gone = [
                await stack.enter_async_context(nodes.client(0, dialect=dialect))
                for dialect in ("classic", "v2")
            ]
            names = await ids(*gone)
            bob = await stack.enter_async_context(nodes.client(1))
            for one in names:
                await bob.send(one, "chat", "hi")
            assert nodes.programs[0].end(signal.SIGTERM)[0] == 0
            classic, away = names
            with pytest.raises(RequestFailed) as refused:
                await bob.send(classic, "chat", "hi")
            assert refused.value.code == "unknown-client"
            await bob.send(away, "chat", "it waits")

    run(test())


# -- who is where -------------------------------------------------------------------------------


class Watch:
    """A client that watches who is in a channel."""

    def __init__(self, room: AsyncJoinedChannel) -> None:
        self.room = room
        self._news = asyncio.Event()
        room.on_presence(lambda _: self._news.set())

    async def until(self, there: dict[str, Any]) -> None:
        while self.room.presence != there:
            self._news.clear()
            await self._news.wait()


@EVERYWHERE
def test_who_is_in_a_channel_is_known_on_all_nodes(nodes: Nodes) -> None:
    async def test() -> None:
        async with (
            nodes.client(0) as ann,
            nodes.client(1) as bob,
            nodes.client(0, dialect="classic") as cat,
        ):
            ann_id, bob_id, cat_id = await ids(ann, bob, cat)
            watches = [Watch(await one.join("room", presence=True)) for one in (ann, bob)]
            await bob.present("room", {"name": "Bob"})
            await cat.change_channel("room")
            everybody = {ann_id: None, bob_id: {"name": "Bob"}, cat_id: None}
            for watch in watches:
                await watch.until(everybody)
            for one, node in ((ann, 0), (bob, 1)):
                listed = await one.request("sono.members", {"channel": "room"})
                assert dict(listed["members"]) == everybody, node
                assert listed["count"] == 3
                assert sorted(await one.request("who", "room")) == sorted(everybody)
            assert set(await cat.grab("mychannelclients")) == set(everybody)
            await cat.change_channel("Home")
            for watch in watches:
                await watch.until({ann_id: None, bob_id: {"name": "Bob"}})
            await bob.leave("room")
            await watches[0].until({ann_id: None})

    run(test())


@EVERYWHERE
def test_channels_of_all_nodes_are_listed_but_secret_ones(nodes: Nodes) -> None:
    async def test() -> None:
        async with (
            nodes.client(0) as ann,
            nodes.client(1) as bob,
            nodes.client(1, dialect="classic") as cat,
        ):
            await ann.join("room")
            await ann.join("secret")
            expected = {"Home", "room"}
            for _ in range(2):  # the second is answered from what is known
                assert set((await bob.request("sono.channels"))["channels"]) == expected
                assert set(await cat.grab("channels")) == expected

    run(test())


@EVERYWHERE
def test_those_on_a_node_that_is_killed_are_gone(nodes: Nodes) -> None:
    async def test() -> None:
        async with nodes.client(0) as ann, nodes.client(1) as bob:
            bob_id, ann_id = await ids(bob, ann)
            watch = Watch(await bob.join("room", presence=True))
            await ann.join("room")
            await watch.until({bob_id: None, ann_id: None})
            nodes.programs[0].end(signal.SIGKILL)
            await watch.until({bob_id: None})

    run(test())


@EVERYWHERE
def test_those_on_a_node_that_was_stopped_come_back_with_it(nodes: Nodes) -> None:
    async def test() -> None:
        async with nodes.client(0) as ann, nodes.client(1) as bob:
            bob_id, ann_id = await ids(bob, ann)
            watch = Watch(await bob.join("room", presence=True))
            await ann.join("room")
            both = {bob_id: None, ann_id: None}
            await watch.until(both)
            nodes.programs[0].process.send_signal(signal.SIGSTOP)
            await watch.until({bob_id: None})
            nodes.programs[0].process.send_signal(signal.SIGCONT)
            await watch.until(both)

    run(test())


# -- one client, wherever it is -----------------------------------------------------------------


@EVERYWHERE
@pytest.mark.parametrize("node", [0, 1])
def test_the_application_reaches_a_client_of_any_node(nodes: Nodes, node: int) -> None:
    async def test() -> None:
        async with (
            nodes.client(0) as asker,
            nodes.client(node) as ann,
            nodes.client(node, dialect="classic") as cat,
        ):
            ann_id, cat_id = await ids(ann, cat)
            told: asyncio.Queue[Any] = asyncio.Queue()
            for one in (ann, cat):
                one.on("hey", told.put_nowait)

            @ann.on_request("colour")
            def colour(data: Any) -> Any:
                return [data, "blue"]

            for id in (ann_id, cat_id):
                assert await asker.request("tell", id) is True
                assert (await told.get())["message"] == "you"
            assert await asker.request("ask", ann_id) == ["which?", "blue"]
            assert await asker.request("ask", cat_id) == "unknown-request"
            for id in ("nobody", "x" * 100):
                assert await asker.request("tell", id) is False
                assert await asker.request("ask", id) == "unknown-client"
                assert await asker.request("end", id) is False
            for id in (ann_id, cat_id):
                assert await asker.request("end", id) is True
                while await asker.request("tell", id):  # until it has answered the Close
                    pass

    run(test())


@EVERYWHERE
def test_an_identity_is_disconnected_on_all_nodes(nodes: Nodes) -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(nodes.client(node, "ann", dialect=dialect))
                for node in (0, 1)
                for dialect in ("v2", "classic")
            ]
            bob = await stack.enter_async_context(nodes.client(0))
            names = await ids(*clients)
            assert await bob.request("revoke") == 2
            for id in names:
                while await bob.request("tell", id):
                    pass

    run(test())


@EVERYWHERE
@pytest.mark.parametrize("node", [0, 1])
@pytest.mark.parametrize("dialect", ["v2", "classic"])
def test_what_the_application_says_first_is_heard(nodes: Nodes, node: int, dialect: Any) -> None:
    async def test() -> None:
        told: asyncio.Queue[Any] = asyncio.Queue()
        host, port = nodes.addresses[node]
        client = AsyncSonoClient(f"ws://{host}:{port}/ws", dialect=dialect)
        client.on("greeting", told.put_nowait)
        async with client:
            (own,) = await client.grab("myid")
            assert (await told.get())["message"] == own

    run(test())
