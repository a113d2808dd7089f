"""Sessions that several nodes share a broker for: claims and leases, on the real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sono_core.messaging.lossless.backplane import SavedSession
from tests.backplane.brokers import Broker, broker, require_redis
from tests.backplane.test_redis_refusals import node


@pytest.fixture
def server() -> Iterator[Broker]:
    require_redis()
    with broker() as one:
        yield one


def test_a_claim_whose_answer_was_lost_counts_once(server: Broker) -> None:
    rig = node(server.url)
    rig.wait(rig.backplane.save_session("s", b"record", ["k"], 60, owner="n0"))
    for number in range(1, 201):
        claim = rig.backplane.claim_session("s", "k", f"n{number}")
        if number % 5 == 0:
            server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        expected = SavedSession("s", b"record", number + 1, f"n{number - 1}")
        assert rig.wait(claim) == expected
    rig.close()


def test_the_same_claim_twice_is_one(server: Broker) -> None:
    from sono_server.backplane.redis.scripts import CLAIM

    rig = node(server.url)
    rig.wait(rig.backplane.save_session("s", b"record", ["k"], 60, owner="a"))
    rig.wait(rig.backplane.claim_session("s", "k", "b"))
    key = "test:session:{s}"
    nonce, now = server.command("HGET", key, "n"), str(round(1000 * rig.clock()))
    for _ in range(2):
        reply = server.command("EVAL", CLAIM.texts[0], 1, key, "", nonce, now, "", "k", "b")
        assert reply == [b"record", b"2", b"a"]
    rig.close()


def test_a_node_is_there_from_its_start_to_its_close_or_until_its_lease_ends(
    server: Broker,
) -> None:
    ann, bob = node(server.url), node(server.url)
    named = bob.backplane.node
    bob.settle()
    assert ann.wait(ann.backplane.alive(named))
    assert not ann.wait(ann.backplane.alive("nobody"))
    key = f"test:alive:{{{named}}}"
    assert 0 < server.command("PTTL", key) <= 15_000
    server.command("PEXPIRE", key, 1)
    while server.command("EXISTS", key):
        pass
    assert not ann.wait(ann.backplane.alive(named))
    bob.backplane.tick()
    bob.settle()
    assert ann.wait(ann.backplane.alive(named))
    bob.close()
    assert not ann.wait(ann.backplane.alive(named))
    ann.close()
