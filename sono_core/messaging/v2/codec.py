"""How the packets of `sono.v2` are read and written. docs/protocol.md, sections 1, 3 and 4.

A packet is one JSON object in one text message, or one map of MessagePack in one binary message. A
server refuses what is no packet, and says which field is wrong; a client ignores it.
"""

import sys
from collections.abc import Callable
from typing import Any, get_args

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from sono_core.errors import LocalProtocolError
from sono_core.limits import Limits
from sono_core.messaging import RESERVED_EVENTS, Content, MessagingError, check_name
from sono_core.messaging.lossless import Data, packets
from sono_core.native import (
    DEEPEST,
    EXTENSION,
    MALFORMED,
    NOT_A_KEY,
    NOT_FINITE,
    TOO_BIG,
    TOO_DEEP,
    TOO_MANY,
    scan_json,
    scan_msgpack,
)

MAX_DEPTH = DEEPEST // 2
"""Levels that a client's packet may have whatever `max_depth` is: `Data` has room for more."""

# The names that packets hold, by the kinds of packets.
_NAMED: dict[type, tuple[str, ...]] = {
    packets.Join: ("channel",),
    packets.Move: ("channel",),
    packets.Leave: ("channel",),
    packets.Publish: ("channel", "event"),
    packets.Send: ("event",),
    packets.Request: ("name",),
    packets.Present: ("channel",),
}
_TYPES = {kind.__struct_config__.tag for kind in get_args(packets.FromClient)}
# What msgspec raises for bad input: ValidationError is a DecodeError; text that is not Unicode, an
# integer of thousands of digits, brackets without end and a wrong kind of message raise the others.
_BAD = (msgspec.DecodeError, RecursionError, UnicodeError, ValueError, TypeError)


class PacketError(MessagingError):
    """A packet is refused. `seq` is its number, or None if it has no legal one that can be read.

    A number is accepted all the same (clause 1.7).
    """

    def __init__(self, code: str, text: str, seq: int | None = None) -> None:
        super().__init__(code, text)
        self.seq = seq


# What can be known of a packet that is refused. Nothing else in it becomes an object, as it may not
# even have been weighed.
class _Numbered(msgspec.Struct):
    seq: packets.Seq


class _Typed(msgspec.Struct):
    type: str


class Codec:
    """One of the two ways to write packets: JSON or MSGPACK. All methods are pure.

    Args:
        name: the subprotocol that a handshake agrees on.
        kind: of what type the content of its messages is.
        form: what that is, for people.
        scan: as `scan_json`.
        reader: makes what reads a message as a value of some type, or raises one of _BAD.
        encode: writes a packet whose payloads are `Data`.
    """

    def __init__(
        self,
        name: str,
        kind: type[str] | type[bytes],
        form: str,
        scan: Callable[[Any, int, int], int],
        reader: Callable[[Any], Callable[[Any], Any]],
        encode: Callable[[object], Content],
    ) -> None:
        self.name = name
        self._kind = kind
        self._form = form
        self._scan = scan
        self._read_client = reader(packets.FromClient)
        self._read_server = reader(packets.FromServer)
        self._read_number = reader(_Numbered)
        self._read_type = reader(_Typed)
        self._encode = encode

    def weigh(self, message: Content, limits: Limits) -> int:
        """What a client's message costs to handle, in bytes of `byte_rate`; asked first.

        Raises:
            PacketError: `invalid-packet`: it must not be parsed.
        """
        if not isinstance(message, self._kind):
            wanted = "text" if self._kind is str else "binary"
            raise PacketError("invalid-packet", f"packets of {self.name} are {wanted} messages")
        depth = min(limits.max_depth, MAX_DEPTH)
        found = self._scanned(message, depth, limits.max_containers)
        if found >= 0:
            return found
        text = {
            TOO_DEEP: f"nested deeper than {depth} levels",
            TOO_MANY: f"more than {limits.max_containers} objects and arrays",
            TOO_BIG: "an integer does not fit into 64 bits",
            NOT_FINITE: "NaN and infinities are not allowed",
            NOT_A_KEY: "a key is no string",
            EXTENSION: "extension types are not allowed",
            MALFORMED: f"not {self._form}",
        }[found]
        raise PacketError("invalid-packet", text, self._number_of(message))

    def _scanned(self, message: Content, max_depth: int, max_containers: int) -> int:
        try:
            return self._scan(message, max_depth, max_containers)
        except UnicodeEncodeError:
            return MALFORMED

    def from_client(self, message: Content, limits: Limits) -> packets.FromClient:
        """The packet in a client's message that was weighed.

        Of duplicate keys the last wins; a `type` that contradicts itself is refused.

        Raises:
            PacketError: `invalid-packet`, `unknown-type` or `reserved-event`.
        """
        try:
            packet: packets.FromClient = self._read_client(message)
        except _BAD as error:
            raise self._refusal(message, error) from None
        try:
            for field in _NAMED.get(type(packet), ()):
                check_name(getattr(packet, field), field, limits)
            if isinstance(packet, packets.Hello):
                for name in packet.joined:
                    check_name(name, "joined", limits)
                if packet.channel is not None:
                    check_name(packet.channel, "channel", limits)
        except ValueError as error:
            seq = getattr(packet, "seq", None)
            raise PacketError("invalid-packet", str(error), seq) from None
        if isinstance(packet, (packets.Publish, packets.Send)) and packet.event in RESERVED_EVENTS:
            text = f"the event {packet.event} is the server's own"
            raise PacketError("reserved-event", text, packet.seq)
        return packet

    def _number_of(self, message: Content) -> int | None:
        try:
            numbered: _Numbered = self._read_number(message)
        except _BAD:
            return None
        return numbered.seq

    def _refusal(self, message: Content, error: Exception) -> PacketError:
        seq = self._number_of(message)
        try:
            typed: _Typed = self._read_type(message)
        except _BAD:
            pass
        else:
            if typed.type not in _TYPES:
                return PacketError("unknown-type", f"type: {typed.type!r} is unknown", seq)
        known = isinstance(error, msgspec.ValidationError)
        return PacketError("invalid-packet", str(error) if known else f"not {self._form}", seq)

    def from_server(self, message: Content) -> packets.FromServer | None:
        """The packet in a server's message; None: a client ignores it."""
        if not isinstance(message, self._kind):
            return None
        if self._scanned(message, DEEPEST, sys.maxsize) < 0:
            return None
        try:
            packet: packets.FromServer = self._read_server(message)
        except _BAD:
            return None
        return packet

    def write(self, packet: packets.FromClient | packets.FromServer) -> Content:
        """A packet as the content of one message.

        A payload that is no `Data` becomes one first.

        Raises:
            TypeError, LocalProtocolError: as `Data.of`.
        """
        try:
            return self._encode(_with_data(packet))
        except UnicodeEncodeError:
            raise LocalProtocolError("the packet holds a lone surrogate") from None


def _with_data(packet: packets.FromClient | packets.FromServer) -> object:
    if isinstance(packet, packets.Members):
        return replace(packet, members=_each(packet.members))
    if isinstance(packet, packets.Presence):
        return replace(packet, entered=_each(packet.entered))
    data = getattr(packet, "data", UNSET)
    if data is UNSET or isinstance(data, Data):
        return packet
    return replace(packet, data=Data.of(data))


def _each(members: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(member, Data.of(data)) for member, data in members]


def _json_of(value: object) -> msgspec.Raw:
    assert isinstance(value, Data)  # all else has a form of its own
    return msgspec.Raw(value.json())


def _msgpack_of(value: object) -> msgspec.Raw:
    assert isinstance(value, Data)
    return msgspec.Raw(value.msgpack())


_write_json = msgspec.json.Encoder(enc_hook=_json_of).encode

JSON = Codec(
    name="sono.v2",
    kind=str,
    form="JSON",
    scan=scan_json,
    reader=lambda kind: msgspec.json.Decoder(kind).decode,
    encode=lambda packet: _write_json(packet).decode(),
)
"""JSON in text messages: `sono.v2`."""
MSGPACK = Codec(
    name="sono.v2.msgpack",
    kind=bytes,
    form="MessagePack",
    scan=lambda message, depth, containers: scan_msgpack(message, depth, containers, True),
    reader=lambda kind: msgspec.msgpack.Decoder(kind).decode,
    encode=msgspec.msgpack.Encoder(enc_hook=_msgpack_of).encode,
)
"""MessagePack in binary messages: `sono.v2.msgpack`."""
