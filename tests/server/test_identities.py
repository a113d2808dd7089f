"""Identities that end: what `authenticate` says of them, and what becomes of their clients."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from sono_server import HTTPRequest, Promise, Sono
from sono_server.app.identities import Known, known
from tests.lossless_wire import Speaker
from tests.servers import Wire, running


@dataclass
class User:
    name: str
    expires_at: Any = None


NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("expires_at", "lasts"),
    [
        (None, None),
        (NOW + 10, 10.0),
        (int(NOW) + 10, 10.0),
        (math.inf, None),
        (datetime.fromtimestamp(NOW, timezone.utc) + timedelta(hours=1), 3600.0),
    ],
)
def test_how_long_an_identity_holds(expires_at: object, lasts: float | None) -> None:
    user, claims = User("ann", expires_at), {"sub": "ann", "expires_at": expires_at}
    assert known(user, NOW) == Known(user, lasts)
    assert known(claims, NOW) == Known(claims, lasts)
    assert known("ann", NOW) == Known("ann", None)
    assert known({}, NOW) == Known({}, None)


@pytest.mark.parametrize("identity", [None, False, User("ann", NOW), User("ann", NOW - 1)])
def test_who_is_nobody(identity: object) -> None:
    assert known(identity, NOW) is None


@pytest.mark.parametrize("value", ["tomorrow", True, math.nan, datetime(2030, 1, 1), [1]])
def test_what_is_no_time(value: object) -> None:
    with pytest.raises(TypeError, match=r"^expires_at must be seconds since the epoch or a dat"):
        known(User("ann", value), NOW)


# -- on servers -----------------------------------------------------------------------------------


class Clock:
    """Tokens like `ann 3600`: whose they are, and for how many seconds from now on."""

    def __init__(self) -> None:
        self.sono = Sono()
        self.sono.authenticate(self.user)

    def user(self, request: HTTPRequest) -> User | None:
        name, _, seconds = (request.token or request.query).partition("-")
        if not name:
            return None
        return User(name, time.time() + float(seconds) if seconds else None)


def test_a_client_is_asked_for_a_token_and_goes_on_with_one(
    each_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sono_core.messaging.lossless.server.identities._SHARE", 1)
    clock = Clock()
    with (
        running(clock.sono.connect) as server,
        Speaker(server.address, {"token": "ann-60"}) as speaker,
    ):
        client = clock.sono.clients[speaker.id]
        first = client.identity
        renew = speaker.wait_for("renew")  # at once, as it is the last minute
        assert 0 < renew["in"] <= 60
        speaker.say("token", token="ann-3600")
        speaker.say("token", token="ann-7200")
        speaker.beat()
        assert "published" in speaker.do("publish", channel="Home", event="e", data=1)
        assert client.identity is not first
        assert client.identity.expires_at > time.time() + 3000
        speaker.say("token", token="bob-3600")
        assert speaker.wire.closed().code == 4011
        server.turn()
        assert clock.sono.clients == {}


def test_a_client_without_a_fresh_token_is_closed_and_may_come_back(each_server: str) -> None:
    clock = Clock()
    with running(clock.sono.connect) as server:
        with Speaker(server.address, {"token": "ann-0.2"}) as speaker:
            assert speaker.wire.closed().code == 4011
        with speaker.resume(server.address, token="ann-3600") as again:
            assert again.welcome["resumed"]
        with Speaker(server.address) as nobody:
            nobody.say("hello", key=again.welcome["key"])
            assert nobody.wire.closed().code == 4011


def test_a_classic_client_is_closed_when_its_identity_ends(each_server: str) -> None:
    clock = Clock()
    with (
        running(clock.sono.connect) as server,
        Wire(server.address, "/ws?ann-0.2") as short,
        Wire(server.address, "/ws?bob-3600") as long,
        Wire(server.address, "/ws?carl"),
    ):
        close = short.closed()
        assert (close.code, close.reason) == (4011, "the identity has ended")
        clock.sono.emit("hello")
        assert long.message()
        server.turn()
        names = sorted(client.identity.name for client in clock.sono.clients.values())
        assert names == ["bob", "carl"]


def test_a_token_waits_for_no_handler(each_server: str) -> None:
    clock = Clock()
    sono, promises = clock.sono, []

    @sono.on("slow")
    def slow(client: object, message: object) -> Promise[bool]:
        promise: Promise[bool] = Promise()
        promises.append(promise)
        return promise

    with running(sono.connect) as server, Speaker(server.address, {"token": "ann-60"}) as speaker:
        client = sono.clients[speaker.id]
        said = speaker.number("publish", channel="Home", event="slow", data=1)
        speaker.say("token", token="ann-3600")
        speaker.beat()
        server.turn()
        assert client.identity.expires_at > time.time() + 3000
        promises[0].complete(True)
        assert "published" in speaker.wait_for("result", re=said)


def test_an_identity_without_a_proper_end_is_refused(
    each_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    sono = Sono()
    sono.authenticate(lambda request: User("ann", "tomorrow"))
    with running(sono.connect) as server:
        with Wire(server.address, "/ws") as wire:
            assert wire.answer.status == 500  # type: ignore[union-attr]
        with Speaker(server.address) as speaker:
            speaker.say("hello")
            assert speaker.wire.closed().code == 4011
    assert caplog.text.count("expires_at must be seconds") == 2


def test_a_sono_that_is_served_again_closes_clients_in_time(each_server: str) -> None:
    clock = Clock()
    for _ in range(2):
        with (
            running(clock.sono.connect) as server,
            Wire(server.address, "/ws?ann-0.2") as classic,
            Speaker(server.address, {"token": "bob-0.2"}) as speaker,
            Wire(server.address, "/ws?carl-3600"),
            Speaker(server.address, {"token": "dora-3600"}),
        ):
            assert classic.closed().code == 4011
            assert speaker.wire.closed().code == 4011
