"""Clients of several dialects on one `Sono`: who speaks which, and each event is encoded once."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable

import pytest

from sono_core import Accept, Limits, LocalProtocolError, Prepared
from sono_core.messaging import (
    Deliver,
    Dialect,
    Effect,
    Hub,
    MessagingError,
    Publish,
    Reply,
)
from sono_core.messaging.classic import packets
from sono_core.messaging.lossless import Data
from sono_server import Client, Sono
from sono_server.app import dispatch
from sono_server.app import sono as app
from tests.helpers import Application
from tests.servers import Wire, running


class Lines:
    """A dialect of binary messages, each a line, beside the classic one.

    `join NAME` and `leave NAME` are answered, `to ID` greets a client, and any other line goes to
    the sender's channel as the event `line`.
    """

    def __init__(self) -> None:
        self.encoded: list[tuple[str, int]] = []
        """The events that were encoded, and in which thread."""
        self.dialect = Dialect(
            name="lines",
            weigh=lambda line, limits: len(line),
            parse=self.parse,
            enters=lambda line: line.partition(" ")[2] if line.startswith("join ") else None,
            said=lambda line: ("line", line),
            receive=self.receive,
            encode=self.encode,
            error=lambda code, text: f"{code}: {text}".encode(),
        )

    def parse(self, message: str | bytes, limits: Limits) -> str:
        if isinstance(message, str):
            raise MessagingError("text-message", "lines are binary")
        return message.decode()

    def receive(self, hub: Hub, client: str, line: str, limits: Limits) -> list[Effect | Reply]:
        command, _, name = line.partition(" ")
        if command == "to":
            return [Deliver(name, "line", "for you", client)]
        if command not in ("join", "leave"):
            return [Publish(hub.channel_of(client), "line", Data.parsed(line), client)]
        (hub.join if command == "join" else hub.leave)(client, name)
        return [Reply(",".join(hub.channels_of(client)).encode())]

    def encode(self, publication: Publish | Deliver) -> bytes:
        self.encoded.append((publication.event, threading.get_ident()))
        payload = publication.payload
        if isinstance(payload, Data):  # a client of another dialect has said it
            payload = payload.value()
        if payload == "no line":
            raise TypeError("this is no line")
        return f"{publication.event}={payload}".encode()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    lines = Lines()
    monkeypatch.setitem(app.DIALECTS, "lines", lines.dialect)
    return lines


def said(event: str, message: object) -> str:
    """A packet from the server to classic clients."""
    return json.dumps(
        {"protocol": event, "payload": {"message": message}, "message": message},
        separators=(",", ":"),
    )


@pytest.mark.parametrize("offered", [(), ("other",), ("lines",), ("other", "lines")])
def test_the_handshake_chooses_the_dialect(lines: Lines, offered: tuple[str, ...]) -> None:
    sono = Sono()
    with (
        running(sono.connect) as server,
        Wire(server.address, subprotocols=offered) as wire,
    ):
        agreed = "lines" in offered
        assert isinstance(wire.answer, Accept)
        assert wire.answer.subprotocol == ("lines" if agreed else None)
        server.turn()
        sono.emit("hello")
        assert wire.message() == (b"message=hello" if agreed else said("message", "hello"))
        (client,) = sono.clients.values()
        assert client.send("e", 1)
        assert wire.message() == (b"e=1" if agreed else said("e", 1))
        wire.send("null" if agreed else b"null")
        told = wire.message()
        if agreed:
            assert told == b"text-message: lines are binary"
        else:
            assert json.loads(told)["payload"]["code"] == "binary-message"


def test_without_another_dialect_no_subprotocol_is_agreed_on() -> None:
    assert list(app.DIALECTS) == [None]
    sono = Sono()
    with running(sono.connect) as server, Wire(server.address, subprotocols=("classic",)) as wire:
        assert isinstance(wire.answer, Accept)
        assert wire.answer.subprotocol is None


def test_clients_of_all_dialects_hear_each_other(lines: Lines) -> None:
    sono = Sono()
    heard: list[object] = []
    clients: list[Client] = []
    sono.on("line")(lambda client, message: heard.append(message))
    sono.on_connect(clients.append)
    with (
        running(sono.connect) as server,
        Wire(server.address, subprotocols=("lines",)) as line,
        Wire(server.address) as classic,
    ):
        server.turn()
        line.send(b"hello all")
        by, other = (client.id for client in clients)
        assert line.message() == b"line=hello all"
        assert json.loads(classic.message()) == {
            "protocol": "line",
            "payload": {"message": "hello all", "from": by},
        }
        classic.send('{"protocol":"message","event":"line","payload":{"message":"hello too"}}')
        assert line.message() == b"line=hello too"
        assert json.loads(classic.message())["payload"] == {"message": "hello too", "from": other}
        line.send(b"to " + other.encode())
        assert json.loads(classic.message())["payload"] == {"message": "for you", "from": by}
        payload = {"message": "for you", "to": by}
        classic.send(json.dumps({"protocol": "directmessage", "payload": payload}))
        assert line.message() == b"message=for you"
    assert heard == ["hello all", "hello too", f"to {other}"]


def test_clients_get_what_goes_to_channels_beside_their_current_one(lines: Lines) -> None:
    sono = Sono()
    news = sono.channel("news")
    with running(sono.connect) as server, Wire(server.address, subprotocols=("lines",)) as wire:
        wire.send(b"join nowhere")
        assert wire.message() == b"unknown-channel: there is no channel nowhere"
        wire.send(b"join news")
        assert wire.message() == b"Home,news"
        (client,) = sono.clients.values()
        assert client.channel is not None
        assert client.channel.name == "Home"
        assert news.members == [client]
        news.emit("one")
        assert wire.message() == b"message=one"
        wire.send(b"leave news")
        assert wire.message() == b"Home"
        news.emit("two")
        sono.channel("Home").emit("three")
        assert wire.message() == b"message=three"
        wire.send(b"join news")
        assert wire.message() == b"Home,news"
    assert news.members == []


def test_each_dialect_is_encoded_and_framed_once(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    framed: list[object] = []

    def counting(content: str | bytes) -> Prepared:
        framed.append(content)
        return prepared(content)

    prepared = dispatch._prepared
    monkeypatch.setattr(dispatch, "_prepared", counting)
    sono = Sono()
    kinds: list[tuple[str, ...]] = [(), ("lines",)] * 3  # alternating
    texts = {(): said("message", "hello"), ("lines",): b"message=hello"}
    with running(sono.connect) as server, contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(server.address, subprotocols=kind)) for kind in kinds]
        server.call(lambda: sono.emit("hello"))
        assert [wire.message() for wire in wires] == [texts[kind] for kind in kinds]
    assert framed == list(texts.values())
    assert [event for event, _ in lines.encoded] == ["message"]


def test_an_event_is_encoded_as_it_was_when_it_was_emitted(lines: Lines) -> None:
    """In the caller's thread, in all dialects; if one cannot write it, nobody gets it."""
    sono = Sono()
    with (
        running(sono.connect) as server,
        Wire(server.address, subprotocols=("lines",)) as line,
        Wire(server.address) as classic,
    ):
        server.turn()
        calls: list[tuple[Callable[[], object], type[Exception]]] = [
            (lambda: sono.emit("no line"), TypeError),
            (lambda: sono.channel("Home").emit("no line"), TypeError),
            (lambda: sono.emit("\ud800"), LocalProtocolError),
            (lambda: sono.emit("x", event="grab"), ValueError),
        ]
        for call, error in calls:
            with pytest.raises(error):
                call()

        message = ["before"]

        def emit_and_change() -> None:
            sono.emit(message)
            message[0] = "after"

        paused = threading.Event()
        server.server.call_soon(paused.wait, 10)
        emit_and_change()  # the loop handles it later
        paused.set()
        assert line.message() == b"message=['before']"
        assert classic.message() == said("message", ["before"])
    assert {thread for _, thread in lines.encoded} == {threading.get_ident()}


def test_a_direct_message_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size is checked before it is sent: the check and the packet use the same text."""
    encoded: list[object] = []

    def counting(event: str, message: object, sender: str) -> str:
        encoded.append(message)
        return relayed(event, message, sender)

    relayed = packets.relayed
    monkeypatch.setattr(packets, "relayed", counting)
    application = Application()
    one, other = application.connect(), application.connect()
    one.send({"protocol": "directmessage", "payload": {"message": "m", "to": other.id}})
    assert other.take() == [{"protocol": "message", "payload": {"message": "m", "from": one.id}}]
    assert encoded == ["m"]
