"""Functions by patterns of channels: `on_join`, `on_publish` and `on_leave`, in both dialects."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import Any

import pytest

from sono_core import Close
from sono_server import Client, Promise, RequestFailed, Sono
from sono_server.app.patterns import ALL, ByPattern
from tests.helpers import Application, Peer
from tests.lossless_wire import Speaker
from tests.server.sono_packets import message, move, packet
from tests.servers import PATIENCE, Wire, running


def channel_of(peer: Peer) -> str:
    assert peer.client is not None
    assert peer.client.channel is not None
    return peer.client.channel.name


def code_of(peer: Peer) -> str:
    (told,) = peer.take()
    assert told["protocol"] == "error"
    code: str = told["payload"]["code"]
    return code


def test_the_patterns_are_those_of_histories() -> None:
    functions = ByPattern()
    for pattern in (ALL, "room:*", "room:?", "[ab]*", "room:7"):
        functions.add(pattern, lambda: None)
    every, rooms, short, letters, seven = (function for _, function in functions.functions)
    assert functions.of("room:7") == [every, rooms, short, seven]
    assert functions.of("room:77") == [every, rooms]
    assert functions.of("Room:7") == [every]
    assert functions.of("a\nb") == [every, letters]
    assert functions.named("room:7")
    assert not functions.named("Home")
    assert not ByPattern().named("Home")


@pytest.mark.parametrize("word", ["on_join", "on_leave", "on_publish"])
def test_the_decorators_give_the_function_back_and_refuse_what_is_none(word: str) -> None:
    def function(*arguments: object) -> None:
        pass

    sono = Sono()
    register = getattr(sono, word)
    assert register(function) is function
    assert register()(function) is function
    assert register("room:*")(function) is function
    for wrong in (None, 7, b"room:*"):
        with pytest.raises(TypeError, match="function must be callable"):
            register(wrong)
    with pytest.raises(TypeError, match="function must be callable"):
        register("room:*")(None)
    assert len(getattr(sono._dispatcher, word).functions) == 3


# -- on_join --------------------------------------------------------------------------------------


def rooms() -> tuple[Application, list[tuple[str, str]]]:
    """Clients may enter rooms, but for room:0; two functions are asked about room:1*."""
    application = Application()
    asked: list[tuple[str, str]] = []

    @application.sono.on_join("room:*")
    def may_enter(client: Client, channel: str) -> bool:
        asked.append(("room", channel))
        return channel != "room:0"

    @application.sono.on_join("room:1*")
    def may_enter_too(client: Client, channel: str) -> bool:
        asked.append(("room:1", channel))
        return channel == "room:1"

    application.sono.channel("news")
    return application, asked


def test_who_may_enter_a_channel_of_a_pattern_creates_it() -> None:
    application, asked = rooms()
    peer = application.connect()
    peer.send(move("room:7"))
    assert (channel_of(peer), peer.take()) == ("room:7", [])
    peer.send(move("room:0"))
    assert (channel_of(peer), code_of(peer)) == ("room:7", "forbidden")
    assert asked == [("room", "room:7"), ("room", "room:0")]
    assert "room:0" not in application.sono.channels


def test_all_functions_of_the_patterns_that_match_must_agree() -> None:
    application, asked = rooms()
    peer = application.connect()
    peer.send(move("room:12"))
    assert (channel_of(peer), code_of(peer)) == ("Home", "forbidden")
    peer.send(move("room:1"))
    assert (channel_of(peer), peer.take()) == ("room:1", [])
    assert asked == [
        ("room", "room:12"),
        ("room:1", "room:12"),
        ("room", "room:1"),
        ("room:1", "room:1"),
    ]


@pytest.mark.parametrize("open_channels", [False, True])
def test_names_that_no_pattern_matches_follow_open_channels(open_channels: bool) -> None:
    application = Application(Sono(open_channels=open_channels))
    application.sono.channel("news")
    application.sono.on_join("room:*")(lambda client, channel: False)
    peer = application.connect()
    peer.send(move("news"))
    assert (channel_of(peer), peer.take()) == ("news", [])
    peer.send(move("other"))
    assert channel_of(peer) == ("other" if open_channels else "news")
    if not open_channels:
        assert code_of(peer) == "unknown-channel"


@pytest.mark.parametrize("bare", [False, True])
def test_a_function_for_all_channels_opens_none(bare: bool) -> None:
    application = Application()
    register: Any = application.sono.on_join if bare else application.sono.on_join()
    register(lambda client, channel: True)
    peer = application.connect()
    peer.send(move("other"))
    assert (channel_of(peer), code_of(peer)) == ("Home", "unknown-channel")


def test_it_may_say_why_it_refuses() -> None:
    application = Application()

    @application.sono.on_join("room:*")
    def refuse(client: Client, channel: str) -> bool:
        raise RequestFailed("full", "nobody else fits in", True)

    peer = application.connect()
    peer.send(move("room:1"))
    assert peer.take()[0]["payload"] == {"code": "full", "message": "nobody else fits in"}
    assert peer.closed is None


def guarded(sono: Sono, asked: list[str]) -> Sono:
    """Rooms may be entered until their names are in `asked` with a minus."""

    @sono.on_join("room:*")
    def may_enter(client: Client, channel: str) -> bool:
        asked.append(channel)
        return f"-{channel}" not in asked

    return sono


def test_a_client_of_v2_joins_and_moves_as_the_patterns_say(each_server: str) -> None:
    asked = ["-room:0"]
    sono = guarded(Sono(), asked)
    with running(sono.connect) as server, Speaker(server.address, {}) as speaker:
        assert speaker.do("join", channel="room:1")["data"]["stream"] == "#room:1"
        assert speaker.refused("join", channel="room:0") == "forbidden"
        assert speaker.refused("move", channel="room:0") == "forbidden"
        assert speaker.refused("join", channel="other") == "unknown-channel"
        assert "data" in speaker.do("move", channel="room:2")
    assert asked == ["-room:0", "room:1", "room:0", "room:0", "room:2"]


def test_it_is_asked_again_at_each_resume(each_server: str) -> None:
    asked: list[str] = []
    sono = guarded(Sono(), asked)
    with running(sono.connect) as server:
        with Speaker(server.address, {}) as first:
            first.do("join", channel="room:1")
            first.do("join", channel="room:2")
            asked.append("-room:1")
            first.lose()
        with first.resume(server.address) as second:
            assert second.welcome["resumed"]
            assert [denied["channel"] for denied in second.welcome["denied"]] == ["room:1"]
            assert second.welcome["denied"][0]["error"]["code"] == "forbidden"
            assert second.refused("publish", channel="room:1", event="e", data=1) == "not-a-member"
            assert "published" in second.do("publish", channel="room:2", event="e", data=1)
    assert asked == ["room:1", "room:2", "-room:1", "room:1", "room:2"]


def test_listings_show_only_what_the_asker_may_join(each_server: str) -> None:
    sono = Sono()
    for name in ("room:1", "room:2", "news"):
        sono.channel(name)
    sono.on_join("room:*")(lambda client, channel: channel == "room:2")
    with running(sono.connect) as server, Speaker(server.address, {}) as speaker:
        listed = speaker.do("request", name="sono.channels", data=None)["data"]
        assert listed == {"channels": ["Home", "room:2", "news"]}


def test_classic_listings_leave_out_what_a_written_pattern_forbids() -> None:
    application = Application()
    sono = application.sono
    for name in ("room:1", "room:2", "room:3", "admins"):
        sono.channel(name)

    @sono.on_join("room:*")
    def may_enter(client: Client, channel: str) -> bool:
        if channel == "room:3":
            raise RequestFailed("full", "nobody else fits in")
        return (client.data, channel) != ("guest", "room:1")

    asked: list[str] = []
    sono.on_join(lambda client, channel: asked.append(channel) or channel != "admins")
    guest, other = application.connect(), application.connect()
    assert guest.client is not None
    guest.client.data = "guest"
    grab = {"protocol": "grab", "payload": {"message": "channels"}}
    for _ in range(2):
        for peer, names in (
            (guest, ["Home", "room:2", "admins"]),
            (other, ["Home", "room:1", "room:2", "admins"]),
        ):
            peer.send(grab)
            assert peer.take()[0]["payload"]["message"] == names
    assert "admins" not in asked  # where only a function for all channels refuses, it is listed


def test_a_coroutine_function_decides_later_on_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.servers.kind", "asyncio")
    sono = Sono()

    @sono.on_join("room:*")
    async def may_enter(client: Client, channel: str) -> bool:
        await asyncio.sleep(0)
        return channel != "room:0"

    with (
        running(sono.connect) as server,
        Speaker(server.address, {}) as speaker,
        Wire(server.address, "/ws") as wire,
    ):
        assert "data" in speaker.do("join", channel="room:1")
        assert speaker.refused("join", channel="room:0") == "forbidden"
        wire.send('{"protocol":"changeChannel","payload":{"to":"room:0"}}')
        assert packet(wire)["payload"]["code"] == "forbidden"


class Later:
    """An `on_join` that decides when it is told to."""

    def __init__(self, sono: Sono) -> None:
        self.asked: queue.Queue[Promise[bool]] = queue.Queue()
        sono.on_join("room:*")(self.may_enter)

    def may_enter(self, client: Client, channel: str) -> Promise[bool]:
        promise: Promise[bool] = Promise()
        self.asked.put(promise)
        return promise

    def next(self) -> Promise[bool]:
        return self.asked.get(timeout=PATIENCE)


def test_a_promise_decides_later_and_what_follows_waits(each_server: str) -> None:
    sono = Sono()
    later = Later(sono)
    heard: list[object] = []
    sono.on("e")(lambda client, message: heard.append(message))
    with (
        running(sono.connect) as server,
        Speaker(server.address, {}) as speaker,
        Speaker(server.address, {}) as other,
    ):
        join = speaker.number("join", channel="room:1")
        say = speaker.number("publish", channel="room:1", event="e", data=1)
        promise = later.next()
        assert "published" in other.do("publish", channel="Home", event="e", data=2)
        assert speaker.has("result") == []
        assert heard == [2]
        promise.complete(True)
        assert "data" in speaker.wait_for("result", re=join)
        assert "published" in speaker.wait_for("result", re=say)
        refused = speaker.number("join", channel="room:2")
        later.next().complete(False)
        assert speaker.wait_for("result", re=refused)["error"]["code"] == "forbidden"
        failed = speaker.number("join", channel="room:3")
        later.next().fail(RequestFailed("full", "no room", True))
        assert speaker.wait_for("result", re=failed)["error"]["code"] == "full"
    assert heard == [2, 1]


def test_a_promise_holds_a_classic_client_too(each_server: str) -> None:
    sono = Sono()
    later = Later(sono)
    gone = threading.Event()
    sono.on_disconnect(lambda client, close: gone.set())
    with running(sono.connect) as server:
        with Wire(server.address, "/ws") as wire:
            where = '{"protocol":"grab","payload":{"message":"mychannel"}}'
            for name, decided in (("room:1", True), ("room:2", False)):
                wire.send(f'{{"protocol":"changeChannel","payload":{{"to":"{name}"}}}}', where)
                promise = later.next()
                server.turn()
                assert server.call(lambda: [c.channel.name for c in sono.clients.values()])  # type: ignore[union-attr]
                promise.complete(decided)
                if not decided:
                    assert packet(wire)["payload"]["code"] == "forbidden"
                assert packet(wire)["payload"]["message"] == ["room:1"]
            wire.send('{"protocol":"changeChannel","payload":{"to":"room:3"}}')
            promise = later.next()
            wire.reset()
        assert not gone.is_set()  # it comes after what is being decided
        promise.complete(True)
        assert gone.wait(PATIENCE)
        assert server.call(lambda: dict(sono.clients)) == {}


def test_what_a_promise_brings_about_may_fail() -> None:
    sono = Sono()
    later = Later(sono)
    with running(sono.connect) as server, Wire(server.address, "/ws") as wire:
        wire.send('{"protocol":"changeChannel","payload":{"to":"room:1"}}')
        later.next().fail(ZeroDivisionError())
        assert wire.closed() == Close(1011, "internal error")


def test_promises_that_are_done_make_nobody_wait(each_server: str) -> None:
    sono = Sono()

    @sono.on_join("room:*")
    def may_enter(client: Client, channel: str) -> Promise[bool]:
        promise: Promise[bool] = Promise()
        promise.complete(channel != "room:0")
        return promise

    with running(sono.connect) as server, Wire(server.address, "/ws") as wire:
        wire.send('{"protocol":"changeChannel","payload":{"to":"room:0"}}')
        assert packet(wire)["payload"]["code"] == "forbidden"
        wire.send('{"protocol":"changeChannel","payload":{"to":"room:1"}}')
        wire.send('{"protocol":"grab","payload":{"message":"mychannel"}}')
        assert packet(wire)["payload"]["message"] == ["room:1"]


# -- on_publish -----------------------------------------------------------------------------------


def test_on_publish_lets_through_or_forbids_in_the_classic_dialect() -> None:
    application = Application()
    sono = application.sono
    asked: list[object] = []
    heard: list[object] = []

    @sono.on_publish("Ho*")
    def may_say(client: Client, channel: str, event: str, said: object) -> bool:
        asked.append((client.id, channel, event, said))
        return said != "no"

    sono.on("e")(lambda client, said: heard.append(said))
    one, other = application.connect(), application.connect()
    one.send(message("yes", "e"))
    assert other.take()[0]["payload"] == {"message": "yes", "from": one.id}
    one.take()
    one.send(message("no", "e"))
    told = one.take()[0]["payload"]
    assert told == {"code": "forbidden", "message": "you may not publish in Home"}
    one.send({"protocol": "broadcast", "event": "e", "payload": {"message": "no"}})
    assert code_of(one) == "forbidden"
    assert other.take() == []
    one.send({"protocol": "directmessage", "payload": {"message": "no", "to": other.id}})
    assert other.take()[0]["payload"]["message"] == "no"
    sono.emit("no", "e")
    application.settle()
    assert other.take()[0]["message"] == "no"
    assert asked == [(one.id, "Home", "e", said) for said in ("yes", "no", "no")]
    assert heard == ["yes"]


def test_on_publish_in_v2(each_server: str) -> None:
    sono = Sono()
    asked: list[object] = []

    @sono.on_publish("room:*")
    def may_say(client: Client, channel: str, event: str, said: object) -> bool:
        asked.append((channel, event, said))
        if said == "why":
            raise RequestFailed("muted", "you are muted", True)
        return said != "no"

    sono.on_publish(lambda client, channel, event, said: said != "never")
    sono.on_join("room:*")(lambda client, channel: True)
    sono.on("e")(lambda client, said: asked.append(said))
    with running(sono.connect) as server, Speaker(server.address, {}) as speaker:
        assert speaker.refused("publish", channel="room:1", event="e", data=0) == "not-a-member"
        assert asked == []
        speaker.do("join", channel="room:1")
        assert "published" in speaker.do("publish", channel="room:1", event="e", data="yes")
        assert speaker.refused("publish", channel="room:1", event="e", data="no") == "forbidden"
        error = speaker.do("publish", channel="room:1", event="e", data="why")["error"]
        assert error == {"code": "muted", "message": "you are muted", "temporary": True}
        assert speaker.refused("publish", channel="room:1", event="e", data="never") == "forbidden"
        assert "published" in speaker.do("publish", channel="Home", event="e", data="no")
        speaker.say("publish", channel="room:1", event="e", data="no")  # volatile
        assert speaker.wait_for("error")["code"] == "forbidden"
        assert "error" not in speaker.do("send", to=speaker.id, event="e", data="never")
    said = [("room:1", "e", word) for word in ("yes", "no", "why", "never", "no")]
    assert asked == [said[0], "yes", *said[1:4], "no", said[4], "never"]


def test_who_is_moved_while_it_is_decided_says_nothing_in_the_other_channel() -> None:
    application = Application(Sono(open_channels=True))
    later: list[Promise[bool]] = []

    @application.sono.on_publish("room:*")
    def may_say(client: Client, channel: str, event: str, said: object) -> Promise[bool]:
        later.append(Promise())
        return later[-1]

    one, other = application.connect(), application.connect()
    one.send(move("room:1"))
    one.send(message("secret"))
    assert one.client is not None
    one.client.leave("room:1")
    later[0].complete(True)
    application.settle()
    assert code_of(one) == "forbidden"
    assert other.take() == []


# -- on_leave -------------------------------------------------------------------------------------


def test_on_leave_hears_of_each_membership_that_ends_in_the_classic_dialect() -> None:
    application = Application(Sono(open_channels=True))
    told: list[object] = []
    sono = application.sono
    sono.on_leave(lambda client, channel: told.append((client.id, channel)))
    sono.on_leave("room:*")(lambda client, channel: told.append(f"left {channel}"))
    sono.on_disconnect(lambda client, close: told.append("gone"))
    peer = application.connect()
    id = peer.id
    peer.send(move("room:1"))
    application.loop.turn()
    assert told == [(id, "Home")]
    assert peer.client is not None
    peer.client.join("room:2")  # clients may create channels, and so may you for them
    peer.client.leave("room:1")
    application.loop.turn()
    assert told[1:] == [(id, "room:1"), "left room:1"]
    peer.end()
    assert told[3:] == [(id, "Home"), (id, "room:2"), "left room:2", "gone"]
    application.loop.turn()
    assert len(told) == 7


def test_on_leave_in_v2(each_server: str) -> None:
    sono = Sono(open_channels=True)
    told: queue.Queue[str] = queue.Queue()

    @sono.on_leave()
    def left(client: Client, channel: str) -> None:
        told.put(channel)
        if channel == "room:2":
            raise ZeroDivisionError

    sono.on_disconnect(lambda client, close: told.put("gone"))
    sono.on_request("leave")(lambda client, channel: client.leave(channel))
    with running(sono.connect) as server, Speaker(server.address, {}) as speaker:
        for name in ("room:1", "room:2", "room:3"):
            speaker.do("join", channel=name)
        speaker.do("leave", channel="room:1")
        speaker.do("leave", channel="room:1")
        speaker.do("request", name="leave", data="room:2")
        assert speaker.wait_for("left")["channel"] == "room:2"
        speaker.do("move", channel="room:4")
        speaker.say("bye")
        names = [told.get(timeout=PATIENCE) for _ in range(6)]
    assert names[:3] == ["room:1", "room:2", "Home"]
    assert sorted(names[3:5]) == ["room:3", "room:4"]
    assert names[5] == "gone"
    assert told.empty()
