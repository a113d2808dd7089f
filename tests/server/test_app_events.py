"""`Sono.on`: functions that see an event, and the fate of packets."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from sono_core import BinaryMessage, Close, LocalProtocolError
from sono_server import Client, HTTPRequest, Sono
from tests.helpers import Application
from tests.server.sono_packets import message, move, payloads
from tests.servers import Wire, running

# -- events -----------------------------------------------------------------------------------


def test_on_runs_before_routing_and_false_stops_it() -> None:
    application = Application()
    seen: list[Any] = []

    @application.sono.on("vote")
    def vote(client: Client, value: Any) -> bool | None:
        seen.append((client.id, value))
        return False if value == "secret" else None

    one, other = application.connect(), application.connect()
    one.send(message("secret", "vote"))
    assert one.take() == other.take() == []
    one.send(message(0, "vote"))
    assert payloads(other) == payloads(one) == [{"message": 0, "from": one.id}]
    one.send(message("unheard", "other"))
    assert seen == [(one.id, "secret"), (one.id, 0)]
    assert len(other.take()) == 1


@pytest.mark.parametrize("result", [None, 0, "", True])
def test_only_false_stops_the_routing(result: object) -> None:
    application = Application()
    application.sono.on("message")(lambda client, value: result)
    peer = application.connect()
    peer.send(message("x"))
    assert len(peer.take()) == 1


def test_on_sees_broadcasts_and_direct_messages_too() -> None:
    application = Application()
    seen: list[Any] = []
    application.sono.on("message")(lambda client, value: seen.append(value))
    one, other = application.connect(), application.connect()
    one.send({"protocol": "broadcast", "payload": {"message": 1}})
    one.send({"protocol": "directmessage", "payload": {"message": 2, "to": other.id}})
    one.send(move("Home"))
    assert seen == [1, 2]
    assert [payload["message"] for payload in payloads(other)] == [1, 2]
    assert one.take() == []


def test_a_handler_that_raises_ends_its_client_alone(caplog: pytest.LogCaptureFixture) -> None:
    application = Application()
    application.sono.on("bad")(lambda client, value: 1 / 0)
    one, other = application.connect(), application.connect()
    one.send(message("x", "bad"))
    assert one.closed == Close(1011, "internal error", True)
    assert "ZeroDivisionError" in caplog.text
    application.assert_serves(other)


@pytest.mark.parametrize("event", ["grab", "error", "", "a\x00b", "x" * 129])
def test_reserved_and_illegal_event_names(event: str) -> None:
    application = Application()
    peer = application.connect()
    sono, client = application.sono, peer.client
    assert client is not None
    for call in (
        lambda: sono.on(event),
        lambda: sono.emit("x", event=event),
        lambda: sono.channel("Home").emit("x", event=event),
        lambda: client.send(event, "x"),
    ):
        with pytest.raises(ValueError):
            call()
    application.settle()
    assert peer.take() == []


@pytest.mark.parametrize(
    ("value", "error"), [(object(), TypeError), ("\ud800", LocalProtocolError)]
)
def test_what_is_no_json_raises_and_nobody_gets_anything(
    value: object, error: type[Exception]
) -> None:
    application = Application()
    peer = application.connect()
    with pytest.raises(error):
        application.sono.emit(value)
    assert peer.client is not None
    with pytest.raises(error):
        peer.client.send("message", value)
    application.settle()
    assert peer.take() == []


def test_bad_packets_are_told_to_their_sender_alone() -> None:
    application = Application()
    one, other = application.connect(), application.connect()
    one.send("null")
    one.send_event(BinaryMessage(b"{}"))
    codes = [payload["code"] for payload in payloads(one)]
    assert codes == ["invalid-packet", "binary-message"]
    assert other.take() == []
    application.assert_serves(one, other)


def test_several_functions_see_an_event_in_order_until_one_stops_it() -> None:
    application = Application()
    seen: list[str] = []
    application.sono.on("chat")(lambda client, message: seen.append("first"))

    @application.sono.on("chat")
    def second(client: Client, message: object) -> bool:
        seen.append("second")
        return False

    application.sono.on("chat")(lambda client, message: seen.append("never"))
    application.sono.on_connect(lambda client: seen.append("one"))
    application.sono.on_connect(lambda client: seen.append("two"))
    peer = application.connect()
    peer.send(message("x", "chat"))
    assert seen == ["one", "two", "first", "second"]
    assert payloads(peer) == []


# -- coroutine functions ----------------------------------------------------------------------


async def later(*arguments: object) -> bool:
    return False


def test_the_selector_server_refuses_coroutine_functions_as_nothing_of_them_would_run() -> None:
    refused: list[Exception] = []

    def handle(request: HTTPRequest) -> None:
        calls: list[Callable[[], object]] = [
            lambda: Sono().connect(request, later),
            lambda: request.accept(later),
            lambda: request.accept(on_close=later),
        ]
        for register in (Sono.on_connect, Sono.on_disconnect, lambda sono, f: sono.on("x")(f)):
            other = Sono()
            register(other, later)
            calls.append(partial(other.connect, request))
        for call in calls:
            try:
                call()
            except TypeError as error:
                refused.append(error)
        request.accept()

    with running(handle) as server, Wire(server.address):
        server.turn()
    assert len(refused) == 6
    assert {"coroutine function" in str(error) for error in refused} == {True}


def test_once_clients_are_connected_a_coroutine_function_is_refused_when_it_is_registered() -> None:
    sono = Sono()
    with running(sono.connect) as server, Wire(server.address):
        server.turn()
        for register in (sono.on("chat"), sono.on_connect, sono.on_disconnect):
            with pytest.raises(TypeError, match="coroutine function"):
                register(later)


def test_run_refuses_coroutine_functions_before_anybody_connects() -> None:
    sono = Sono()
    sono.on("chat")(later)
    with pytest.raises(TypeError, match="coroutine function"):
        sono.run(port=0)


@pytest.mark.usefixtures("each_server")
def test_a_filter_that_would_have_to_be_awaited_and_does_not_look_so_lets_nothing_pass(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sono = Sono()

    async def check(client: Client, message: object) -> bool:
        return False

    sono.on("secret")(lambda client, message: check(client, message))
    packet = '{"protocol":"message","event":"secret","payload":{"message":"x"}}'
    with (
        caplog.at_level(logging.CRITICAL, "sono"),
        running(sono.connect) as server,
        Wire(server.address, "/ws") as sender,
        Wire(server.address, "/ws") as other,
    ):
        sender.send(packet)
        assert sender.closed().code == 1011
        other.send('{"protocol":"grab","payload":{"message":"myid"}}')
        assert "myid" in other.message()  # the first that it gets
