"""What a broker will not do, and what is not Sono's there: one clear error each."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from sono_core.messaging.lossless.backplane import BackplaneError
from sono_core.messaging.lossless.history import History
from sono_core.messaging.lossless.positions import Position
from sono_server.backplane import TooLargeError, UnreadableError, UnusableError
from tests.backplane.brokers import Broker, broker, require_redis
from tests.servers import free_port

if TYPE_CHECKING:
    from tests.backplane.on_redis import OnRedis

STREAM = "#room"
HISTORY = History()


@pytest.fixture
def server() -> Iterator[Broker]:
    require_redis()
    with broker() as one:
        yield one


def node(url: str, prefix: str | None = "test", **options: Any) -> OnRedis:
    from tests.backplane.on_redis import OnRedis

    return OnRedis(url, prefix, **options)


def publish(rig: OnRedis, body: object = "x", size: int = 1) -> Position:
    return rig.wait(rig.backplane.publish(STREAM, body, size, HISTORY))


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "localhost:6379",
        "redis://:secret@localhost:port/0",
        "redis://localhost/0?db=first",
        "redis://localhost/0?colour=red",
        "redis://localhost/0?prefix=a+b",
        "redis+sentinel://localhost",
        "redis+sentinel:///service",
        "redis+sentinel://:secret@localhost:port/service",
        "redis+sentinel://localhost/service/first",
        "redis+sentinel://localhost/service?colour=red",
        "redis+cluster://:secret@localhost:port",
        "redis+cluster://",
        "redis+cluster://localhost,,localhost:7001",
        "redis+cluster://localhost/1",
        "redis+cluster://localhost?colour=red",
        "",
    ],
)
def test_a_wrong_url_is_refused_at_once_and_no_password_is_quoted(url: str) -> None:
    require_redis()
    with pytest.raises(ValueError, match=r"^(backplane|prefix) must be") as refused:
        node(url, None)
    assert "secret" not in str(refused.value)


def test_what_is_no_url_is_refused() -> None:
    from sono_server import Sono

    with pytest.raises(TypeError, match="backplane must be"):
        Sono(backplane=6379)  # type: ignore[arg-type]


@pytest.mark.parametrize("password", ["", ":wrong@"])
def test_a_refused_password_fails_what_waits_and_says_why(password: str) -> None:
    require_redis()
    from sono_server.backplane.redis import Bounds

    with broker("--requirepass", "right", password="right") as server:
        url = server.url.replace("://", f"://{password}")
        rig = node(url, bounds=Bounds(age=0.3))
        with pytest.raises(UnusableError, match="password"):
            publish(rig)
        rig.close()
        rig = node(server.url.replace("://", "://:right@"))
        assert publish(rig).offset == 1
        rig.close()


def test_a_url_that_is_not_one_for_the_server_is_named() -> None:
    require_redis()
    from sono_server.backplane.redis import Bounds

    for options, scheme, text in (
        ((), "redis+cluster", "the broker is in no cluster"),
        (("--cluster-enabled", "yes", "--cluster-port", str(free_port())), "redis", "in a cluster"),
    ):
        with broker("--requirepass", "right", *options, password="right") as server:
            url = f"{scheme}://:right@127.0.0.1:{server.port}"
            rig = node(url, bounds=Bounds(age=0.3))
            with pytest.raises(UnusableError, match=text) as refused:
                publish(rig)
            assert "right" not in str(refused.value)
            rig.close()


@pytest.mark.parametrize("password", ["", ":wrong@"])
def test_a_password_that_a_cluster_refuses_fails_what_waits_and_says_why(password: str) -> None:
    require_redis()
    from sono_server.backplane.redis import Bounds

    with broker("--requirepass", "right", password="right") as server:
        url = f"redis+cluster://{password}127.0.0.1:{server.port}"
        rig = node(url, bounds=Bounds(age=0.3))
        with pytest.raises(UnusableError, match="password"):
            publish(rig)
        rig.close()


def test_an_acl_that_does_not_permit_it_is_named(server: Broker) -> None:
    server.command("ACL", "SETUSER", "sono", "on", ">pw", "~sono:*", "&sono:*", "+@all")
    rig = node(server.url.replace("://", "://sono:pw@"), "other")
    with pytest.raises(UnusableError, match="ACL"):
        publish(rig)
    rig.close()
    rig = node(server.url.replace("://", "://sono:pw@"), "sono")
    assert publish(rig).offset == 1
    rig.close()


def test_a_broker_that_is_too_old_is_named() -> None:
    require_redis()
    from sono_server.backplane.redis.servers import Link

    class Old:
        """Stands for redis-py's connection to a Redis 6.2."""

        def pack_commands(self, commands: object) -> object:
            return commands

        def send_packed_command(self, packed: object, check_health: bool) -> None:
            pass

        def read_response(self) -> bytes:
            return b"# Server\r\nredis_version:6.2.14\r\n"

    with pytest.raises(UnusableError, match=r"Redis 6\.2\.14; it must be 7\.0 or later"):
        Link(Old()).introduce()


def test_a_policy_that_evicts_is_complained_of(
    server: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    rig = node(server.url)
    publish(rig)
    rig.close()
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert any("set maxmemory-policy to noeviction" in text for text in errors)


def test_a_key_of_somebody_else_is_named_and_not_touched(server: Broker) -> None:
    server.command("SET", "test:{#room}", "mine")
    rig = node(server.url)
    with pytest.raises(UnusableError, match="is not Sono's"):
        publish(rig)
    assert server.command("GET", "test:{#room}") == b"mine"
    rig.close()


def test_a_key_of_somebody_else_in_the_place_of_the_leases_is_named(
    server: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    server.command("SET", "test:nodes", "mine")
    rig = node(server.url)
    for _ in range(3):
        rig.backplane.tick()
        assert publish(rig).offset
    assert server.command("GET", "test:nodes") == b"mine"
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "lease is refused" in errors[0]
    assert "is not Sono's" in errors[0]
    server.command("DEL", "test:nodes")
    rig.backplane.tick()
    rig.settle()
    assert server.command("TYPE", "test:nodes") == b"zset"
    rig.close()


def test_keys_of_somebody_else_in_other_places_are_named(server: Broker) -> None:
    names = ("test:{#room}:f", "test:session:{s}")
    for name in names:
        server.command("SET", name, "mine")
    rig = node(server.url)
    asked = (
        rig.backplane.fence(STREAM, "s", 2),
        rig.backplane.save_session("s", b"x", ["k"], 60),
    )
    for receipt in asked:
        with pytest.raises(UnusableError, match="is not Sono's"):
            rig.wait(receipt)  # type: ignore[arg-type]
    assert [server.command("GET", name) for name in names] == [b"mine"] * 2
    rig.close()


def test_what_another_version_laid_out_is_not_touched(server: Broker) -> None:
    server.command("HSET", "test:{#room}", "v", "2", "e", "theirs", "o", "7")
    rig = node(server.url)
    with pytest.raises(UnusableError, match="another version"):
        publish(rig)
    assert server.command("HGET", "test:{#room}", "o") == b"7"
    rig.close()


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(server: Broker) -> None:
    from sono_server.backplane.redis.backplane import LARGEST

    rig = node(server.url)
    with pytest.raises(TooLargeError, match=f"more than {LARGEST}"):
        publish(rig, b"x" * (LARGEST + 1))
    fits = b"x" * (LARGEST - 5)
    assert publish(rig, fits, len(fits)).offset == 1
    rig.close()


def test_what_cannot_be_read_is_missing_and_the_rest_is_not(
    server: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """As a node of another version writes it, while all are restarted one by one."""
    rig = node(server.url)
    bodies: list[object] = []
    start = rig.wait(rig.backplane.subscribe(STREAM, lambda entry: bodies.append(entry.body)))
    publish(rig, 1)
    rig.codec.garbles = True
    publish(rig, 2)
    rig.codec.garbles = False
    publish(rig, 3)
    rig.settle()
    assert bodies == [1, 3]
    batch = rig.wait(rig.backplane.read(STREAM, start))
    assert [entry.body for entry in batch.entries] == [1, 3]
    assert batch.why == "trimmed"
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(errors) == 1
    rig.close()


def test_what_is_said_in_a_channel_by_others_is_ignored(server: Broker) -> None:
    rig = node(server.url)
    bodies: list[object] = []
    rig.wait(rig.backplane.subscribe(STREAM, bodies.append))
    for said in ("", "E", "E a b c\n", "C e 1 1 1 99999\nx", "V", "?", "E e 1 1\n\xff"):
        server.command("PUBLISH", "test:{#room}", said)
    (shard,) = rig.backplane._shards._shards.values()
    server.command("PUBLISH", shard.probe_channel, "no number")
    rig.settle()
    assert bodies == []
    rig.close()


@pytest.mark.parametrize("names", [("/0?prefix=one", "/0?prefix=other"), ("/0", "/1")])
def test_deployments_with_other_prefixes_or_databases_do_not_meet(
    server: Broker, names: tuple[str, str]
) -> None:
    one, other = (node(server.url.replace("/0", name), None) for name in names)
    bodies: list[object] = []
    other.wait(other.backplane.subscribe(STREAM, bodies.append, on_volatile=bodies.append))
    publish(one)
    one.wait(one.backplane.tell(STREAM, "x"))
    other.settle()
    assert bodies == []
    assert publish(other).offset == 1
    one.close()
    other.close()


def test_the_url_names_the_prefix(server: Broker) -> None:
    rig = node(f"{server.url}?prefix=chat", None)
    publish(rig)
    assert server.command("EXISTS", "chat:{#room}") == 1
    rig.close()


def test_keys_that_nobody_uses_expire(server: Broker) -> None:
    rig = node(server.url)
    publish(rig)
    rig.wait(rig.backplane.enter(STREAM, "ann", 1, 1))
    rig.wait(rig.backplane.save_session("s", b"x", ["k"], 60))
    rig.clock.now += 301  # keys of publications begin another generation
    publish(rig)
    keys = server.command("KEYS", "*")
    assert len(keys) == 9
    assert all(server.command("TTL", key) > 0 for key in keys)
    rig.close()


def test_a_replica_is_not_written_to(server: Broker) -> None:
    require_redis()
    from sono_server.backplane.redis import Bounds

    with broker("--replicaof", f"127.0.0.1 {server.port}") as replica:
        rig = node(replica.url, bounds=Bounds(age=0.3))
        with pytest.raises(BackplaneError, match="does not answer"):
            publish(rig)
        rig.close()


def test_what_no_node_can_write_raises_at_once(server: Broker) -> None:
    rig = node(server.url)
    with pytest.raises(TypeError):
        rig.backplane.publish(STREAM, object(), 1, HISTORY)
    rig.close()


def test_unreadable_is_what_decoders_say() -> None:
    assert not UnreadableError("x").temporary
