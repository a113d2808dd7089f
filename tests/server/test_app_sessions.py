"""What an application hears of sessions, and how it ends or reviews them."""

from __future__ import annotations

import asyncio
import queue
from typing import Any

import pytest

from sono_core import LocalProtocolError
from sono_server import Client, HTTPRequest, Promise, Sono
from tests.helpers import Application
from tests.lossless_wire import Speaker
from tests.server.sono_packets import move
from tests.servers import PATIENCE, Wire, running


class Told:
    """What the application was told, in order."""

    def __init__(self, sono: Sono) -> None:
        self._told: queue.Queue[tuple[str, Client]] = queue.Queue()
        sono.on_connect(lambda client: self._told.put(("connect", client)))
        sono.on_suspend(lambda client: self._told.put(("suspend", client)))
        sono.on_resume(lambda client: self._told.put(("resume", client)))
        sono.on_disconnect(lambda client, close: self._told.put((f"gone {close.code}", client)))

    def next(self) -> str:
        return self.pair()[0]

    def pair(self) -> tuple[str, Client]:
        return self._told.get(timeout=PATIENCE)

    @property
    def nothing(self) -> bool:
        return self._told.empty()


def test_a_session_is_suspended_resumed_and_ended_once(each_server: str) -> None:
    sono = Sono()
    told = Told(sono)
    with running(sono.connect) as server:
        with Speaker(server.address, {}) as first:
            word, client = told.pair()
            assert word == "connect"
            client.data = "kept"
            first.lose()
            assert told.next() == "suspend"
        with first.resume(server.address) as second:
            word, same = told.pair()
            assert (word, same is client, same.data) == ("resume", True, "kept")
            second.lose()
            assert told.next() == "suspend"
        with second.resume(server.address) as third:
            assert told.next() == "resume"
            third.say("bye")
            assert told.next() == "gone 1000"
            assert third.wire.closed().code == 1000
        server.turn()
        assert sono.clients == {}
        assert told.nothing


def test_a_newer_connection_suspends_and_resumes(each_server: str) -> None:
    sono = Sono()
    told = Told(sono)
    with running(sono.connect) as server, Speaker(server.address, {}) as first:
        assert told.next() == "connect"
        with first.resume(server.address) as second:
            assert first.wire.closed().code == 4012
            assert [told.next(), told.next()] == ["suspend", "resume"]
            second.beat()
            assert told.nothing


def test_coroutine_functions_hear_of_it_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.servers.kind", "asyncio")
    sono = Sono()
    told: queue.Queue[str] = queue.Queue()

    @sono.on_suspend
    async def suspended(client: Client) -> None:
        await asyncio.sleep(0)
        told.put("suspend")

    @sono.on_resume
    async def resumed(client: Client) -> None:
        await asyncio.sleep(0)
        told.put("resume")
        raise ZeroDivisionError  # it harms nobody

    @sono.on("e")
    async def heard(client: Client, message: object) -> None:
        told.put("event")

    with running(sono.connect) as server, Speaker(server.address, {}) as first:
        with first.resume(server.address) as second:
            assert "published" in second.do("publish", channel="Home", event="e", data=1)
        words = [told.get(timeout=PATIENCE) for _ in range(3)]
    assert words == ["suspend", "resume", "event"]


def test_a_server_that_stops_suspends(each_server: str) -> None:
    sono = Sono()
    told = Told(sono)
    with running(sono.connect) as server, Speaker(server.address, {}):
        assert told.next() == "connect"
        server.end()
        assert told.next() == "suspend"


def test_what_an_application_says_in_on_resume_comes_after_the_welcome(each_server: str) -> None:
    sono = Sono()

    @sono.on_resume
    def resumed(client: Client) -> None:
        client.send("again", client.id)
        client.join("news")

    sono.channel("news")
    with running(sono.connect) as server, Speaker(server.address, {}) as first:
        (at,) = [begun["at"] for begun in first.welcome["streams"] if begun["stream"] == "@"]
        first.lose()
        with first.resume(server.address, streams={"@": at}) as second:
            assert second.wait_for("event", event="again")["data"] == second.id
            assert second.wait_for("joined")["channel"] == "news"


# -- ends -----------------------------------------------------------------------------------------


def by_token(request: HTTPRequest) -> str | None:
    return request.token or request.query or None


def test_disconnect_ends_all_of_an_identity(each_server: str) -> None:
    sono = Sono()
    sono.authenticate(by_token)
    told = Told(sono)
    with (
        running(sono.connect) as server,
        Speaker(server.address, {"token": "ann"}) as ann,
        Speaker(server.address, {"token": "bob"}) as bob,
        Wire(server.address, "/ws?ann") as classic,
        Speaker(server.address, {"token": "ann"}) as suspended,
    ):
        for _ in range(4):
            assert told.next() == "connect"
        suspended.lose()
        assert told.next() == "suspend"
        assert sono.disconnect(identity="ann") == 3
        assert ann.wire.closed().code == 4013
        assert classic.closed().code == 4013
        assert [told.next() for _ in range(3)] == ["gone 4013"] * 3
        with suspended.resume(server.address, token="ann") as again:
            assert not again.welcome["resumed"]
        assert told.next() == "connect"
        bob.beat()
        assert sono.disconnect(identity="carl") == 0


def test_disconnect_ends_what_is_just_being_let_in(each_server: str) -> None:
    sono = Sono(open_channels=True)
    sono.authenticate(by_token)
    asked: queue.Queue[Promise[bool]] = queue.Queue()

    @sono.on_join("room:*")
    def may_enter(client: Client, channel: str) -> Promise[bool]:
        promise: Promise[bool] = Promise()
        asked.put(promise)
        return promise

    with running(sono.connect) as server, Speaker(server.address) as speaker:
        speaker.say("hello", token="ann", joined=["room:1"])
        promise = asked.get(timeout=PATIENCE)
        assert sono.disconnect(identity="ann") == 0
        assert speaker.wire.closed().code == 4013
        promise.complete(True)
        server.turn()
        assert sono.clients == {}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"identity": None}, ValueError),
        ({"identity": "ann", "code": 1004}, LocalProtocolError),
        ({"identity": "ann", "reason": 7}, TypeError),
    ],
)
def test_disconnect_refuses_what_makes_no_sense(
    arguments: dict[str, Any], error: type[Exception]
) -> None:
    sono = Sono()
    with pytest.raises(error):
        sono.disconnect(**arguments)


# -- memberships ----------------------------------------------------------------------------------


def test_reauthorise_asks_about_all_channels_but_home(each_server: str) -> None:
    sono = Sono()
    forbidden: list[str] = []
    asked: list[str] = []

    @sono.on_join
    def may_enter(client: Client, channel: str) -> bool:
        asked.append(channel)
        return channel not in forbidden

    for name in ("a", "b", "c"):
        sono.channel(name)
    with running(sono.connect) as server, Speaker(server.address, {}) as speaker:
        speaker.do("join", channel="a")
        speaker.do("join", channel="b")
        speaker.do("move", channel="c")
        client = sono.clients[speaker.id]
        asked.clear()
        assert client.reauthorise().result(PATIENCE) == []
        assert asked == ["c", "a", "b"]
        forbidden += ["a", "c"]
        assert client.reauthorise().result(PATIENCE) == ["c", "a"]
        assert [speaker.wait_for("left")["channel"] for _ in range(2)] == ["c", "a"]
        assert speaker.wait_for("joined")["channel"] == "Home"
        assert speaker.refused("publish", channel="a", event="e", data=1) == "not-a-member"
        assert "published" in speaker.do("publish", channel="b", event="e", data=1)
        speaker.say("bye")
        assert speaker.wire.closed().code == 1000
        server.turn()
        assert client.reauthorise().result(PATIENCE) == []


def test_reauthorise_moves_classic_clients_home() -> None:
    application = Application(Sono(open_channels=True))
    forbidden: list[str] = []
    application.sono.on_join(lambda client, channel: channel not in forbidden)
    peer = application.connect()
    peer.send(move("a"))
    client = peer.client
    assert client is not None
    client.join("b")
    forbidden += ["a", "b"]
    lost = client.reauthorise()
    application.settle()
    assert lost.result() == ["a", "b"]
    assert application.sono._dispatcher.hub.channels_of(client.id) == ["Home"]
    assert peer.take() == []


def test_a_function_that_fails_then_ends_the_connection(each_server: str) -> None:
    sono = Sono(open_channels=True)
    fails: list[bool] = []
    sono.on_join(lambda client, channel: not fails or 1 / 0)
    with running(sono.connect) as server, Speaker(server.address, {}) as speaker:
        speaker.do("join", channel="a")
        fails.append(True)
        lost = sono.clients[speaker.id].reauthorise()
        with pytest.raises(ZeroDivisionError):
            lost.result(PATIENCE)
        assert speaker.wire.closed().code == 1011


def test_join_and_leave_by_the_application(each_server: str) -> None:
    sono = Sono()
    sono.channel("news")
    with (
        running(sono.connect) as server,
        Speaker(server.address, {}) as speaker,
        Wire(server.address, "/ws"),
    ):
        server.turn()
        client = sono.clients[speaker.id]
        (classic,) = (each for id, each in sono.clients.items() if id != speaker.id)
        for each in (client, classic):
            each.join("news")
            each.join("news")
        assert speaker.wait_for("joined")["channel"] == "news"
        assert set(server.call(lambda: sono.channel("news").members)) == {client, classic}
        for each in (client, classic):
            each.leave("news")
            each.leave("nowhere")
            each.leave("Home")
        assert speaker.wait_for("left")["channel"] == "news"
        assert server.call(lambda: sono.channel("news").members) == []
        assert set(server.call(lambda: sono.channel("Home").members)) == {client, classic}
        assert "published" in speaker.do("publish", channel="Home", event="e", data=1)
        assert speaker.wait_for("event")["data"] == 1
        with pytest.raises(ValueError, match="1 to 128 characters"):
            client.join("")
        assert server.call(lambda: refusal(client, "other")) == "there is no channel other"
        speaker.say("bye")
        assert speaker.wire.closed().code == 1000
        server.turn()
        client.join("news")
        client.leave("news")
        server.turn()


def refusal(client: Client, channel: str) -> str:
    """Why a client cannot be made a member."""
    with pytest.raises(LocalProtocolError) as caught:
        client.join(channel)
    return str(caught.value)
