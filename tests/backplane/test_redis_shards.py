"""Who gets what is asked when the slots of a cluster move, step by step, without servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from sono_core.messaging.lossless.backplane import BackplaneError
from sono_server.backplane import UnusableError
from tests.backplane.brokers import require_redis

ANN, BOB = ("127.0.0.1", 1), ("127.0.0.1", 2)
LAST = 16383
KEY = "test:{#room}"
SLOT = 6206  # of the key


class Cluster:
    """Shards whose threads do not run: what is put to one waits there."""

    def __init__(self, **options: Any) -> None:
        from sono_server.backplane.redis.commands import Bounds
        from sono_server.backplane.redis.keys import Keys
        from sono_server.backplane.redis.servers import Servers
        from sono_server.backplane.redis.shards import Shards

        def connect(_: object) -> Any:
            raise ConnectionRefusedError

        self.calls: list[Callable[[], object]] = []
        self.suspected: list[bool] = []
        self.renewed: list[bool] = []
        self.shards = Shards(
            Servers(connect, None, (ANN,)),
            Keys("test"),
            self.calls.append,
            lambda *_: None,
            lambda: self.suspected.append(True),
            lambda: self.renewed.append(True),
            Bounds(**options),
            False,
        )
        self.failed: dict[str, str] = {}

    def run(self) -> None:
        while self.calls:
            self.calls.pop(0)()

    def found(self, *owners: tuple[int, tuple[str, int]]) -> None:
        """Whose slots begin where."""
        from sono_server.backplane.redis.topology import Range

        ends = [*(first - 1 for first, _ in owners[1:]), LAST]
        self.shards._found(
            [Range(first, last, at) for (first, at), last in zip(owners, ends, strict=True)]
        )

    def at(self, address: tuple[str, int]) -> Any:
        return self.shards._shards[address].commands

    def put(self, name: str) -> Any:
        from sono_server.backplane.redis.commands import Command
        from sono_server.backplane.redis.scripts import PUBLISH

        def done(_: object, error: BackplaneError | None) -> None:
            self.failed[name] = str(error)

        command = Command(PUBLISH, [KEY], [name], done, 10, True)
        self.shards.put(command)
        return command

    def waiting(self, address: tuple[str, int]) -> list[str]:
        return [command.arguments[0] for command in self.at(address)._waiting]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    require_redis()
    from sono_server.backplane.redis.commands import Commands

    monkeypatch.setattr(Commands, "start", lambda _: None)
    one = Cluster()
    yield one
    one.shards.close(lambda: None)


def test_what_is_asked_before_a_server_is_known_waits_for_it(cluster: Cluster) -> None:
    cluster.put("a")
    cluster.put("b")
    assert not cluster.shards.ready
    cluster.found((0, ANN))
    assert cluster.waiting(ANN) == ["a", "b"]


def test_what_a_server_gives_back_comes_before_what_came_since(cluster: Cluster) -> None:
    cluster.found((0, ANN))
    for name in "ab":
        cluster.put(name)
    ann = cluster.at(ANN)
    ann._give_back({SLOT}, BOB)  # it was refused in its thread
    cluster.put("c")  # nobody has heard of that yet
    assert ann._waiting == cluster.at(ANN)._waiting
    assert not ann._waiting
    cluster.run()
    cluster.put("d")
    assert not cluster.shards.ready
    cluster.found((0, ANN), (SLOT, BOB))
    assert cluster.waiting(BOB) == ["a", "b", "c", "d"]
    cluster.put("e")
    assert cluster.waiting(BOB) == ["a", "b", "c", "d", "e"]
    assert len(cluster.renewed) == 1


def test_nothing_is_done_elsewhere_before_the_former_server_has_given_back(
    cluster: Cluster,
) -> None:
    cluster.found((0, ANN))
    cluster.put("a")
    ann = cluster.at(ANN)
    cluster.found((0, ANN), (SLOT, BOB))
    cluster.put("b")
    assert cluster.waiting(BOB) == []
    ann._give_back()
    assert not ann._waiting
    cluster.found((0, ANN), (SLOT, BOB))
    assert cluster.waiting(BOB) == []  # it is still on its way
    cluster.run()
    cluster.found((0, ANN), (SLOT, BOB))
    assert cluster.waiting(BOB) == ["a", "b"]


def test_a_slot_that_its_server_has_after_all_is_opened_there_again(cluster: Cluster) -> None:
    cluster.found((0, ANN))
    cluster.put("a")
    cluster.at(ANN)._give_back({SLOT})
    cluster.put("b")
    cluster.run()
    assert cluster.waiting(ANN) == []
    cluster.found((0, ANN))
    cluster.put("c")
    assert cluster.waiting(ANN) == ["a", "b", "c"]
    assert cluster.renewed == []


def test_what_a_server_may_have_done_is_not_done_by_another(cluster: Cluster) -> None:
    cluster.found((0, ANN))
    first = cluster.put("a")
    cluster.put("b")
    first.unsure = True
    cluster.at(ANN)._give_back({SLOT}, BOB)
    cluster.run()
    cluster.found((0, BOB))
    assert cluster.waiting(BOB) == ["b"]
    assert cluster.failed == {"a": "the broker was lost before it said whether it did that"}


def test_a_server_without_slots_ends_and_gives_back_all(cluster: Cluster) -> None:
    cluster.found((0, ANN))
    cluster.put("a")
    ann = cluster.at(ANN)
    cluster.found((0, BOB))
    assert ann._closed
    assert [*cluster.shards._shards] == [BOB]
    ann._give_back()
    cluster.run()
    cluster.found((0, BOB))
    assert cluster.waiting(BOB) == ["a"]


def test_what_waits_for_no_server_is_bounded_and_says_why_it_fails(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.shards._bounds = type(cluster.shards._bounds)(count=2, size=25, age=5.0)
    for name in "abc":
        cluster.put(name)
    cluster.run()
    assert cluster.failed == {"c": "too much waits for the broker already"}
    cluster.shards._not_found(None)
    assert set(cluster.failed) == {"c"}
    from sono_server.backplane.redis import shards

    now = shards.time.monotonic() + 5.0
    monkeypatch.setattr(shards.time, "monotonic", lambda: now)
    cluster.shards._not_found(UnusableError("no cluster"))
    assert cluster.failed == {
        "a": "no cluster",
        "b": "no cluster",
        "c": "too much waits for the broker already",
    }
    assert (cluster.shards._held, cluster.shards._waits, cluster.shards._size) == ({}, 0, 0)


def test_what_waits_at_the_end_fails(cluster: Cluster) -> None:
    cluster.put("a")
    cluster.found((0, ANN))
    cluster.at(ANN)._give_back({SLOT}, BOB)
    cluster.shards.close(lambda: None)
    cluster.put("b")
    cluster.shards.close(lambda: None)
    assert cluster.failed == dict.fromkeys("ab", "the backplane is closed")


def test_however_slots_move_what_is_asked_in_one_keeps_its_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Servers do some, refuse some and give back, and maps are old, in any order."""
    require_redis()
    from sono_server.backplane.redis.commands import Commands
    from sono_server.backplane.redis.shards import Shards
    from sono_server.backplane.redis.topology import Range

    monkeypatch.setattr(Commands, "start", lambda _: None)
    monkeypatch.setattr(Shards, "slot", lambda *_: 0)  # one, as maps of all take time
    for seed in range(300):
        random = Random(seed)
        cluster = Cluster()
        cluster.shards._owners = [None]
        servers: dict[Any, None] = {}  # all that there were
        did: list[int] = []
        asked = 0
        for step in range(70):
            ending = step >= 50
            kind = random.randrange(6)
            if kind <= 1 and not ending:
                cluster.put(str(asked))
                asked += 1
            if kind == 2 or ending:
                cluster.run()
            if kind == 3 or ending:
                at = ANN if ending else random.choice([ANN, BOB])
                cluster.shards._found([Range(0, 0, at)])
                servers.update((one.commands, None) for one in cluster.shards._shards.values())
            for server in servers:
                if random.random() < 0.2 or ending:
                    server._give_back()
                if server._waiting and kind == 4 and not ending:  # it is refused
                    server._give_back({0}, random.choice([None, ANN, BOB]))
                elif server._waiting and (kind == 5 or ending):
                    did.append(int(server._waiting.popleft().arguments[0]))
        for server in servers:
            did.extend(int(command.arguments[0]) for command in server._waiting)
        assert did == list(range(asked)), seed
        cluster.shards.close(lambda: None)


# -- what may be asked at once ------------------------------------------------------------------


def test_streams_of_one_slot_are_asked_about_at_once_and_others_are_not(cluster: Cluster) -> None:
    streams = [f"#{number}" for number in range(10)] + ["#0}x", "#0}y", "#0}z"]
    parts = [*cluster.shards.together(streams, 3)]
    assert sorted(name for part in parts for name in part) == sorted(streams)
    assert ["#0", "#0}x", "#0}y"] in [list(part) for part in parts]
    assert max(map(len, parts)) == 3


def test_a_server_hears_itself_in_a_slot_of_its_own(cluster: Cluster) -> None:
    cluster.found((0, ANN), (100, BOB))
    slots = [cluster.shards.slot(one.probe_channel) for one in cluster.shards._shards.values()]
    assert slots[0] < 100 <= slots[1]
    ann = cluster.shards._shards[ANN]
    cluster.found((0, BOB), (slots[0], BOB), (slots[0] + 1, ANN))
    assert cluster.shards._shards[ANN] is not ann
    assert cluster.shards.slot(cluster.shards._shards[ANN].probe_channel) > slots[0]


# -- the map ------------------------------------------------------------------------------------


class Node:
    """What is read of a node of a cluster."""

    def __init__(self, *replies: Any) -> None:
        self.replies = [*replies]

    def send(self, *commands: object) -> None:
        pass

    def ask(self, *commands: object) -> dict[str, str]:
        reply: dict[str, str] = self.replies.pop(0)
        return reply

    def receive(self) -> Any:
        return self.replies.pop(0)


@pytest.mark.parametrize("host", [None, b"", b"?"])
def test_a_node_that_does_not_know_its_name_is_where_it_was_asked(host: object) -> None:
    require_redis()
    from sono_server.backplane.redis.topology import Range, read

    slots = [[0, 99, [host, 7000, b"id", []]], [100, LAST, [b"10.0.0.2", 7001, b"id"], []]]
    node: Any = Node({}, {"cluster_state": "ok"}, slots)
    assert read(node, ("there", 1)) == [
        Range(0, 99, ("there", 7000)),
        Range(100, LAST, ("10.0.0.2", 7001)),
    ]


def test_a_node_that_is_cut_off_from_the_others_is_not_believed() -> None:
    require_redis()
    from sono_server.backplane.redis.topology import read

    node: Any = Node({}, {"cluster_state": "fail"}, [])
    with pytest.raises(ConnectionResetError, match="down"):
        read(node, ("there", 1))


# -- what a node of a cluster replies -----------------------------------------------------------


class Replies:
    """Stands for a connection to a node of a cluster."""

    clustered = True

    def __init__(self, *replies: Any) -> None:
        self.replies = [*replies]
        self.sent: list[Any] = []

    def readable(self) -> bool:
        return False

    def send(self, *commands: Any) -> None:
        self.sent.extend(commands)

    def receive(self) -> Any:
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


def test_what_was_sent_and_not_answered_may_have_been_done(cluster: Cluster) -> None:
    from sono_server.backplane.redis.servers import Identity

    cluster.found((0, ANN))
    first, second = cluster.put("a"), cluster.put("b")
    ann = cluster.at(ANN)
    ann._identity = Identity("run", "replication")
    link: Any = Replies([b"epoch", b"1"], ConnectionResetError("reset by peer"))
    with pytest.raises(ConnectionResetError):
        ann._exchange(link)
    cluster.run()
    assert cluster.failed == {"a": "None"}
    assert (first.unsure, second.unsure) == (False, True)
    assert ann._under_way == [second]


def test_what_is_refused_as_moved_is_given_back_with_all_that_waits_in_its_slot(
    cluster: Cluster,
) -> None:
    from redis.exceptions import MovedError

    from sono_server.backplane.redis.servers import Identity

    cluster.found((0, ANN))
    cluster.put("a")
    ann = cluster.at(ANN)
    ann._identity = Identity("run", "replication")
    link: Any = Replies(MovedError(f"{SLOT} {BOB[0]}:{BOB[1]}"))
    ann._exchange(link)
    cluster.put("b")
    cluster.run()
    assert not ann._under_way
    assert cluster.shards._scout
    assert cluster.shards._scout._better == BOB
    cluster.found((0, BOB))
    assert cluster.waiting(BOB) == ["a", "b"]


def test_channels_of_slots_that_a_server_has_not_keep_it_from_telling_no_others(
    cluster: Cluster,
) -> None:
    from redis.exceptions import MovedError

    cluster.found((0, ANN))
    shard = cluster.shards._shards[ANN]
    subscriber = shard.subscriber
    subscriber._probe = probe = "test:probe:{node}"
    for channel in (KEY, "test:{#other}", "test:{#third}"):
        subscriber._wanted[channel] = None
    left = [b"sunsubscribe", b"test:{#third}", 2]
    told = [[b"ssubscribe", name.encode(), 1] for name in (probe, "test:{#other}")]
    moved = MovedError(f"{SLOT} {BOB[0]}:{BOB[1]}")
    third = [b"ssubscribe", b"test:{#third}", 2]
    link: Any = Replies(told[0], moved, third, left, told[1])
    subscriber._begin(link)
    assert len(link.sent) == 4  # as many slots
    cluster.run()
    assert cluster.shards._strayed == {SLOT, cluster.shards.slot("test:{#third}")}
    assert cluster.suspected == [True]
