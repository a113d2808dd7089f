"""What a node makes of a broker that is killed, paused, full, or forgets who listens.

Inside history everything is delivered once and in order; everything else is told.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from sono_core.messaging.lossless.backplane import BackplaneError, Receipt
from sono_core.messaging.lossless.feed import Feed
from sono_core.messaging.lossless.history import History
from sono_core.messaging.lossless.positions import Position
from sono_core.messaging.lossless.streams import Entry, Missing
from tests.backplane.brokers import Broker, Clustered, Guarded, broker, guarded, require_redis
from tests.servers import PATIENCE

STREAM = "#room"
ALL = History(count=100_000, size=1 << 24)


@pytest.fixture
def server() -> Iterator[Broker]:
    require_redis()
    with broker() as one:
        yield one


class Node:
    """A process with one feed, whose audience keeps what it is told."""

    def __init__(
        self, server: Broker | Guarded | Clustered, stream: str = STREAM, **options: object
    ) -> None:
        from tests.backplane.on_redis import OnRedis

        self.rig = OnRedis(server.url, "test", **options)
        self.backplane = self.rig.backplane
        self.bodies: list[object] = []
        self.gaps: list[Missing] = []
        self.stream = stream
        self.feed: Feed[str] = Feed(stream, self.backplane, self)
        self.backplane.suspected = self.check
        self.suspected = 0

    def __enter__(self) -> Node:
        self.rig.wait(self.feed.start())
        return self

    def __exit__(self, *_: object) -> None:
        self.rig.close()

    def check(self) -> None:
        self.suspected += 1
        self.backplane.tops([self.stream]).then(self._compare)

    def _compare(self, receipt: Receipt[dict[str, object]]) -> None:
        if receipt.error is None:
            self.feed.check(receipt.value[self.stream].at)  # type: ignore[attr-defined]

    def deliver(self, entry: Entry) -> None:
        self.bodies.append(entry.body)

    def gap(self, missing: Missing) -> None:
        self.gaps.append(missing)

    def replay(self, *_: object) -> None:
        raise AssertionError("nobody is behind")

    def publish(self, body: object, size: int = 10) -> Receipt[Position]:
        return self.backplane.publish(self.stream, body, size, ALL)

    def until(self, happens: Callable[[], object]) -> None:
        given_up = time.monotonic() + PATIENCE
        while not happens():
            assert time.monotonic() < given_up
            with contextlib.suppress(queue.Empty):
                self.rig.step(0.01)


def test_what_was_said_while_a_node_heard_nothing_is_delivered_once_and_in_order(
    server: Broker,
) -> None:
    with Node(server) as ann, Node(server) as bob:
        for number in range(300):
            if number % 20 == 10:
                server.command("CLIENT", "KILL", "TYPE", "pubsub")
            ann.rig.wait(ann.publish(number))
        bob.until(lambda: len(bob.bodies) >= 300)
        ann.until(lambda: len(ann.bodies) >= 300)
        assert ann.bodies == bob.bodies == list(range(300))
        assert ann.gaps == bob.gaps == []


def test_a_publication_whose_answer_was_lost_is_published_once(server: Broker) -> None:
    with Node(server) as ann:
        receipts = []
        for number in range(400):
            receipts.append(ann.publish(number))
            if number % 50 == 25:
                server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        offsets = [ann.rig.wait(receipt).offset for receipt in receipts]
        assert offsets == list(range(1, 401))
        ann.until(lambda: len(ann.bodies) >= 400)
        assert ann.bodies == list(range(400))


LOST = [
    ("ERROR", "the backplane's broker is away"),
    ("ERROR", "the backplane hears nothing"),
]
FOUND = [
    ("WARNING", "the backplane's broker answers again"),
    ("WARNING", "the backplane hears again"),
]


def test_a_broker_that_is_away_is_logged_once_and_each_attempt_counted(
    server: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    def said() -> list[tuple[str, str]]:
        return [(one.levelname, one.getMessage().partition(":")[0]) for one in caplog.records]

    with Node(server) as ann:
        (shard,) = ann.backplane._shards._shards.values()
        for outage in (1, 2):
            before = shard.commands.failures, shard.subscriber.failures
            server.kill()
            waits = ann.publish(outage)
            ann.until(lambda before=before: shard.commands.failures >= before[0] + 3)
            ann.until(lambda before=before: shard.subscriber.failures >= before[1] + 3)
            assert [said().count(one) for one in LOST] == [outage] * 2
            server.start()
            ann.rig.wait(waits)
            ann.until(lambda outage=outage: [said().count(one) for one in FOUND] == [outage] * 2)


@pytest.mark.slow
def test_a_replica_that_lags_is_another_server_when_it_is_promoted() -> None:
    """It has the same offsets under the same epoch, and less of them."""
    require_redis()
    with guarded() as servers, Node(servers) as ann, Node(servers) as bob:
        for number in range(5):
            ann.rig.wait(ann.publish(number))
        ann.rig.wait(ann.backplane.enter(STREAM, "ann", 1, 1))
        assert servers.master.command("WAIT", 1, 5000) == 1
        servers.replica.signal(signal.SIGSTOP)
        for number in range(5, 10):
            before = ann.rig.wait(ann.publish(number))
        for node in (ann, bob):
            node.until(lambda node=node: len(node.bodies) == 10)
        servers.master.kill()
        servers.replica.signal(signal.SIGCONT)
        after = None
        while after is None:
            with contextlib.suppress(BackplaneError):
                after = ann.rig.wait(ann.publish("after"))
        assert after.epoch != before.epoch
        for node in (ann, bob):
            node.until(lambda node=node: node.bodies[-1] == "after")
            assert node.bodies == [*range(10), "after"]
            assert [gap.after for gap in node.gaps] == [before]
        roster = ann.rig.wait(ann.backplane.members(STREAM))
        assert dict(roster.members) == {"ann": 1}  # its node has said it again


@pytest.mark.parametrize("persistent", [False, True])
def test_a_broker_that_starts_again_is_another_one(persistent: bool) -> None:
    require_redis()
    options = ("--appendonly", "yes", "--appendfsync", "always") if persistent else ()
    with broker(*options) as server, Node(server) as ann, Node(server) as bob:
        before = ann.rig.wait(ann.publish("before"))
        for node in (ann, bob):
            node.until(lambda node=node: node.bodies)
        server.kill()
        waits = ann.publish("after")
        ann.until(lambda: not ann.backplane.connected)
        server.start()
        after = ann.rig.wait(waits)
        assert after.offset == 1
        assert after.epoch != before.epoch
        for node in (ann, bob):
            node.until(lambda node=node: node.bodies[-1] == "after")
            assert node.bodies == ["before", "after"]
            assert [gap.after for gap in node.gaps] == [before]  # nobody knows what was lost


def test_a_broker_that_stops_for_a_while_delays_and_loses_nothing(server: Broker) -> None:
    with Node(server) as ann, Node(server) as bob:
        server.command("CLIENT", "PAUSE", 300, "ALL")
        ann.rig.wait(ann.publish("late"))
        bob.until(lambda: bob.bodies)
        assert (bob.bodies, bob.gaps) == (["late"], [])


def test_a_broker_that_was_stopped_is_gone_and_comes_back(server: Broker) -> None:
    """Stopped for longer than a connection waits: all are made anew."""
    with Node(server, socket_timeout=0.2) as ann:
        server.signal(signal.SIGSTOP)
        receipt = ann.publish("x")
        try:
            ann.until(lambda: not ann.backplane.connected)
        finally:
            server.signal(signal.SIGCONT)
        assert ann.rig.wait(receipt).offset == 1
        ann.until(lambda: ann.bodies)
        assert ann.bodies == ["x"]


def test_a_node_that_the_broker_cuts_off_for_its_slowness_misses_nothing(server: Broker) -> None:
    server.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 100000 0 0")
    with Node(server) as ann, Node(server) as bob:
        for number in range(50):
            ann.publish([number, "x" * 50_000])
        ann.rig.wait(ann.publish("last"))
        bob.until(lambda: bob.bodies and bob.bodies[-1] == "last")
        assert [body[0] for body in bob.bodies[:-1]] == list(range(50))  # type: ignore[index]
        assert bob.gaps == []


def test_scripts_that_the_broker_forgot_are_given_to_it_again(server: Broker) -> None:
    with Node(server) as ann:
        ann.rig.wait(ann.publish(1))
        server.command("SCRIPT", "FLUSH")
        receipts = [ann.publish(number) for number in (2, 3)]
        assert [ann.rig.wait(receipt).offset for receipt in receipts] == [2, 3]


def test_a_stream_goes_on_after_a_pause_in_which_parts_of_it_expired(server: Broker) -> None:
    with Node(server) as ann:
        before = ann.rig.wait(ann.publish(1))
        for part in ("s", "k", "o"):
            server.command("DEL", f"test:{{{STREAM}}}:{part}")
        ann.rig.clock.now += 301
        after = ann.rig.wait(ann.publish(2))
        assert after == Position(before.epoch, 2)
        batch = ann.rig.wait(ann.backplane.read(STREAM, Position(before.epoch, 0)))
        assert ([entry.body for entry in batch.entries], batch.why) == ([2], "trimmed")


def test_keys_of_publications_are_known_for_as_many_and_as_long_as_is_promised(
    server: Broker,
) -> None:
    with Node(server) as ann:

        def say(key: str) -> int:
            receipt = ann.backplane.publish(STREAM, key, 10, ALL, key)
            return ann.rig.wait(receipt).offset

        first = say("first")
        receipts = [ann.publish(number) for number in range(1023)]
        ann.rig.wait(receipts[-1])
        ann.rig.clock.now += 299
        assert say("first") == first
        ann.rig.clock.now += 2
        assert say("first") == first + 1024


def test_histories_of_streams_are_bounded_though_nobody_reads(server: Broker) -> None:
    with Node(server) as ann:
        for history in (History(count=16), History(size=160)):
            for number in range(100):
                receipt = ann.backplane.publish(STREAM, number, 10, history)
            ann.rig.wait(receipt)
            assert 16 <= server.command("XLEN", f"test:{{{STREAM}}}:s") <= 18


def test_a_full_broker_refuses_loudly_and_recovers(server: Broker) -> None:
    with Node(server) as ann:
        ann.rig.wait(ann.publish(1))
        server.command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(BackplaneError, match="memory is full") as refused:
            ann.rig.wait(ann.publish(2))
        assert refused.value.temporary
        server.command("CONFIG", "SET", "maxmemory", "0")
        assert ann.rig.wait(ann.publish(3)).offset == 2


def test_what_waits_for_a_broker_is_bounded_and_fails_loudly() -> None:
    require_redis()
    from sono_server.backplane.redis import Bounds

    with broker() as server:
        bounds = Bounds(count=3, age=0.5)
        with Node(server, bounds=bounds) as ann:
            ann.rig.wait(ann.publish(1))
            server.kill()
            ann.publish("notices")
            ann.until(lambda: not ann.backplane.connected)
            receipts = [ann.publish(number) for number in range(5)]
            for receipt in receipts:
                with pytest.raises(BackplaneError):
                    ann.rig.wait(receipt)
            said = [str(receipt.error) for receipt in receipts]
            assert "too much waits for the broker already" in said
            assert said[0] == "the broker does not answer"
