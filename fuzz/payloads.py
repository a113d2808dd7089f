"""Seeds of the targets within a connection: deflate data, Sono's packets, ASGI's events."""

from __future__ import annotations

import json
import zlib

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
    "brackets-in-strings": _said('"' + '[{\\"' * 20 + '"'),
    "duplicate-keys": _said('{"a":1,"a":2}'),
    "nothing": b"",
    "text": b"hello",
    "byte-order-mark": b"\xef\xbb\xbf" + _packet("message", {"message": 1}),
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
