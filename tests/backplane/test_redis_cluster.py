"""What a node makes of a cluster: who has a slot, who gets one, and what becomes of what waits."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sono_core.messaging.lossless.backplane import BackplaneError, Origin
from sono_core.messaging.lossless.history import History
from tests.backplane.brokers import MASTERS, Broker, Clustered, clustered, require_redis
from tests.backplane.test_redis_faults import Node

pytestmark = pytest.mark.slow
ALL = History(count=100_000, size=1 << 24)


@pytest.fixture(scope="module")
def lasting() -> Iterator[Clustered]:
    """One of which no node dies: its slots may move."""
    require_redis()
    with clustered() as one:
        yield one


@pytest.fixture
def mortal() -> Iterator[Clustered]:
    require_redis()
    with clustered() as one:
        yield one


def owner(cluster: Clustered, stream: str) -> Broker:
    return cluster.owner(f"test:{{{stream}}}")


def one_each(cluster: Clustered, prefix: str) -> dict[Broker, str]:
    """A stream on each master."""
    found: dict[Broker, str] = {}
    number = 0
    while len(found) < MASTERS:
        found.setdefault(owner(cluster, f"#{prefix}{number}"), f"#{prefix}{number}")
        number += 1
    return found


def told_in_order(node: Node, said: list[int]) -> None:
    """Each once and in order, and if any is missing there was a gap."""
    assert node.bodies == sorted(set(node.bodies))  # type: ignore[type-var]
    assert set(node.bodies) <= set(said)
    assert node.gaps or node.bodies == said


# -- streams and shards -------------------------------------------------------------------------


def test_streams_are_spread_over_all_servers_and_each_tells_its_own(lasting: Clustered) -> None:
    streams = one_each(lasting, "spread-")
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(Node(lasting, name)) for name in streams.values()]
        for number in range(10):
            for node in nodes:
                node.rig.wait(node.publish(number))
        for node in nodes:
            node.until(lambda node=node: len(node.bodies) == 10)
            assert (node.bodies, node.gaps) == (list(range(10)), [])
            node.until(lambda node=node: node.backplane.ready)
    for server, name in streams.items():
        assert server.command("EXISTS", f"test:{{{name}}}") == 1


def test_many_streams_are_followed_and_compared_at_once(lasting: Clustered) -> None:
    from tests.backplane.on_redis import OnRedis

    rig = OnRedis(lasting.url, "many")
    streams = [f"#many-{number}" for number in range(2000)]
    heard: list[Any] = []
    for receipt in [
        rig.backplane.subscribe(name, lambda entry: heard.append(entry.body)) for name in streams
    ]:
        rig.wait(receipt)
    for receipt in [rig.backplane.publish(name, name, 1, ALL) for name in streams]:
        rig.wait(receipt)
    rig.settle()
    assert sorted(heard) == sorted(streams)
    tops = rig.wait(rig.backplane.tops(streams))
    assert {top.at.offset for top in tops.values()} == {1}
    assert len(tops) == len(streams)
    rig.close()


def test_scripts_that_one_server_forgot_are_given_to_it_again(lasting: Clustered) -> None:
    streams = one_each(lasting, "flush-")
    for server, name in streams.items():
        with Node(lasting, name) as ann:
            ann.rig.wait(ann.publish(1))
            server.command("SCRIPT", "FLUSH")
            receipts = [ann.publish(number) for number in (2, 3)]
            assert [ann.rig.wait(receipt).offset for receipt in receipts] == [2, 3]


def test_what_was_said_while_no_server_was_heard_is_delivered_once_and_in_order(
    lasting: Clustered,
) -> None:
    with Node(lasting, "#deaf") as ann, Node(lasting, "#deaf") as bob:
        for number in range(200):
            if number % 20 == 10:
                for server in lasting.nodes:
                    server.command("CLIENT", "KILL", "TYPE", "pubsub")
            ann.rig.wait(ann.publish(number))
        for node in (ann, bob):
            node.until(lambda node=node: len(node.bodies) >= 200)
            assert (node.bodies, node.gaps) == (list(range(200)), [])


def test_a_publisher_finds_the_server_of_each_channel(lasting: Clustered) -> None:
    from sono_server import Publisher

    with Publisher(lasting.url) as publisher:
        positions = [publisher.publish(f"channel-{n}", "said", n) for n in range(20)]
    assert {position.offset for position in positions} == {1}


def test_a_publisher_that_has_just_begun_erases_on_all_servers(lasting: Clustered) -> None:
    from sono_core.messaging.lossless.server import written
    from sono_server import Publisher
    from tests.backplane.on_redis import OnRedis

    streams = one_each(lasting, "erased-")
    rig = OnRedis(lasting.url)
    for name in streams.values():
        for author in (b"", written("ann")):
            rig.wait(rig.backplane.publish(name, 1, 1, ALL, None, Origin(author=author)))
    with Publisher(lasting.url) as publisher:
        assert publisher.erase("ann") == len(streams)
        assert publisher.erase("ann") == 0
    for name in streams.values():
        assert len(rig.wait(rig.backplane.page(name, None, 10)).entries) == 1
    rig.close()


def test_what_is_in_a_slot_that_moves_meanwhile_is_erased(lasting: Clustered) -> None:
    (source, name), (target, other) = list(one_each(lasting, "erased-from-").items())[:2]
    with Node(lasting, name) as ann:
        for stream in (name, other):
            for number in range(300):
                origin = Origin(author=b"ann")
                last = ann.backplane.publish(stream, number, 1, ALL, None, origin)
            ann.rig.wait(last)
        erasing = ann.backplane.erase(b"ann")
        lasting.move(lasting.slot(f"test:{{{name}}}"), source, target)
        ann.rig.wait(erasing)
        for stream in (name, other):
            assert ann.rig.wait(ann.backplane.page(stream, None, 1000)).entries == ()


# -- slots that move ----------------------------------------------------------------------------


def test_a_slot_that_moves_under_load_loses_nothing_in_silence_and_keeps_the_order(
    lasting: Clustered,
) -> None:
    """What was told to be published is delivered, or a gap is told; nothing comes twice."""
    name = "#moves"
    key = f"test:{{{name}}}"
    first = lasting.owner(key)
    others = [node for node in lasting.nodes[:MASTERS] if node is not first]
    path = [first, *others, first, others[0]]
    with Node(lasting, name) as ann, Node(lasting, name) as bob:
        moved: list[Broker] = []

        def move() -> None:
            for source, target in itertools.pairwise(path):
                lasting.move(lasting.slot(key), source, target)
                moved.append(target)

        thread = threading.Thread(target=move)
        receipts = []
        while len(receipts) < 100 or thread.is_alive():
            if len(receipts) == 50:
                thread.start()
            receipts.append(ann.publish(len(receipts)))
            with contextlib.suppress(BackplaneError):
                ann.rig.wait(receipts[max(0, len(receipts) - 4)])  # some are always under way
        assert len(moved) == MASTERS + 1
        for receipt in receipts:
            with contextlib.suppress(BackplaneError):
                ann.rig.wait(receipt)
        said = [number for number, receipt in enumerate(receipts) if receipt.error is None]
        positions = [receipts[number].value for number in said]
        epochs = list(dict.fromkeys(position.epoch for position in positions))
        assert len(epochs) > 1
        for epoch in epochs:
            offsets = [one.offset for one in positions if one.epoch == epoch]
            assert offsets == sorted(set(offsets))
        last = ann.rig.wait(ann.publish(len(receipts)))
        assert last.epoch == epochs[-1]
        for node in (ann, bob):
            node.until(lambda node=node: node.bodies and node.bodies[-1] == len(receipts))
            told_in_order(node, [*range(len(receipts) + 1)])
            assert node.gaps
            node.until(lambda node=node: node.backplane.ready)


def test_a_slot_that_moves_disturbs_no_other_stream_and_nobody_who_is_present_is_lost(
    lasting: Clustered,
) -> None:
    here, there = list(one_each(lasting, "still-").items())[:2]
    (source, still), (target, _) = here, there
    number = 0
    while owner(lasting, name := f"#goes-{number}") is not source:
        number += 1
    with Node(lasting, still) as ann, Node(lasting, name) as bob:
        ann.rig.wait(ann.publish(1))
        bob.rig.wait(bob.publish(1))
        bob.rig.wait(bob.backplane.enter(name, "bob", {"age": 7}, 1))
        lasting.move(lasting.slot(f"test:{{{name}}}"), source, target)
        for node in (ann, bob):
            node.rig.wait(node.publish(2))
            node.until(lambda node=node: node.bodies == [1, 2])
        assert (ann.gaps, len(bob.gaps)) == ([], 1)
        bob.rig.settle()
        roster = bob.rig.wait(bob.backplane.members(name))
        assert dict(roster.members) == {"bob": {"age": 7}}


def test_who_only_follows_notices_that_a_slot_has_moved(lasting: Clustered) -> None:
    """The server says that it tells no more, and nobody has to ask it."""
    name = "#followed"
    key = f"test:{{{name}}}"
    source = lasting.owner(key)
    target = next(node for node in lasting.nodes[:MASTERS] if node is not source)
    with Node(lasting, name) as ann, Node(lasting, name) as bob:
        ann.rig.wait(ann.publish(1))
        bob.until(lambda: bob.bodies)
        bob.rig.settle()
        lasting.move(lasting.slot(key), source, target)
        ann.rig.wait(ann.publish(2))
        bob.until(lambda: bob.bodies == [1, 2])
        assert len(bob.gaps) == 1


def test_what_is_asked_while_a_slot_is_on_its_way_waits_and_keeps_its_order(
    lasting: Clustered,
) -> None:
    name = "#on-its-way"
    key = f"test:{{{name}}}"
    slot, source = lasting.slot(key), lasting.owner(key)
    target = next(node for node in lasting.nodes[:MASTERS] if node is not source)
    with Node(lasting, name) as ann:
        ann.rig.wait(ann.publish(0))
        ann.until(lambda: ann.backplane.ready)
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", lasting.id(source))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", lasting.id(target))
        receipts = [ann.publish(number) for number in (1, 2)]
        held = ann.backplane._shards._held
        ann.until(lambda: slot in held and len(held[slot].waiting) >= 2)
        assert not ann.backplane.ready
        receipts.append(ann.publish(3))
        for node in (target, source):
            node.command("CLUSTER", "SETSLOT", slot, "STABLE")
        assert [ann.rig.wait(receipt).offset for receipt in receipts] == [2, 3, 4]
        ann.until(lambda: ann.bodies == [0, 1, 2, 3])
        assert ann.gaps == []


def test_what_waits_for_a_slot_that_nobody_serves_is_bounded_and_fails_loudly(
    lasting: Clustered,
) -> None:
    from sono_server.backplane.redis import Bounds

    name = "#stuck"
    key = f"test:{{{name}}}"
    slot, source = lasting.slot(key), lasting.owner(key)
    target = next(node for node in lasting.nodes[:MASTERS] if node is not source)
    with Node(lasting, name, bounds=Bounds(count=10, age=0.5)) as ann:
        ann.rig.wait(ann.publish(0))
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", lasting.id(source))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", lasting.id(target))
        try:
            first = ann.publish(1)
            ann.until(lambda: slot in ann.backplane._shards._held)
            receipts = [first, *(ann.publish(number) for number in range(12))]
            for receipt in receipts:
                with pytest.raises(BackplaneError):
                    ann.rig.wait(receipt)
            said = [str(receipt.error) for receipt in receipts]
            assert said[0] == "the broker does not answer"
            assert "too much waits for the broker already" in said
        finally:
            for node in (target, source):
                node.command("CLUSTER", "SETSLOT", slot, "STABLE")
        ann.until(lambda: not ann.backplane._shards._held)
        assert ann.rig.wait(ann.publish(9)).offset == 2


def test_a_slot_that_nobody_has_delays_its_streams_and_disturbs_no_others(
    lasting: Clustered,
) -> None:
    name = "#nobodys"
    key = f"test:{{{name}}}"
    slot, source = lasting.slot(key), lasting.owner(key)
    other = next(f"#o{n}" for n in range(1000) if owner(lasting, f"#o{n}") is source)
    with Node(lasting, name) as ann, Node(lasting, other) as bob:
        ann.rig.wait(ann.publish(0))
        source.command("CLUSTER", "DELSLOTS", slot)
        try:
            receipts = [ann.publish(number) for number in (1, 2)]
            held = ann.backplane._shards._held
            ann.until(lambda: slot in held and len(held[slot].waiting) >= 2)
            told = ann.backplane.tell(other, "told")  # through the same connection
            ann.rig.wait(told)
            (shard,) = (
                one
                for one in ann.backplane._shards._shards.values()
                if one.address[1] == source.port
            )
            assert shard.commands.failures == 0
            assert shard.commands.connected
        finally:
            source.command("CLUSTER", "ADDSLOTS", slot)
        assert [ann.rig.wait(receipt).offset for receipt in receipts] == [2, 3]
        ann.until(lambda: ann.bodies == [0, 1, 2])
        assert bob.rig.wait(bob.publish(1)).offset == 1


# -- servers that die ---------------------------------------------------------------------------


def test_a_master_that_dies_is_replaced_and_told_and_the_others_are_not_disturbed(
    mortal: Clustered,
) -> None:
    streams = list(one_each(mortal, "dies-").items())
    (victim, name), *others = streams
    with contextlib.ExitStack() as stack:
        ann, bob = (stack.enter_context(Node(mortal, name)) for _ in range(2))
        calm = [stack.enter_context(Node(mortal, other)) for _, other in others]
        for node in (ann, *calm):
            before = node.rig.wait(node.publish("before"))
            node.until(lambda node=node: node.bodies and node.backplane.ready)
        before = ann.rig.wait(ann.publish("again"))
        ann.rig.wait(ann.backplane.enter(name, "ann", 1, 1))
        bob.until(lambda: len(bob.bodies) == 2)
        victim.kill()
        killed = time.monotonic()
        waits = ann.publish("after")
        for node in (ann, *calm):
            node.backplane.tick()  # as a node does every second
            node.until(lambda node=node: not node.backplane.ready)
        detected = time.monotonic() - killed
        for number in range(20):  # while nobody has the slots of the other
            for node in calm:
                node.rig.wait(node.publish(number))
        after = None
        while after is None:
            with contextlib.suppress(BackplaneError):
                after = ann.rig.wait(waits)
                break
            waits = ann.publish("after")
        recovered = time.monotonic() - killed
        assert after.offset == 1
        assert after.epoch != before.epoch
        for node in (ann, bob):
            node.until(lambda node=node: node.bodies[-1] == "after")
            assert node.bodies == ["before", "again", "after"]
            assert [gap.after.epoch for gap in node.gaps] == [before.epoch]
            node.backplane.tick()
            node.until(lambda node=node: node.backplane.ready)
        for node in calm:
            node.until(lambda node=node: len(node.bodies) == 21)
            assert (node.bodies, node.gaps) == (["before", *range(20)], [])
        ann.rig.settle()
        roster = ann.rig.wait(ann.backplane.members(name))
        assert dict(roster.members) == {"ann": 1}
        print(f"detected after {detected:.2f} s, recovered after {recovered:.2f} s")
        assert detected < 10


def test_a_master_that_changes_places_with_its_replica_is_another_server(
    mortal: Clustered,
) -> None:
    name = "#places"
    with Node(mortal, name) as ann:
        for number in range(3):
            before = ann.rig.wait(ann.publish(number))
        ann.until(lambda: len(ann.bodies) == 3)
        former = owner(mortal, name)
        mortal.replica(former).command("CLUSTER", "FAILOVER")
        number = 3
        while (at := ann.rig.wait(ann.publish(number))).epoch == before.epoch:
            number += 1
        assert at.offset == 1
        ann.until(lambda: ann.bodies[-1] == number)
        told_in_order(ann, [*range(number + 1)])
        assert len(ann.gaps) == 1


def test_every_receipt_is_done_when_it_is_closed_though_servers_are_away(
    mortal: Clustered,
) -> None:
    from tests.backplane.test_redis_threads import everything

    with Node(mortal, "#ends") as ann:
        for node in mortal.nodes:
            node.kill()
        asked = everything(ann.rig, "before")
        ann.backplane.close()
        late = everything(ann.rig, "late")
        ann.backplane.close()
        assert all(receipt.done for receipt in [*asked, *late])
        assert {str(receipt.error) for receipt in late} == {"the backplane is closed"}
