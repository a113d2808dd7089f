"""Frame streams as a peer may send them, ways to cut and spoil them, and calls of a caller.

A `Stream` carries the events that it must give, which come from its plan, not from decoding.
"""

from __future__ import annotations

import itertools
import zlib
from typing import NamedTuple

from hypothesis import strategies as st

from sono_core import BinaryMessage, Close, Event, Ping, Pong, Role, TextMessage
from sono_core.websocket.close import encode_close
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT

_TAIL = b"\x00\x00\xff\xff"

roles = st.sampled_from([Role.SERVER, Role.CLIENT])

# -- payloads ---------------------------------------------------------------------------------

_SIZES = (0, 1, 2, 124, 125, 126, 127, 128, 1023, 1024, 65535, 65536)  # where encodings change


def _repeated(unit: bytes, size: int) -> bytes:
    return (unit * (size // len(unit) + 1))[:size]


texts = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", "κόσμε", "\ud7ff\ue000\U00010000\U0010ffff", "\x00", "ab" * 400]),
    st.builds(lambda size: "x" * size, st.sampled_from(_SIZES)),
)
datas = st.one_of(
    st.binary(max_size=12),
    st.builds(_repeated, st.binary(min_size=1, max_size=4), st.sampled_from(_SIZES)),
)
control_payloads = st.one_of(
    st.binary(max_size=6), st.builds(_repeated, st.just(b"\xffx"), st.sampled_from([124, 125]))
)
messages = st.one_of(st.builds(TextMessage, texts), st.builds(BinaryMessage, datas))
pings = st.builds(Ping, control_payloads)
pongs = st.builds(Pong, control_payloads)
closes = st.one_of(
    st.just(Close(1005, "")),
    st.builds(
        Close,
        st.sampled_from([1000, 1001, 1002, 1003, 1007, 1011, 1013, 1014, 3000, 4999]),
        st.text(max_size=10),
    ),
)
masks = st.one_of(st.just(b"\0\0\0\0"), st.binary(min_size=4, max_size=4))

# -- agreements -------------------------------------------------------------------------------


class Terms(NamedTuple):
    """How the peer compresses its messages."""

    takeover: bool
    bits: int

    def extensions(self, receiver: Role) -> str:
        """The peer's Sec-WebSocket-Extensions."""
        sender = "client" if receiver is Role.SERVER else "server"
        parts = ["permessage-deflate"]
        if not self.takeover:
            parts.append(f"{sender}_no_context_takeover")
        if self.bits < 15:
            parts.append(f"{sender}_max_window_bits={self.bits}")
        return "; ".join(parts)


terms = st.builds(Terms, st.booleans(), st.sampled_from([15, 9, 12]))
terms_or_none = st.one_of(st.none(), terms)


def extensions_of(agreed: Terms | None, receiver: Role) -> str | None:
    """The header with which to open a receiver of such streams."""
    return agreed.extensions(receiver) if agreed else None


class Compressor:
    """permessage-deflate as a peer would do it, with zlib alone."""

    def __init__(self, agreed: Terms) -> None:
        self._agreed = agreed
        self._stream = self._new()

    def _new(self) -> zlib._Compress:
        return zlib.compressobj(wbits=-self._agreed.bits)

    def __call__(self, payload: bytes) -> bytes:
        if not self._agreed.takeover:
            self._stream = self._new()
        data = self._stream.compress(payload) + self._stream.flush(zlib.Z_SYNC_FLUSH)
        assert data.endswith(_TAIL)
        return data[: -len(_TAIL)]


# -- streams ----------------------------------------------------------------------------------


class Planned(NamedTuple):
    """A message, and its form on the wire."""

    message: TextMessage | BinaryMessage
    cuts: list[float]
    """Where it is fragmented, from 0 to 1."""
    between: list[Ping | Pong]
    """Control frames, one after each fragment until they run out."""
    compressed: bool


class Stream(NamedTuple):
    """What a peer sends after the handshake."""

    receiver: Role
    terms: Terms | None
    data: bytes
    ends: tuple[int, ...]
    """Where its frames end."""
    events: tuple[Event, ...]
    """The events that it must give."""

    @property
    def extensions(self) -> str | None:
        return extensions_of(self.terms, self.receiver)


planned_messages = st.builds(
    Planned,
    messages,
    st.lists(st.floats(0, 1), max_size=3),
    st.lists(st.one_of(pings, pongs), max_size=2),
    st.booleans(),
)
plans = st.lists(st.one_of(planned_messages, pings, pongs), max_size=6)


def split_at(data: bytes, cuts: list[float]) -> list[bytes]:
    """The data in pieces, cut at these fractions of it."""
    edges = [0, *sorted(int(cut * len(data)) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def _control(event: Event) -> tuple[int, bytes]:
    if isinstance(event, Close):
        return CLOSE, encode_close(event.code, event.reason)
    assert isinstance(event, (Ping, Pong))
    return (PING if isinstance(event, Ping) else PONG), event.payload


def assemble(
    receiver: Role,
    agreed: Terms | None,
    plan: list[Planned | Ping | Pong],
    close: Close | None,
    keys: list[bytes],
) -> Stream:
    """The bytes of a plan, and the events that they must give."""
    compress = Compressor(agreed) if agreed else None
    frames: list[tuple[int, bytes, bool, bool]] = []
    events: list[Event] = []
    for planned in plan:
        if not isinstance(planned, Planned):
            frames.append((*_control(planned), True, False))
            events.append(planned)
            continue
        message = planned.message
        text = isinstance(message, TextMessage)
        payload = message.text.encode() if isinstance(message, TextMessage) else message.data
        rsv1 = compress is not None and planned.compressed
        if compress and rsv1:
            payload = compress(payload)
        pieces = split_at(payload, planned.cuts)
        for number, piece in enumerate(pieces):
            last = number == len(pieces) - 1
            opcode = CONTINUATION if number else TEXT if text else BINARY
            frames.append((opcode, piece, last, rsv1 and not number))
            if number < len(planned.between) and not last:
                control = planned.between[number]
                frames.append((*_control(control), True, False))
                events.append(control)
        events.append(message)
    if close:
        frames.append((*_control(close), True, False))
        events.append(close)
    data = bytearray()
    ends = []
    for number, (opcode, payload, fin, rsv1) in enumerate(frames):
        mask = keys[number % len(keys)] if receiver is Role.SERVER else b""
        data += encode_frame(opcode, payload, fin=fin, rsv1=rsv1, mask=mask)
        ends.append(len(data))
    return Stream(receiver, agreed, bytes(data), tuple(ends), tuple(events))


streams = st.builds(
    assemble,
    roles,
    terms_or_none,
    plans,
    st.one_of(st.none(), closes),
    st.lists(masks, min_size=1, max_size=3),
)

# -- spoiling ---------------------------------------------------------------------------------


class Edit(NamedTuple):
    """One change of a byte string."""

    near_frame: int
    """The frame whose first bytes it is near to; none if there are fewer frames."""
    place: float
    """Otherwise the position, from 0 to 1."""
    offset: int
    kind: str
    value: bytes


edits = st.builds(
    Edit,
    st.integers(0, 8),
    st.floats(0, 1),
    st.integers(0, 9),
    st.sampled_from(["replace", "flip", "insert", "delete"]),
    st.binary(min_size=1, max_size=4),
)


def spoil(data: bytes, ends: tuple[int, ...], changes: list[Edit]) -> bytes:
    """The data with these changes; most of them hit the head of a frame."""
    starts = (0, *ends[:-1])
    spoiled = bytearray(data)
    for edit in changes:
        known = edit.near_frame < len(starts)
        base = starts[edit.near_frame] if known else int(edit.place * len(spoiled))
        at = min(base + edit.offset, len(spoiled))
        value = edit.value
        if edit.kind == "replace":
            spoiled[at : at + len(value)] = value
        elif edit.kind == "insert":
            spoiled[at:at] = value
        elif edit.kind == "delete":
            del spoiled[at : at + len(value)]
        elif at < len(spoiled):
            spoiled[at] ^= 1 << (value[0] & 7)
    return bytes(spoiled)


def spoiled_stream(stream: Stream, changes: list[Edit], cut: float) -> Stream:
    """A stream with changes, and its end cut off; its events are unknown."""
    data = spoil(stream.data, stream.ends, changes)
    data = data[: round(cut * len(data))]
    return stream._replace(data=data, events=())


spoiled_streams = st.builds(
    spoiled_stream,
    streams,
    st.lists(edits, min_size=1, max_size=3),
    st.one_of(st.just(1.0), st.floats(0, 1)),
)


def head_with_length(first: int, form: int, masked: bool, size: int) -> bytes:
    """A frame's head with its length in 1, 3 or 9 bytes, the shortest form or not."""
    bit = 0x80 if masked else 0
    if form == 127:
        return bytes((first, bit | form)) + size.to_bytes(8, "big")
    if form == 126:
        return bytes((first, bit | form)) + (size & 0xFFFF).to_bytes(2, "big")
    return bytes((first, bit | (size & 0x7F)))


HEADS_WITH_LENGTHS = [
    head_with_length(first, form, masked, size)
    for first in (0x82, 0x02, 0x81, 0x89, 0xC2)
    for form in (125, 126, 127)
    for masked in (False, True)
    for size in (*_SIZES, 1 << 20, (1 << 20) + 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
]

# Bytes of which half are frames: with random headers, so that much of it is valid.
frame_like = st.lists(
    st.one_of(
        st.builds(lambda head, mask: head + mask, st.sampled_from(HEADS_WITH_LENGTHS), masks),
        st.binary(max_size=10),
        st.builds(
            lambda first, size, rest: bytes((first, size)) + rest,
            st.sampled_from([0x81, 0x82, 0x01, 0x02, 0x80, 0x00, 0x88, 0x89, 0x8A, 0xC1, 0x41]),
            st.sampled_from([0x80, 0x81, 0x84, 0xFE, 0xFF, 0x00, 0x01, 0x04, 0x7E, 0x7F]),
            st.binary(max_size=12),
        ),
    ),
    max_size=8,
).map(b"".join)

# -- chunking ---------------------------------------------------------------------------------


class Chunking(NamedTuple):
    """A way to hand bytes over."""

    size: int
    """Bytes of a chunk; 0 stands for `cuts`."""
    cuts: list[float]
    pulls: list[bool]
    """Whether events are pulled after a chunk, in turn."""

    def pieces(self, data: bytes) -> list[bytes]:
        """The data in chunks, none of them empty."""
        if self.size and len(data) <= 400 * self.size:
            return [data[at : at + self.size] for at in range(0, len(data), self.size)]
        return [piece for piece in split_at(data, self.cuts) if piece]

    def pulls_after(self, number: int) -> bool:
        """Whether events are pulled after that chunk."""
        return self.pulls[number % len(self.pulls)]


chunkings = st.builds(
    Chunking,
    st.sampled_from([0, 0, 1, 2, 3, 7]),
    st.lists(st.floats(0, 1), max_size=8),
    st.lists(st.booleans(), min_size=1, max_size=4),
)

# -- calls ------------------------------------------------------------------------------------

illegal_values = st.sampled_from(
    [
        TextMessage("\ud800"),
        TextMessage(b"bytes"),  # type: ignore[arg-type]
        TextMessage(None),  # type: ignore[arg-type]
        BinaryMessage("text"),  # type: ignore[arg-type]
        BinaryMessage(3),  # type: ignore[arg-type]
        BinaryMessage([1, 2]),  # type: ignore[arg-type]
        Ping(bytes(126)),
        Ping("text"),  # type: ignore[arg-type]
        Pong(bytes(126)),
        Pong(5),  # type: ignore[arg-type]
        Close(999),
        Close(1004),
        Close(1005, "a reason without a code"),
        Close(1006),
        Close(1015),
        Close(2999),
        Close(5000),
        Close("1000"),  # type: ignore[arg-type]
        Close(True),
        Close(1000, b"bytes"),  # type: ignore[arg-type]
        Close(1000, "\ud800"),
    ]
)
"""Events whose kind an open connection may send, but whose values are illegal."""
