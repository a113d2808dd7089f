"""Clients of `sono.v2` that have lost their connections: what a server keeps of them, and what can
be done with them."""

from __future__ import annotations

import gc
import queue
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from sono_core import Headers, Limits, Timeouts
from sono_server import Client, Promise, Sono
from tests.lossless_wire import Speaker
from tests.memory import traced
from tests.server.selector_helpers import until
from tests.servers import PATIENCE, Running, running

pytestmark = pytest.mark.usefixtures("each_server")

LONG = "/ws?" + "x" * 4000
"""A target that nobody keeps by mistake without being seen."""


class House:
    """A `Sono`, the server that it runs on, and what its clients are told."""

    def __init__(self, sono: Sono, server: Running) -> None:
        self.sono = sono
        self.server = server

    def suspend(self, number: int) -> None:
        """So many clients come, say something and lose their connections."""
        sessions = self.sono._dispatcher.lossless.node.sessions
        there = sessions.suspended + number
        for _ in range(number):
            speaker = Speaker(self.server.address, {}, target=LONG)
            speaker.say("publish", channel="Home", event="said", data=None)  # without a number
            speaker.lose()
        until(lambda: self.server.call(lambda: sessions.suspended == there))
        self.settle()

    def settle(self) -> None:
        """The application has done what it does when a client is suspended."""
        for _ in range(4):
            self.server.turn()
        gc.collect()


@contextmanager
def served(sono: Sono | None = None) -> Iterator[House]:
    sono = sono or Sono(limits=Limits(max_suspended_of_address=10_000))
    with running(sono.connect) as server:
        yield House(sono, server)


@pytest.mark.slow
def test_a_session_without_a_connection_takes_at_most_2_kib_of_a_server() -> None:
    """What a server keeps whether they are few or many is in both measurements."""
    few, many = 100, 400
    with ExitStack() as houses:

        def prepare() -> House:
            house = houses.enter_context(served())
            house.suspend(20)
            return house

        of_few = traced(lambda house: house.suspend(few), prepare).kept
        of_many = traced(lambda house: house.suspend(many), prepare).kept
    assert (of_many - of_few) / (many - few) <= 2048


def test_nothing_of_a_lost_connection_waits_for_the_garbage_collector() -> None:
    names = ("Line", "WebSocket", "HTTPRequest", "Conversation", "RateLimiter")

    def there() -> int:
        return sum(type(each).__name__ in names for each in gc.get_objects())

    with served() as house:
        house.suspend(1)
        before = there()
        gc.disable()
        try:
            for _ in range(20):
                speaker = Speaker(house.server.address, {}, target=LONG)
                speaker.do("join", channel="Home")
                speaker.lose()
            sessions = house.sono._dispatcher.lossless.node.sessions
            until(lambda: house.server.call(lambda: sessions.suspended == 21))
            for _ in range(4):
                house.server.turn()
            assert house.server.call(there) <= before
        finally:
            gc.enable()


class Told:
    """What the application was told, with what it found in the request that opened the
    connection."""

    def __init__(self, sono: Sono) -> None:
        self._told: queue.Queue[tuple[str, str, str | None]] = queue.Queue()
        sono.on_connect(lambda client: self._note("connect", client))
        sono.on_suspend(lambda client: self._note("suspend", client))
        sono.on_resume(lambda client: self._note("resume", client))
        sono.on_disconnect(lambda client, close: self._note(f"gone {close.code}", client))

    def _note(self, word: str, client: Client) -> None:
        request = client.http_request
        self._told.put((word, request.target, request.headers.get("sec-websocket-version")))

    def next(self) -> tuple[str, str, str | None]:
        return self._told.get(timeout=PATIENCE)


def test_the_request_is_there_until_on_suspend_has_returned() -> None:
    sono = Sono()
    told = Told(sono)
    with served(sono) as house:
        first = Speaker(house.server.address, {}, target="/ws?a=1")
        assert told.next() == ("connect", "/ws?a=1", "13")
        (client,) = sono.clients.values()
        first.lose()
        assert told.next() == ("suspend", "/ws?a=1", "13")
        house.settle()
        assert client.http_request.path == client.http_request.target == "/ws"
        assert client.http_request.headers == Headers()
        second = Speaker(house.server.address, {"key": first.welcome["key"]}, target="/ws?a=2")
        assert told.next() == ("resume", "/ws?a=2", "13")
        assert client.http_request.target == "/ws?a=2"
        second.lose()
        assert told.next() == ("suspend", "/ws?a=2", "13")
        house.settle()
        client.close()
        assert told.next() == ("gone 1000", "/ws", None)


def test_a_client_that_ends_its_session_has_its_request() -> None:
    sono = Sono()
    told = Told(sono)
    with served(sono) as house, Speaker(house.server.address, {}, target="/ws?a=1") as speaker:
        assert told.next() == ("connect", "/ws?a=1", "13")
        speaker.say("bye")
        assert told.next() == ("gone 1000", "/ws?a=1", "13")


def test_the_request_is_there_while_on_suspend_has_not_decided() -> None:
    sono = Sono()
    promise: Promise[None] = Promise()
    asked: queue.Queue[Client] = queue.Queue()

    @sono.on_suspend
    def suspended(client: Client) -> Promise[None]:
        asked.put(client)
        return promise

    with served(sono) as house:
        first = Speaker(house.server.address, {}, target="/ws?a=1")
        first.lose()
        client = asked.get(timeout=PATIENCE)
        house.settle()
        assert client.http_request.target == "/ws?a=1"
        with Speaker(house.server.address, {"key": first.welcome["key"]}, target="/ws?a=2"):
            promise.complete(None)
            house.settle()
            assert client.http_request.target == "/ws?a=2"


def test_on_join_finds_the_new_request_when_a_client_comes_back() -> None:
    sono = Sono(open_channels=True)
    targets: list[str] = []
    decide: list[Promise[bool]] = []

    @sono.on_join
    def may_enter(client: Client, channel: str) -> Promise[bool] | bool:
        targets.append(client.http_request.target)
        return decide[-1] if decide else True

    with served(sono) as house:
        first = Speaker(house.server.address, {}, target="/ws?a=1")
        first.do("join", channel="room")
        (client,) = sono.clients.values()
        first.lose()
        until(lambda: house.server.call(lambda: client.http_request.target == "/ws"))
        decide.append(Promise())
        second = Speaker(house.server.address, None, target="/ws?a=2")
        second.say("hello", key=first.welcome["key"])
        until(lambda: targets == ["/ws?a=1", "/ws?a=2"])
        second.lose()  # it is held no longer than the connection
        until(lambda: house.server.call(lambda: client.http_request.target == "/ws"))
        decide.pop().complete(True)
        third = Speaker(house.server.address, {"key": first.welcome["key"]}, target="/ws?a=3")
        assert third.welcome["resumed"]
        assert targets == ["/ws?a=1", "/ws?a=2", "/ws?a=3"]
        third.wire.close()


@contextmanager
def suspended_client(sono: Sono) -> Iterator[tuple[House, Speaker, Client]]:
    """One that has lost its connection some time ago."""
    with served(sono) as house:
        speaker = Speaker(house.server.address, {})
        (client,) = sono.clients.values()
        speaker.lose()
        sessions = sono._dispatcher.lossless.node.sessions
        until(lambda: house.server.call(lambda: sessions.suspended == 1))
        house.settle()
        yield house, speaker, client


def test_a_suspended_client_can_be_told_and_asked() -> None:
    sono = Sono()
    with suspended_client(sono) as (house, lost, client):
        assert client.send("private", 1)
        reply = client.request("sure?", None)
        published = sono.channel("Home").publish("said", 2)
        assert published.result(PATIENCE).offset == 1
        with lost.resume(house.server.address, streams=streams_of(lost)) as speaker:
            assert speaker.wait_for("event", event="private")["data"] == 1
            asked = speaker.wait_for("request", name="sure?")
            speaker.do("reply", re=asked["id"], data="yes")
            assert speaker.wait_for("event", event="said")["data"] == 2
        assert reply.result(PATIENCE) == "yes"


def test_a_suspended_client_can_be_put_into_channels_and_out_of_them() -> None:
    sono = Sono()
    left: queue.Queue[str] = queue.Queue()
    sono.on_leave(lambda client, channel: left.put(channel))
    sono.on_join(lambda client, channel: channel != "c")
    for name in "abc":
        sono.channel(name)
    with suspended_client(sono) as (house, lost, client):
        for name in "abc":
            client.join(name)
        client.leave("b")
        assert left.get(timeout=PATIENCE) == "b"
        assert client.reauthorise().result(PATIENCE) == ["c"]
        assert left.get(timeout=PATIENCE) == "c"
        with lost.resume(house.server.address, streams=streams_of(lost)) as speaker:
            begun = {begun["stream"] for begun in speaker.welcome["streams"]}
            assert begun == {"@", "*", "#Home", "#a"}


def test_a_suspended_client_can_be_ended() -> None:
    sono = Sono()
    gone: queue.Queue[int] = queue.Queue()
    sono.on_disconnect(lambda client, close: gone.put(close.code))
    with suspended_client(sono) as (house, lost, client):
        assert client.close(4100, "enough")
        assert gone.get(timeout=PATIENCE) == 4100
        assert not client.close()
        assert not client.send("private", 1)
        assert sono.clients == {}
        with lost.resume(house.server.address) as speaker:
            assert not speaker.welcome["resumed"]


def test_what_was_accepted_is_done_although_the_connection_is_lost() -> None:
    """Its rates and its turn are those of nobody then."""
    sono = Sono(limits=Limits(max_turn_deliveries=1, delivery_rate=1))
    first: Promise[None] = Promise()
    waiting = [first]
    sono.on("said")(lambda client, message: waiting.pop() if waiting else None)
    with (
        served(sono) as house,
        Speaker(house.server.address, {}) as member,
        Speaker(house.server.address, {}) as other,
    ):
        speaker = Speaker(house.server.address, {})
        for number in range(10):
            speaker.number("publish", channel="Home", event="said", data=number)
        speaker.beat()
        speaker.lose()
        sessions = sono._dispatcher.lossless.node.sessions
        until(lambda: house.server.call(lambda: sessions.suspended == 1))
        first.complete(None)
        for each in (member, other):
            got = [each.wait_for("event", event="said")["data"] for _ in range(10)]
            assert got == list(range(10))


def test_a_connect_callback_is_not_kept() -> None:
    sono = Sono()
    called: queue.Queue[Client] = queue.Queue()
    with (
        running(lambda request: sono.connect(request, called.put)) as server,
        Speaker(server.address, {}),
    ):
        client = called.get(timeout=PATIENCE)
        assert server.call(lambda: client._callback) is None


def test_beats_forget_connections_that_are_gone() -> None:
    sono = Sono(timeouts=Timeouts(beat=60.0), limits=Limits(max_suspended_of_address=1000))
    with served(sono) as house:
        house.suspend(60)
        assert len(sono._dispatcher.lossless._beats._due) < 30


def streams_of(speaker: Speaker) -> dict[str, object]:
    """Where a client is, so that it gets what follows."""
    return {begun["stream"]: begun["at"] for begun in speaker.welcome["streams"]}
