"""What handlers want payloads to be, and what becomes of those that do not fit."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import msgspec
import pytest

from sono_core.messaging import MessagingError
from sono_server import Client, RequestFailed, Sono
from sono_server.app.payloads import fitted, payload_type, takes_argument
from tests.helpers import Application
from tests.lossless_wire import Speaker
from tests.server.sono_packets import message
from tests.servers import Wire, running

if TYPE_CHECKING:
    from decimal import Decimal as Unknown

Text = Annotated[str, msgspec.Meta(max_length=5)]


class Chat(msgspec.Struct):
    text: Text
    to: str | None = None


@dataclass
class Point:
    x: int
    y: int = 0


class Move(TypedDict):
    to: Point


class Handler:
    """Handlers that are no functions."""

    def method(self, client: Client, message: Chat) -> None:
        pass

    @classmethod
    def of_class(cls, client: Client, message: Chat) -> None:
        pass

    @staticmethod
    def static(client: Client, message: Chat) -> None:
        pass

    def __call__(self, client: Client, message: Chat) -> None:
        pass


def chat(client: Client, message: Chat) -> None:
    pass


def third(extra: int, client: Client, message: Chat) -> None:
    pass


@functools.wraps(chat)
def wrapping(*arguments: Any) -> None:
    pass


async def coroutine(client: Client, message: Chat) -> None:
    pass


@pytest.mark.parametrize(
    "handler",
    [
        chat,
        coroutine,
        wrapping,
        Handler().method,
        Handler.of_class,
        Handler.static,
        Handler(),
        functools.partial(third, 1),
        functools.partial(chat),
    ],
)
def test_the_annotation_of_the_second_parameter_counts(handler: Callable[..., object]) -> None:
    assert payload_type(handler) is Chat


def test_a_type_of_the_function_around_it_counts() -> None:
    class Local(msgspec.Struct):
        number: int

    def user(client: Client, message: Local) -> None:
        Local(1)

    later: Any

    def too_early(client: Client, message: later) -> None:  # type: ignore[valid-type]
        later()

    assert payload_type(user) is Local
    assert payload_type(too_early) is Any
    later = Local
    assert payload_type(too_early) is Local


def test_what_has_no_annotation_takes_anything() -> None:
    def bare(client, message):  # type: ignore[no-untyped-def]
        pass

    def one(client: Client) -> None:
        pass

    for handler in (bare, one, print, [].append, lambda client, message: None, max, dict):
        assert payload_type(handler) is Any


def test_other_annotations_may_be_unknown_and_its_own_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def other(client: Unknown, message: Chat) -> Unknown:
        return client

    def own(client: Client, message: Unknown) -> None:
        pass

    assert payload_type(other) is Chat
    assert caplog.text == ""
    assert payload_type(own) is Any
    assert "own takes any payload, as its annotation is not known: name 'Unknown'" in caplog.text


@pytest.mark.parametrize(
    ("kind", "payload", "value"),
    [
        (Any, object, object),
        (Chat, {"text": "hi"}, Chat("hi")),
        (Point, {"x": 1}, Point(1)),
        (Move, {"to": {"x": 1}}, {"to": Point(1)}),
        (list[Point], [{"x": 1, "y": 2}], [Point(1, 2)]),
        (Text, "hello", "hello"),
        (bytes, b"\x00", b"\x00"),
        (dict[str, bytes], {"a": b"\x00"}, {"a": b"\x00"}),
    ],
)
def test_what_fits(kind: Any, payload: object, value: object) -> None:
    assert fitted(payload, kind) == value


@pytest.mark.parametrize(
    ("kind", "payload", "named"),
    [
        (Chat, {"text": "too long"}, r"length <= 5 - at `\$.text`"),
        (Chat, {}, "missing required field `text`"),
        (Chat, "text", "Expected `object`, got `str`"),
        (Point, {"x": "1"}, r"Expected `int`, got `str` - at `\$.x`"),
        (Move, {"to": {}}, r"missing required field `x` - at `\$.to`"),
        (Text, "too long", "length <= 5"),
    ],
)
def test_what_does_not_fit_is_told_by_its_field(kind: Any, payload: object, named: str) -> None:
    with pytest.raises(MessagingError, match=named) as caught:
        fitted(payload, kind)
    assert caught.value.code == "invalid-packet"


def test_a_classic_packet_that_does_not_fit_is_refused() -> None:
    application = Application()
    heard: list[object] = []

    @application.sono.on("chat")
    def hear(client: Client, message: Text) -> None:
        heard.append(message)

    peer = application.connect()
    peer.send(message("hello", "chat"))
    assert peer.take()[0]["payload"]["message"] == "hello"
    peer.send(message("too long", "chat"))
    assert peer.take()[0]["payload"]["code"] == "invalid-packet"
    assert heard == ["hello"]


def test_connect_callbacks_may_want_the_client() -> None:
    assert takes_argument(chat) is False
    assert takes_argument(lambda client: None)
    assert not takes_argument(lambda: None)
    assert takes_argument(max)  # it has no signature


# -- on servers -----------------------------------------------------------------------------------


def typed() -> tuple[Sono, list[object]]:
    sono = Sono()
    heard: list[object] = []

    @sono.on("chat")
    def hear(client: Client, message: Chat) -> None:
        heard.append(message)

    @sono.on("raw")
    def raw(client: Client, message: Any) -> None:
        heard.append(message)

    @sono.on("bytes")
    def binary(client: Client, message: bytes) -> None:
        heard.append(message)

    @sono.on_request("points")
    def points(client: Client, data: Point) -> list[Point]:
        return [data, Point(0, 0)]

    @sono.on_request("refuse")
    def refuse(client: Client, data: Any) -> None:
        raise RequestFailed("no-funds", "the account is empty", data)

    @sono.on("refuse")
    def decline(client: Client, message: Any) -> None:
        raise RequestFailed("no-funds", "the account is empty", message)

    return sono, heard


def test_typed_handlers_on_v2(each_server: str) -> None:
    sono, heard = typed()
    with running(sono.connect) as server, Speaker(server.address, {}) as speaker:
        speaker.do("publish", channel="Home", event="chat", data={"text": "hi"})
        error = speaker.do("publish", channel="Home", event="chat", data={"text": 7})["error"]
        assert error["code"] == "invalid-packet"
        assert "$.text" in error["message"]
        answer = speaker.do("request", name="points", data={"x": 3, "y": 1})
        assert answer["data"] == [{"x": 3, "y": 1}, {"x": 0, "y": 0}]
        assert speaker.refused("request", name="points", data={"y": 3}) == "invalid-packet"
    assert heard == [Chat("hi")]


def test_a_handler_says_with_which_error_it_refuses(
    each_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    sono, _ = typed()
    funds = {"code": "no-funds", "message": "the account is empty"}
    with (
        running(sono.connect) as server,
        Speaker(server.address, {}) as speaker,
        Wire(server.address, "/ws") as wire,
    ):
        for temporary in (False, True):
            error = {**funds, "temporary": temporary}
            assert speaker.do("request", name="refuse", data=temporary)["error"] == error
            said = speaker.do("publish", channel="Home", event="refuse", data=temporary)
            assert said["error"] == error
        wire.send('{"protocol":"message","event":"refuse","payload":{"message":1}}')
        assert msgspec.json.decode(wire.message()) == {"protocol": "error", "payload": funds}
    assert caplog.text == ""


def test_binary_payloads_reach_handlers_as_bytes_and_classic_members_not_at_all(
    each_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "sono")
    sono, heard = typed()
    with (
        running(sono.connect) as server,
        Speaker(server.address, {}, "sono.v2.msgpack") as packed,
        Speaker(server.address, {}) as speaker,
        Wire(server.address, "/ws") as wire,
    ):
        server.turn()
        for event, data in (("raw", {"a": b"\x00"}), ("bytes", b"\x01")):
            assert "published" in packed.do("publish", channel="Home", event=event, data=data)
            assert packed.wait_for("event")["data"] == data
        assert speaker.wait_for("event")["data"] == {"a": {"$bytes": "AA=="}}
        assert speaker.wait_for("event")["data"] == {"$bytes": "AQ=="}
        assert sono.withheld == 2
        (classic,) = sono.clients.keys() - {packed.id, speaker.id}
        assert "error" not in packed.do("send", to=classic, event="raw", data=b"\x02")
        sono.emit("text")
        assert msgspec.json.decode(wire.message())["message"] == "text"
        assert sono.withheld == 3
    assert heard == [{"a": b"\x00"}, b"\x01", b"\x02"]
    records = [record for record in caplog.records if "binary data" in record.getMessage()]
    assert [record.levelname for record in records] == ["WARNING", "DEBUG", "DEBUG"]
    assert "1 classic clients do not get the event 'raw'" in records[0].getMessage()
