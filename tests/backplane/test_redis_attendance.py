"""Who is present on nodes that crash, are cut off, or come back: leases, and what is said again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sono_core.messaging.lossless.backplane import BackplaneError, Change
from sono_core.messaging.lossless.history import History
from sono_server.backplane.errors import CrowdedError
from tests.backplane.brokers import Broker, broker, require_redis
from tests.backplane.each_backplane import Clock

STREAM = "#room"


@pytest.fixture
def server() -> Iterator[Broker]:
    require_redis()
    with broker() as one:
        yield one


@pytest.fixture
def nodes(server: Broker) -> Iterator[Nodes]:
    both = Nodes(server)
    yield both
    both.close()


class Nodes:
    """Two nodes with one broker, whose clock the test moves."""

    def __init__(self, server: Broker, **options: Any) -> None:
        from tests.backplane.on_redis import OnRedis  # what needs redis-py

        self.clock = Clock()
        self.ann = OnRedis(server.url, "test", **options)
        self.bob = OnRedis(server.url, "test", **options)
        for rig in (self.ann, self.bob):
            rig.clock = self.clock
            rig.backplane._clock = self.clock
            self.renew(rig)

    def renew(self, rig: Any) -> None:
        rig.backplane._attendance.renew()
        self.finish(rig)

    def finish(self, rig: Any) -> None:
        """All that a renewal leads to is done: each of the steps asks before the next probe."""
        for _ in range(6):
            rig.settle()

    def pass_time(self, seconds: float, *living: Any) -> None:
        """Seconds pass in which these nodes renew their leases."""
        for _ in range(round(seconds)):
            self.clock.now += 1
            for rig in living:
                self.renew(rig)

    def enter(self, rig: Any, member: str, stream: str = STREAM) -> None:
        rig.wait(rig.backplane.enter(stream, member, member, 1))

    def there(self, rig: Any, stream: str = STREAM) -> list[str]:
        return list(rig.wait(rig.backplane.members(stream)).members)

    def close(self) -> None:
        self.ann.close()
        self.bob.close()


def test_members_of_a_node_that_is_silent_are_gone_within_10_s_and_all_are_told(
    nodes: Nodes,
) -> None:
    changes: list[Change] = []
    nodes.bob.wait(nodes.bob.backplane.subscribe(STREAM, print, on_change=changes.append))
    nodes.enter(nodes.ann, "a1")
    nodes.enter(nodes.ann, "a2")
    nodes.enter(nodes.bob, "b")
    nodes.pass_time(7, nodes.bob)
    assert nodes.there(nodes.bob) == ["a1", "a2", "b"]
    nodes.pass_time(3, nodes.bob)
    assert nodes.there(nodes.bob) == ["b"]
    nodes.bob.settle()
    assert [(change.member, change.count) for change in changes if not change.present] == [
        ("a1", 2),
        ("a2", 1),
    ]


def test_a_node_that_renews_its_lease_keeps_its_members(nodes: Nodes) -> None:
    nodes.enter(nodes.ann, "a")
    nodes.pass_time(30, nodes.ann, nodes.bob)
    assert nodes.there(nodes.bob) == ["a"]


def test_a_node_that_comes_back_says_again_who_is_present(
    nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    nodes.enter(nodes.ann, "a")
    nodes.enter(nodes.ann, "gone")
    name = nodes.ann.backplane._attendance.name
    nodes.pass_time(10, nodes.bob)
    assert nodes.there(nodes.bob) == []
    nodes.ann.backplane.exit(STREAM, "gone")
    nodes.renew(nodes.ann)
    assert nodes.there(nodes.bob) == ["a"]
    assert nodes.ann.backplane._attendance.name != name
    assert "took this one for crashed" in caplog.text
    nodes.pass_time(12, nodes.ann, nodes.bob)  # nobody takes it for the former
    assert nodes.there(nodes.bob) == ["a"]


def test_a_member_that_came_to_another_node_is_not_taken_away_by_the_former(
    nodes: Nodes,
) -> None:
    nodes.enter(nodes.ann, "wanderer")
    nodes.enter(nodes.bob, "wanderer")
    nodes.ann.wait(nodes.ann.backplane.exit(STREAM, "wanderer"))
    assert nodes.there(nodes.bob) == ["wanderer"]
    nodes.enter(nodes.ann, "a")
    nodes.pass_time(10, nodes.bob)
    assert nodes.there(nodes.bob) == ["wanderer"]


def test_a_broker_that_stood_still_makes_no_node_crash(nodes: Nodes) -> None:
    nodes.enter(nodes.ann, "a")
    nodes.clock.now += 60
    nodes.pass_time(1, nodes.bob)
    assert nodes.there(nodes.bob) == ["a"]
    nodes.pass_time(10, nodes.bob)
    assert nodes.there(nodes.bob) == []


def test_what_a_reaper_that_crashed_has_left_another_node_sees_to(nodes: Nodes) -> None:
    from sono_server.backplane.redis import scripts

    nodes.enter(nodes.ann, "a")
    nodes.pass_time(7, nodes.bob)
    nodes.clock.now += 1
    bob = nodes.bob.backplane
    lease = bob._put(  # it is told of the crash, and does nothing
        *_reply(), scripts.LEASE, (bob._keys.nodes,), bob._attendance.name, 8000, 0
    )
    _, crashed = nodes.bob.wait(lease)
    assert len(crashed) == 1
    nodes.pass_time(9, nodes.bob)
    assert nodes.there(nodes.bob) == ["a"]
    nodes.pass_time(2, nodes.bob)
    assert nodes.there(nodes.bob) == []


def _reply() -> tuple[Any, Any]:
    from sono_core.messaging.lossless.backplane import Receipt
    from sono_server.backplane.redis import wire

    return Receipt(), wire.as_is


def test_many_members_of_many_streams_are_gone_too(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, server: Broker
) -> None:
    from sono_server.backplane.redis import attendance

    monkeypatch.setattr(attendance, "REAPED", 3)
    monkeypatch.setattr(attendance, "_AT_ONCE", 2)
    for stream in range(5):
        for member in range(7):
            nodes.ann.backplane.enter(f"#{stream}", f"m{member}", None, 1)
    nodes.finish(nodes.ann)
    nodes.pass_time(8, nodes.bob)
    for _ in range(5):  # it takes three steps for each stream
        nodes.finish(nodes.bob)
    assert [nodes.there(nodes.bob, f"#{stream}") for stream in range(5)] == [[]] * 5
    assert server.command("KEYS", "test:node:*") == []
    assert server.command("ZRANGE", "test:nodes", 0, -1) == [
        b"=",
        nodes.bob.backplane._attendance.name.encode(),
    ]


def test_what_the_broker_did_not_hear_is_said_when_it_answers_again() -> None:
    require_redis()
    from sono_server.backplane.redis import Bounds

    with broker() as server:
        nodes = Nodes(server, bounds=Bounds(age=0.2))
        nodes.enter(nodes.ann, "leaves")
        server.command("CONFIG", "SET", "maxmemory", "1")  # a refusal is as good as an absence
        for said in (
            nodes.ann.backplane.enter(STREAM, "comes", 1, 1),
            nodes.ann.backplane.enter("#other", "comes", 1, 1),
        ):
            with pytest.raises(BackplaneError, match="memory is full"):
                nodes.ann.wait(said)
        nodes.ann.wait(nodes.ann.backplane.exit(STREAM, "leaves"))
        server.command("CONFIG", "SET", "maxmemory", "0")
        nodes.renew(nodes.ann)
        assert nodes.there(nodes.bob) == ["comes"]
        assert nodes.there(nodes.bob, "#other") == ["comes"]
        nodes.pass_time(9, nodes.bob)
        assert nodes.there(nodes.bob, "#other") == []  # it had been noted, too
        nodes.close()


def test_a_member_for_whom_there_is_no_room_is_not_said_again() -> None:
    require_redis()
    with broker() as server:
        nodes = Nodes(server, presence=100)
        with pytest.raises(CrowdedError):
            nodes.enter(nodes.ann, "a")
        assert not nodes.ann.backplane._attendance._owed
        nodes.close()


def test_a_node_that_ends_and_has_taken_all_back_is_forgotten(nodes: Nodes, server: Broker) -> None:
    nodes.enter(nodes.ann, "a")
    nodes.ann.backplane.exit(STREAM, "a")
    nodes.ann.close()
    assert server.command("ZCARD", "test:nodes") == 2
    nodes.enter(nodes.bob, "b")
    nodes.bob.close()
    assert server.command("ZCARD", "test:nodes") == 2  # what it left is somebody's task


def test_channels_of_all_nodes_are_known_but_those_that_clients_may_not_know(
    nodes: Nodes,
) -> None:
    def announced() -> set[str]:
        return set(nodes.bob.wait(nodes.bob.backplane.announced()))

    assert announced() == set()
    for stream in ("#here", "#secret"):
        nodes.enter(nodes.ann, "a", stream)
        nodes.ann.backplane.announce(stream, stream != "#secret")
    nodes.ann.backplane.announce("#nobody-there", True)
    nodes.enter(nodes.bob, "b", "#there")
    nodes.bob.backplane.announce("#there", True)
    nodes.finish(nodes.ann)
    assert announced() == {"#here", "#there"}
    nodes.ann.backplane.announce("#here", False)
    nodes.finish(nodes.ann)
    assert announced() == {"#there"}
    nodes.bob.backplane.exit("#there", "b")
    assert announced() == set()


def test_public_data_of_another_version_is_none(nodes: Nodes) -> None:
    nodes.bob.codec.garbles = True
    nodes.enter(nodes.bob, "b")
    nodes.enter(nodes.ann, "a")
    roster = nodes.ann.wait(nodes.ann.backplane.members(STREAM))
    assert dict(roster.members) == {"b": None, "a": "a"}


def test_a_node_that_could_not_take_all_back_is_not_forgotten_when_it_ends() -> None:
    require_redis()
    from sono_server.backplane.redis import Bounds

    with broker() as server:
        nodes = Nodes(server, bounds=Bounds(count=20))
        for number in range(15):
            nodes.enter(nodes.ann, f"a{number}")
        nodes.enter(nodes.ann, "other", "#other")
        ann = nodes.ann.backplane
        for number in range(15):
            ann.exit(STREAM, f"a{number}")
            ann.free(f"@a{number}")
        ann.exit("#other", "other")
        nodes.ann.close()  # some of that found no room
        nodes.pass_time(10, nodes.bob)
        assert (nodes.there(nodes.bob), nodes.there(nodes.bob, "#other")) == ([], [])
        nodes.bob.close()


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_broker_whose_clock_is_set_makes_no_node_crash_and_none_live_on(
    nodes: Nodes, seconds: int
) -> None:
    nodes.enter(nodes.ann, "a")
    nodes.clock.now += seconds
    nodes.pass_time(2, nodes.ann, nodes.bob)
    assert nodes.there(nodes.bob) == ["a"]
    nodes.pass_time(10, nodes.bob)
    assert nodes.there(nodes.bob) == []


def test_a_channel_is_listed_again_when_its_members_come_back(nodes: Nodes) -> None:
    nodes.enter(nodes.ann, "a")
    nodes.ann.backplane.announce(STREAM, True)
    nodes.ann.backplane.exit(STREAM, "a")  # it was away for longer than its grace
    nodes.finish(nodes.ann)
    assert not nodes.bob.wait(nodes.bob.backplane.announced())
    nodes.enter(nodes.ann, "a")
    nodes.finish(nodes.ann)
    assert list(nodes.bob.wait(nodes.bob.backplane.announced())) == [STREAM]


def test_a_lease_is_renewed_though_nothing_more_may_wait() -> None:
    require_redis()
    from sono_server.backplane.redis import Bounds

    with broker() as server:
        nodes = Nodes(server, bounds=Bounds(count=1))
        server.command("CLIENT", "PAUSE", 300, "ALL")
        full = [nodes.ann.backplane.publish(STREAM, n, 1, History()) for n in range(5)]
        nodes.ann.backplane._attendance.renew()
        with pytest.raises(BackplaneError, match="too much waits"):
            nodes.ann.wait(full[-1])
        while nodes.ann.backplane._attendance._renewing:
            nodes.ann.step()
        assert nodes.ann.backplane._attendance._renewals == 2
        nodes.close()


def test_names_that_are_no_text_keep_nobody_waiting(nodes: Nodes, server: Broker) -> None:
    nodes.enter(nodes.ann, "a")
    name = nodes.ann.backplane._attendance.name
    server.command("HSET", f"test:node:{{{name}}}", b"#\xff", 1)
    assert nodes.bob.wait(nodes.bob.backplane.announced())


def test_whoever_goes_on_at_another_node_is_never_gone(nodes: Nodes) -> None:
    changes: list[Change] = []
    nodes.bob.wait(nodes.bob.backplane.subscribe(STREAM, print, on_change=changes.append))
    for member in ("wanderer", "lost"):
        nodes.enter(nodes.ann, member)
        nodes.ann.backplane.release(STREAM, member)
    nodes.enter(nodes.bob, "wanderer")
    nodes.pass_time(29, nodes.ann, nodes.bob)
    assert nodes.there(nodes.bob) == ["wanderer", "lost"]
    nodes.pass_time(2, nodes.ann, nodes.bob)
    assert nodes.there(nodes.bob) == ["wanderer"]
    nodes.ann.backplane._attendance.lost()  # it says again who is there, and no more
    nodes.finish(nodes.ann)
    assert nodes.there(nodes.bob) == ["wanderer"]
    assert [change.member for change in changes if not change.present] == ["lost"]


def test_what_somebody_showed_at_another_node_is_said_again_by_this_one(nodes: Nodes) -> None:
    nodes.ann.wait(nodes.ann.backplane.enter(STREAM, "a", "shown", 5))
    nodes.bob.wait(nodes.bob.backplane.enter(STREAM, "a", None, 0, keep=True))
    nodes.ann.backplane.release(STREAM, "a")
    nodes.bob.backplane._attendance.lost()
    nodes.finish(nodes.bob)
    nodes.pass_time(10, nodes.bob)
    roster = nodes.bob.wait(nodes.bob.backplane.members(STREAM))
    assert dict(roster.members) == {"a": "shown"}
