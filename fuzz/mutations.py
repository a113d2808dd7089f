"""Changes of an input that keep most of it: what they do follows from the seed alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

# Bytes that mean something in a frame's head, in UTF-8, or in deflate data.
_TELLING = bytes.fromhex("00017d7e7f808182888a8bc1c2c188898afdfeff03e8edf0f4e2")
_MOST = 4096  # bytes that an input grows to


def _range(data: bytes, source: Random) -> tuple[int, int]:
    start = source.randrange(len(data) + 1)
    return start, min(len(data), start + source.choice((1, 2, 4, 8, 32, 128)))


def _flip(data: bytes, other: bytes, source: Random) -> bytes:
    flipped = bytearray(data)
    for _ in range(source.choice((1, 1, 2, 8)) if data else 0):
        flipped[source.randrange(len(data))] ^= 1 << source.randrange(8)
    return bytes(flipped)


def _tell(data: bytes, _: bytes, source: Random) -> bytes:
    """Put telling bytes in, or in the place of others."""
    start, end = _range(data, source)
    values = bytes(source.choices(_TELLING, k=source.randint(1, 3)))
    return data[:start] + values + data[source.choice((start, end, start + len(values))) :]


def _duplicate(data: bytes, _: bytes, source: Random) -> bytes:
    start, end = _range(data, source)
    return data[:end] + data[start:end] * source.randint(1, 3) + data[end:]


def _delete(data: bytes, _: bytes, source: Random) -> bytes:
    start, end = _range(data, source)
    return data[:start] + data[end:]


def _splice(data: bytes, other: bytes, source: Random) -> bytes:
    """The beginning of one and the end of another."""
    return data[: source.randint(0, len(data))] + other[source.randint(0, len(other)) :]


def _insert(data: bytes, other: bytes, source: Random) -> bytes:
    at = source.randint(0, len(data))
    return data[:at] + other + data[at:]


_CHANGES: tuple[Callable[[bytes, bytes, Random], bytes], ...] = (
    _flip,
    _flip,
    _tell,
    _duplicate,
    _delete,
    _splice,
    _insert,
)


def mutated(data: bytes, others: Sequence[bytes], source: Random) -> bytes:
    """The data after one to three changes."""
    for _ in range(source.choice((1, 1, 2, 3))):
        data = source.choice(_CHANGES)(data, source.choice(others), source)
    return data if len(data) <= _MOST else data[:_MOST]
