"""Sono's packets, classic dialect: parsing, validation, encoding. docs/protocol.md.

A packet is one JSON object in one text message. Parsing turns anything that a client sends into a
packet, or raises a `PacketError` that says what to answer.
"""

import json
import sys
from collections.abc import Iterable
from typing import Any

import msgspec

from sono_core.errors import LocalProtocolError
from sono_core.limits import Limits
from sono_core.messaging import (
    RESERVED_EVENTS,
    Content,
    MessagingError,
    check_channel,
    check_event,
    check_name,
    size_of,
)
from sono_core.native import TOO_BIG, TOO_DEEP, TOO_MANY, scan_json
from sono_core.quoting import Discreet

GRAB = "grab"
ERROR = "error"


class PacketError(MessagingError):
    """A packet is refused; only its sender is told the code and the text."""


class MessagePayload(Discreet, frozen=True):
    """The payload of `message` and `broadcast`."""

    message: Any


class DirectPayload(Discreet, frozen=True):
    """The payload of `directmessage`."""

    message: Any
    to: str | int


class ChannelPayload(Discreet, frozen=True):
    """The payload of `changeChannel`."""

    to: str


class GrabPayload(Discreet, frozen=True):
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
_NOT_JSON = "not JSON"
# The server's own messages are only such that everybody can read them.
_UNLIMITED = Limits(max_depth=sys.maxsize, max_containers=sys.maxsize, max_message=sys.maxsize)


def weigh(text: str, limits: Limits) -> int:
    """What a packet costs, in bytes of `byte_rate`; see `sono_core.native.scan`.

    Raises:
        PacketError: `invalid-packet`: it must not be parsed.
    """
    try:
        found = scan_json(text, limits.max_depth, limits.max_containers)
    except UnicodeEncodeError:
        raise PacketError("invalid-packet", _NOT_JSON) from None
    if found < 0:
        raise PacketError("invalid-packet", _beyond(found, limits))
    return found


def decode(message: Content, limits: Limits) -> Packet:
    """The packet in a message that was weighed.

    Of duplicate keys the last wins; a `protocol` that contradicts itself is refused.

    Raises:
        PacketError: `invalid-packet` or `reserved-event`.
    """
    try:
        packet: Packet = _decoder.decode(message)
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
    return packet


def parse(text: str, limits: Limits) -> Packet:
    """The packet in a text message. Raises as `weigh` and `decode`, which it calls."""
    weigh(text, limits)
    return decode(text, limits)


def _explain(error: Exception) -> str:
    if isinstance(error, msgspec.ValidationError):
        return str(error)
    return _NOT_JSON


def _beyond(found: int, limits: Limits) -> str:
    """Why a text is refused in which the scan has found that."""
    return {
        TOO_DEEP: f"nested deeper than {limits.max_depth} levels",
        TOO_MANY: f"more than {limits.max_containers} objects and arrays",
        TOO_BIG: "an integer does not fit into 64 bits",
    }[found]


# -- what the caller says -------------------------------------------------------------------------


def own_event(event: str, limits: Limits) -> str:
    """The name of an event that the caller sends, if it may use it. Raises as `check_event`."""
    check_event(event, limits)
    return event


def own_channel(name: str, limits: Limits) -> str:
    """The name of a channel that the caller enters, if it is one. Raises as `check_channel`."""
    check_channel(name, limits)
    return name


def dump(packet: object, message: object, limits: Limits = _UNLIMITED, *, grows: int = 0) -> str:
    """A packet of the caller's as JSON, if a server with these limits accepts it.

    Args:
        message: what the caller said, which is in it.
        grows: bytes that the packet has more when the server passes it on.

    Raises:
        TypeError: `message` cannot be written as JSON.
        LocalProtocolError: it holds a lone surrogate, NaN, an infinity, or an integer that does
            not fit into 64 bits with its sign; or it is beyond `max_depth`, `max_containers` or
            `max_message`.
    """
    text = _written(packet, message)
    found = scan_json(text, limits.max_depth, limits.max_containers)
    if found < 0:
        raise LocalProtocolError(f"message: {_beyond(found, limits)}")
    if "null" in text:
        _require_numbers(message)
    if size_of(text) > limits.max_message - grows:
        raise LocalProtocolError(f"message: the packet has more than {limits.max_message} bytes")
    return text


def _written(packet: object, message: object) -> str:
    try:
        return _encode(packet).decode()
    except UnicodeEncodeError:
        raise LocalProtocolError("message holds a lone surrogate") from None
    except (TypeError, OverflowError, RecursionError) as error:
        raise _unwritable(message, error) from None


def _unwritable(message: object, error: Exception) -> TypeError:
    kind = type(message).__name__
    return TypeError(f"message of type {kind} cannot be written as JSON: {error}")


def _require_numbers(message: object) -> None:
    """Refuse NaN and infinities, which msgspec writes as null."""
    try:
        json.dumps(msgspec.to_builtins(message, str_keys=True), allow_nan=False)
    except RecursionError as error:
        raise _unwritable(message, error) from None
    except ValueError:
        raise LocalProtocolError("message holds NaN or an infinity") from None


# -- what the server says -------------------------------------------------------------------------


def relayed(event: str, message: object, sender: str) -> str:
    """A client's message, as others receive it."""
    return _written({"protocol": event, "payload": {"message": message, "from": sender}}, message)


def from_server(event: str, message: object) -> str:
    """A message of the server itself. It holds `message` twice, as the original did.

    Raises:
        TypeError, LocalProtocolError: as `dump`.
    """
    payload = {"message": message}
    return dump({"protocol": event, "payload": payload, "message": message}, message)


def listing(event: str, kind: object, names: str, *, truncated: bool = False) -> str:
    """The answer to a grab; `names` are those of `names_within`."""
    flag = ',"truncated":true' if truncated else ""
    head = f'{{"protocol":{_written(event, event)},"payload":{{"message":{names}'
    return f'{head},"type":{_written(kind, kind)}{flag}}}}}'


def names_within(names: Iterable[str], limit: int) -> tuple[str, int, bool]:
    """An array of names in JSON, of at most `limit` bytes; how many; and if some did not fit."""
    written: list[bytes] = []
    truncated = False
    room = limit - 1  # for the brackets, less the comma that one name does not need
    for name in names:
        text = _encode(name)
        room -= len(text) + 1
        if room < 0:
            truncated = True
            break
        written.append(text)
    return f"[{b','.join(written).decode()}]", len(written), truncated


def error(code: str, text: str) -> str:
    """The answer to a refused packet."""
    return _written({"protocol": ERROR, "payload": {"code": code, "message": text}}, text)
