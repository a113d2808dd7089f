"""Agreement with wsproto, an independent implementation, on frame streams after the handshake.

Each known difference is a row of `KNOWN`, with the section that decides it. A difference without
a row fails, and so does a row without a difference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import wsproto.connection
from hypothesis import given
from hypothesis import strategies as st
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

from sono_core import BinaryMessage, Close, Event, Ping, Pong, Role, TextMessage
from sono_core.websocket.close import encode_close
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import CONTINUATION, PING, TEXT
from tests.helpers import open_connection

from .strategies import (
    HEADS_WITH_LENGTHS,
    Compressor,
    Planned,
    Stream,
    Terms,
    assemble,
    closes,
    datas,
    edits,
    frame_like,
    masks,
    messages,
    pings,
    plans,
    pongs,
    roles,
    spoiled_stream,
    streams,
    terms_or_none,
    texts,
)


class Reading(NamedTuple):
    """The results of a stream."""

    events: tuple[Event, ...]
    failure: int | None
    """The close code with which the reader failed the connection."""
    notes: frozenset[str] = frozenset()
    """What wsproto got wrong on the way."""
    reason: str = ""

    def agrees_with(self, other: Reading) -> bool:
        return self.events == other.events and self.failure == other.failure


def sono_reads(stream: Stream) -> Reading:
    connection = open_connection(stream.receiver, stream.extensions)
    # no bytes at all would mean the end of the stream
    events = list(connection.receive_data(stream.data)) if stream.data else []
    if events and isinstance(events[-1], Close) and not events[-1].clean:
        failure = events.pop()
        assert isinstance(failure, Close)
        return Reading(tuple(events), failure.code, reason=failure.reason)
    return Reading(tuple(events), None)


class Watched(PerMessageDeflate):
    """wsproto's extension, which notes where its known faults come into play."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: set[str] = set()

    def frame_inbound_header(self, proto: Any, opcode: Any, rsv: Any, payload_length: int) -> Any:
        if opcode.iscontrol() and self._inbound_compressed:
            self.notes.add("control frame in a compressed message")
        return super().frame_inbound_header(proto, opcode, rsv, payload_length)

    def frame_inbound_payload_data(self, proto: Any, data: bytes) -> Any:
        result = super().frame_inbound_payload_data(proto, data)
        self._look_for_final_block()
        return result

    def frame_inbound_complete(self, proto: Any, fin: bool) -> Any:
        decompressor = self._decompressor
        result = super().frame_inbound_complete(proto, fin)
        self._decompressor, kept = decompressor, self._decompressor
        self._look_for_final_block()
        self._decompressor = kept
        return result

    def _look_for_final_block(self) -> None:
        if self._decompressor is not None and self._decompressor.eof:
            self.notes.add("final block")


def wsproto_reads(stream: Stream) -> Reading:
    extension = Watched()
    if stream.extensions:
        extension.finalize(stream.extensions)
    protocol = FrameProtocol(stream.receiver is Role.CLIENT, [extension])
    protocol.receive_bytes(stream.data)
    events: list[Event] = []
    parts: list[Any] = []
    failure = None
    try:
        for frame in protocol.received_frames():
            payload: Any = frame.payload
            if frame.opcode is Opcode.PING:
                events.append(Ping(payload))
            elif frame.opcode is Opcode.PONG:
                events.append(Pong(payload))
            elif frame.opcode is Opcode.CLOSE:
                events.append(Close(int(payload[0]), payload[1]))
            else:
                parts.append(payload)
                if frame.message_finished:
                    if frame.opcode is Opcode.TEXT:
                        events.append(TextMessage("".join(parts)))
                    else:
                        events.append(BinaryMessage(b"".join(parts)))
                    parts.clear()
    except ParseFailed as error:
        failure = int(error.code)
    return Reading(tuple(events), failure, frozenset(extension.notes))


# -- known differences ------------------------------------------------------------------------


def fails_at(stream: Stream) -> Stream:
    """The stream up to the byte at which Sono fails."""
    connection = open_connection(stream.receiver, stream.extensions)
    for at in range(len(stream.data)):
        for event in connection.receive_data(stream.data[at : at + 1]):
            if isinstance(event, Close):
                return stream._replace(data=stream.data[: at + 1])
    raise AssertionError("Sono does not fail")


def longer(stream: Stream, data: bytes) -> Stream:
    return stream._replace(data=stream.data + data)


def continuation(stream: Stream) -> bytes:
    return encode_frame(CONTINUATION, b"a", fin=False, mask=mask_for(stream.receiver))


def mask_for(receiver: Role) -> bytes:
    return b"mask" if receiver is Role.SERVER else b""


def begins_with(longer_one: Reading, shorter: Reading) -> bool:
    return longer_one.events[: len(shorter.events)] == shorter.events


def has_no_limits(stream: Stream, sono: Reading, theirs: Reading) -> bool:
    return (
        sono.failure in (1008, 1009)
        and begins_with(theirs, sono)
        # wsproto goes on where Sono gives up, unless it has inflated something invalid
        and (stream.terms is not None or wsproto_reads(fails_at(stream)).failure is None)
    )


def knows_fewer_close_codes(stream: Stream, sono: Reading, theirs: Reading) -> bool:
    if sono.failure is not None:
        return sono.reason == "close reason is not UTF-8" and theirs.failure == 1002
    last = sono.events[-1] if sono.events else None
    return (
        isinstance(last, Close)
        and last.code == 1014
        and theirs.failure == 1002
        and sono.events[:-1] == theirs.events
    )


def sees_bad_text_later(stream: Stream, sono: Reading, theirs: Reading) -> bool:
    if sono.reason != "text is not UTF-8" or not begins_with(theirs, sono):
        return False
    more = theirs.events[len(sono.events) :]
    if not all(isinstance(event, (Ping, Pong, Close)) for event in more):
        return False
    if stream.terms:  # the rest of a compressed text cannot be made up
        return True
    bad = fails_at(stream)
    return 1007 in (
        wsproto_reads(longer(bad, b"a")).failure,
        wsproto_reads(longer(bad, continuation(stream))).failure,
    )


def judges_heads_in_another_order(stream: Stream, sono: Reading, theirs: Reading) -> bool:
    """For a head that has not arrived whole; with zeros after it both fail alike."""
    if sono.events != theirs.events:
        return False
    rest = bytes(16)
    if sono.failure == 1002 and theirs.failure is None:
        return wsproto_reads(longer(fails_at(stream), rest)).failure in (
            (1002, 1007) if "inside a fragmented" in sono.reason and stream.terms else (1002,)
        )
    return (
        sono.failure is None
        and theirs.failure == 1002
        and sono_reads(longer(stream, rest)).failure == 1002
    )


def inflates_what_must_not_be_there(stream: Stream, sono: Reading, theirs: Reading) -> bool:
    return (
        stream.terms is not None
        and sono.events == theirs.events
        and (sono.failure, theirs.failure) == (1002, 1007)
        and sono.reason == "new message inside a fragmented one"
    )


def inflates_half_frames(stream: Stream, sono: Reading, theirs: Reading) -> bool:
    return (
        stream.terms is not None
        and sono.events == theirs.events
        and (sono.failure, theirs.failure) == (None, 1007)
        and sono_reads(longer(stream, bytes(2 << 20))).failure in (1007, 1009)
    )


def forgets_that_a_message_is_compressed(stream: Stream, sono: Reading, theirs: Reading) -> bool:
    return "control frame in a compressed message" in theirs.notes


def stops_at_a_final_block(stream: Stream, sono: Reading, theirs: Reading) -> bool:
    return "final block" in theirs.notes


class Difference(NamedTuple):
    """A row of the table."""

    section: str
    applies: Callable[[Stream, Reading, Reading], bool]
    stream: Stream
    """An example."""
    sono: Reading
    theirs: Reading


def example(data: bytes, agreed: Terms | None = None) -> Stream:
    return Stream(Role.CLIENT, agreed, data, (), ())


TERMS = Terms(True, 15)
COMPRESSED = Compressor(TERMS)(b"compressed")
FINAL_BLOCK = bytes.fromhex("f348cdc9c90700")  # "Hello", of RFC 7692, section 7.2.3.4

KNOWN = [
    Difference(
        "RFC 6455, section 10.4: implementations limit frames and messages",
        has_no_limits,
        example(b"\x82\x7f" + (1 << 40).to_bytes(8, "big")),
        Reading((), 1009),
        Reading((), None),
    ),
    Difference(
        "RFC 6455, section 7.4.2: IANA's registry has had 1014 since 2012",
        knows_fewer_close_codes,
        example(encode_frame(8, encode_close(1014, ""))),
        Reading((Close(1014),), None),
        Reading((), 1002),
    ),
    Difference(
        "RFC 6455, section 8.1: a text that is not UTF-8 fails, in Sono at its first wrong byte",
        sees_bad_text_later,
        example(encode_frame(TEXT, b"\xed\xa0", fin=False) + encode_frame(PING, b"")),
        Reading((), 1007),
        Reading((Ping(),), None),
    ),
    Difference(
        "RFC 6455, section 5.2: a frame's head is wrong whichever of its parts comes last",
        judges_heads_in_another_order,
        example(b"\xa1\x7f"),
        Reading((), 1002),
        Reading((), None),
    ),
    Difference(
        "RFC 6455, section 5.4: what may not be there is an error whatever it carries",
        inflates_what_must_not_be_there,
        example(
            encode_frame(TEXT, COMPRESSED, fin=False, rsv1=True)
            + encode_frame(TEXT, b"\xff" * 9, rsv1=True),
            TERMS,
        ),
        Reading((), 1002),
        Reading((), 1007),
    ),
    Difference(
        "RFC 7692, section 7.2.2: what is inflated is the payload, not a part of it",
        inflates_half_frames,
        example(encode_frame(TEXT, b"\xff" * 9, rsv1=True)[:-1], TERMS),
        Reading((), None),
        Reading((), 1007),
    ),
    Difference(
        "RFC 6455, section 5.4: control frames may stand in the middle of any message",
        forgets_that_a_message_is_compressed,
        example(
            encode_frame(2, b"", fin=False, rsv1=True)
            + encode_frame(PING, b"")
            + encode_frame(CONTINUATION, COMPRESSED),
            TERMS,
        ),
        Reading((Ping(), BinaryMessage(b"compressed")), None),
        Reading((Ping(), BinaryMessage(COMPRESSED)), None),
    ),
    Difference(
        "RFC 7692, section 7.2.3.4: a block with BFINAL does not end the message",
        stops_at_a_final_block,
        example(encode_frame(2, FINAL_BLOCK + COMPRESSED, rsv1=True), TERMS),
        Reading((BinaryMessage(b"Hellocompressed"),), None),
        Reading((BinaryMessage(b"Hello"),), None),
    ),
]


@pytest.mark.parametrize("row", KNOWN, ids=lambda row: row.applies.__name__)
def test_a_known_difference_still_occurs(row: Difference) -> None:
    sono, theirs = sono_reads(row.stream), wsproto_reads(row.stream)
    assert sono.agrees_with(row.sono)
    assert theirs.agrees_with(row.theirs)
    assert not sono.agrees_with(theirs)
    assert row.applies(row.stream, sono, theirs)


def test_wsproto_does_not_answer_by_itself() -> None:
    """A difference that no event shows: RFC 6455, sections 5.5.1 and 5.5.2."""
    data = encode_frame(PING, b"p") + encode_frame(8, encode_close(1000, ""))
    connection = open_connection(Role.CLIENT)
    assert len(list(connection.receive_data(data))) == 2
    pong, echo = 2 + 4 + 1, 2 + 4 + 2
    assert connection.outbox.size == pong + echo
    protocol = wsproto.connection.Connection(wsproto.connection.CLIENT)
    protocol.receive_data(data)
    assert len(list(protocol.events())) == 2
    assert protocol.state is wsproto.connection.ConnectionState.REMOTE_CLOSING  # not CLOSED


# -- agreement --------------------------------------------------------------------------------


def check(stream: Stream) -> None:
    sono, theirs = sono_reads(stream), wsproto_reads(stream)
    if not sono.agrees_with(theirs):
        reasons = [row.section for row in KNOWN if row.applies(stream, sono, theirs)]
        assert reasons, (sono, theirs)


def without_control_frames_in_compressed(
    plan: list[Planned | Ping | Pong],
) -> list[Planned | Ping | Pong]:
    return [
        planned._replace(between=[])
        if isinstance(planned, Planned) and planned.compressed
        else planned
        for planned in plan
    ]


peaceful_streams = st.builds(
    assemble,
    roles,
    terms_or_none,
    plans.map(without_control_frames_in_compressed),
    st.one_of(st.none(), closes.filter(lambda close: close.code != 1014)),
    st.lists(masks, min_size=1, max_size=3),
)


@given(peaceful_streams)
def test_valid_streams_without_any_known_difference(stream: Stream) -> None:
    reading = wsproto_reads(stream)
    assert reading.agrees_with(sono_reads(stream))
    assert reading.events == stream.events


@given(streams, st.floats(0, 1))
def test_streams_that_are_cut(stream: Stream, cut: float) -> None:
    check(stream._replace(data=stream.data[: round(cut * len(stream.data))]))


@given(
    peaceful_streams,
    st.lists(edits, min_size=1, max_size=3),
    st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_streams_that_are_spoiled_and_cut(stream: Stream, changes: list[Any], cut: float) -> None:
    check(spoiled_stream(stream, changes, cut))


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("agreed", [None, TERMS])
def test_lengths(role: Role, agreed: Terms | None) -> None:
    for head in HEADS_WITH_LENGTHS:
        check(Stream(role, agreed, head + mask_for(role), (), ()))


@given(roles, plans.map(without_control_frames_in_compressed), masks)
def test_a_peer_that_keeps_its_window_although_it_agreed_not_to(
    receiver: Role, plan: list[Planned | Ping | Pong], mask: bytes
) -> None:
    stream = assemble(receiver, TERMS, plan * 2, None, [mask])
    check(stream._replace(terms=Terms(False, 15)))


@given(roles, terms_or_none, frame_like)
def test_bytes_that_resemble_frames(role: Role, agreed: Terms | None, data: bytes) -> None:
    check(Stream(role, agreed, data, (), ()))


# Texts that are almost UTF-8, in a fragmented message; hypothesis would hardly find them.
almost_texts = st.lists(
    st.one_of(
        st.sampled_from(b"a\x80\x8f\x90\x9f\xa0\xbf\xc0\xc3\xe0\xed\xf0\xf4\xf5").map(
            lambda byte: bytes((byte,))
        ),
        st.sampled_from([b"\xc3\xa9", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"]),
    ),
    max_size=6,
).map(b"".join)


@given(roles, st.lists(almost_texts, min_size=1, max_size=4), st.booleans(), st.booleans())
def test_texts_that_are_almost_utf8(
    role: Role, pieces: list[bytes], finished: bool, between: bool
) -> None:
    mask = mask_for(role)
    data = bytearray()
    for number, piece in enumerate(pieces):
        fin = finished and number == len(pieces) - 1
        data += encode_frame(CONTINUATION if number else TEXT, piece, fin=fin, mask=mask)
        if between:
            data += encode_frame(PING, b"", mask=mask)
    check(Stream(role, None, bytes(data), (), ()))


@given(roles, terms_or_none, st.lists(st.one_of(messages, pings, pongs), max_size=6), closes)
def test_wsproto_reads_what_sono_sends(
    receiver: Role, agreed: Terms | None, events: list[Event], close: Close
) -> None:
    sender = Role.CLIENT if receiver is Role.SERVER else Role.SERVER
    stream = Stream(receiver, agreed, b"", (), ())
    connection = open_connection(sender, stream.extensions)
    for event in [*events, close]:
        connection.send(event)
    reading = wsproto_reads(stream._replace(data=connection.data_to_send()))
    if close.code == 1014:
        assert reading.agrees_with(Reading(tuple(events), 1002))
    else:
        assert reading.agrees_with(Reading((*events, close), None))


@given(roles, terms_or_none, st.lists(st.one_of(texts, datas), max_size=6), st.integers(1, 40))
def test_sono_reads_what_wsproto_sends(
    receiver: Role, agreed: Terms | None, payloads: list[str | bytes], size: int
) -> None:
    """Sono fragments and compresses it."""
    stream = Stream(receiver, agreed, b"", (), ())
    extension = PerMessageDeflate()
    if stream.extensions:
        extension.finalize(stream.extensions)
    protocol = FrameProtocol(receiver is Role.SERVER, [extension])
    data = b""
    expected: list[Event] = []
    for payload in payloads:
        pieces = [payload[at : at + size] for at in range(0, min(len(payload), 9 * size), size)]
        pieces = pieces or [payload]
        for number, piece in enumerate(pieces):
            data += protocol.send_data(piece, number == len(pieces) - 1)
        whole: Any = type(payload)().join(pieces)  # type: ignore[arg-type]
        expected.append(TextMessage(whole) if isinstance(whole, str) else BinaryMessage(whole))
    data += protocol.ping(b"p") + protocol.close(1000, "done")
    reading = sono_reads(stream._replace(data=data))
    assert reading.agrees_with(Reading((*expected, Ping(b"p"), Close(1000, "done")), None))
