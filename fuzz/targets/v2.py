"""Any message in either form of `sono.v2`: refused with a `PacketError`, or a packet within bounds
that both forms carry as it is. C and Python weigh it alike.

The standard library reads JSON, and this file MessagePack, to see what was said; a client takes any
message from a server, or ignores it.
"""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

from msgspec import UNSET

from sono_core import Limits
from sono_core.messaging import RESERVED_EVENTS, Content, size_of
from sono_core.messaging.lossless import Data, packets
from sono_core.messaging.v2 import JSON, MSGPACK, Codec, PacketError
from sono_core.native import pure_scan_msgpack, scan_msgpack

from .checks import Target
from .packets import as_integer, check_name, check_value, containers, no_constant

LIMITS = (Limits(), Limits(max_name=4, max_depth=3), Limits(max_containers=9))
_WIDE = Limits(max_depth=128)
_CODES = ("invalid-packet", "unknown-type", "reserved-event")
_NAMES = ("channel", "event", "name")


class _Unpacker:
    """Reads MessagePack that was accepted, and nothing that should not have been."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def _take(self, size: int) -> bytes:
        assert size <= len(self._data), "a value that was accepted does not end"
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def _number(self, width: int, signed: bool = False) -> int:
        return int.from_bytes(self._take(width), "big", signed=signed)

    def _text(self, size: int) -> str:
        return self._take(size).decode(errors="replace")  # what is ignored need not be text

    def _array(self, size: int) -> list[object]:
        return [self.value() for _ in range(size)]

    def _map(self, size: int) -> dict[object, object]:
        found: dict[object, object] = {}
        for _ in range(size):
            key = self.value()
            assert isinstance(key, str), "a key is no string"
            found[key] = self.value()
        return found

    def value(self) -> object:
        kind = self._number(1)
        match kind:
            case _ if kind < 0x80:
                return kind
            case _ if kind >= 0xE0:
                return kind - 0x100
            case _ if kind < 0xC0:
                by_size = self._text if kind >= 0xA0 else self._array if kind >= 0x90 else self._map
                return by_size(kind & (0x1F if kind >= 0xA0 else 0x0F))
            case 0xC0 | 0xC2 | 0xC3:
                return {0xC0: None, 0xC2: False, 0xC3: True}[kind]
            case 0xC4 | 0xC5 | 0xC6:
                return self._take(self._number(1 << kind - 0xC4))
            case 0xCA | 0xCB:
                form = ">f" if kind == 0xCA else ">d"
                return struct.unpack(form, self._take(struct.calcsize(form)))[0]
            case 0xCC | 0xCD | 0xCE | 0xCF:
                return self._number(1 << kind - 0xCC)
            case 0xD0 | 0xD1 | 0xD2 | 0xD3:
                return self._number(1 << kind - 0xD0, signed=True)
            case 0xD9 | 0xDA | 0xDB:
                return self._text(self._number(1 << kind - 0xD9))
            case 0xDC | 0xDD:
                return self._array(self._number(2 << kind - 0xDC))
            case 0xDE | 0xDF:
                return self._map(self._number(2 << kind - 0xDE))
        raise AssertionError(f"{kind:#x} was accepted")

    def whole(self) -> object:
        found = self.value()
        assert not self._data, "more than a value was accepted"
        return found


def _said(message: Content) -> Any:
    if isinstance(message, bytes):
        return _Unpacker(message).whole()
    return json.loads(message, parse_int=as_integer, parse_constant=no_constant)


def _as_json(value: object) -> object:
    """A value as members get it that speak JSON."""
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    return list(map(_as_json, value)) if isinstance(value, list) else value


def parsed(codec: Codec, message: Content, limits: Limits) -> packets.FromClient | PacketError:
    """The packet, or why it is refused."""
    try:
        cost = codec.weigh(message, limits)
        assert cost >= size_of(message), "a message costs less than its bytes"
        return codec.from_client(message, limits)
    except PacketError as refused:
        return refused


def _check_packet(packet: packets.FromClient, message: Content, limits: Limits) -> None:
    said = _said(message)
    assert containers(said) <= limits.max_containers, "too many objects and arrays"
    check_value(said, limits.max_depth)
    for name in _NAMES:
        if (found := getattr(packet, name, None)) is not None:
            assert said[name] == found, f"{name} is {found!r}"
            check_name(found, limits)
    if isinstance(packet, packets.Publish | packets.Send):
        assert packet.event not in RESERVED_EVENTS, f"a client says {packet.event}"
    data = getattr(packet, "data", UNSET)
    if data is not UNSET:
        assert said["data"] == data, f"data is {data!r}"
        assert Data.of(data).value() == data, "the payload changed"
    # Some keys are ignored, so there is nothing more in it than was said.
    wide = Limits(max_name=limits.max_name, max_depth=_WIDE.max_depth)
    for codec in (JSON, MSGPACK):
        again = parsed(codec, codec.write(packet), wide)
        if codec is JSON and data is not UNSET:
            assert getattr(again, "data", UNSET) == _as_json(data), "the payload changed"
        if codec is MSGPACK or _as_json(data) == data:
            assert again == packet, f"{packet} comes back as {again}"


def _check_from_server(codec: Codec, message: Content) -> None:
    packet = codec.from_server(message)
    if packet is not None:
        again = MSGPACK.from_server(MSGPACK.write(packet))
        assert again == packet, f"{packet} comes back as {again}"
        text = JSON.write(packet)
        read = JSON.from_server(text)
        assert read is not None, "what a server says was ignored"
        assert JSON.write(read) == text, f"{packet} comes back as {read}"


def _check(data: bytes) -> None:
    forms: tuple[tuple[Codec, Content], ...] = (
        (JSON, data.decode(errors="ignore")),  # a text message is valid UTF-8
        (MSGPACK, data),
    )
    for limits in LIMITS:
        bounds = limits.max_depth, limits.max_containers
        for binary in (False, True):
            found = scan_msgpack(data, *bounds, binary)
            pure = pure_scan_msgpack(data, *bounds, binary)
            assert found == pure, f"the scan finds {found} in C and {pure} in Python"
        for codec, message in forms:
            packet = parsed(codec, message, limits)
            if isinstance(packet, PacketError):
                assert packet.code in _CODES, f"refused as {packet.code}"
                assert len(packet.text) <= 256, "a refusal grows with what it refuses"
                JSON.write(packets.Error(code=packet.code, message=packet.text))
            else:
                _check_packet(packet, message, limits)
    for codec, message in forms:
        _check_from_server(codec, message)


_WORDS = (
    *("type", "seq", "channel", "event", "data", "at", "to", "name", "re", "error", "streams"),
    *("hello", "join", "move", "leave", "publish", "send", "request", "reply", "present", "read"),
    *("welcome", "result", "members", "presence", "in", "out", "self", "joined", "__proto__"),
)
WORDS = (
    *(f'"{word}"'.encode() for word in _WORDS),
    *(bytes((0xA0 + len(word),)) + word.encode() for word in _WORDS),
    *(bytes((kind,)) for kind in (*range(0x80, 0x86), *range(0x90, 0x94), *range(0xC0, 0xE0))),
    b'["e",1]',
    b"\x92\xa1e\x01",
    b"9007199254740992",
    b"9223372036854775808",
    b"\xcf\x80\x00\x00\x00\x00\x00\x00\x00",
    b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\x00\x00\x00\x02",
    b"\xed\xa0\x80",
    b'"\\ud800"',
    *(b"{", b"}", b"[", b"]", b":", b",", b"null", b"true", b"1e999", b"-0.0"),
)
TARGET = Target("v2", _check, WORDS, longest=20_000)
