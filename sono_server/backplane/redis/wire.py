"""What the broker carries between nodes, as bytes; the scripts write it, and this reads it."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from sono_core.messaging.lossless import Change, Entry, Position, Top
from sono_server.backplane.errors import UnreadableError


class Codec(Protocol):
    """How bodies of entries and the data of members are written."""

    def encode(self, body: Any) -> bytes:
        """Write one.

        Raises:
            BackplaneError: it cannot be written.
        """

    def decode(self, content: bytes) -> Any:
        """Read one.

        Raises:
            UnreadableError: a node with another version wrote it, or none did.
        """


def position(epoch: bytes, offset: bytes) -> Position:
    """A position in a script's reply."""
    return Position(epoch.decode(), int(offset))


def top(epoch: bytes, offset: bytes, roster: bytes, version: bytes) -> Top:
    """What `PIN` and `TOPS` give."""
    return Top(position(epoch, offset), position(roster, version) if roster else None)


def entries(epoch: str, found: Sequence[bytes], codec: Codec) -> Iterator[Entry]:
    """Entries of one epoch, without those that cannot be read: they are missing."""
    for offset, size, body in zip(found[::3], found[1::3], found[2::3], strict=True):
        try:
            read = codec.decode(body)
        except UnreadableError:
            continue
        yield Entry(Position(epoch, int(offset)), read, int(size))


def told(content: bytes, codec: Codec) -> tuple[str, Any]:
    """What was told to those that follow a stream: its kind (E, C, V) and an entry, a change or a
    volatile body.

    Raises:
        UnreadableError: it is none of these.
    """
    head, separator, rest = content.partition(b"\n")
    try:
        kind, *words = head.split(b" ")
        if kind == b"V" and not words and separator:
            return "V", codec.decode(rest)
        if kind == b"E":
            epoch, offset, size = words
            return "E", Entry(position(epoch, offset), codec.decode(rest), int(size))
        if kind == b"C":
            epoch, offset, present, count, length = words
            member, data = rest[: int(length)], rest[int(length) :]
            there = present == b"1"
            version = position(epoch, offset)
            read = codec.decode(data) if there else None
            return "C", Change(version, member.decode(), read, there, int(count))
    except ValueError:
        pass
    raise UnreadableError("what was told has not been written by this version")


def number(content: bytes) -> int:
    """Of a probe; 0 if it is none."""
    return int(content) if content.isdigit() else 0


def member(value: bytes) -> tuple[int, bytes]:
    """When a member came, as a number, and its data."""
    _, order, _, data = value.split(b" ", 3)
    return int(order), data


def replied_position(reply: Sequence[bytes]) -> Position:
    """What `PUBLISH` and `ENTER` give."""
    return position(reply[0], reply[1])


def replied_position_or_none(reply: Sequence[bytes] | None) -> Position | None:
    """What scripts give that may find nothing."""
    return None if reply is None else replied_position(reply)


def as_is(reply: Any) -> Any:
    """The caller reads it."""
    return reply


def nothing(reply: Any) -> None:
    """Nobody wants to know more than that it was done."""
