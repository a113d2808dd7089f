"""Publishing from outside, without a server."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sono_core.messaging import Publish
from sono_core.messaging.lossless import BackplaneError, Data, History, Origin, Position
from sono_core.messaging.lossless.server import written
from sono_server import AsyncPublisher, Publisher
from sono_server.backplane import Envelopes
from tests.backplane.brokers import Broker, broker, require_redis
from tests.processes import run
from tests.servers import PATIENCE, free_port


@pytest.fixture
def server() -> Iterator[Broker]:
    require_redis()
    with broker() as one:
        yield one


class Listener:
    """A node that hears what is said in a channel."""

    def __init__(self, server: Broker, stream: str = "#room") -> None:
        from tests.backplane.on_redis import OnRedis

        self.rig = OnRedis(server.url)
        self.rig.backplane._codec = Envelopes()
        self.said: list[Publish] = []
        subscribed = self.rig.backplane.subscribe(stream, lambda e: self.said.append(e.body))
        self.start = self.rig.wait(subscribed)
        self.stream = stream

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.rig.close()

    def heard(self) -> list[tuple[Any, ...]]:
        self.rig.settle()
        return [(p.channel, p.event, p.payload.value(), p.sender) for p in self.said]

    def kept(self) -> int:
        batch = self.rig.wait(self.rig.backplane.read(self.stream, self.start))
        return len(batch.entries)


def test_what_is_published_has_a_position_and_is_heard_by_nodes(server: Broker) -> None:
    with Listener(server) as node, Publisher(server.url) as publisher:
        first = publisher.publish("room", "chat", {"text": "hi"})
        second = publisher.publish("room", "chat", [1, b"two"])
        assert (first.offset, second.offset) == (1, 2)
        assert first.epoch == second.epoch == node.start.epoch
        assert node.heard() == [
            ("room", "chat", {"text": "hi"}, None),
            ("room", "chat", [1, b"two"], None),
        ]


def test_what_an_identity_has_said_is_erased_from_outside(server: Broker) -> None:
    async def erase(identity: object) -> int:
        async with AsyncPublisher(server.url) as publisher:
            return await publisher.erase(identity)

    bob = {"name": "bob"}
    with Listener(server) as node, Publisher(server.url) as publisher:
        publisher.publish("room", "chat", "kept")
        for identity in ("ann", bob, "ann"):
            said = Publish("room", "chat", Data.of(1), "id")
            origin = Origin(author=written(identity))
            node.rig.wait(node.rig.backplane.publish("#room", said, 1, History(), origin=origin))
        assert publisher.erase("ann") == 2
        assert asyncio.run(erase(bob)) == 1
        assert node.kept() == 1
        with pytest.raises(ValueError, match="identity"):
            publisher.erase(None)


def test_what_is_emitted_is_for_everybody(server: Broker) -> None:
    with Listener(server, "*") as node, Publisher(server.url) as publisher:
        publisher.emit("news", 7)
        assert node.heard() == [(None, "news", 7, None)]


def test_the_same_key_is_published_once(server: Broker) -> None:
    with Listener(server) as node, Publisher(server.url) as publisher:
        positions = {publisher.publish("room", "e", 1, key="order-17") for _ in range(3)}
        assert len(positions) == 1
        assert len(node.heard()) == 1


def test_a_channel_keeps_its_history_unless_another_is_given(server: Broker) -> None:
    from sono_core.messaging.lossless.data import Data

    with Listener(server) as node, Publisher(server.url) as publisher:
        said = Publish("room", "e", Data.of(0), None)
        node.rig.wait(node.rig.backplane.publish("#room", said, 10, History(count=2)))
        for number in range(5):
            publisher.publish("room", "e", number)
        assert node.kept() == 2
        publisher.publish("room", "e", 5, history=History(count=1))
        assert node.kept() == 1


def test_it_is_the_same_on_asyncio(server: Broker) -> None:
    async def say() -> list[Position]:
        async with AsyncPublisher(server.url) as publisher:
            said = [publisher.publish("room", "e", number) for number in range(20)]
            last = publisher.emit("e", "all")
            return [*await asyncio.gather(*said), await last]

    with Listener(server) as node:
        positions = asyncio.run(asyncio.wait_for(say(), PATIENCE))
        assert [position.offset for position in positions] == [*range(1, 21), 1]
        assert [value for _, _, value, _ in node.heard()] == list(range(20))


def test_leaving_it_on_asyncio_does_not_block_the_loop(
    server: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    close, closed_in = AsyncPublisher.close, []

    def closing(self: AsyncPublisher) -> None:
        closed_in.append(threading.get_ident())
        close(self)

    monkeypatch.setattr(AsyncPublisher, "close", closing)

    async def say() -> None:
        async with AsyncPublisher(server.url) as publisher:
            await publisher.publish("room", "e", 1)

    asyncio.run(asyncio.wait_for(say(), PATIENCE))
    assert len(closed_in) == 1
    assert threading.get_ident() not in closed_in


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # it is what is tried
def test_a_forked_process_publishes_with_threads_of_its_own(server: Broker) -> None:
    with Listener(server) as node, Publisher(server.url) as publisher:
        publisher.publish("room", "e", "parent")
        child = os.fork()
        if child == 0:
            publisher.publish("room", "e", "child")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0
        publisher.publish("room", "e", "parent again")
        assert [value for _, _, value, _ in node.heard()] == ["parent", "child", "parent again"]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # it is what is tried
def test_the_first_threads_of_a_forked_process_may_come_together(server: Broker) -> None:
    with Listener(server) as node, Publisher(server.url) as publisher:
        publisher.publish("room", "e", -1)
        child = os.fork()
        if child == 0:
            together = threading.Barrier(8)

            def say(number: int) -> None:
                together.wait()
                publisher.publish("room", "e", number)

            with ThreadPoolExecutor(8) as threads:
                status = len([*threads.map(say, range(8))]) != 8
            os._exit(status + (threading.active_count() != 2))
        _, status = os.waitpid(child, 0)
        assert status == 0
        assert sorted(value for _, _, value, _ in node.heard()) == list(range(-1, 8))


def test_a_broker_that_is_away_is_said_within_the_time_out() -> None:
    require_redis()
    with Publisher(f"redis://127.0.0.1:{free_port()}", timeout=0.2) as publisher:
        with pytest.raises(BackplaneError, match="does not answer") as failed:
            publisher.publish("room", "e", 1)
        assert failed.value.temporary


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("", "e", 1), ValueError),
        (("room", "error", 1), ValueError),
        (("room", "e", object()), TypeError),
        ((7, "e", 1), TypeError),
    ],
)
def test_a_mistake_raises_at_once(
    server: Broker, arguments: tuple[Any, ...], error: type[Exception]
) -> None:
    with Publisher(server.url) as publisher, pytest.raises(error):
        publisher.publish(*arguments)


def test_memory_is_no_backplane_to_publish_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SONO_BACKPLANE", raising=False)
    for url in (None, "memory"):
        with pytest.raises(ValueError, match="processes share, not memory"):
            Publisher(url)


def test_a_closed_one_publishes_nothing(server: Broker) -> None:
    publisher = Publisher(server.url)
    publisher.close()
    publisher.close()
    with pytest.raises(BackplaneError, match="closed"):
        publisher.publish("room", "e", 1)


def test_the_command_publishes_and_prints_the_position(server: Broker) -> None:
    command = ("-m", "sono_server", "publish", "room", "chat")
    with Listener(server) as node:
        code, output, errors = run(*command, '{"a": 1}', "--backplane", server.url, "--key", "k")
        assert (code, errors) == (0, "")
        assert json.loads(output) == [node.start.epoch, 1]
        assert run(*command, "2", "--backplane", server.url, "--key", "k")[1] == output
        assert node.heard() == [("room", "chat", {"a": 1}, None)]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["1"], 2, "processes share, not memory"),
        (["{", "--backplane", "redis://127.0.0.1:1"], 2, "the data is no JSON"),
        (["1", "--backplane", "http://a"], 2, "backplane must be redis://"),
        (["1", "--backplane", "redis://127.0.0.1:1", "--timeout", "0"], 2, "timeout must be"),
        (["1", "--backplane", "redis://127.0.0.1:1", "--timeout", "0.1"], 1, "does not answer"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(
    arguments: list[str], code: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_redis()
    monkeypatch.delenv("SONO_BACKPLANE", raising=False)
    status, output, errors = run("-m", "sono_server", "publish", "room", "chat", *arguments)
    assert (status, output) == (code, "")
    assert text in errors.splitlines()[-1]
    assert "Traceback" not in errors
