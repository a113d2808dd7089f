"""`Sono`: connecting, and the attributes of a client. Mostly in memory."""

from __future__ import annotations

import inspect
import queue
from collections.abc import Callable
from typing import Any

import pytest

from sono_core import Close
from sono_server import Client, Sono
from tests.helpers import Application
from tests.server.sono_packets import payloads
from tests.servers import PATIENCE, get, running, status

# -- connect ----------------------------------------------------------------------------------


def test_emit_in_the_connect_callback_reaches_the_newcomer() -> None:
    application = Application()
    first = application.connect(lambda: application.sono.emit("new client connected"))
    assert payloads(first) == [{"message": "new client connected"}]
    second = application.connect(lambda: application.sono.emit("another"))
    assert payloads(first) == payloads(second) == [{"message": "another"}]


def test_the_callback_gets_the_client_if_it_takes_an_argument() -> None:
    got: list[Any] = []

    class Callable_:  # noqa: N801 - an object that can be called
        def __call__(self, client: Client) -> None:
            got.append(client)

        def method(self, client: Client) -> None:
            got.append(client)

        def without(self) -> None:
            got.append(None)

    one = Callable_()
    callbacks: list[tuple[Callable[..., object], bool]] = [
        (lambda client: got.append(client), True),
        (lambda *clients: got.append(*clients), True),
        (lambda client=None: got.append(client), True),
        (lambda: got.append(None), False),
        (lambda *, option=1: got.append(None), False),
        (one, True),
        (one.method, True),
        (one.without, False),
        (got.append, True),
    ]
    application = Application()
    for callback, wants in callbacks:
        peer = application.connect(callback)
        assert got.pop() is (peer.client if wants else None)


def test_a_callback_without_a_signature_gets_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_signature(function: object) -> None:
        raise ValueError("no signature found")

    monkeypatch.setattr(inspect, "signature", no_signature)
    got: list[Client] = []
    peer = Application().connect(got.append)
    assert got == [peer.client]


def test_the_callback_runs_when_the_client_is_in_the_home_channel() -> None:
    seen: list[object] = []

    def callback(client: Client) -> None:
        assert client.channel is not None
        seen.extend([client.channel.name, [member.id for member in client.channel.members]])

    peer = Application().connect(callback)
    assert seen == ["Home", [peer.id]]


@pytest.mark.parametrize("callback", [lambda: 1 / 0, lambda client: 1 / 0])
def test_a_callback_that_raises_closes_with_1011_and_is_logged(
    callback: Any, caplog: pytest.LogCaptureFixture
) -> None:
    application = Application()
    left: list[int] = []
    application.sono.on_disconnect(lambda client, close: left.append(close.code))
    other = application.connect()
    peer = application.connect(callback)
    assert peer.closed == Close(1011, "internal error", True)
    assert left == [1011]
    assert list(application.sono.clients) == [other.id]
    assert "the connect callback failed" in caplog.text
    application.assert_serves(other)


def test_on_connect_comes_before_the_callback_and_if_it_raises_in_place_of_it() -> None:
    application = Application()
    order: list[str] = []

    @application.sono.on_connect
    def connected(client: Client) -> None:
        order.append("on_connect")
        if len(order) > 2:
            raise ValueError("no")

    application.connect(lambda: order.append("callback"))
    assert order == ["on_connect", "callback"]
    peer = application.connect(lambda: order.append("callback"))
    assert order == ["on_connect", "callback", "on_connect"]
    assert peer.closed is not None
    assert peer.closed.code == 1011
    assert connected.__name__ == "connected", "the decorator gives the function back"


def test_a_request_that_is_no_upgrade_becomes_no_client() -> None:
    sono = Sono()
    results: queue.Queue[Client | None] = queue.Queue()
    with running(lambda request: results.put(sono.connect(request))) as server:
        assert status(get(server.address)) == 426
        assert results.get(timeout=PATIENCE) is None
        assert sono.clients == {}


def test_a_client_that_closes_itself_in_the_callback_leaves() -> None:
    application = Application()
    peer = application.connect(lambda client: client.close(4000, "full"))
    assert peer.closed == Close(4000, "full", True)
    assert application.sono.clients == {}


# -- clients ----------------------------------------------------------------------------------


def test_what_a_client_has() -> None:
    application = Application()
    peer = application.connect()
    client = peer.client
    assert client is not None
    assert application.sono.clients == {client.id: client}
    assert client.data is None
    client.data = 1
    assert client.http_request.path == "/ws"
    assert repr(client) == f"<Client {client.id}>"
    assert client.channel is not None
    assert (client.channel.name, repr(client.channel)) == ("Home", "<Channel Home>")


def test_ids_are_unique_and_unguessable() -> None:
    application = Application()
    ids = [application.connect().id for _ in range(50)]
    assert len(set(ids)) == 50
    assert all(len(name) == 16 for name in ids)


def test_no_id_looks_like_an_option_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    application = Application()
    drawn = iter(["-" * 16, "-x", "x-"])
    monkeypatch.setattr("secrets.token_urlsafe", lambda size: next(drawn, "more"))
    assert application.connect().id == "x-"


def test_clients_cannot_be_changed_from_outside() -> None:
    with pytest.raises(TypeError):
        Sono().clients["x"] = None  # type: ignore[index]


def test_client_send_reaches_that_client_alone() -> None:
    application = Application()
    one, other = application.connect(), application.connect()
    assert one.client is not None
    assert one.client.send("news", {"a": [1]})
    application.settle()
    (packet,) = one.take()
    assert packet["protocol"] == "news"
    assert packet["payload"] == {"message": {"a": [1]}}
    assert other.take() == []


def test_client_close_and_what_is_left_of_the_client() -> None:
    application = Application()
    peer = application.connect()
    client = peer.client
    assert client is not None
    assert client.close(4001, "out")
    application.settle()
    assert peer.closed == Close(4001, "out", True)
    assert client.channel is None
    assert not client.send("message", "x")
    assert not client.close()
    assert application.sono.clients == {}
    assert application.sono.channel("Home").members == []


def test_on_disconnect_comes_once_when_the_client_has_left() -> None:
    application = Application()
    left: list[Any] = []

    @application.sono.on_disconnect
    def gone(client: Client, close: Close) -> None:
        left.append((client, close, client.channel, dict(application.sono.clients)))
        application.sono.emit("somebody left")

    stays, goes = application.connect(), application.connect()
    goes.send_event(Close(1001, "bye"))
    assert left == [(goes.client, Close(1001, "bye", True), None, {stays.id: stays.client})]
    assert payloads(stays) == [{"message": "somebody left"}]
    goes.end()
    assert len(left) == 1
    stays.end()
    assert left[1][1].code == 1006


def test_an_on_disconnect_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    application = Application()
    application.sono.on_disconnect(lambda client, close: 1 / 0)
    stays, goes = application.connect(), application.connect()
    goes.end()
    assert "ZeroDivisionError" in caplog.text
    application.assert_serves(stays)
