"""What nodes say to each other: written, and read again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from sono_core.messaging import Publish
from sono_core.messaging.lossless import Data, Position, packets
from sono_core.messaging.lossless.nodes import LetGo, LetGone
from sono_core.messaging.lossless.server.orders import Answer, Ask, Disconnect, End
from sono_server.backplane import Envelopes, UnreadableError
from sono_server.backplane.envelopes import VERSION

ENVELOPES = Envelopes()
AT = Position("e", 7)
texts = st.text(max_size=8)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts | st.binary(max_size=8)
)
payloads = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
).map(Data.of)
someone = st.none() | texts
publications = st.builds(Publish, someone, texts, payloads, someone, someone)
failures = st.builds(packets.Failure, texts, texts, st.booleans())
entries = (
    st.builds(
        packets.Event, stream=texts, event=texts, data=payloads, at=st.just(AT), sender=someone
    )
    | st.builds(
        packets.Result,
        stream=texts,
        at=st.just(AT),
        re=st.integers(1, 2**53 - 1),
        data=payloads | st.just(UNSET),
        published=st.none() | st.just(AT),
        error=st.none() | failures,
    )
    | st.builds(
        packets.Asked, stream=texts, at=st.just(AT), id=st.integers(1, 9), name=texts, data=payloads
    )
    | st.builds(
        packets.Joined,
        stream=texts,
        at=st.just(AT),
        channel=texts,
        position=st.just(AT),
        current=st.booleans(),
    )
    | st.builds(packets.Left, stream=texts, at=st.just(AT), channel=texts, code=texts)
)


said = st.builds(LetGo, texts, st.integers(1, 9), texts) | st.builds(
    LetGone, texts, st.integers(1, 9), st.integers(0, 2**53 - 1)
)
numbers = st.integers(0, 2**53 - 1)
codes = st.integers(1000, 4999)
orders = (
    st.builds(Disconnect, texts, st.binary(max_size=8), codes, texts)
    | st.builds(End, texts, numbers, texts, codes, texts)
    | st.builds(Ask, texts, numbers, texts, texts, st.floats(0, 100), st.none() | payloads)
    | st.builds(Answer, texts, numbers, st.none() | failures, st.none() | payloads)
)


@given(publications | entries | orders | payloads | said)
def test_what_is_written_is_read_again(body: Any) -> None:
    found = ENVELOPES.decode(ENVELOPES.encode(body))
    assert type(found) is type(body)
    assert found == body


@given(publications)
def test_a_payload_costs_what_it_did_and_is_as_binary(body: Publish) -> None:
    found = ENVELOPES.decode(ENVELOPES.encode(body)).payload
    assert (found.cost, found.binary) == (body.payload.cost, body.payload.binary)
    assert (found.json(), found.msgpack()) == (body.payload.json(), body.payload.msgpack())


@given(st.binary(max_size=60))
def test_what_is_no_envelope_is_unreadable(content: bytes) -> None:
    with pytest.raises(UnreadableError):
        ENVELOPES.decode(content)


@pytest.mark.parametrize("position", range(3))
def test_an_envelope_that_is_cut_is_unreadable(position: int) -> None:
    content = ENVELOPES.encode(Publish("c", "e", Data.of({"a": 1}), None))
    with pytest.raises(UnreadableError):
        ENVELOPES.decode(content[: len(content) * position // 3])


def test_another_version_is_named() -> None:
    content = msgspec.msgpack.encode((VERSION + 1, ["publication", "c"]))
    with pytest.raises(UnreadableError, match=f"version {VERSION + 1}"):
        ENVELOPES.decode(content)
