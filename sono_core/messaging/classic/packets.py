"""Sono's packets, classic dialect: parsing, validation, encoding. docs/protocol.md.

A packet is one JSON object in one text message. Parsing turns anything that a client sends into a
packet, or raises a `PacketError` that says what to answer.
"""

import re
from typing import Any

import msgspec

from sono_core.errors import LocalProtocolError
from sono_core.limits import DEFAULT_LIMITS, Limits
from sono_core.messaging import RESERVED_EVENTS, MessagingError, check_event, check_name

GRAB = "grab"
ERROR = "error"

_INT64 = range(-(1 << 63), 1 << 63)
_many_digits = re.compile(r"[0-9]{19}").search
# A string as a whole, or a bracket outside of strings. What begins like a string always matches,
# so nothing is tried twice; whether it ends is the parser's to say.
_strings_and_brackets = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL).finditer


class PacketError(MessagingError):
    """A packet is refused; only its sender is told the code and the text."""


class MessagePayload(msgspec.Struct, frozen=True):
    """The payload of `message` and `broadcast`."""

    message: Any


class DirectPayload(msgspec.Struct, frozen=True):
    """The payload of `directmessage`."""

    message: Any
    to: str | int


class ChannelPayload(msgspec.Struct, frozen=True):
    """The payload of `changeChannel`."""

    to: str


class GrabPayload(msgspec.Struct, frozen=True):
    """The payload of `grab`: the name of a listing, or anything else."""

    message: Any


class Message(msgspec.Struct, frozen=True, tag_field="protocol", tag="message"):
    """To every member of the sender's channel, the sender included."""

    payload: MessagePayload
    event: str = "message"


class Broadcast(msgspec.Struct, frozen=True, tag_field="protocol", tag="broadcast"):
    """To every member of the sender's channel but the sender."""

    payload: MessagePayload
    event: str = "message"


class DirectMessage(msgspec.Struct, frozen=True, tag_field="protocol", tag="directmessage"):
    """To one client, in any channel."""

    payload: DirectPayload
    event: str = "message"


class ChangeChannel(msgspec.Struct, frozen=True, tag_field="protocol", tag="changeChannel"):
    """Moves the sender to another channel."""

    payload: ChannelPayload


class Grab(msgspec.Struct, frozen=True, tag_field="protocol", tag="grab"):
    """Asks for a listing."""

    payload: GrabPayload
    event: str = GRAB


Packet = Message | Broadcast | DirectMessage | ChangeChannel | Grab

_decoder = msgspec.json.Decoder(Packet)
_encode = msgspec.json.Encoder().encode
# What msgspec raises for bad input: ValidationError is a DecodeError; a lone surrogate, an
# integer of thousands of digits and brackets without end raise the others.
_BAD_JSON = (msgspec.DecodeError, RecursionError, UnicodeError, ValueError)


def parse(text: str, limits: Limits) -> Packet:
    """The packet in a text message.

    Of duplicate keys the last wins; a `protocol` that contradicts itself is refused.

    Raises:
        PacketError: `invalid-packet` or `reserved-event`.
    """
    # The number of brackets bounds the depth, and few texts hold many: so most are not walked.
    deep = text.count("[") + text.count("{") > limits.max_depth
    if deep and _depth(text) > limits.max_depth:
        raise PacketError("invalid-packet", f"nested deeper than {limits.max_depth} levels")
    try:
        packet: Packet = _decoder.decode(text)
    except _BAD_JSON as error:
        raise PacketError("invalid-packet", _explain(error)) from None
    try:
        if isinstance(packet, ChangeChannel):
            check_name(packet.payload.to, "channel", limits)
            return packet
        check_name(packet.event, "event", limits)
    except ValueError as error:
        raise PacketError("invalid-packet", str(error)) from None
    if packet.event in RESERVED_EVENTS and not isinstance(packet, Grab):
        raise PacketError("reserved-event", f"the event {packet.event} is the server's own")
    if _many_digits(text) and not _integers_fit(packet.payload):
        raise PacketError("invalid-packet", "an integer does not fit into 64 bits")
    return packet


def _explain(error: Exception) -> str:
    if isinstance(error, msgspec.ValidationError):
        return str(error)
    return "not JSON"


def _depth(text: str) -> int:
    """How deeply brackets are nested outside of strings."""
    depth = deepest = 0
    for match in _strings_and_brackets(text):
        first = text[match.start()]
        if first in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif first in "]}":
            depth -= 1
    return deepest


def _integers_fit(value: object) -> bool:
    if isinstance(value, msgspec.Struct):
        return all(_integers_fit(field) for field in msgspec.structs.astuple(value))
    if isinstance(value, dict):
        return all(map(_integers_fit, value.values()))
    if isinstance(value, list):
        return all(map(_integers_fit, value))
    return not isinstance(value, int) or value in _INT64


def own_event(event: str) -> str:
    """The name of an event that the caller sends, if it may use it.

    Raises:
        TypeError: it is not a str.
        ValueError: the name is reserved or illegal.
    """
    check_event(event, DEFAULT_LIMITS)
    return event


def dump(packet: object, message: object) -> str:
    """A packet of the caller's as JSON.

    Raises:
        TypeError: `message`, which is in it, cannot be written as JSON.
        LocalProtocolError: it holds a lone surrogate.
    """
    try:
        return _encode(packet).decode()
    except UnicodeEncodeError:
        raise LocalProtocolError("message holds a lone surrogate") from None
    except (TypeError, OverflowError, RecursionError) as error:
        kind = type(message).__name__
        raise TypeError(f"message of type {kind} cannot be written as JSON: {error}") from None


def relayed(event: str, message: object, sender: str) -> str:
    """A client's message, as others receive it."""
    return dump({"protocol": event, "payload": {"message": message, "from": sender}}, message)


def from_server(event: str, message: object) -> str:
    """A message of the server itself. It holds `message` twice, as the original did.

    Raises:
        TypeError: `message` cannot be written as JSON.
        LocalProtocolError: it holds a lone surrogate.
    """
    payload = {"message": message}
    return dump({"protocol": event, "payload": payload, "message": message}, message)


def listing(event: str, kind: object, items: list[str]) -> str:
    """The answer to a grab."""
    return dump({"protocol": event, "payload": {"message": items, "type": kind}}, items)


def error(code: str, text: str) -> str:
    """The answer to a refused packet."""
    return dump({"protocol": ERROR, "payload": {"code": code, "message": text}}, text)
