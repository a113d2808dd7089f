"""Any text as a packet: refused with a `PacketError`, or JSON within bounds that keeps its meaning.

C and Python weigh it alike.
The standard library's parser decides; an accepted packet is written again, and reads the same.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from sono_core import Limits
from sono_core.messaging import RESERVED_EVENTS
from sono_core.messaging.classic.packets import (
    ChangeChannel,
    Grab,
    Packet,
    PacketError,
    error,
    parse,
    relayed,
)
from sono_core.native import pure_scan_json, scan_json

from .checks import Target

LIMITS = (Limits(), Limits(max_name=4, max_depth=3), Limits(max_containers=9))
_INT64 = range(-(1 << 63), 1 << 63)
_CODES = ("invalid-packet", "reserved-event")


def as_integer(digits: str) -> int:
    """Python refuses integers of thousands of digits, which may be in fields that are ignored."""
    return int(digits[:40])


def no_constant(name: str) -> None:
    """Refuse what the standard library takes beside numbers."""
    raise AssertionError(f"{name} was accepted, which is no JSON")


def check_value(value: object, depth: int) -> None:
    """Check a value that may have that many levels."""
    if isinstance(value, (dict, list)):
        assert depth > 0, "nested deeper than the limit"
    if isinstance(value, dict):
        for name, item in value.items():
            check_value(name, depth)
            check_value(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            check_value(item, depth - 1)
    elif isinstance(value, int):
        assert value in _INT64, "an integer of more than 64 bits"
    elif isinstance(value, float):
        assert abs(value) < float("inf"), "a number that is none"
    elif isinstance(value, str):
        value.encode()


def check_name(name: str, limits: Limits) -> None:
    """Check the name of a channel or an event."""
    assert 0 < len(name) <= limits.max_name, f"a name of {len(name)} characters"
    assert not any(ord(letter) < 0x20 or 0x7F <= ord(letter) < 0xA0 for letter in name), repr(name)


def containers(value: object) -> int:
    """How many objects and arrays a value has."""
    if isinstance(value, dict):
        return 1 + sum(map(containers, value.values()))
    return 1 + sum(map(containers, value)) if isinstance(value, list) else 0


def _check_scan(text: str, limits: Limits) -> None:
    """C and Python find the same, and no text costs less than its bytes."""
    found = scan_json(text, limits.max_depth, limits.max_containers)
    pure = pure_scan_json(text, limits.max_depth, limits.max_containers)
    assert found == pure, f"the scan finds {found} in C and {pure} in Python"
    assert found < 0 or found >= len(text.encode()), "a text costs less than its bytes"


def _check_packet(packet: Packet, text: str, limits: Limits) -> None:
    read: dict[str, Any] = json.loads(text, parse_int=as_integer, parse_constant=no_constant)
    payload = msgspec.to_builtins(packet.payload)
    for name, value in payload.items():
        assert read["payload"][name] == value, f"{name} is {value!r}"
        check_value(value, limits.max_depth - 2)  # The packet and the payload are levels, too.
        assert containers(value) <= limits.max_containers - 2, "too many objects and arrays"
    again = parse(msgspec.json.encode(packet).decode(), limits)
    assert again == packet, f"{packet} comes back as {again}"
    if isinstance(packet, ChangeChannel):
        check_name(packet.payload.to, limits)
        return
    check_name(packet.event, limits)
    reserved = packet.event in RESERVED_EVENTS and not isinstance(packet, Grab)
    assert not reserved, f"a client says {packet.event}"
    sent = json.loads(relayed(packet.event, packet.payload.message, "id"))
    assert sent["protocol"] == packet.event, "the event changed on its way"
    assert sent["payload"]["message"] == packet.payload.message, "the message changed on its way"


def parsed(text: str, limits: Limits) -> Packet | PacketError:
    """The packet, or why it is refused."""
    try:
        return parse(text, limits)
    except PacketError as refused:
        return refused


def _check(data: bytes) -> None:
    text = data.decode(errors="ignore")  # a text message is valid UTF-8
    for limits in LIMITS:
        _check_scan(text, limits)
        found = parsed(text, limits)
        if isinstance(found, PacketError):
            assert found.code in _CODES, f"refused as {found.code}"
            assert len(found.text) <= 256, "a refusal grows with what it refuses"
            json.loads(error(found.code, found.text))
        else:
            _check_packet(found, text, limits)


WORDS = (
    *(f'"{name}"'.encode() for name in ("protocol", "payload", "message", "event", "to")),
    *(f'"{name}"'.encode() for name in ("broadcast", "directmessage", "changeChannel", "grab")),
    b'"error"',
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"null",
    b"true",
    b"1e999",
    b"-0.0",
    b"NaN",
    b"9223372036854775808",
    b"-9223372036854775809",
    b'"\\ud800"',
    b"\\u0000",
    b'\\"',
    b"\xef\xbb\xbf",
    b"\xc2\x80",
    b'"__proto__"',
)
TARGET = Target("packets", _check, WORDS, longest=20_000)
