"""Packets of `sono.v2` as they are written: every one is read as it was, in both forms."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given

from sono_core import Limits, LocalProtocolError
from sono_core.messaging import size_of
from sono_core.messaging.lossless import Data, Position, packets
from sono_core.messaging.lossless.data import MAX_DEPTH
from sono_core.messaging.v2 import JSON, MSGPACK, Codec

from .strategies import binary_from_clients, binary_from_servers, from_clients, from_servers

LIMITS = Limits()
CODECS = [JSON, MSGPACK]
AT = Position("e", 7)


@pytest.fixture(params=CODECS, ids=["json", "msgpack"])
def codec(request: pytest.FixtureRequest) -> Codec:
    return request.param  # type: ignore[no-any-return]


def publish(data: object) -> packets.Publish:
    return packets.Publish(channel="c", event="e", data=data, seq=1)


@pytest.mark.parametrize(
    ("packet", "fields"),
    [
        (packets.Hello(), {"type": "hello"}),
        (
            packets.Hello(key="k", streams={"#c": AT}, joined=["d"]),
            {"type": "hello", "key": "k", "streams": {"#c": ["e", 7]}, "joined": ["d"]},
        ),
        (
            publish(None),
            {"type": "publish", "channel": "c", "event": "e", "data": None, "seq": 1},
        ),
        (
            packets.Publish(channel="c", event="e", data=1, to_self=False),
            {"type": "publish", "channel": "c", "event": "e", "data": 1, "self": False},
        ),
        (packets.Reply(seq=1, re=2, data=None), {"type": "reply", "seq": 1, "re": 2, "data": None}),
        (
            packets.Reply(seq=1, re=2, error=packets.Failure("c", "m")),
            {
                "type": "reply",
                "seq": 1,
                "re": 2,
                "error": {"code": "c", "message": "m", "temporary": False},
            },
        ),
        (
            packets.Event(stream="#c", event="e", data=[1], at=AT, sender="i"),
            {
                "type": "event",
                "stream": "#c",
                "event": "e",
                "data": [1],
                "at": ["e", 7],
                "from": "i",
            },
        ),
        (
            packets.Result(stream="@", at=AT, re=1),
            {"type": "result", "stream": "@", "at": ["e", 7], "re": 1},
        ),
        (
            packets.Asked(stream="@", at=AT, id=1, name="r", data=1),
            {"type": "request", "stream": "@", "at": ["e", 7], "id": 1, "name": "r", "data": 1},
        ),
        (
            packets.Presence(channel="c", version=1, count=2, entered=[("i", 1)], gone=["j"]),
            {
                "type": "presence",
                "channel": "c",
                "version": 1,
                "count": 2,
                "in": [["i", 1]],
                "out": ["j"],
            },
        ),
        (packets.Renew(seconds=5.0), {"type": "renew", "in": 5.0}),
        (packets.Beat(), {"type": "beat"}),
    ],
)
def test_the_keys_of_packets(
    packet: packets.FromClient | packets.FromServer, fields: object
) -> None:
    text, packed = JSON.write(packet), MSGPACK.write(packet)
    assert isinstance(text, str)
    assert isinstance(packed, bytes)
    assert json.loads(text) == msgspec.msgpack.decode(packed) == fields


def test_a_payload_is_embedded_as_it_was_written(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Data.of({"a": [1, "ü"]})
    form = data.json() if codec is JSON else data.msgpack()
    monkeypatch.setattr(Data, "of", None)
    monkeypatch.setattr(Data, "value", None)
    written = [
        codec.write(publish(data)),
        codec.write(packets.Event(stream="#c", event="e", data=data)),
    ]
    for content in written:
        assert form in (content.encode() if isinstance(content, str) else content)


def test_binary_values(codec: Codec) -> None:
    expected: Any = {"a": b"\x00\xff"}
    if codec is JSON:
        expected = {"a": {"$bytes": "AP8="}}
    for data in ({"a": b"\x00\xff"}, Data.of({"a": b"\x00\xff"})):
        packet = codec.from_client(codec.write(publish(data)), LIMITS)
        assert packet == publish(expected)
        members = packets.Members(channel="c", version=1, members=[("i", data)], count=1)
        read = codec.from_server(codec.write(members))
        assert isinstance(read, packets.Members)
        assert read.members == [("i", expected)]


def test_what_is_deepest_is_read_by_clients(codec: Codec) -> None:
    for innermost in (0, b"x"):
        data: Any = innermost
        for _ in range(MAX_DEPTH):
            data = [data]
        members = packets.Members(channel="c", version=1, members=[("i", data)], count=1)
        presence = packets.Presence(channel="c", version=1, entered=[("i", data)], count=1)
        assert isinstance(codec.from_server(codec.write(members)), packets.Members)
        assert isinstance(codec.from_server(codec.write(presence)), packets.Presence)


@pytest.mark.parametrize(
    ("value", "error"),
    [(object(), TypeError), (float("nan"), LocalProtocolError), ("\ud800", LocalProtocolError)],
)
def test_payloads_that_cannot_be_written(
    codec: Codec, value: object, error: type[Exception]
) -> None:
    for packet in (
        publish(value),
        packets.Event(stream="#c", event="e", data=value),
        packets.Members(channel="c", version=1, members=[("i", value)], count=1),
        packets.Presence(channel="c", version=1, entered=[("i", value)], count=1),
    ):
        with pytest.raises(error, match=r"^data "):
            codec.write(packet)


def test_a_lone_surrogate_elsewhere_is_the_callers_mistake(codec: Codec) -> None:
    with pytest.raises(LocalProtocolError, match=r"^the packet holds a lone surrogate$"):
        codec.write(packets.Token(token="\ud800"))


# -- properties -------------------------------------------------------------------------------


@given(from_clients)
def test_what_clients_say_is_read_as_it_was(packet: packets.FromClient) -> None:
    for codec in CODECS:
        content = codec.write(packet)
        assert codec.weigh(content, LIMITS) >= size_of(content)
        assert codec.from_client(content, LIMITS) == packet


@given(from_servers)
def test_what_servers_say_is_read_as_it_was(packet: packets.FromServer) -> None:
    for codec in CODECS:
        assert codec.from_server(codec.write(packet)) == packet


@given(binary_from_clients)
def test_what_clients_say_with_binary_values(packet: packets.FromClient) -> None:
    content = MSGPACK.write(packet)
    assert MSGPACK.weigh(content, LIMITS) >= len(content)
    assert MSGPACK.from_client(content, LIMITS) == packet
    text = JSON.write(packet)
    assert JSON.weigh(text, LIMITS) >= size_of(text)
    assert JSON.write(JSON.from_client(text, LIMITS)) == text


@given(binary_from_servers)
def test_what_servers_say_with_binary_values(packet: packets.FromServer) -> None:
    assert MSGPACK.from_server(MSGPACK.write(packet)) == packet
    text = JSON.write(packet)
    read = JSON.from_server(text)
    assert read is not None
    assert JSON.write(read) == text
