"""The defects of the original server, one test each; none may come back."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest

from sono_core import BinaryMessage, Close, LocalProtocolError, State, TextMessage
from sono_core.messaging.classic import packets
from sono_core.websocket.frames import encode_frame
from sono_server import Client, Sono
from tests.helpers import Application, Peer


def assert_refused(application: Application, offender: Peer, code: str) -> None:
    """Only the offender hears of it, with exactly these keys; everybody is still served."""
    (packet,) = offender.take()
    assert packet["protocol"] == "error"
    assert packet.keys() == {"protocol", "payload"}
    assert packet["payload"].keys() == {"code", "message"}
    assert packet["payload"]["code"] == code
    assert isinstance(packet["payload"]["message"], str)
    for peer in application.peers:
        assert peer.packets == []
        assert peer.closed is None
    application.assert_serves(*application.peers)


@pytest.fixture
def application() -> Application:
    """Three clients are connected."""
    application = Application()
    for _ in range(3):
        application.connect()
    return application


# -- one frame ended the process --------------------------------------------------------------


@pytest.mark.parametrize("text", ["{", "", "hello", "{'a':1}", "NaN"])
def test_a_frame_of_invalid_json_ended_the_process(application: Application, text: str) -> None:
    offender = application.peers[0]
    offender.send(text)
    assert_refused(application, offender, "invalid-packet")


def test_null_ended_the_process(application: Application) -> None:
    offender = application.peers[1]
    offender.send("null")
    assert_refused(application, offender, "invalid-packet")


@pytest.mark.parametrize(
    "protocol", ["message", "broadcast", "directmessage", "changeChannel", "grab"]
)
@pytest.mark.parametrize("payload", [{}, {"payload": None}, {"payload": {}}])
def test_a_missing_payload_ended_the_process(
    application: Application, protocol: str, payload: dict[str, object]
) -> None:
    offender = application.peers[0]
    offender.send({"protocol": protocol, **payload})
    assert_refused(application, offender, "invalid-packet")


def test_an_unknown_channel_ended_the_process(application: Application) -> None:
    offender = application.peers[0]
    offender.send({"protocol": "changeChannel", "payload": {"to": "nowhere"}})
    assert_refused(application, offender, "unknown-channel")
    offender.send({"protocol": "grab", "payload": {"message": "mychannel"}})
    assert offender.take()[0]["payload"]["message"] == ["Home"]


def test_a_direct_message_without_to_ended_the_process(application: Application) -> None:
    offender = application.peers[2]
    offender.send({"protocol": "directmessage", "event": "e", "payload": {"message": "m"}})
    assert_refused(application, offender, "invalid-packet")


def test_a_direct_message_to_nobody_ended_the_process(application: Application) -> None:
    offender = application.peers[2]
    offender.send({"protocol": "directmessage", "payload": {"message": "m", "to": 1001}})
    assert_refused(application, offender, "unknown-client")


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b'{"protocol":"message"}', bytes(100_000)])
def test_any_binary_frame_ended_the_process(application: Application, data: bytes) -> None:
    offender = application.peers[0]
    offender.send_event(BinaryMessage(data))
    assert_refused(application, offender, "binary-message")


# -- emit in the connect callback -------------------------------------------------------------


def test_emit_in_the_connect_callback_threw() -> None:
    """Its own documented example; the newcomer receives this message too."""
    application = Application()
    first = application.connect()

    def callback() -> None:
        application.sono.emit("new client connected")

    second = application.connect(callback)
    text = (
        '{"protocol":"message","payload":{"message":"new client connected"},'
        '"message":"new client connected"}'
    )
    assert first.texts == [text]
    assert second.texts == [text]
    application.assert_serves(first, second)


def test_a_connect_callback_that_throws_left_a_zombie(caplog: pytest.LogCaptureFixture) -> None:
    application = Application()
    gone: list[tuple[Client, Close]] = []
    application.sono.on_disconnect(lambda client, close: gone.append((client, close)))
    witness = application.connect()

    def callback(client: Client) -> None:
        raise RuntimeError("the application's mistake")

    with caplog.at_level(logging.ERROR, logger="sono"):
        newcomer = application.connect(callback)
    assert "the application's mistake" in caplog.text
    assert newcomer.closed == Close(1011, "internal error")
    assert newcomer.session.over
    assert [client for client, _ in gone] == [newcomer.client]
    assert list(application.sono.clients) == [witness.id]
    assert application.sono.channel("Home").members == [witness.client]
    application.assert_serves(witness)


# -- channels ---------------------------------------------------------------------------------


def test_channel_on_an_existing_name_emptied_it(application: Application) -> None:
    sono, (first, second, third) = application.sono, application.peers
    sono.channel("news")
    for peer in (first, second):
        peer.send({"protocol": "changeChannel", "payload": {"to": "news"}})
    assert sono.channel("news").members == [first.client, second.client]
    assert sono.channel("Home").members == [third.client]
    sono.channel("news").emit("for members")
    application.settle()
    assert [len(peer.take()) for peer in application.peers] == [1, 1, 0]


def test_channels_were_never_freed() -> None:
    application = Application(Sono(open_channels=True))
    peers = [application.connect() for _ in range(2)]
    for number in range(200):
        for peer in peers:
            peer.send({"protocol": "changeChannel", "payload": {"to": f"room {number}"}})
        assert list(application.sono.channels) == ["Home", f"room {number}"]
    peers[0].end()
    peers[1].send_event(Close(1000))
    assert list(application.sono.channels) == ["Home"]
    assert dict(application.sono.clients) == {}


# -- forgery ----------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["grab", "error"])
@pytest.mark.parametrize("protocol", ["message", "broadcast", "directmessage"])
def test_a_client_forged_a_servers_reply(
    application: Application, protocol: str, event: str
) -> None:
    offender, victim = application.peers[:2]
    payload = {"message": ["forged"], "type": "clients", "to": victim.id}
    offender.send({"protocol": protocol, "event": event, "payload": payload})
    assert_refused(application, offender, "reserved-event")


def test_a_client_forged_the_sender(application: Application) -> None:
    """Whatever a client puts into `from`, or in keys beside the message, is not passed on."""
    offender, victim = application.peers[:2]
    payload = {"message": "m", "from": victim.id, "type": "clients", "to": victim.id}
    offender.send({"protocol": "directmessage", "message": "m", "payload": payload})
    assert victim.take() == [
        {"protocol": "message", "payload": {"message": "m", "from": offender.id}}
    ]


@pytest.mark.parametrize("event", ["grab", "error"])
def test_the_application_does_not_use_the_servers_own_events(event: str) -> None:
    application = Application()
    peer = application.connect()
    assert peer.client
    with pytest.raises(ValueError, match="reserved"):
        application.sono.emit("m", event)
    with pytest.raises(ValueError, match="reserved"):
        application.sono.channel("Home").emit("m", event)
    with pytest.raises(ValueError, match="reserved"):
        peer.client.send(event, "m")
    application.settle()
    assert peer.packets == []


def test_ids_counted_up(application: Application) -> None:
    for _ in range(50):
        application.connect()
    ids = [peer.id for peer in application.peers]
    assert len(set(ids)) == len(ids)
    for client_id in ids:
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{15}", client_id)  # 96 random bits
    # neither counted nor close to each other: no position is the same for all
    assert all(len(set(column)) > 5 for column in zip(*ids, strict=True))


# -- costs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["message", "broadcast"])
def test_each_recipient_cost_a_json_encode_and_a_copy_of_the_member_list(
    protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    application = Application()
    peers = [application.connect() for _ in range(20)]
    application.settle()
    encoded: list[object] = []
    framed: list[bytes] = []
    copied: list[object] = []
    encode = packets._encode
    recipients = application.sono._dispatcher.hub.recipients

    def counting_encode(packet: object) -> bytes:
        encoded.append(packet)
        return encode(packet)

    def counting_frame(*arguments: Any, **options: Any) -> bytes:
        framed.append(encode_frame(*arguments, **options))
        return framed[-1]

    def counting_recipients(publication: Any) -> object:
        copied.append(publication)
        return recipients(publication)

    monkeypatch.setattr(packets, "_encode", counting_encode)
    monkeypatch.setattr("sono_core.websocket.prepared.encode_frame", counting_frame)
    monkeypatch.setattr(application.sono._dispatcher.hub, "recipients", counting_recipients)
    packet = {"protocol": protocol, "payload": {"message": "for all"}}
    peers[0].connection.send(TextMessage(json.dumps(packet)))
    peers[0].session.receive(peers[0].connection.data_to_send(), 0.0)
    assert len(encoded) == 1
    assert len(framed) == 1
    assert len(copied) == 1
    waiting = [peer.session.outbox.peek() for peer in peers[protocol == "broadcast" :]]
    assert all(frame is framed[0] for frame in waiting)
    application.settle()
    assert peers[-1].take() == [
        {"protocol": "message", "payload": {"message": "for all", "from": peers[0].id}}
    ]


def test_a_message_that_cannot_be_encoded_reached_some_of_its_recipients(
    application: Application,
) -> None:
    """It is encoded once, before anybody gets it."""
    for message in ("\ud800", object()):
        with pytest.raises((TypeError, LocalProtocolError)):
            application.sono.emit(message)
    application.settle()
    assert all(peer.packets == [] for peer in application.peers)
    offender = application.peers[0]
    offender.send('{"protocol":"message","payload":{"message":["\\ud800"]}}')
    assert_refused(application, offender, "invalid-packet")


# -- names ------------------------------------------------------------------------------------

PROTOTYPE_NAMES = ["__proto__", "constructor", "toString", "hasOwnProperty", "__class__"]


@pytest.mark.parametrize("name", PROTOTYPE_NAMES)
def test_names_of_prototypes_reached_objects_as_events(application: Application, name: str) -> None:
    sender, other = application.peers[:2]
    sender.send({"protocol": "broadcast", "event": name, "payload": {"message": {name: name}}})
    expected = {"protocol": name, "payload": {"message": {name: name}, "from": sender.id}}
    assert other.take() == [expected]
    assert sender.take() == []
    heard: list[object] = []
    application.sono.on(name)(lambda client, message: heard.append(message))
    sender.send({"protocol": "message", "event": name, "payload": {"message": name}})
    assert heard == [name]


@pytest.mark.parametrize("name", PROTOTYPE_NAMES)
def test_names_of_prototypes_reached_objects_as_channels_and_clients(
    application: Application, name: str
) -> None:
    offender = application.peers[0]
    offender.send({"protocol": "changeChannel", "payload": {"to": name}})
    assert_refused(application, offender, "unknown-channel")
    offender.send({"protocol": "directmessage", "payload": {"message": "m", "to": name}})
    assert_refused(application, offender, "unknown-client")
    offender.send({"protocol": "grab", "payload": {"message": name}})
    assert offender.take() == [
        {"protocol": "grab", "payload": {"message": ["invalid grab request"], "type": name}}
    ]
    application.sono.channel(name)
    offender.send({"protocol": "changeChannel", "payload": {"to": name}})
    assert application.sono.channel(name).members == [offender.client]


@pytest.mark.parametrize("name", PROTOTYPE_NAMES)
def test_names_of_prototypes_reached_objects_as_protocols(
    application: Application, name: str
) -> None:
    offender = application.peers[0]
    offender.send({"protocol": name, "payload": {"message": "m"}})
    assert_refused(application, offender, "invalid-packet")


# -- the helper itself ------------------------------------------------------------------------


def test_the_clients_of_these_tests_close_cleanly(application: Application) -> None:
    """So that the tests show what a real connection would show."""
    leaving, staying = application.peers[:2]
    assert leaving.client
    leaving.client.close(1001, "bye")
    application.settle()
    assert leaving.closed == Close(1001, "bye")
    assert leaving.connection.state is State.CLOSED
    assert leaving.session.over
    assert leaving.client.channel is None
    application.assert_serves(staying)
