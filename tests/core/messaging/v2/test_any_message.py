"""Any message in either form of `sono.v2`, and what is like a packet."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from sono_core import Limits
from sono_core.messaging.lossless import MAX_NUMBER, Data, packets
from sono_core.messaging.v2 import JSON, MSGPACK, Codec, PacketError

LIMITS = Limits()
CODECS = [JSON, MSGPACK]


def read(codec: Codec, fields: object) -> packets.FromClient:
    message = json.dumps(fields) if codec is JSON else msgspec.msgpack.encode(fields)
    codec.weigh(message, LIMITS)
    return codec.from_client(message, LIMITS)


keys = ["type", "seq", "channel", "event", "data", "at", "to", "streams", "joined", "re", "error"]
types = ["hello", "join", "publish", "send", "reply", "read", "beat", "event", "result", "members"]
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.sampled_from(types)
    | st.text(max_size=4)
    | st.just(["e", 1]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(keys) | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=12,
)
like_packets = st.fixed_dictionaries(
    {"type": st.sampled_from(types)}, optional=dict.fromkeys(keys[1:], anything)
)
texts = st.text(st.characters(), max_size=30) | (like_packets | anything).map(json.dumps)
messages = st.binary(max_size=60) | (like_packets | anything).map(msgspec.msgpack.encode)


@given(texts | messages)
@example("9" * 5000)
@example("\ud800")
def test_no_message_raises_anything_but_a_refusal(message: str | bytes) -> None:
    for codec in CODECS:
        for look in (codec.weigh, codec.from_client):
            code = ""
            try:
                look(message, LIMITS)
            except PacketError as error:
                code = error.code
            assert code in ("", "invalid-packet", "unknown-type", "reserved-event")
        codec.from_server(message)


@given(like_packets)
def test_what_a_client_may_say_can_be_passed_on(fields: dict[str, Any]) -> None:
    for codec in CODECS:
        try:
            packet = read(codec, fields)
        except PacketError:
            continue
        data = getattr(packet, "data", UNSET)
        if data is not UNSET:
            assert Data.of(data).value() == data


@example({"type": "hello", "channel": ""}, 1)
@given(like_packets, st.integers(-1, 3) | st.sampled_from([MAX_NUMBER, MAX_NUMBER + 1, 1.0, "1"]))
def test_a_refusal_has_the_number_of_what_it_refuses(fields: dict[str, Any], seq: Any) -> None:
    expected = seq if isinstance(seq, int) and 0 < seq <= MAX_NUMBER else None
    text = json.dumps(fields)
    for codec in CODECS:
        try:
            read(codec, {**fields, "seq": seq})
        except PacketError as error:
            found = error.seq
        else:
            continue
        if found != expected and fields["type"] != "hello":  # which needs no number
            assert found is None
            assert codec is JSON  # it cannot be read where there is no JSON
            assert "NaN" in text or "Infinity" in text
