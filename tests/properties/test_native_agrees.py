"""C and Python give the same, event for event and error for error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sono_core import Limits, Role
from sono_core.errors import ProtocolFailure
from sono_core.native.kernels import pure_apply_mask
from sono_core.native.path import accelerator
from sono_core.native.scan import pure_scan_json
from sono_core.native.scan_msgpack import pure_scan_msgpack
from sono_core.websocket.deflate import Inflater
from sono_core.websocket.outbox import Outbox
from sono_core.websocket.reader import Item, MessageReader, Reader, Stop, message_reader
from tests.conftest import require

from .strategies import (
    Chunking,
    Stream,
    Terms,
    chunkings,
    frame_like,
    roles,
    spoiled_streams,
    streams,
    terms_or_none,
)

limits = st.builds(
    lambda message, frame, fragments: Limits(
        max_message=message, max_frame=frame, max_fragments=fragments
    ),
    st.sampled_from([1, 100, 1024, 1 << 20]),
    st.sampled_from([1, 100, 1024, 1 << 20]),
    st.sampled_from([1, 2, 1024]),
)


pytestmark = pytest.mark.native


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    require(
        "native", accelerator is not None, "build it with a C compiler, and do not set SONO_PURE"
    )


def inflater(agreed: Terms | None) -> Inflater | None:
    return Inflater(agreed.bits, agreed.takeover) if agreed else None


def outcome(reader: Reader, data: bytes, chunking: Chunking) -> list[Item | tuple[int, str]]:
    """All events, and the failure that ends them."""
    found: list[Item | tuple[int, str]] = []
    pieces = chunking.pieces(data)
    try:
        for number, piece in enumerate(pieces, 1):
            reader.feed(piece)
            if chunking.pulls_after(number) or number == len(pieces):
                while (item := reader.next()) is not None:
                    found.append(item)
    except ProtocolFailure as failure:
        found.append((failure.code, failure.reason))
    return found


def delivered(
    reader: Reader, outbox: Outbox, data: bytes, chunking: Chunking, messages: int, size: int
) -> list[object]:
    """The same by `deliver`, a share at a time, with `next` for the rest."""
    found: list[object] = []
    outbox.room = 1
    pieces = chunking.pieces(data)
    try:
        for number, piece in enumerate(pieces, 1):
            reader.feed(piece)
            while chunking.pulls_after(number) or number == len(pieces):
                share = reader.deliver(found.append, outbox, 0, messages, size)
                found.append(share)
                if not share[0]:
                    item = reader.next()
                    if item is None:
                        break
                    found.append(item)
    except ProtocolFailure as failure:
        found.append((failure.code, failure.reason))
    return found


def begun(
    reader: Reader, outbox: Outbox, data: bytes, chunking: Chunking
) -> list[tuple[int, int, bool]]:
    """After each turn: why it stopped, how much of a message has come, and if memory is held."""
    found = []
    outbox.room = 1
    try:
        for piece in chunking.pieces(data):
            reader.feed(piece)
            while True:
                _, _, stop = reader.deliver(lambda message: None, outbox, 0, 1 << 30, 1 << 30)
                found.append((stop, reader.arrived, reader.held > 0))
                if stop != Stop.OTHER or reader.next() is None:
                    break
    except ProtocolFailure:
        pass
    return found


@given(streams, chunkings, limits)
def test_what_was_begun(stream: Stream, chunking: Chunking, of: Limits) -> None:
    role, agreed, data = stream.receiver, stream.terms, stream.data
    pure = MessageReader(role, of, inflater(agreed))
    fast = message_reader(role, of, inflater(agreed))
    outboxes = accelerator.Outbox(), Outbox()
    assert begun(fast, outboxes[0], data, chunking) == begun(pure, outboxes[1], data, chunking)


shares = st.tuples(st.sampled_from([1, 2, 1000]), st.sampled_from([1, 100, 1 << 20]))


def check(role: Role, agreed: Terms | None, data: bytes, chunking: Chunking, of: Limits) -> None:
    pure = outcome(MessageReader(role, of, inflater(agreed)), data, chunking)
    fast = outcome(message_reader(role, of, inflater(agreed)), data, chunking)
    assert fast == pure
    assert [type(item) for item in fast] == [type(item) for item in pure]


def check_delivery(stream: Stream, chunking: Chunking, of: Limits, share: tuple[int, int]) -> None:
    role, agreed, data = stream.receiver, stream.terms, stream.data
    pure = MessageReader(role, of, inflater(agreed))
    fast = message_reader(role, of, inflater(agreed))
    assert delivered(fast, accelerator.Outbox(), data, chunking, *share) == delivered(
        pure, Outbox(), data, chunking, *share
    )


@given(streams, chunkings, limits, shares)
def test_delivery_of_valid_streams(
    stream: Stream, chunking: Chunking, of: Limits, share: tuple[int, int]
) -> None:
    check_delivery(stream, chunking, of, share)


@given(spoiled_streams, chunkings, limits, shares)
def test_delivery_of_spoiled_streams(
    stream: Stream, chunking: Chunking, of: Limits, share: tuple[int, int]
) -> None:
    check_delivery(stream, chunking, of, share)


@given(streams, chunkings, limits)
def test_valid_streams_and_small_limits(stream: Stream, chunking: Chunking, of: Limits) -> None:
    check(stream.receiver, stream.terms, stream.data, chunking, of)


@given(spoiled_streams, chunkings, limits)
def test_spoiled_streams(stream: Stream, chunking: Chunking, of: Limits) -> None:
    check(stream.receiver, stream.terms, stream.data, chunking, of)


@given(roles, terms_or_none, frame_like, chunkings, limits)
def test_bytes_like_frames(
    role: Role, agreed: Terms | None, data: bytes, chunking: Chunking, of: Limits
) -> None:
    check(role, agreed, data, chunking, of)


like_json = st.text('[]{}"\\,:-.e019 é😀', max_size=200)


@given(like_json, st.integers(0, 5), st.integers(0, 20))
def test_scanning(text: str, depth: int, containers: int) -> None:
    found = accelerator.scan_json(text, depth, containers)
    assert found == pure_scan_json(text, depth, containers)


like_msgpack = st.lists(
    st.sampled_from([bytes((kind,)) for kind in range(0x80, 0xE0)])
    | st.binary(max_size=9)
    | st.sampled_from(
        [b"\x92", b"\x82\xa0", b"\xdc\x00\x03", b"\xde\x00\x02", b"\x7f\xf0", b"\xc0"]
    ),
    max_size=40,
).map(b"".join)


@given(like_msgpack, st.integers(0, 5), st.integers(0, 20), st.booleans())
def test_scanning_msgpack(data: bytes, depth: int, containers: int, binary: bool) -> None:
    found = accelerator.scan_msgpack(data, depth, containers, binary)
    assert found == pure_scan_msgpack(data, depth, containers, binary)


def test_blocks_behind_text_that_is_illegal_do_not_count() -> None:
    stream = Stream(Role.CLIENT, Terms(False, 15), b"\xc1\x06\x13\xd4ph\x02\x00", (8,), ())
    of = Limits(max_message=100, max_frame=1, max_fragments=1)
    check_delivery(stream, Chunking(0, [], [False]), of, (1, 1))


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_masking(data: bytes, mask: bytes) -> None:
    assert accelerator.apply_mask(data, mask) == pure_apply_mask(data, mask)
