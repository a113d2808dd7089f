"""What one node says to another, as bytes: publications, packets, and data of members.

An envelope has a version, so that nodes of two versions can serve beside each other during a
restart: what one cannot read is a gap there, and is told.
"""

from typing import Any

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from sono_core.messaging import Publish
from sono_core.messaging.lossless import Data, packets
from sono_core.messaging.lossless.nodes import LetGo, LetGone, Said
from sono_core.messaging.lossless.server import Order
from sono_server.backplane.errors import UnreadableError

VERSION = 1

_Written = tuple[bytes, int, bool]  # a payload: its own form, cost, and whether that is MessagePack
_read_version = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw]).decode


class _Publication(msgspec.Struct, array_like=True, tag="publication"):
    channel: str | None
    event: str
    payload: _Written
    sender: str | None
    skip: str | None


class _Packet(msgspec.Struct, array_like=True, tag="packet"):
    packet: packets.Entry
    data: _Written | None


class _Order(msgspec.Struct, array_like=True, tag="order"):
    order: Order
    data: _Written | None


class _Data(msgspec.Struct, array_like=True, tag="data"):
    data: _Written


class _Said(msgspec.Struct, array_like=True, tag="said"):
    said: Said


_read = msgspec.msgpack.Decoder(_Publication | _Packet | _Order | _Data | _Said).decode
_write = msgspec.msgpack.Encoder().encode


class Envelopes:
    """Writes what a node keeps in the backplane: see `Codec`."""

    def encode(self, body: Any) -> bytes:
        """Write a publication, a packet of a client's own stream, an order, a member's data, or
        what one node says to another.

        Payloads are `Data`.
        """
        content: _Publication | _Packet | _Order | _Data | _Said
        if isinstance(body, Publish):
            payload = _written(body.payload)
            content = _Publication(body.channel, body.event, payload, body.sender, body.skip)
        elif isinstance(body, Data):
            content = _Data(_written(body))
        elif isinstance(body, (LetGo, LetGone)):
            content = _Said(body)
        else:
            kind = _Order if isinstance(body, Order) else _Packet
            data = getattr(body, "data", UNSET)
            if isinstance(data, Data):
                content = kind(replace(body, data=None), _written(data))
            else:
                content = kind(body, None)
        return _write((VERSION, content))

    def decode(self, content: bytes) -> Any:
        """Read one again.

        Raises:
            UnreadableError: another version wrote it, or nobody who speaks like that.
        """
        try:
            version, rest = _read_version(content)
            found = _read(rest) if version == VERSION else None
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise UnreadableError("what is in the broker is not Sono's") from None
        if found is None:
            raise UnreadableError(f"a node with version {version} of what nodes say wrote it")
        if isinstance(found, _Publication):
            payload = Data(*found.payload)
            return Publish(found.channel, found.event, payload, found.sender, found.skip)
        if isinstance(found, _Data):
            return Data(*found.data)
        if isinstance(found, _Said):
            return found.said
        said = found.order if isinstance(found, _Order) else found.packet
        return said if found.data is None else replace(said, data=Data(*found.data))


def _written(data: Data) -> _Written:
    return data.msgpack() if data.binary else data.json(), data.cost, data.binary
