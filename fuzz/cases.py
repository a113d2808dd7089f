"""Seeds of the targets that read frames, as a table: the frames of each input."""

from __future__ import annotations

import zlib
from typing import NamedTuple

from sono_core.websocket.close import encode_close
from sono_core.websocket.frames import encode_frame

FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
TAIL = b"\x00\x00\xff\xff"
_LENGTH_BYTES = {125: 0, 126: 2, 127: 8}


class Frame(NamedTuple):
    """A frame, legal or not."""

    first: int
    """Its first byte: FIN, the reserved bits, the opcode."""
    payload: bytes = b""
    form: int = 0
    """125, 126 or 127: the length in 0, 2 or 8 more bytes; 0 for the shortest."""
    declared: int = -1
    """The length that the header gives; -1 for the payload's."""
    wrong_mask: bool = False
    """Masked where a mask is illegal, and the reverse."""

    def encode(self, key: bytes) -> bytes:
        """The frame as bytes; masked if there is a key."""
        if not (self.form or self.wrong_mask or self.first & (RSV2 | RSV3)):
            fin, rsv1 = bool(self.first & FIN), bool(self.first & RSV1)
            return encode_frame(self.first & 0x0F, self.payload, fin=fin, rsv1=rsv1, mask=key)
        if self.wrong_mask:
            key = b"" if key else b"\x01\x02\x03\x04"
        size = len(self.payload) if self.declared < 0 else self.declared
        form = self.form or 125
        seven_bits = size if form == 125 else form
        head = bytes((self.first, seven_bits | (0x80 if key else 0)))
        longer = b"" if form == 125 else size.to_bytes(_LENGTH_BYTES[form], "big")
        body = encode_frame(0, self.payload, mask=key)  # answers its masked payload
        payload = body[len(body) - len(self.payload) :]
        return head + longer + key + payload


class Case(NamedTuple):
    """One input."""

    frames: tuple[Frame, ...]
    cut: int = 0
    """Bytes missing at its end."""


AFTER = Frame(FIN | TEXT, b"after")  # shows whether the connection went on


def _frames(*frames: Frame) -> Case:
    return Case((*frames, AFTER))


def _cut(frame: Frame, cut: int) -> Case:
    return Case((frame,), cut)


def _fragments(opcode: int, *payloads: bytes) -> tuple[Frame, ...]:
    first, *middle, last = payloads
    return (
        Frame(opcode, first),
        *(Frame(CONTINUATION, payload) for payload in middle),
        Frame(FIN | CONTINUATION, last),
    )


def _close(code: int, reason: bytes = b"") -> Frame:
    return Frame(FIN | CLOSE, code.to_bytes(2, "big") + reason)


def _deflated(data: bytes, *, bits: int = 15, level: int = 6) -> bytes:
    stream = zlib.compressobj(level, wbits=-bits)
    compressed = stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)
    return compressed.removesuffix(TAIL)


def _finished(data: bytes) -> bytes:
    """Deflate data whose final block has BFINAL set."""
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush(zlib.Z_FINISH)


PINGED = Frame(FIN | PING, b"between")
LONG_TEXT = "x" * 200 + "é" + "y" * 200
JSON = b'{"protocol":"broadcast","event":"message","payload":{"message":"hello"}}' * 12
FAR = bytes(range(256)) + bytes(700) + bytes(range(256))  # refers back further than 512 bytes

OPCODES = {
    f"opcode-{opcode:x}": _frames(Frame(FIN | opcode, b"\x03\xe8" if opcode == CLOSE else b"x"))
    for opcode in range(16)
} | {f"control-unfinished-{opcode:x}": _frames(Frame(opcode)) for opcode in (CLOSE, PING)}

RESERVED = {
    "rsv1-text": _frames(Frame(FIN | RSV1 | TEXT, b"plain")),
    "rsv2-text": _frames(Frame(FIN | RSV2 | TEXT, b"plain")),
    "rsv3-binary": _frames(Frame(FIN | RSV3 | BINARY, b"plain")),
    "rsv1-ping": _frames(Frame(FIN | RSV1 | PING)),
    "rsv1-continuation": _frames(Frame(TEXT, b"a"), Frame(FIN | RSV1 | CONTINUATION, b"b")),
    "wrong-mask": _frames(AFTER, Frame(FIN | TEXT, b"a", wrong_mask=True)),
}

_BIG = Frame(FIN | BINARY, b"few", 127, 1 << 32)
LENGTHS = (
    {
        f"length-{size}": _frames(Frame(FIN | BINARY, bytes(index % 251 for index in range(size))))
        for size in (0, 125, 126, 1000, 1001)
    }
    | {
        f"length-{size}-in-form-{form}": _frames(Frame(FIN | BINARY, bytes(size), form))
        for size, form in ((0, 126), (125, 126), (0, 127), (126, 127))
    }
    | {
        "length-above-16-bits": _frames(Frame(FIN | BINARY, bytes(65536))),
        "length-declared-65535": _cut(_BIG._replace(declared=0xFFFF), 0),
        "length-declared-32-bits": _cut(_BIG, 0),
        "length-declared-63-bits": _cut(_BIG._replace(declared=(1 << 63) - 1), 0),
        "length-declared-64-bits": _cut(_BIG._replace(declared=1 << 63), 0),
        "length-declared-largest": _cut(_BIG._replace(declared=(1 << 64) - 1), 0),
        "length-ping-126": _frames(Frame(FIN | PING, bytes(126))),
        "length-ping-form-127": _frames(Frame(FIN | PING, b"", 127)),
        "cut-payload": _cut(Frame(FIN | TEXT, b"missing"), 2),
        "cut-before-payload": _cut(Frame(FIN | TEXT, bytes(300)), 300),
        "cut-in-length": _cut(Frame(FIN | TEXT, bytes(300)), 305),
        "cut-after-first-byte": _cut(Frame(FIN | PING), 1),
    }
)

FRAGMENTS = {
    "fragments": _frames(*_fragments(TEXT, b"one ", b"two ", b"three")),
    "fragments-binary": _frames(*_fragments(BINARY, b"\xff" * 130, b"\x80")),
    "fragments-empty": _frames(*_fragments(TEXT, b"", b"", b"")),
    "fragments-some-empty": _frames(*_fragments(BINARY, b"", b"a", b"", b"b", b"")),
    "fragments-many": _frames(*_fragments(TEXT, *[b"a"] * 8)),
    "fragments-too-many": _frames(*_fragments(TEXT, *[b""] * 9)),
    "fragments-too-big": _frames(*_fragments(BINARY, bytes(500), bytes(500), bytes(1))),
    "fragments-unfinished": Case((Frame(TEXT, b"a"), Frame(CONTINUATION, b"b"))),
    "fragments-ping-between": _frames(Frame(TEXT, b"a"), PINGED, Frame(FIN, b"b")),
    "fragments-pong-between": _frames(Frame(BINARY), Frame(FIN | PONG), Frame(FIN, b"b")),
    "fragments-close-between": _frames(Frame(TEXT, b"a"), _close(1000), Frame(FIN, b"b")),
    "fragments-message-between": _frames(Frame(TEXT, b"a"), AFTER, Frame(FIN, b"b")),
    "continuation-after-message": _frames(AFTER, Frame(FIN | CONTINUATION, b"lost")),
}


def _unfinished(text: bytes) -> Case:
    """A fragment that is already wrong; a reader that waits for the rest answers the ping."""
    return Case((Frame(TEXT, text), PINGED))


UTF8 = {
    "utf8-edges": _frames(
        Frame(FIN | TEXT, "\0\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff".encode()),
        Frame(FIN | TEXT, LONG_TEXT.encode()),
    ),
    "utf8-split": _frames(*_fragments(TEXT, b"\xf0", b"\x9f", b"", b"\x98", b"\x80")),
    "utf8-split-around-ping": _frames(Frame(TEXT, b"\xe2\x82"), PINGED, Frame(FIN, b"\xac")),
    "utf8-surrogate": _frames(Frame(FIN | TEXT, b"\xed\xa0\x80")),
    "utf8-surrogate-begun": _unfinished(b"\xed\xa0"),
    "utf8-overlong-2": _unfinished(b"\xc0\x80"),
    "utf8-overlong-3": _unfinished(b"\xe0\x9f\xbf"),
    "utf8-overlong-4": _unfinished(b"\xf0\x8f\xbf\xbf"),
    "utf8-too-high": _unfinished(b"\xf4\x90\x80\x80"),
    "utf8-lone-continuation": _frames(Frame(FIN | TEXT, b"a" * 64 + b"\x80")),
    "utf8-never": _frames(Frame(FIN | TEXT, b"a" * 63 + b"\xff" + b"a" * 64)),
    "utf8-truncated": _frames(Frame(FIN | TEXT, b"euro \xe2\x82")),
    "utf8-truncated-at-last-fragment": _frames(*_fragments(TEXT, b"\xe2\x82", b"")),
    "utf8-truncated-then-ascii": _frames(*_fragments(TEXT, b"\xf0\x9f", b"a")),
}


def _compressed(payload: bytes, opcode: int = TEXT) -> Frame:
    return Frame(FIN | RSV1 | opcode, payload)


DEFLATE = {
    "deflate": _frames(_compressed(_deflated(JSON)), _compressed(_deflated(b"\xff" * 99), BINARY)),
    "deflate-stored": _frames(_compressed(_deflated(JSON, level=0))),
    "deflate-empty": _frames(_compressed(b"\x00"), _compressed(b"")),
    "deflate-final-block": _frames(_compressed(_finished(JSON) + b"\x00")),
    "deflate-many-final-blocks": _frames(_compressed(b"\x03\x00" * 1100 + b"\x00")),
    "deflate-after-final-block": _frames(_compressed(_finished(JSON) + b"\xff\xff\xff")),
    "deflate-fragments": _frames(
        Frame(RSV1 | TEXT, _deflated(JSON)[:9]), PINGED, Frame(FIN, _deflated(JSON)[9:])
    ),
    "deflate-fragments-empty": _frames(
        Frame(RSV1 | TEXT), Frame(CONTINUATION, _deflated(b"text")), Frame(FIN)
    ),
    "deflate-truncated": _frames(_compressed(_deflated(JSON)[:-5])),
    "deflate-cut": _cut(_compressed(_deflated(JSON)), 7),
    "deflate-wrong": _frames(_compressed(b"\xff" * 12)),
    "deflate-bomb": _frames(_compressed(_deflated(bytes(70_000)), BINARY)),
    "deflate-bomb-small": _frames(_compressed(_deflated(b"a" * 1001))),
    "deflate-window": _frames(_compressed(_deflated(FAR), BINARY)),
    "deflate-utf8-wrong": _frames(_compressed(_deflated(b"text \xed\xa0\x80"))),
    "deflate-utf8-split": _frames(
        Frame(RSV1 | TEXT, _deflated(b"\xe2\x82") + TAIL), Frame(FIN, _deflated(b"\xac"))
    ),
}

CLOSES = {
    f"close-{code}": _frames(_close(code))
    for code in (0, 999, 1004, 1005, 1006, 1014, 1015, 2999, 3000, 4999, 5000)
} | {
    "close-empty": _frames(Frame(FIN | CLOSE)),
    "close-one-byte": _frames(Frame(FIN | CLOSE, b"\x03")),
    "close-longest-reason": _frames(Frame(FIN | CLOSE, encode_close(1001, "ü" * 80))),
    "close-too-long": _frames(_close(1000, bytes(124))),
    "close-reason-not-utf8": _frames(_close(1000, b"\xff")),
    "close-reason-truncated": _frames(_close(1011, b"\xf0\x9f\x98")),
    "close-twice": _frames(AFTER, _close(1000, b"bye"), _close(1001)),
}

MANY = {
    "many-messages": _frames(*[Frame(FIN | TEXT, b"text"), Frame(FIN | BINARY, b"\xff")] * 40),
    "many-pings": _frames(*[Frame(FIN | PING, b"ping"), AFTER] * 20),
}

CASES = OPCODES | RESERVED | LENGTHS | FRAGMENTS | UTF8 | DEFLATE | CLOSES | MANY
