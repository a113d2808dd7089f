"""Changes of an input that keep most of it; the random source alone determines them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple


class _Change(NamedTuple):
    """One change: the data to change, and data to take parts from."""

    data: bytes
    other: bytes
    words: Sequence[bytes]
    source: Random

    def range(self) -> tuple[int, int]:
        """A part of the data."""
        start = self.source.randrange(len(self.data) + 1)
        return start, min(len(self.data), start + self.source.choice((1, 2, 4, 8, 32, 128)))


def _flip(change: _Change) -> bytes:
    data, source = bytearray(change.data), change.source
    for _ in range(source.choice((1, 1, 2, 8)) if data else 0):
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    return bytes(data)


def _tell(change: _Change) -> bytes:
    """Insert meaningful words, or put them in the place of others."""
    data, source = change.data, change.source
    start, end = change.range()
    words = b"".join(source.choices(change.words, k=source.randint(1, 3)))
    return data[:start] + words + data[source.choice((start, end, start + len(words))) :]


def _duplicate(change: _Change) -> bytes:
    start, end = change.range()
    data = change.data
    return data[:end] + data[start:end] * change.source.randint(1, 3) + data[end:]


def _delete(change: _Change) -> bytes:
    start, end = change.range()
    return change.data[:start] + change.data[end:]


def _splice(change: _Change) -> bytes:
    """The beginning of one input and the end of another."""
    data, other, source = change.data, change.other, change.source
    return data[: source.randint(0, len(data))] + other[source.randint(0, len(other)) :]


def _insert(change: _Change) -> bytes:
    at = change.source.randint(0, len(change.data))
    return change.data[:at] + change.other + change.data[at:]


_CHANGES: tuple[Callable[[_Change], bytes], ...] = (
    _flip,
    _flip,
    _tell,
    _duplicate,
    _delete,
    _splice,
    _insert,
)


class Mutator:
    """Changes the inputs of one target.

    Args:
        others: inputs to take parts from.
        words: bytes with a meaning in an input.
        longest: bytes that an input may grow to.
    """

    def __init__(self, others: Sequence[bytes], words: Sequence[bytes], longest: int) -> None:
        self._others = others or [b""]
        self._words = words or [b""]
        self._longest = longest

    def mutated(self, data: bytes, source: Random) -> bytes:
        """The data after one to three changes."""
        for _ in range(source.choice((1, 1, 2, 3))):
            change = _Change(data, source.choice(self._others), self._words, source)
            data = source.choice(_CHANGES)(change)
        return data[: self._longest]
