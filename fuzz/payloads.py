"""Seeds of the targets within a connection: deflate data, Sono's packets, ASGI's events."""

from __future__ import annotations

import json
import zlib

import msgspec

_TAIL = b"\x00\x00\xff\xff"
_JSON = b'{"protocol":"broadcast","payload":{"message":"hello"}}' * 20
_RARE = bytes(range(1, 41))  # repeated, it refers back further than the smallest window


def _deflated(
    data: bytes, level: int = 6, flush: int = zlib.Z_SYNC_FLUSH, *, bits: int = 9
) -> bytes:
    stream = zlib.compressobj(level, wbits=-bits)
    return (stream.compress(data) + stream.flush(flush)).removesuffix(_TAIL)


_STREAMS = {
    "json": _deflated(_JSON),
    "stored": _deflated(_JSON[:200], level=0),
    "empty": b"\x00",
    "nothing": b"",
    "final": _deflated(_JSON, flush=zlib.Z_FINISH) + b"\x00",
    "final-blocks": b"\x03\x00" * 1100 + b"\x00",
    "after-final": _deflated(b"a", flush=zlib.Z_FINISH) + b"\xff\xff",
    "bomb": _deflated(bytes(200_000)),
    "far": _deflated(bytes(68_000) + _RARE + bytes(900) + _RARE, bits=15),
    # Ends in the middle of a block, and inflates to 230 bytes more than the 64 KiB of one step.
    "pending": bytes.fromhex("ecd35b1681000040c1281491574a2245b1ff15b6057fce616605f7e70601")
    + bytes(26)
    + bytes.fromhex("f0ab26d3309acd1771b25ca5eb4db6")
    + bytes(35),
    "wrong": b"\xff" * 12,
    "cut": _deflated(_JSON)[:-5],
}
# One byte of settings: window, takeover, limit, cuts; see `targets.deflate`.
DEFLATE = {
    f"{name}-{setting:02x}": bytes((setting,)) + stream
    for name, stream in _STREAMS.items()
    for setting in (0x07, 0x19, 0x3F)
}


def _packet(protocol: object, payload: object, **fields: object) -> bytes:
    return json.dumps({"protocol": protocol, "payload": payload, **fields}).encode()


def _said(message: str) -> bytes:
    """A message that is written as it is."""
    return b'{"protocol":"message","payload":{"message":' + message.encode() + b"}}"


PACKETS = {
    "message": _packet("message", {"message": "hello"}),
    "message-event": _packet("message", {"message": [1, 2.5, None]}, event="move"),
    "broadcast": _packet("broadcast", {"message": {"a": {"b": "ü"}}}, event="e"),
    "direct": _packet("directmessage", {"message": "hello", "to": "id"}),
    "direct-number": _packet("directmessage", {"message": "hello", "to": 7}),
    "channel": _packet("changeChannel", {"to": "news"}),
    "channel-empty": _packet("changeChannel", {"to": ""}),
    "channel-long": _packet("changeChannel", {"to": "x" * 129}),
    "channel-control": _packet("changeChannel", {"to": "a\x85"}),
    "grab": _packet("grab", {"message": "clients"}),
    "grab-event": _packet("grab", {"message": "clients"}, event="mine"),
    "event-reserved": _packet("message", {"message": 1}, event="error"),
    "event-grab": _packet("broadcast", {"message": 1}, event="grab"),
    "event-null": _packet("message", {"message": 1}, event=None),
    "event-object": _packet("message", {"message": 1}, event={}),
    "protocol-unknown": _packet("constructor", {"message": 1}),
    "protocol-long": _packet("x" * 300, {"message": 1}),
    "protocol-number": _packet(1, {"message": 1}),
    "protocol-twice": b'{"protocol":"grab","protocol":"message","payload":{"message":1}}',
    "payload-twice": b'{"protocol":"message","payload":{"message":1},"payload":{"message":2}}',
    "payload-missing": b'{"protocol":"message"}',
    "payload-list": _packet("message", []),
    "extra": _packet("message", {"message": 1, "__proto__": {}}, more=[1]),
    "surrogate": _said('"\\ud800"'),
    "surrogates": _said('"\\ud83d\\ude00"'),
    "integer-largest": _said("9223372036854775807"),
    "integer-too-large": _said("[18446744073709551616]"),
    "integer-long": _said("1" * 500),
    "integer-exponent": _said("1E400"),
    "float": _said("-1.5e-300"),
    "nan": _said("NaN"),
    "deep": _said("[" * 62 + "]" * 62),
    "too-deep": _said("[" * 63 + "]" * 63),
    "depth-unclosed": b"[" * 500,
    "too-many": _said("[" + ",".join(["[]", "{}"] * 10) + "]"),
    "escapes-outside": b'\\"[' * 5 + _said("1"),
    "integer-ignored": _packet("message", {"message": 1}, id=1 << 64),
    "digits-of-floats": _said("[9223372036854775808.5,1e20,-9223372036854775809e0]"),
    "brackets-in-strings": _said('"' + '[{\\"' * 20 + '"'),
    "duplicate-keys": _said('{"a":1,"a":2}'),
    "nothing": b"",
    "text": b"hello",
    "byte-order-mark": b"\xef\xbb\xbf" + _packet("message", {"message": 1}),
}


_AT = ["e", 7]
_ENTRY = {"stream": "@", "at": _AT}
_FAILURE = {"code": "forbidden", "message": "no"}
_PUBLISH = {"type": "publish", "channel": "c", "event": "e"}
_REQUEST = {"type": "request", "seq": 1, "name": "r", "data": 1}
_V2: dict[str, dict[str, object]] = {
    "hello": {
        "type": "hello",
        "token": "t",
        "key": "k",
        "streams": {"@": _AT, "#c": ["f", 0]},
        "channel": "c",
        "joined": ["d"],
        "codec": 1,
    },
    "join": {"type": "join", "seq": 1, "channel": "c", "at": _AT, "presence": True},
    "move": {"type": "move", "seq": 2, "channel": "c"},
    "leave": {"type": "leave", "seq": (1 << 53) - 1, "channel": "c"},
    "publish": {**_PUBLISH, "seq": 1, "data": {"a": [1, 2.5, None, "ü"]}, "self": False},
    "publish-volatile": {**_PUBLISH, "data": "x" * 40},
    "send": {"type": "send", "to": "id", "event": "e", "data": {"__proto__": -40_000}},
    "request": {**_REQUEST, "timeout": 5},
    "reply": {"type": "reply", "seq": 1, "re": 3, "data": True},
    "reply-error": {"type": "reply", "seq": 1, "re": 3, "error": _FAILURE},
    "present": {"type": "present", "seq": 1, "channel": "c", "data": {"a": {"$bytes": "eA=="}}},
    "read": {"type": "read", "stream": "#c", "at": _AT},
    "token": {"type": "token", "token": "t"},
    "beat": {"type": "beat"},
    "bye": {"type": "bye", "type2": 1},
    "type-missing": {"seq": 1},
    "type-unknown": {"type": "constructor", "seq": 1},
    "type-long": {"type": "x" * 300},
    "type-number": {"type": 1},
    "seq-zero": {"type": "leave", "seq": 0, "channel": "c"},
    "seq-too-large": {"type": "leave", "seq": 1 << 53, "channel": "c"},
    "at-half": {"type": "read", "stream": "#c", "at": ["e"]},
    "at-longer": {"type": "read", "stream": "#c", "at": [*_AT, 1]},
    "channel-empty": {**_PUBLISH, "channel": "", "data": 1},
    "channel-long": {**_PUBLISH, "channel": "x" * 129, "data": 1},
    "channel-control": {**_PUBLISH, "channel": "a\x85", "data": 1},
    "joined-long": {"type": "hello", "joined": ["x" * 129]},
    "event-reserved": {**_PUBLISH, "event": "error", "data": 1},
    "integer-too-large": {**_PUBLISH, "data": 1 << 63},
    "too-many": {**_PUBLISH, "data": [[]] * 12},
    "deep": {**_PUBLISH, "data": [[1]]},
    "welcome": {
        "type": "welcome",
        "id": "i",
        "key": "k",
        "resumed": False,
        "seq": 0,
        "channel": "c",
        "streams": [{"stream": "@", "at": _AT, "recovered": True}],
        "denied": [{"channel": "d", "error": _FAILURE}],
        "beat": 25,
        "limits": {"max_message": 1},
    },
    "event": {"type": "event", **_ENTRY, "event": "e", "data": [1], "from": "i"},
    "skip": {"type": "skip", **_ENTRY},
    "gap": {"type": "gap", **_ENTRY},
    "result": {"type": "result", **_ENTRY, "re": 1, "published": _AT},
    "result-error": {"type": "result", **_ENTRY, "re": 1, "error": _FAILURE},
    "asked": {"type": "request", **_ENTRY, "id": 1, "name": "r", "data": None},
    "joined": {"type": "joined", **_ENTRY, "channel": "c", "position": _AT, "current": True},
    "left": {"type": "left", **_ENTRY, "channel": "c", "code": "forbidden"},
    "members": {"type": "members", "channel": "c", "version": 1, "members": [["i", 1]], "count": 1},
    "presence": {"type": "presence", "channel": "c", "version": 2, "in": [["i", 1]], "count": 1},
    "ack": {"type": "ack", "seq": 1},
    "renew": {"type": "renew", "in": 5.5},
    "error": {"type": "error", "code": "c", "message": "m"},
}


def _v2_text(data: str) -> bytes:
    """A `publish` whose data is written as it is."""
    return b'{"type":"publish","channel":"c","event":"e","data":' + data.encode() + b"}"


def _v2_packed(data: bytes) -> bytes:
    return b"\x84\xa4type\xa7publish\xa7channel\xa1c\xa5event\xa1e\xa4data" + data


V2 = {
    **{f"{name}-json": json.dumps(packet).encode() for name, packet in _V2.items()},
    **{f"{name}-msgpack": msgspec.msgpack.encode(packet) for name, packet in _V2.items()},
    "surrogate-json": _v2_text('"\\ud800"'),
    "infinity-json": _v2_text("1e999"),
    "too-deep-json": _v2_text("[" * 64 + "]" * 64),
    "unclosed-json": b"[" * 500,
    "duplicate-keys-json": _v2_text('{"a":1,"a":2},"data":{"b":1,"b":2}'),
    "type-twice-json": b'{"type":"beat","type":"bye"}',
    "binary": _v2_packed(b"\x92\xc4\x02\x00\xff\x81\xa1a\xc5\x00\x00"),
    "binary-of-server": msgspec.msgpack.encode({**_V2["event"], "data": [b"x"]}),
    "surrogate": _v2_packed(b"\xa3\xed\xa0\x80"),
    "nan": _v2_packed(b"\xcb\x7f\xf8" + bytes(6)),
    "infinity-float32": _v2_packed(b"\xca\xff\x80\x00\x00"),
    "float32": _v2_packed(b"\xca\x3f\x80\x00\x00"),
    "integers": _v2_packed(
        b"\x98\x7f\xe0\xcc\xff\xcd\xff\xff\xd0\x80\xd1\x80\x00\xce\xff\xff\xff\xff\xc2"
    ),
    "key-number": _v2_packed(b"\x81\x01\x02"),
    "key-binary": _v2_packed(b"\x81\xc4\x01a\x02"),
    "extension": _v2_packed(b"\xd4\x01x"),
    "timestamp": _v2_packed(b"\xd7\xff" + bytes(8)),
    "announced": _v2_packed(b"\xdd\x00\x00\x00\x09" * 9 + bytes(9)),
    "announced-map": _v2_packed(b"\xdf\xff\xff\xff\xff"),
    "announced-string": _v2_packed(b"\xdb\xff\xff\xff\xff"),
    "long-forms": _v2_packed(b"\xde\x00\x01\xda\x00\x01a\xdc\x00\x01\xdb\x00\x00\x00\x01b"),
    "too-deep": _v2_packed(b"\x91" * 64 + b"\xc0"),
    "arrays": b"\x91" * 10_000,
    "duplicate-keys": b"\x82\xa4type\xa3bye\xa4type\xa3bye",
    "ignored-no-text": b"\x82\xa4type\xa3bye\xa1x\xa2\xff\xff",
    "trailing": b"\x81\xa4type\xa3bye\xc0",
    "never": b"\xc1",
    "nothing": b"",
}

ASGI = {
    "messages": b"/\nthello\nbhello\nd\x03\xe8bye",
    "refusable": b"/! origin:null\nthello",
    "origin": b"/ origin:http://host\nthello",
    "no-end": b"/a%20b\nthello",
    "connected-twice": b"/\nc\nthello\nc",
    "unknown": b"/\nx\nthello\nx",
    "empty": b"/\n\nt\nb\nd",
    "after-the-end": b"/\nd\x03\xe8\nthello\nd\x03\xe8",
    "too-big": b"/\nt" + b"x" * 101 + b"\nthello",
    "largest": b"/\nb" + b"x" * 100,
    "too-big-not-ascii": b"/\nt" + "ü".encode() * 51,
    "not-utf-8": b"/\nt\xff\xfe",
}
