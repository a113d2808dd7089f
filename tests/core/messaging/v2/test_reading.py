"""Packets of `sono.v2` as they are read: what is accepted, what is refused, and as what."""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from sono_core import Limits
from sono_core.messaging import MessagingError
from sono_core.messaging.lossless import MAX_NUMBER, Data, Position, packets
from sono_core.messaging.v2 import JSON, MSGPACK, Codec, PacketError

LIMITS = Limits()
CODECS = [JSON, MSGPACK]


@pytest.fixture(params=CODECS, ids=["json", "msgpack"])
def codec(request: pytest.FixtureRequest) -> Codec:
    return request.param  # type: ignore[no-any-return]


def written(codec: Codec, fields: object) -> str | bytes:
    """What is no packet, perhaps, in the form of the codec."""
    if codec is JSON:
        return json.dumps(fields)
    return msgspec.msgpack.encode(fields)


def read(codec: Codec, message: str | bytes, limits: Limits = LIMITS) -> packets.FromClient:
    codec.weigh(message, limits)
    return codec.from_client(message, limits)


def refusal(codec: Codec, message: str | bytes, limits: Limits = LIMITS) -> PacketError:
    with pytest.raises(PacketError) as caught:
        read(codec, message, limits)
    assert isinstance(caught.value, MessagingError)
    return caught.value


def of_client(codec: Codec, /, **fields: Any) -> packets.FromClient:
    return read(codec, written(codec, fields))


def refused(codec: Codec, /, **fields: Any) -> tuple[str, str, int | None]:
    error = refusal(codec, written(codec, fields))
    return error.code, error.text, error.seq


AT = ["e", 7]
POSITION = Position("e", 7)
PUBLISH = {"type": "publish", "channel": "c", "event": "e", "data": 1}
REQUEST = {"type": "request", "seq": 1, "name": "r", "data": 1}

# -- what clients say -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "packet"),
    [
        ({"type": "hello"}, packets.Hello()),
        (
            {
                "type": "hello",
                "token": "t",
                "key": "k",
                "streams": {"@": AT, "#c": ["f", 0]},
                "channel": "c",
                "joined": ["d"],
                "codec": 5,
            },
            packets.Hello(
                token="t",
                key="k",
                streams={"@": POSITION, "#c": Position("f", 0)},
                channel="c",
                joined=["d"],
            ),
        ),
        ({"type": "join", "seq": 1, "channel": "c"}, packets.Join(seq=1, channel="c")),
        (
            {"type": "join", "seq": 1, "channel": "c", "at": AT, "presence": True},
            packets.Join(seq=1, channel="c", at=POSITION, presence=True),
        ),
        (
            {"type": "move", "seq": 2, "channel": "c", "at": None},
            packets.Move(seq=2, channel="c"),
        ),
        (
            {"type": "leave", "seq": MAX_NUMBER, "channel": "c"},
            packets.Leave(seq=MAX_NUMBER, channel="c"),
        ),
        (PUBLISH, packets.Publish(channel="c", event="e", data=1)),
        (
            {**PUBLISH, "seq": 5, "self": False, "to_self": True, "__proto__": 1},
            packets.Publish(channel="c", event="e", data=1, seq=5, to_self=False),
        ),
        (
            {"type": "send", "to": "id", "event": "e", "data": {"__proto__": 1}},
            packets.Send(to="id", event="e", data={"__proto__": 1}),
        ),
        (REQUEST, packets.Request(seq=1, name="r", data=1)),
        (
            {**REQUEST, "name": "sono.history", "timeout": 5},
            packets.Request(seq=1, name="sono.history", data=1, timeout=5.0),
        ),
        ({"type": "reply", "seq": 1, "re": 3}, packets.Reply(seq=1, re=3)),
        (
            {"type": "reply", "seq": 1, "re": 3, "data": None},
            packets.Reply(seq=1, re=3, data=None),
        ),
        (
            {"type": "reply", "seq": 1, "re": 3, "error": {"code": "c", "message": "m"}},
            packets.Reply(seq=1, re=3, error=packets.Failure("c", "m")),
        ),
        (
            {"type": "present", "seq": 1, "channel": "c", "data": {"a": 1}},
            packets.Present(seq=1, channel="c", data={"a": 1}),
        ),
        ({"type": "read", "stream": "#c", "at": AT}, packets.Read(stream="#c", at=POSITION)),
        ({"type": "token", "token": "t"}, packets.Token(token="t")),
        ({"type": "beat"}, packets.Beat()),
        ({"type": "bye", "type2": 1}, packets.Bye()),
    ],
)
def test_packets_of_clients(codec: Codec, fields: Any, packet: packets.FromClient) -> None:
    assert of_client(codec, **fields) == packet


def test_names_of_the_subprotocols() -> None:
    assert (JSON.name, MSGPACK.name) == ("sono.v2", "sono.v2.msgpack")


@pytest.mark.parametrize(
    ("fields", "text", "seq"),
    [
        ({}, "Object missing required field `type`", None),
        ({"type": None}, "`$.type`", None),
        ({"type": 5, "seq": 3}, "`$.type`", 3),
        ({"type": {}}, "`$.type`", None),
        ({"type": "join", "seq": 1}, "`channel`", 1),
        ({"type": "join", "channel": "c"}, "`seq`", None),
        ({"type": "join", "seq": 0, "channel": "c"}, "`$.seq`", None),
        ({"type": "join", "seq": -1, "channel": "c"}, "`$.seq`", None),
        ({"type": "join", "seq": MAX_NUMBER + 1, "channel": "c"}, "`$.seq`", None),
        ({"type": "join", "seq": True, "channel": "c"}, "`$.seq`", None),
        ({"type": "join", "seq": 1.0, "channel": "c"}, "`$.seq`", None),
        ({"type": "join", "seq": "1", "channel": "c"}, "`$.seq`", None),
        ({"type": "join", "seq": 4, "channel": 1}, "`$.channel`", 4),
        ({"type": "join", "seq": 4, "channel": "c", "presence": 1}, "`$.presence`", 4),
        ({"type": "leave", "seq": 4, "channel": None}, "`$.channel`", 4),
        ({"type": "publish", "channel": "c", "event": "e", "seq": 9}, "`data`", 9),
        ({"type": "publish", "channel": "c", "data": 1}, "`event`", None),
        ({**PUBLISH, "event": 1}, "`$.event`", None),
        ({**PUBLISH, "self": None}, "`$.self`", None),
        ({"type": "send", "to": 7, "event": "e", "data": 1}, "`$.to`", None),
        ({**REQUEST, "timeout": 0}, "`$.timeout`", 1),
        ({**REQUEST, "timeout": "1"}, "`$.timeout`", 1),
        ({"type": "reply", "seq": 1, "re": "3", "data": 1}, "`$.re`", 1),
        ({"type": "reply", "seq": 1, "re": 3, "error": {"code": "c"}}, "`$.error`", 1),
        ({"type": "reply", "seq": 1, "re": 3, "error": "no"}, "`$.error`", 1),
        ({"type": "hello", "streams": []}, "`$.streams`", None),
        ({"type": "hello", "joined": ["a", 1]}, "`$.joined[1]`", None),
        ({"type": "hello", "token": 1}, "`$.token`", None),
        ({"type": "token"}, "`token`", None),
    ],
)
def test_the_text_of_a_refusal_names_the_field(
    codec: Codec, fields: Any, text: str, seq: int | None
) -> None:
    code, said, number = refused(codec, **fields)
    assert (code, number) == ("invalid-packet", seq)
    assert text in said


@pytest.mark.parametrize(
    "at", [["e"], [7], [], ["e", None], [None, 7], ["", 7], ["x" * 65, 7], ["e", -1], ["e", 1.5],
           ["e", MAX_NUMBER + 1], ["e", "7"], ["e", 7, 8], "e", 7, {"epoch": "e", "offset": 7}],
)  # fmt: skip
def test_a_position_is_whole(codec: Codec, at: object) -> None:
    for fields in (
        {"type": "join", "seq": 1, "channel": "c", "at": at},
        {"type": "read", "stream": "#c", "at": at},
        {"type": "hello", "streams": {"#c": at}},
    ):
        assert refused(codec, **fields)[0] == "invalid-packet"
    assert codec.from_server(written(codec, {"type": "gap", "stream": "@", "at": at})) is None


@pytest.mark.parametrize("kind", ["welcome", "event", "Join", "", "__proto__", "x" * 300])
def test_an_unknown_type_is_told_apart(codec: Codec, kind: str) -> None:
    code, text, seq = refused(codec, type=kind, seq=5, channel=1)
    assert (code, seq) == ("unknown-type", 5)
    assert text.startswith(f"type: '{kind[:100]}")
    assert len(text) <= 256
    assert refused(codec, type=kind)[2] is None


@pytest.mark.parametrize("fields", [[], [1], "beat", 5, None, True, 1.5])
def test_a_packet_is_an_object(codec: Codec, fields: object) -> None:
    assert refusal(codec, written(codec, fields)).code == "invalid-packet"
    assert codec.from_server(written(codec, fields)) is None


def test_a_wrong_kind_of_message_is_refused() -> None:
    error = refusal(JSON, b'{"type":"beat"}')
    assert (error.code, error.text) == (
        "invalid-packet",
        "packets of sono.v2 are text messages",
    )
    error = refusal(MSGPACK, '{"type":"beat"}')
    assert (error.code, error.text) == (
        "invalid-packet",
        "packets of sono.v2.msgpack are binary messages",
    )
    assert JSON.from_server(b'{"type":"beat"}') is None
    assert MSGPACK.from_server('{"type":"beat"}') is None
    with pytest.raises(PacketError, match="not MessagePack"):
        MSGPACK.from_client('{"type":"beat"}', LIMITS)


def test_of_duplicate_keys_the_last_wins() -> None:
    text = (
        '{"type":"send","event":"error","to":"a","data":0,"event":"e",'
        '"data":{"x":1,"x":2},"to":"b"}'
    )
    packet = packets.Send(to="b", event="e", data={"x": 2})
    assert read(JSON, text) == packet
    keys = b"\x87\xa4type\xa4send\xa5event\xa5error\xa2to\xa1a\xa4data\x00\xa5event\xa1e\xa4data"
    assert read(MSGPACK, keys + b"\x82\xa1x\x01\xa1x\x02\xa2to\xa1b") == packet
    late = text.replace('"event":"e"', '"event":"grab"')
    assert refusal(JSON, late).code == "reserved-event"


def test_a_type_that_contradicts_itself_is_refused() -> None:
    assert refusal(JSON, '{"type":"beat","type":"bye"}').code == "invalid-packet"
    assert refusal(MSGPACK, b"\x82\xa4type\xa4beat\xa4type\xa3bye").code == "invalid-packet"


# -- names ------------------------------------------------------------------------------------

NAMED = [
    ({"type": "join", "seq": 3}, "channel"),
    ({"type": "move", "seq": 3}, "channel"),
    ({"type": "leave", "seq": 3}, "channel"),
    ({**PUBLISH, "seq": 3}, "channel"),
    ({**PUBLISH, "seq": 3}, "event"),
    ({"type": "send", "to": "id", "data": 1, "seq": 3}, "event"),
    ({**REQUEST, "seq": 3}, "name"),
    ({"type": "present", "seq": 3, "data": 1}, "channel"),
    ({"type": "hello"}, "channel"),
]


@pytest.mark.parametrize(("fields", "what"), NAMED)
def test_names(codec: Codec, fields: dict[str, Any], what: str) -> None:
    seq = fields.get("seq")
    for name in ("x" * 128, "é", "😀" * 128, " ", "__proto__", "#", "@"):
        assert getattr(of_client(codec, **{**fields, what: name}), what) == name
    for name in ("", "x" * 129):
        found = refused(codec, **{**fields, what: name})
        assert found == ("invalid-packet", f"{what}: 1 to 128 characters", seq)
    for name in ("a\n", "\x00", "\x85"):
        found = refused(codec, **{**fields, what: name})
        assert found == ("invalid-packet", f"{what}: control characters are not allowed", seq)
    short = Limits(max_name=2)
    error = refusal(codec, written(codec, {**fields, what: "abc"}), short)
    assert error.text.endswith(": 1 to 2 characters")


def test_names_of_the_channels_that_were_joined(codec: Codec) -> None:
    code, text, _ = refused(codec, type="hello", joined=["a", ""])
    assert (code, text) == ("invalid-packet", "joined: 1 to 128 characters")


@pytest.mark.parametrize("event", ["error", "grab"])
def test_reserved_events(codec: Codec, event: str) -> None:
    text = f"the event {event} is the server's own"
    assert refused(codec, **{**PUBLISH, "event": event}) == ("reserved-event", text, None)
    assert refused(codec, type="send", seq=8, to="a", event=event, data=1) == (
        "reserved-event",
        text,
        8,
    )
    assert isinstance(of_client(codec, **{**REQUEST, "name": event}), packets.Request)


# -- what is not parsed -----------------------------------------------------------------------


def test_weighing_counts_what_is_in_a_message(codec: Codec) -> None:
    small = codec.weigh(written(codec, {**PUBLISH, "data": "x"}), LIMITS)
    assert codec.weigh(written(codec, {**PUBLISH, "data": "x" * 1000}), LIMITS) > small + 900
    assert codec.weigh(written(codec, {**PUBLISH, "data": [0] * 10}), LIMITS) > small + 160
    assert codec.weigh(written(codec, {**PUBLISH, "data": {}}), LIMITS) > small + 50


def test_depth(codec: Codec) -> None:
    def nested(depth: int) -> str | bytes:
        data: Any = 0
        for _ in range(depth - 1):
            data = [data]
        return written(codec, {**PUBLISH, "data": data})

    assert isinstance(read(codec, nested(64)), packets.Publish)
    error = refusal(codec, nested(65))
    assert (error.code, error.text) == ("invalid-packet", "nested deeper than 64 levels")
    wide = Limits(max_depth=10_000)
    packet = read(codec, nested(128), wide)
    assert isinstance(packet, packets.Publish)
    assert Data.of([[packet.data]])  # it can be passed on, with something around it
    assert refusal(codec, nested(129), wide).text == "nested deeper than 128 levels"


def test_containers(codec: Codec) -> None:
    message = written(codec, {**PUBLISH, "data": [[]] * 4})
    assert read(codec, message, Limits(max_containers=6))
    error = refusal(codec, message, Limits(max_containers=5))
    assert (error.code, error.text) == ("invalid-packet", "more than 5 objects and arrays")


@pytest.mark.parametrize("number", [1 << 63, (1 << 64) - 1])
def test_integers_of_more_than_64_bits(codec: Codec, number: int) -> None:
    for fields in ({**PUBLISH, "data": [number]}, {**PUBLISH, "ignored": number}):
        error = refusal(codec, written(codec, fields))
        assert (error.code, error.text) == (
            "invalid-packet",
            "an integer does not fit into 64 bits",
        )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "beat",
        '{"type":"beat"}x',
        '{"type":"beat"}{}',
        '{"type":"\\ud800"}',
        '{"type":"\ud800"}',
        '{"type":"publish","channel":"c","event":"e","data":1e999}',
        '{"type":"publish","channel":"c","event":"e","data":NaN}',
        '{"type":"publish","channel":"c","event":"e","data":"\\ud800"}',
        "[" * 10_000,
        "[" * 10_000 + "]" * 10_000,
        '{"a":' * 10_000,
        '{"type":"publish","data":' + "9" * 5000 + "}",
    ],
)
def test_what_is_no_json(text: str) -> None:
    assert refusal(JSON, text).code == "invalid-packet"
    with pytest.raises(PacketError):
        JSON.from_client(text, LIMITS)
    assert JSON.from_server(text) is None


def with_data(data: bytes) -> bytes:
    """A `publish` with something that is no value, perhaps."""
    return b"\x84\xa4type\xa7publish\xa7channel\xa1c\xa5event\xa1e\xa4data" + data


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"", "not MessagePack"),
        (b"\xc1", "not MessagePack"),
        (with_data(b""), "not MessagePack"),
        (with_data(b"\x01\x01"), "not MessagePack"),
        (with_data(b"\xa2\xff\xff"), "not MessagePack"),
        (with_data(b"\xa3\xed\xa0\x80"), "not MessagePack"),
        (with_data(b"\xa5abc"), "not MessagePack"),
        (with_data(b"\xdd\xff\xff\xff\xff"), "not MessagePack"),
        (with_data(b"\xdf\xff\xff\xff\xff"), "not MessagePack"),
        (with_data(b"\xdb\xff\xff\xff\xff"), "not MessagePack"),
        (with_data(b"\xc6\xff\xff\xff\xff"), "not MessagePack"),
        (with_data(b"\xd4\x01x"), "extension types are not allowed"),
        (with_data(b"\xd7\xff" + bytes(8)), "extension types are not allowed"),
        (with_data(b"\xc9\xff\xff\xff\xff\x01"), "extension types are not allowed"),
        (with_data(b"\xcb\x7f\xf8" + bytes(6)), "NaN and infinities are not allowed"),
        (with_data(b"\xca\xff\x80\x00\x00"), "NaN and infinities are not allowed"),
        (with_data(b"\x81\x01\x02"), "a key is no string"),
        (with_data(b"\x81\xc4\x01a\x02"), "a key is no string"),
        (b"\x81\xc4\x04type\xa4beat", "a key is no string"),
        (b"\x91" * 10_000, "nested deeper than 64 levels"),
        (with_data(b"\x91" * 10_000), "nested deeper than 64 levels"),
        (b"\x81\xa0" * 10_000, "nested deeper than 64 levels"),
        (b"\xdd\x00\x01\x11\x70" + b"\x90" * 70_000, "more than 65536 objects and arrays"),
        (b"\x93\x01\x02", "not MessagePack"),
    ],
)  # fmt: skip
def test_what_is_no_messagepack_of_ours(message: bytes, text: str) -> None:
    error = refusal(MSGPACK, message)
    assert (error.code, error.text) == ("invalid-packet", text)
    assert MSGPACK.from_server(message) is None


def test_binary_values_are_read_from_messagepack() -> None:
    packet = of_client(MSGPACK, **{**PUBLISH, "data": {"a": b"\x00\xff"}})
    assert packet == packets.Publish(channel="c", event="e", data={"a": b"\x00\xff"})
    assert refused(MSGPACK, **{**PUBLISH, "event": b"e"})[0] == "invalid-packet"


BOMBS = [
    b"\xdd" + struct.pack(">I", 1 << 20) + b"\xc0" * (1 << 20),
    b"\xdf" + struct.pack(">I", 1 << 19) + b"\xa0\xc0" * (1 << 19),
    with_data((b"\xdd" + struct.pack(">I", 1 << 19)) * 60 + b"\xc0" * (1 << 20)),
    b"\x91" * (1 << 20),
    ("[" * (1 << 20)).encode(),
    ('{"type":"publish","data":' + "[" * (1 << 20)).encode(),
    ("[" + "0," * (1 << 19)).encode(),
]


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
def test_a_bomb_is_bounded(bomb: bytes) -> None:
    """Ten seconds of CPU for what takes milliseconds, or a fifth of one in Python."""
    started = time.thread_time()
    for codec, message in ((MSGPACK, bomb), (JSON, bomb.decode("latin-1"))):
        assert refusal(codec, message).code == "invalid-packet"
        assert codec.from_server(message) is None
    assert time.thread_time() - started < 10


def test_the_number_of_what_is_not_parsed_is_read(codec: Codec) -> None:
    """Otherwise all numbers after it would leap."""
    deep: Any = 0
    for _ in range(200):
        deep = [deep]
    for data in (deep, [[]] * 70_000, 1 << 63):
        message = written(codec, {**PUBLISH, "data": data, "seq": 9})
        assert refusal(codec, message).seq == 9
        for seq in (0, MAX_NUMBER + 1, "9", None, deep, [[]] * 70_000):
            message = written(codec, {**PUBLISH, "data": data, "seq": seq})
            assert refusal(codec, message).seq is None
    for number in (b"\xcb\x7f\xf8" + bytes(6), b"\xd4\x01x", b"\x81\x01\x02"):
        message = b"\x85\xa3seq\x09" + with_data(number)[1:]
        assert refusal(MSGPACK, message).seq == 9
        assert refusal(MSGPACK, message + b"\xc0").seq is None


def test_reading_a_number_makes_nothing_else() -> None:
    bomb = [[]] * 60_000
    for codec, fields in ((JSON, {"seq": bomb}), (MSGPACK, {"seq": bomb, "type": bomb})):
        message = written(codec, {**fields, "data": [bomb, bomb]})
        tracemalloc.start()
        try:
            assert codec._number_of(message) is None
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 500_000


# -- what servers say -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "packet"),
    [
        (
            {
                "type": "welcome",
                "id": "i",
                "key": "k",
                "resumed": False,
                "seq": 0,
                "channel": "Home",
                "streams": [{"stream": "@", "at": AT, "recovered": True, "more": 1}],
                "denied": [{"channel": "c", "error": {"code": "forbidden", "message": "no"}}],
                "beat": 25,
                "limits": {"max_message": 5},
                "new": {},
            },
            packets.Welcome(
                id="i",
                key="k",
                resumed=False,
                seq=0,
                channel="Home",
                streams=[packets.Begun("@", POSITION, True)],
                denied=[packets.Denied("c", packets.Failure("forbidden", "no"))],
                beat=25.0,
                limits={"max_message": 5},
            ),
        ),
        (
            {"type": "event", "stream": "#c", "event": "error", "data": {"a": 1}, "from": "i"},
            packets.Event(stream="#c", event="error", data={"a": 1}, sender="i"),
        ),
        ({"type": "gap", "stream": "@", "at": AT}, packets.Gap(stream="@", at=POSITION)),
        (
            {"type": "result", "stream": "@", "at": AT, "re": 3, "published": ["e", 8]},
            packets.Result(stream="@", at=POSITION, re=3, published=Position("e", 8)),
        ),
        (
            {"type": "request", "stream": "@", "at": AT, "id": 3, "name": "r", "data": None},
            packets.Asked(stream="@", at=POSITION, id=3, name="r", data=None),
        ),
        (
            {"type": "members", "channel": "c", "version": 1, "members": [["i", 5]], "count": 9},
            packets.Members(channel="c", version=1, members=[("i", 5)], count=9),
        ),
        (
            {"type": "presence", "channel": "c", "version": 2, "out": ["i"], "count": 0},
            packets.Presence(channel="c", version=2, gone=["i"], count=0),
        ),
        ({"type": "renew", "in": 5}, packets.Renew(seconds=5.0)),
        ({"type": "beat"}, packets.Beat()),
        (
            {"type": "error", "code": "c", "message": "m"},
            packets.Error(code="c", message="m"),
        ),
    ],
)
def test_packets_of_servers(codec: Codec, fields: Any, packet: packets.FromServer) -> None:
    assert codec.from_server(written(codec, fields)) == packet


def test_a_result_without_data_has_none(codec: Codec) -> None:
    fields = {"type": "result", "stream": "@", "at": AT, "re": 3}
    packet = codec.from_server(written(codec, fields))
    assert isinstance(packet, packets.Result)
    assert packet.data is UNSET


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "publish", "channel": "c", "event": "e", "data": 1},
        {"type": "new"},
        {"type": 1},
        {},
        {"type": "ack", "seq": "1"},
        {"type": "event", "stream": "#c", "event": "e"},
        {"type": "members", "channel": "c", "version": 1, "members": [["i"]], "count": 9},
        {"type": "ack", "seq": 1 << 63},
    ],
)
def test_a_client_ignores_what_it_does_not_know(codec: Codec, fields: Any) -> None:
    assert codec.from_server(written(codec, fields)) is None
