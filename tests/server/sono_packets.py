"""`Sono`: what applications write, mostly in memory; threads and `run` over real sockets."""

from __future__ import annotations

import inspect
import json
import logging
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from sono_core import BinaryMessage, Close, Limits, LocalProtocolError, Reject, TextMessage
from sono_server import Channel, Client, HTTPRequest, Sono, serve
from sono_server.app import sono as app
from sono_server.serving.browser_client import browser_client
from tests.helpers import Application, Peer
from tests.servers import PATIENCE, Running, Wire, get, running, status


def message(text: object, event: str = "message") -> dict[str, Any]:
    """What a client sends to its channel."""
    return {"protocol": "message", "event": event, "payload": {"message": text}}


def move(channel: str) -> dict[str, Any]:
    return {"protocol": "changeChannel", "payload": {"to": channel}}


def payloads(peer: Peer) -> list[Any]:
    """What the packets since the last time carry."""
    return [packet["payload"] for packet in peer.take()]


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
    assert client.request.path == "/ws"
    assert repr(client) == f"<Client {client.id}>"
    assert client.channel is not None
    assert (client.channel.name, repr(client.channel)) == ("Home", "<Channel Home>")


def test_ids_are_unique_and_unguessable() -> None:
    application = Application()
    ids = [application.connect().id for _ in range(50)]
    assert len(set(ids)) == 50
    assert all(len(name) == 16 for name in ids)


def test_no_id_looks_like_an_option_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["-" * 16, "-x", "x-"])
    monkeypatch.setattr("secrets.token_urlsafe", lambda size: next(drawn))
    assert Application().connect().id == "x-"


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


# -- channels ---------------------------------------------------------------------------------


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


def test_emit_before_anybody_has_connected_touches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may come from another thread, while the loop is adding the first client."""
    sono = Sono()
    monkeypatch.setattr(sono, "_hub", None)
    sono.emit("x")
    Channel("Home", sono).emit("x")
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
    del application.sono._clients[gone.id]
    assert application.sono.channel("Home").members == [peer.client]
    application.sono._clients[gone.id] = gone.client  # type: ignore[assignment]


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


# -- threads, and servers ---------------------------------------------------------------------


def sono_at(sono: Sono) -> Callable[[HTTPRequest], object]:
    return lambda request: sono.connect(request)


def packet(wire: Wire) -> Any:
    return json.loads(wire.message())


def test_other_threads_emit_send_close_and_create_channels() -> None:
    sono = Sono()
    connected: queue.Queue[Client] = queue.Queue()
    sono.on_connect(connected.put)
    with running(sono_at(sono)) as server, Wire(server.address) as wire:
        client = connected.get(timeout=PATIENCE)
        sono.emit("one")
        sono.channel("Home").emit("two")
        assert client.send("message", "three")
        news = sono.channel("news")
        server.turn()
        assert "news" in sono.channels
        assert news.members == []
        assert [packet(wire)["payload"]["message"] for _ in range(3)] == ["one", "two", "three"]
        for call in (lambda: sono.emit(object()), lambda: sono.channel("")):
            with pytest.raises((TypeError, ValueError)):
                call()
        assert client.close(4000)
        assert wire.closed().code == 4000


def test_clients_come_and_go_while_other_threads_look() -> None:
    sono = Sono()
    done = threading.Event()
    failures: list[BaseException] = []

    def look() -> None:
        try:
            while not done.is_set():
                for client in list(sono.clients.values()):
                    channel = client.channel
                    assert channel is None or channel.name == "Home"
                assert all(sono.channel("Home").members)
                sono.emit("x")
        except BaseException as error:
            failures.append(error)

    with running(sono_at(sono)) as server:
        thread = threading.Thread(target=look)
        thread.start()
        for _ in range(50):
            Wire(server.address).reset()
        done.set()
        thread.join()
    assert failures == []


def test_serve_client_answers_with_the_browser_client() -> None:
    sono = Sono()
    with running(lambda request: sono.serve_client(request)) as server:
        response = get(server.address, "/sono.js")
    assert status(response) == 200
    head, _, source = response.partition(b"\r\n\r\n")
    assert b"text/javascript" in head
    assert b"export class SonoClient" in source
    assert source == browser_client()


def test_run_serves_clients_the_browser_client_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: queue.Queue[Any] = queue.Queue()
    original = serve

    def noted(*arguments: Any, **options: Any) -> Any:
        server = original(*arguments, **options)
        started.put(server)
        return server

    monkeypatch.setattr(app, "serve", noted)
    sono = Sono()
    thread = threading.Thread(
        target=lambda: sono.run("127.0.0.1", 0, path="/chat", origins=["https://a.example"])
    )
    thread.start()
    server = started.get(timeout=PATIENCE)
    with Wire(server.address, "/chat?room=1") as wire:
        wire.send(json.dumps(message("hello")))
        assert packet(wire)["payload"]["message"] == "hello"
        assert status(get(server.address, "/sono.js")) == 200
        assert status(get(server.address, "/")) == 404
        server.stop()
        assert wire.closed().code == 1001
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_run_raises_what_listening_raises() -> None:
    with pytest.raises(OSError):
        Sono().run("192.0.2.1", 0)


def test_a_sono_can_be_served_again() -> None:
    sono = Sono()
    for _ in range(2):
        server = Running(sono_at(sono))
        with Wire(server.address) as wire:
            wire.send(json.dumps(message("x")))
            assert packet(wire)["payload"]["message"] == "x"
            server.server.stop()
            assert wire.closed().code == 1001
        server.join()
        assert server.error is None
        assert sono.clients == {}


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


def test_a_sono_belongs_to_one_running_server() -> None:
    sono = Sono()
    failures: list[Exception] = []

    def other(request: HTTPRequest) -> None:
        try:
            sono.connect(request)
        except RuntimeError as error:
            failures.append(error)

    with running(sono_at(sono)) as first, Wire(first.address):
        first.turn()
        with running(other) as second, Wire(second.address) as wire:
            assert isinstance(wire.answer, Reject)
            assert wire.answer.status == 500
        assert len(sono.clients) == 1
    assert len(failures) == 1


def test_after_the_servers_end_channels_are_still_created_and_nothing_piles_up() -> None:
    sono = Sono()
    with running(sono_at(sono)) as server, Wire(server.address):
        server.turn()
    sono.emit("to nobody")
    assert sono.channel("late").name in sono.channels
    assert not server.server.call_soon(print)


@pytest.mark.usefixtures("each_server")
def test_who_sends_too_fast_is_read_from_more_slowly_and_loses_nothing() -> None:
    sono = Sono(limits=Limits(packet_rate=50))
    seen: list[float] = []

    @sono.on("x")
    def note(client: Client, message: object) -> bool:
        seen.append(time.monotonic())
        return False

    packet = '{"protocol":"message","event":"x","payload":{"message":"%d"}}'
    with (
        running(sono.connect) as server,
        Wire(server.address, "/ws") as flooder,
        Wire(server.address, "/ws") as other,
    ):
        flooder.send(*(packet % number for number in range(120)))
        other.send('{"protocol":"grab","payload":{"message":"myid"}}')
        assert "myid" in other.message()
        assert len(seen) < 120
        while len(seen) < 120:
            threading.Event().wait(0.01)
    assert seen[-1] - seen[0] > 0.37  # 100 at once, and 19 times the wait of one in 50


@pytest.mark.parametrize(
    ("protocol", "emits", "turns"),
    [
        ("message", False, [2, 4, 6, 8, 10]),  # each to four, and twice that is more than seven
        ("broadcast", False, [3, 6, 9, 10]),
        ("message", True, list(range(1, 11))),
        ("directmessage", False, [10]),
    ],
)
def test_a_client_whose_packets_reach_many_lets_others_have_their_turn(
    protocol: str, emits: bool, turns: list[int]
) -> None:
    application = Application(Sono(limits=Limits(max_turn_deliveries=7)))
    sender, other, *_ = [application.connect() for _ in range(4)]
    seen: list[object] = []

    @application.sono.on("x")
    def note(client: Client, message: object) -> None:
        seen.append(message)
        if emits:
            application.sono.emit("heard")

    payload = {"message": 1, "to": other.id} if protocol == "directmessage" else {"message": 1}
    packet = json.dumps({"protocol": protocol, "event": "x", "payload": payload})
    for _ in range(10):
        sender.connection.send(TextMessage(packet))
    sender.session.receive(sender.connection.data_to_send(), 0.0)
    counts = [len(seen)]
    for _ in turns[1:]:
        sender.session.pump(0.0)
        counts.append(len(seen))
    assert counts == turns


def test_what_a_client_asks_for_counts_as_if_it_had_sent_it() -> None:
    sono = Sono(limits=Limits(byte_rate=2000))
    grab = '{"protocol":"grab","payload":{"message":"clients"}}'
    with running(sono.connect) as server, Wire(server.address, "/ws") as asker:
        asker.send(grab)
        size = len(grab) + len(asker.message())
        began = time.monotonic()
        more = 5000 // size
        asker.send(*[grab] * more)
        for _ in range(more):
            asker.message()
    assert len(grab) * more < 4000  # what it sent alone could come at once
    assert time.monotonic() - began > (size * more - 4000) / 2000 - 0.1


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


@pytest.mark.usefixtures("each_server")
def test_health() -> None:
    sono = Sono()
    with running(sono._answer) as server:
        answer = get(server.address, "/healthz")
    assert status(answer) == 200
    assert answer.endswith(b"ok\n")
