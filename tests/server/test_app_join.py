"""`Sono.on_join`: who may enter which channel; and channels that are not listed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sono_core import Close, Limits
from sono_server import Client, Sono
from tests.helpers import Application, Peer
from tests.server.sono_packets import message, move, packet
from tests.servers import Wire, running


def grab(kind: str) -> dict[str, Any]:
    return {"protocol": "grab", "payload": {"message": kind}}


def channel_of(peer: Peer) -> str:
    assert peer.client is not None
    assert peer.client.channel is not None
    return peer.client.channel.name


def guarded() -> tuple[Application, list[tuple[str, str]]]:
    """An application that keeps guests out of `admins`."""
    application = Application(Sono(open_channels=True))
    asked: list[tuple[str, str]] = []

    @application.sono.on_join
    def guard(client: Client, channel: str) -> bool:
        asked.append((client.id, channel))
        return channel != "admins"

    application.sono.channel("admins")
    return application, asked


def test_false_keeps_a_client_where_it_is() -> None:
    application, asked = guarded()
    guest, other = application.connect(), application.connect()
    guest.send(move("admins"))
    assert guest.take() == [
        {
            "protocol": "error",
            "payload": {"code": "forbidden", "message": "you may not enter admins"},
        }
    ]
    assert channel_of(guest) == "Home"
    application.sono.channel("admins").emit("the launch code")
    application.settle()
    assert guest.take() == other.take() == []
    guest.send(move("news"))
    assert guest.take() == []
    assert channel_of(guest) == "news"
    assert asked == [(guest.id, "admins"), (guest.id, "news")]


def test_it_is_not_asked_about_the_channel_where_the_client_is() -> None:
    application, asked = guarded()
    peer = application.connect()
    peer.send(move("Home"))
    peer.send(move("news"))
    peer.send(move("news"))
    peer.send(message("x"))
    peer.send(grab("channels"))
    assert asked == [(peer.id, "news")]


def test_it_is_asked_before_anybody_learns_whether_the_channel_exists() -> None:
    for names in (["admins"], []):
        application = Application()
        application.sono.on_join(lambda client, channel: False)
        for name in names:
            application.sono.channel(name)
        peer = application.connect()
        peer.send(move("admins"))
        assert peer.take()[0]["payload"]["code"] == "forbidden"


@pytest.mark.parametrize("result", [None, 0, "", True])
def test_only_false_keeps_out(result: object) -> None:
    application = Application()
    application.sono.channel("news")
    application.sono.on_join(lambda client, channel: result)
    peer = application.connect()
    peer.send(move("news"))
    assert (channel_of(peer), peer.take()) == ("news", [])


def test_several_functions_are_asked_in_order_until_one_refuses() -> None:
    application = Application()
    application.sono.channel("news")
    asked: list[int] = []
    for number, result in enumerate([True, False, True]):

        @application.sono.on_join
        def ask(client: Client, channel: str, number: int = number, result: bool = result) -> bool:
            asked.append(number)
            return result

    peer = application.connect()
    peer.send(move("news"))
    assert (channel_of(peer), asked) == ("Home", [0, 1])


def test_an_illegal_name_is_not_asked_about() -> None:
    application, asked = guarded()
    peer = application.connect()
    peer.send(move("x" * (Limits().max_name + 1)))
    assert peer.take()[0]["payload"]["code"] == "invalid-packet"
    assert asked == []


def test_one_that_raises_lets_nobody_in(caplog: pytest.LogCaptureFixture) -> None:
    application = Application()
    application.sono.channel("news")
    application.sono.on_join(lambda client, channel: 1 / 0)
    peer, other = application.connect(), application.connect()
    peer.send(move("news"))
    assert peer.closed == Close(1011, "internal error", True)
    assert "ZeroDivisionError" in caplog.text
    assert application.sono.channel("news").members == []
    application.assert_serves(other)


def test_what_cannot_be_called_raises_at_once() -> None:
    nothing: Any = None
    with pytest.raises(TypeError, match="callable"):
        Sono().on_join(nothing)


def test_the_decorator_gives_the_function_back() -> None:
    def guard(client: Client, channel: str) -> bool:
        return True

    assert Sono().on_join(guard) is guard


def test_it_may_be_a_coroutine_function_on_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.servers.kind", "asyncio")
    sono = Sono()
    sono.channel("admins")
    sono.channel("news")

    @sono.on_join
    async def guard(client: Client, channel: str) -> bool:
        await asyncio.sleep(0)
        return channel != "admins"

    with running(sono.connect) as server, Wire(server.address, "/ws") as wire:
        wire.send('{"protocol":"changeChannel","payload":{"to":"admins"}}')
        assert packet(wire)["payload"]["code"] == "forbidden"
        wire.send('{"protocol":"changeChannel","payload":{"to":"news"}}')
        wire.send('{"protocol":"grab","payload":{"message":"mychannel"}}')
        assert packet(wire)["payload"]["message"] == ["news"]


def test_a_coroutine_function_needs_a_server_that_awaits_it() -> None:
    sono = Sono()

    async def guard(client: Client, channel: str) -> bool:
        return True

    with running(sono.connect) as server, Wire(server.address, "/ws"):
        server.turn()
        with pytest.raises(TypeError, match="coroutine function"):
            sono.on_join(guard)


# -- channels that are not listed -------------------------------------------------------------


def test_a_channel_may_be_kept_out_of_what_clients_are_told() -> None:
    application = Application()
    sono = application.sono
    sono.channel("admins", listed=False)
    sono.channel("news")
    peer = application.connect()
    peer.send(grab("channels"))
    assert peer.take()[0]["payload"]["message"] == ["Home", "news"]
    assert list(sono.channels) == ["Home", "admins", "news"]
    peer.send(move("admins"))
    sono.channel("admins").emit("hello")
    application.settle()
    assert peer.take()[0]["payload"]["message"] == "hello"
    peer.send(grab("channels"))
    assert peer.take()[0]["payload"]["message"] == ["Home", "news"]


def test_so_may_one_that_another_thread_creates() -> None:
    sono = Sono()
    grab_channels = '{"protocol":"grab","payload":{"message":"channels"}}'
    with running(sono.connect) as server, Wire(server.address, "/ws") as wire:
        sono.channel("admins", listed=False)
        server.turn()
        wire.send(grab_channels)
        assert packet(wire)["payload"]["message"] == ["Home"]
    sono.channel("later", listed=False)  # the loop has ended
    assert list(sono.channels) == ["Home", "admins", "later"]
    assert list(sono._dispatcher.hub.channels_listed) == ["Home"]


def test_a_channels_name_is_a_str() -> None:
    name: Any = 7
    with pytest.raises(TypeError, match="channel must be of type str"):
        Sono().channel(name)
    with pytest.raises(ValueError, match="lone surrogates"):
        Sono().channel("\ud800")
