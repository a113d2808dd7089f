"""A payload on its way: written once, however many get it. docs/protocol.md, clause 1.4."""

import sys
from binascii import b2a_base64, crc32
from typing import Any

import msgspec

from sono_core.errors import LocalProtocolError
from sono_core.native import (
    DEEPEST,
    HAS_BINARY,
    NOT_FINITE,
    TOO_BIG,
    TOO_DEEP,
    scan_msgpack,
)

BYTES = "$bytes"
"""The only key of the object that stands for a binary value in JSON."""
MAX_DEPTH = DEEPEST - 8
"""Levels of a payload: packets put a few more around it."""

_BINARY_TYPES = (bytes, bytearray, memoryview)
_write_json = msgspec.json.Encoder().encode
_read_json = msgspec.json.Decoder().decode
_write_msgpack = msgspec.msgpack.Encoder().encode
_read_msgpack = msgspec.msgpack.Decoder().decode
_REFUSED = {
    TOO_DEEP: f"is nested deeper than {MAX_DEPTH} levels",
    TOO_BIG: "holds an integer that does not fit into 64 bits",
    NOT_FINITE: "holds NaN or an infinity",
}


class Data:
    """A payload that does not change any more, in JSON or in MessagePack; `Data.of` makes it.

    It keeps the form in which it was made: JSON, or MessagePack if it holds binary values. The
    other form is made when it is first asked for. Two are equal if they are written alike.
    """

    __slots__ = ("_binary", "_cost", "_other", "_own")

    def __init__(self, own: bytes, cost: int, binary: bool) -> None:
        self._own = own
        self._other: bytes | None = None
        self._cost = cost
        self._binary = binary

    @classmethod
    def of(cls, value: object) -> "Data":
        """The payload that a value is: anything that msgspec can write.

        A `Data` is returned as it is, and may also be anywhere within the value. Keys that are
        numbers become strings; of two that become the same the last one counts.

        Raises:
            TypeError: it cannot be written.
            LocalProtocolError: it holds a lone surrogate, NaN, an infinity, or an integer that does
                not fit into 64 bits with its sign; or it is nested deeper than MAX_DEPTH.
        """
        if isinstance(value, Data):
            return value
        try:
            plain = msgspec.to_builtins(
                value, str_keys=True, builtin_types=_BINARY_TYPES, enc_hook=_value_of
            )
            packed = _write_msgpack(plain)
        except UnicodeEncodeError:
            raise LocalProtocolError("data holds a lone surrogate") from None
        except OverflowError:
            raise LocalProtocolError(f"data {_REFUSED[TOO_BIG]}") from None
        except (TypeError, BufferError, RecursionError) as error:
            kind = type(value).__name__
            raise TypeError(f"data of type {kind} cannot be written: {error}") from None
        cost = scan_msgpack(packed, MAX_DEPTH, sys.maxsize, False)
        if binary := cost == HAS_BINARY:
            cost = scan_msgpack(packed, MAX_DEPTH, sys.maxsize, True)
        if cost < 0:
            raise LocalProtocolError(f"data {_REFUSED[cost]}")
        if binary:
            return cls(packed, cost, binary)
        text = _write_json(plain)
        return cls(text, cost - len(packed) + len(text), binary)

    @classmethod
    def parsed(cls, value: object, cost: int = 0) -> "Data":
        """The payload in a JSON text that was weighed and read.

        Args:
            cost: what was found for the text.
        """
        data = cls.__new__(cls)  # for each message of a classic client, and without one call more
        data._own, data._other, data._cost, data._binary = _write_json(value), None, cost, False
        return data

    def value(self) -> Any:
        """What it holds, anew for each call: dicts with strings as keys, lists and scalars."""
        return _read_msgpack(self._own) if self._binary else _read_json(self._own)

    def json(self) -> bytes:
        """It in JSON; binary values are `{"$bytes": BASE64}` there."""
        if not self._binary:
            return self._own
        if self._other is None:
            self._other = _write_json(_without_binary(self.value()))
        return self._other

    def raw_json(self) -> msgspec.Raw:
        """The same, to be written as a part of something."""
        return msgspec.Raw(self.json() if self._binary else self._own)

    def msgpack(self) -> bytes:
        """It in MessagePack."""
        if self._binary:
            return self._own
        if self._other is None:
            self._other = _write_msgpack(self.value())
        return self._other

    @property
    def checksum(self) -> int:
        """Of the form that it keeps, 32 bits: alike in all processes."""
        return crc32(self._own)

    @property
    def size(self) -> int:
        """Bytes of the form that it keeps. The other comes on top once it was made."""
        return len(self._own)

    @property
    def cost(self) -> int:
        """What it takes to read and to write, in bytes; see `sono_core.native.scan`."""
        return self._cost

    @property
    def binary(self) -> bool:
        """Whether it holds binary values: classic clients do not get it then."""
        return self._binary

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Data):
            return NotImplemented
        return self._binary == other._binary and self._own == other._own

    def __hash__(self) -> int:
        return hash(self._own)

    def __repr__(self) -> str:  # as of `Discreet`: it is the payload of a packet
        return f"Data(size={self.size}, binary={self._binary})"


def _value_of(value: object) -> object:
    if isinstance(value, Data):
        return value.value()
    raise TypeError(f"there is no form for {type(value).__name__}")


def _without_binary(value: Any) -> Any:
    """A value of ours as JSON has it; it is changed in place, however deep it is."""
    whole: list[Any] = [value]
    waiting: list[Any] = [whole]
    while waiting:
        container = waiting.pop()
        items = container.items() if isinstance(container, dict) else enumerate(container)
        for key, item in items:
            if isinstance(item, bytes):
                container[key] = {BYTES: b2a_base64(item, newline=False).decode()}
            elif isinstance(item, (dict, list)):
                waiting.append(item)
    return whole[0]
