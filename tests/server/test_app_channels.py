"""`Sono`: channels, their members, and who may open them."""

from __future__ import annotations

import threading

import pytest

from sono_core import Limits
from sono_server import Channel, Sono
from tests.helpers import Application, FakeLoop
from tests.server.sono_packets import move, payloads
from tests.servers import PATIENCE


def test_channels_are_created_once_and_keep_their_members() -> None:
    application = Application()
    sono = application.sono
    assert list(sono.channels) == ["Home"]
    sono.channel("news")
    peer = application.connect()
    peer.send(move("news"))
    assert [member.id for member in sono.channel("news").members] == [peer.id]
    assert sono.channel("Home").members == []
    assert {name: channel.name for name, channel in sono.channels.items()} == {
        "Home": "Home",
        "news": "news",
    }
    assert peer.client is not None
    assert isinstance(peer.client.channel, Channel)
    assert peer.client.channel.name == "news"


def test_channel_emit_reaches_its_members() -> None:
    application = Application()
    news = application.sono.channel("news")
    member, other = application.connect(), application.connect()
    member.send(move("news"))
    news.emit("one")
    news.emit({"two": 2}, event="extra")
    application.settle()
    assert [(packet["protocol"], packet["payload"]) for packet in member.take()] == [
        ("message", {"message": "one"}),
        ("extra", {"message": {"two": 2}}),
    ]
    assert other.take() == []


def test_emit_reaches_everybody_in_whatever_channel() -> None:
    application = Application()
    application.sono.channel("news")
    one, other = application.connect(), application.connect()
    other.send(move("news"))
    application.sono.emit(["to all"], event="extra")
    application.settle()
    assert payloads(one) == payloads(other) == [{"message": ["to all"]}]


def test_what_is_said_before_anybody_has_connected_keeps_the_first_client_waiting() -> None:
    """It may be said in another thread than the server's, and is done there."""
    sono = Sono()
    dispatcher = sono._dispatcher
    saying, served = threading.Event(), threading.Event()

    def come() -> None:
        assert saying.wait(PATIENCE)
        dispatcher.serve_on(FakeLoop())  # type: ignore[arg-type]
        served.set()

    coming = threading.Thread(target=come)
    coming.start()

    def say() -> None:
        saying.set()
        assert not served.wait(0.05)  # which is never too short
        sono.emit("x")

    assert dispatcher.soon(say)
    coming.join(PATIENCE)
    assert served.is_set()
    with pytest.raises(ValueError):
        sono.emit("x", event="grab")


def test_a_channel_that_is_gone_has_no_members_and_reaches_nobody() -> None:
    application = Application(Sono(open_channels=True))
    peer = application.connect()
    peer.send(move("mine"))
    mine = application.sono.channels["mine"]
    assert [member.id for member in mine.members] == [peer.id]
    peer.send(move("Home"))
    assert "mine" not in application.sono.channels
    assert mine.members == []
    mine.emit("nobody hears this")
    application.settle()
    assert peer.take() == []


def test_members_that_leave_meanwhile_are_left_out() -> None:
    """As another thread may see it."""
    application = Application()
    peer, gone = application.connect(), application.connect()
    del application.sono._dispatcher.clients[gone.id]
    assert application.sono.channel("Home").members == [peer.client]
    application.sono._dispatcher.clients[gone.id] = gone.client  # type: ignore[assignment]


def test_home_and_open_channels() -> None:
    application = Application(Sono(home="Lobby", open_channels=True))
    peer = application.connect()
    assert peer.client is not None
    assert peer.client.channel is not None
    assert peer.client.channel.name == "Lobby"
    peer.send(move("new"))
    assert peer.client.channel.name == "new"
    closed = Application().connect()
    closed.send(move("new"))
    assert [packet["protocol"] for packet in closed.take()] == ["error"]


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 129])
def test_illegal_channel_names(name: str) -> None:
    with pytest.raises(ValueError):
        Sono(home=name)
    with pytest.raises(ValueError):
        Sono().channel(name)


def test_too_many_channels() -> None:
    sono = Sono(limits=Limits(max_channels=2))
    sono.channel("second")
    with pytest.raises(ValueError, match="too many"):
        sono.channel("third")
