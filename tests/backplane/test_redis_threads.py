"""The threads of a backplane on Redis: what they hand over, and what becomes of what waits."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from sono_core.messaging.lossless.backplane import BackplaneError, Receipt
from sono_core.messaging.lossless.history import History
from tests.backplane.brokers import Broker, broker, require_redis

HISTORY = History(count=1000)


@pytest.fixture(autouse=True)
def _redis() -> None:
    require_redis()


@pytest.fixture
def server() -> Iterator[Broker]:
    with broker() as one:
        yield one


def on(server: Broker, **options: Any) -> Any:
    from tests.backplane.on_redis import OnRedis  # what needs redis-py

    return OnRedis(server.url, "test", **options)


def only(rig: Any) -> Any:
    """The one server that it has."""
    (shard,) = rig.backplane._shards._shards.values()
    return shard


# -- what threads hand over to the loop ---------------------------------------------------------


class Loop:
    """Takes what is posted, or refuses it."""

    def __init__(self) -> None:
        self.posted: list[Callable[[], object]] = []
        self.answer: object = True

    def __call__(self, call: Callable[[], object]) -> object:
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not False:
            self.posted.append(call)
        return self.answer


def test_all_that_waits_is_handed_over_with_one_call_and_in_order() -> None:
    from sono_server.backplane.redis.handover import Handover

    loop, made = Loop(), []
    handover = Handover(loop)
    handover.put([partial(made.append, 1), partial(made.append, 2)], 10)
    handover.put([partial(made.append, 3)], 5)
    assert (len(loop.posted), handover.held) == (1, 15)
    loop.posted.pop()()
    assert (made, handover.held) == ([1, 2, 3], 0)
    handover.put([partial(made.append, 4)])
    assert len(loop.posted) == 1


@pytest.mark.parametrize("refusal", [False, BufferError("100000 calls wait")])
def test_what_the_loop_refuses_waits_until_it_takes_it(refusal: object) -> None:
    from sono_server.backplane.redis.handover import Handover

    loop, made = Loop(), []
    handover = Handover(loop)
    loop.answer = refusal
    handover.put([partial(made.append, 1)])
    handover.retry()
    assert handover.stuck
    loop.answer = None
    handover.retry()
    handover.retry()
    assert not handover.stuck
    assert len(loop.posted) == 1
    loop.posted.pop()()
    assert made == [1]


def test_a_call_that_fails_keeps_no_other_from_being_made() -> None:
    from sono_server.backplane.redis.handover import Handover

    made: list[int] = []
    handover = Handover(Loop())
    handover.put([partial(int, "x"), partial(made.append, 1)])
    with pytest.raises(ValueError, match="invalid literal"):
        handover.drain()
    assert made == [1]


def test_a_loop_that_has_too_much_to_do_gets_everything_later(server: Broker) -> None:
    rig = on(server)
    take, refusing = rig._calls.put, [True]

    def call_soon(call: Callable[[], object]) -> object:
        if refusing:
            raise BufferError("100000 calls wait")
        return take(call)

    for handover in (rig.backplane._shards.messages, rig.backplane._shards.replies):
        handover._call_soon = call_soon
    said: list[Any] = []
    followed = rig.backplane.subscribe("#room", lambda entry: said.append(entry.body))
    published = rig.backplane.publish("#room", "hi", 2, HISTORY)
    refusing.clear()
    rig.wait(followed)
    rig.wait(published)
    rig.wait(rig.backplane.publish("#room", "again", 2, HISTORY))
    while "again" not in said:
        rig.step()
    rig.close()


# -- connections --------------------------------------------------------------------------------


def test_connections_are_made_however_many_were_lost(server: Broker) -> None:
    from sono_server.backplane.redis.servers import links

    connect = links(f"{server.url}?max_connections=2").connect
    for _ in range(5):
        link = connect(None)
        link.open()
        link.close()


def test_a_process_with_many_descriptors_hears_as_well(server: Broker) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2048), hard))
    taken = []
    try:
        while not taken or taken[-1] < 1100:
            taken.append(os.open(os.devnull, os.O_RDONLY))
        rig = on(server)
        rig.settle()
        assert rig.backplane.ready
        rig.close()
    finally:
        for one in taken:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_unix_socket_will_do(tmp_path: Any) -> None:
    from tests.backplane.on_redis import OnRedis

    path = tmp_path / "socket"
    with broker("--unixsocket", str(path)):
        rig = OnRedis(f"unix://{path}?db=1&prefix=here")
        assert rig.wait(rig.backplane.publish("#room", 1, 1, HISTORY)).offset == 1
        rig.close()


def test_channels_are_followed_although_the_connection_breaks_while_the_broker_is_told(
    server: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sono_server.backplane.redis.servers import Link

    rig = on(server)
    rig.settle()
    send, broken = Link.send, []

    def breaks_once(link: Link, *commands: Any) -> None:
        if commands[0][0] == b"subscribe" and not broken:
            broken.append(link)
            raise ConnectionResetError("reset by peer")
        send(link, *commands)

    monkeypatch.setattr(Link, "send", breaks_once)
    said: list[Any] = []
    streams = [f"#room-{number}" for number in range(600)]
    followed = [rig.backplane.subscribe(one, lambda e: said.append(e.body)) for one in streams]
    for receipt in followed:
        rig.wait(receipt)
    rig.wait(rig.backplane.publish(streams[-1], "heard", 1, HISTORY))
    rig.settle()
    assert (said, len(broken)) == (["heard"], 1)
    rig.close()


def test_a_server_whose_first_replica_comes_keeps_what_nodes_of_either_identity_say(
    server: Broker,
) -> None:
    """It has another replication id from then on, and drops nobody who knows the former."""
    ann = on(server)
    ann.wait(ann.backplane.publish("#room", 0, 1, HISTORY))
    replica = Broker("--replicaof", f"127.0.0.1 {server.port}")
    try:
        replica.start()
        while replica.command("INFO", "replication")["master_link_status"] != "up":
            pass
    finally:
        replica.close()
    bob = on(server)
    offsets = [
        node.wait(node.backplane.publish("#room", number, 1, HISTORY)).offset
        for number in range(3)
        for node in (ann, bob)
    ]
    assert offsets == [2, 1, 2, 3, 4, 5]  # Bob's first begins the epoch of the new identity
    ann.close()
    bob.close()


# -- what waits while the broker is away --------------------------------------------------------


def test_who_waits_to_follow_or_leave_waits_no_longer_than_publications_do() -> None:
    from sono_server.backplane.redis import Bounds

    with broker() as server:
        rig = on(server, bounds=Bounds(age=0.3))
        rig.settle()
        server.kill()
        said: list[Any] = []
        hear = said.append
        followed = rig.backplane.subscribe("#room", hear)
        with pytest.raises(BackplaneError, match="does not answer"):
            rig.wait(followed)
        assert not only(rig).subscriber._pending
        server.start()
        while only(rig).subscriber.connections < 2:  # then it is followed all the same
            rig.settle()
        rig.wait(rig.backplane.publish("#room", "hi", 2, HISTORY))
        rig.settle()
        assert [entry.body for entry in said] == ["hi"]
        rig.close()


def test_changes_that_wait_while_the_broker_is_away_take_no_more_and_more_memory() -> None:
    from sono_server.backplane.redis import Bounds

    with broker() as server:
        rig = on(server, bounds=Bounds(age=0.05))
        rig.settle()
        server.kill()
        subscriber = only(rig).subscriber
        for number in range(300):
            receipt = rig.backplane.subscribe(f"#room-{number % 3}", print)
            rig.backplane.unsubscribe(f"#room-{number % 3}", print)
            if number % 100 == 99:
                with pytest.raises(BackplaneError):
                    rig.wait(receipt)
        assert len(subscriber._changes) + len(subscriber._awaited) <= 110
        rig.close()


def test_too_many_changes_at_once_fail_loudly(
    server: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sono_server.backplane.redis import subscriber

    monkeypatch.setattr(subscriber, "CHANGES", 0)
    rig = on(server)
    with pytest.raises(BackplaneError, match="too much waits"):
        rig.wait(rig.backplane.subscribe("#room", print))
    rig.close()


# -- the end, and another beginning -------------------------------------------------------------


def everything(rig: Any, name: str) -> list[Receipt[Any]]:
    """All kinds of things that may be asked."""
    backplane = rig.backplane
    hear = partial(print, name)
    return [
        backplane.publish("#room", name, 1, HISTORY),
        backplane.subscribe(f"#{name}", hear),
        backplane.unsubscribe(f"#{name}", hear),
        backplane.free(f"#{name}"),
        backplane.tops(["#room"]),
        backplane.enter("#room", name, 1, 1),
        backplane.members("#room"),
        backplane.load_session("session", "key"),
        backplane.probe(),
    ]


@pytest.mark.parametrize("away", [False, True])
def test_every_receipt_is_done_when_it_is_closed(away: bool) -> None:
    with broker() as server:
        rig = on(server)
        rig.settle()
        if away:
            server.kill()
        asked = everything(rig, "before")
        rig.close()
        assert all(receipt.done for receipt in asked)
        if not away:  # what can be done is done
            assert {str(receipt.error) for receipt in asked[:-1]} <= {
                "None",
                "the backplane is closed",
            }
            assert asked[0].error is None
        late = everything(rig, "late")
        rig.close()
        assert {str(receipt.error) for receipt in late} == {"the backplane is closed"}


def test_a_broker_that_is_stopped_does_not_keep_a_node_from_ending(server: Broker) -> None:
    import signal

    rig = on(server)
    rig.settle()
    server.signal(signal.SIGSTOP)
    try:
        asked = everything(rig, "x")
        rig.close()
        assert all(receipt.done for receipt in asked)
        assert not only(rig).commands._thread.is_alive()
        assert not only(rig).subscriber._thread.is_alive()
    finally:
        server.signal(signal.SIGCONT)


def test_it_ends_without_having_begun(server: Broker) -> None:
    from sono_server.backplane.redis import RedisBackplane
    from tests.backplane.on_redis import Plain

    backplane = RedisBackplane(server.url, lambda call: call(), Plain())
    receipt = backplane.publish("#room", 1, 1, HISTORY)
    backplane.close()
    assert str(receipt.error) == "the backplane is closed"


def test_it_begins_again_with_what_was_followed_and_under_another_name(server: Broker) -> None:
    rig = on(server)
    names = {rig.backplane.node}
    said: list[Any] = []
    rig.wait(rig.backplane.subscribe("#room", lambda entry: said.append(entry.body)))
    for number in range(3):
        rig.close()
        rig.backplane.start()
        rig.backplane.start()
        names.add(rig.backplane.node)
        rig.settle()
        rig.wait(rig.backplane.publish("#room", number, 1, HISTORY))
        rig.settle()
    assert said == [0, 1, 2]
    assert len(names) == 4
    rig.close()


def test_what_a_node_left_is_freed_at_its_end(server: Broker) -> None:
    rig = on(server)
    rig.wait(rig.backplane.subscribe("@ann", print))
    rig.backplane.unsubscribe("@ann", print)
    freed = rig.backplane.free("@ann")
    rig.close()
    assert freed.value
    assert server.command("KEYS", "test:*") == []


# -- commands that a server did not do ----------------------------------------------------------


def test_what_was_not_done_is_not_done_behind_what_was_asked_later() -> None:
    from redis.exceptions import NoScriptError, OutOfMemoryError, ResponseError

    from sono_server.backplane.redis.commands import Command, _sorted
    from sono_server.backplane.redis.scripts import PUBLISH

    done: dict[str, object] = {}

    def command(name: str, stream: str) -> Command:
        def tell(reply: object, error: BackplaneError | None) -> None:
            done[name] = error or reply

        return Command(PUBLISH, [stream], [], tell, 0, True)

    batch = [
        command("a1", "a"),
        command("b1", "b"),
        command("a2", "a"),
        command("b2", "b"),
        command("b3", "b"),
        command("c1", "c"),
        command("late", "c"),
    ]
    no = NoScriptError("No matching script")
    busy = ResponseError("BUSY Redis is busy running a script")
    replies = [no, no, b"a2", busy, ResponseError("ERR what"), OutOfMemoryError("full")]
    again, finished = _sorted(batch, replies)
    for tell in finished:
        tell()
    assert [one.keys[0] for one, _ in again] == ["b", "b"]
    assert again[0][0] is batch[1]
    assert done["a2"] == b"a2"
    assert "asked later" in str(done["a1"])
    assert "ERR what" in str(done["b3"])
    assert "memory is full" in str(done["c1"])
    assert "late" not in done


def test_what_asks_how_far_streams_are_overtakes_and_fails_nothing() -> None:
    from redis.exceptions import ResponseError

    from sono_server.backplane.redis.commands import Command, _sorted
    from sono_server.backplane.redis.scripts import PUBLISH, TELL, TOPS

    def fails(reply: object, error: BackplaneError | None) -> None:
        assert error is None

    batch = [Command(script, ["a"], [], fails, 0, True) for script in (PUBLISH, TOPS, TELL)]
    again, finished = _sorted(batch, [ResponseError("SONOOTHER"), [], 1])
    for tell in finished:
        tell()
    assert [command for command, _ in again] == batch[:1]


# -- times of expiry ----------------------------------------------------------------------------


def test_all_keys_of_a_stream_expire_and_none_before_its_history(server: Broker) -> None:
    rig = on(server)
    publish = partial(rig.backplane.publish, "#room", 1, 10)
    week = History(age=7 * 86400)
    for receipt in [publish(week) for _ in range(1100)]:  # two generations of keys
        rig.wait(receipt)
    rig.wait(rig.backplane.enter("#room", "ann", 1, 1))
    keys = rig.backplane._keys.of_stream("#room")
    hash_, entries, newer, older, roster, _ = (server.command("TTL", key) for key in keys)
    assert hash_ >= entries >= 7 * 86400
    assert roster >= 7 * 86400
    assert 300 <= newer <= 330
    assert 300 <= older <= 330
    for key in (keys[0], keys[4]):
        server.command("EXPIRE", key, 5)
    rig.wait(rig.backplane.tops(["#room"]))
    assert min(server.command("TTL", keys[0]), server.command("TTL", keys[4])) >= 7 * 86400
    rig.close()


def test_a_history_that_begins_again_expires_again(server: Broker) -> None:
    rig = on(server)
    too_large = HISTORY.size + 1
    rig.wait(rig.backplane.publish("#room", 1, too_large, HISTORY))
    rig.wait(rig.backplane.publish("#room", 2, 1, HISTORY))
    assert server.command("TTL", rig.backplane._keys.of_stream("#room")[1]) > 0
    rig.close()


def test_a_connection_waits_no_longer_than_what_is_asked(server: Broker) -> None:
    from sono_server.backplane.redis import Bounds

    rig = on(server, bounds=Bounds(age=0.5))
    connection = only(rig).commands._connect()._connection
    assert (connection.socket_timeout, connection.socket_connect_timeout) == (0.5, 0.5)
    rig.close()
