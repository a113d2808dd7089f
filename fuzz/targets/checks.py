"""A fuzz target: a rule that must hold for any bytes, and the time that they may take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sono_core import Close, Event

_TRIES = 3  # A busy machine is slow once; code that is not linear is slow each time.
_PIECES = 150  # pieces of an input that is cut, at most


class Target(NamedTuple):
    """A rule, and help to find inputs that break it."""

    name: str
    check: Callable[[bytes], None]
    """Raises AssertionError, or anything else, if the rule is broken."""
    words: tuple[bytes, ...] = ()
    """Bytes with a meaning in such an input."""
    longest: int = 4096
    """Bytes that an input may grow to."""
    per_byte: float = 20e-6
    """Seconds of CPU that a byte may take; some ten times what it does take."""
    once: float = 0.1
    """Seconds of CPU that any input may take in addition."""

    def run(self, data: bytes) -> None:
        """Hold an input to the rule.

        Raises:
            AssertionError: it is broken, or the input took too long.
        """
        budget = self.once + self.per_byte * len(data)
        for _ in range(_TRIES):
            started = time.thread_time()
            try:
                self.check(data)
            except AssertionError:
                raise
            except Exception as error:
                raise AssertionError(f"it raised {error!r}") from error
            if time.thread_time() - started <= budget:
                return
        raise AssertionError(f"{len(data)} bytes took longer than {budget:.2f} s")


def ways(data: bytes) -> tuple[list[bytes], list[bytes]]:
    """The data as one piece, and in many: byte by byte, unless there are too many."""
    step = 1 + len(data) // _PIECES
    return [data] if data else [], [data[at : at + step] for at in range(0, len(data), step)]


def head_of(data: bytes, folded: bool = False) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """First line and fields of an accepted head, parsed more strictly than any parser does.

    Args:
        folded: whether a field may go on in further lines, as a response's (RFC 9112, section 5.2).
    """
    head, end, _ = data.partition(b"\r\n\r\n")
    assert end, "what was accepted had no end"
    for byte in head.replace(b"\r\n", b""):
        assert byte >= 0x20 or byte == 0x09, f"the head had a control character, {byte:#x}"
    first, *lines = head.split(b"\r\n")
    fields: list[tuple[bytes, bytes]] = []
    for line in lines:
        if folded and fields and line[:1] in (b" ", b"\t"):
            name, value = fields[-1]
            fields[-1] = name, (value + b" " + line.strip(b" \t")).strip(b" ")
            continue
        name, colon, value = line.partition(b":")
        assert colon, f"a line was no field: {line!r}"
        assert name == name.strip(b" \t") != b"", f"a field's name was {name!r}"
        fields.append((name.lower(), value.strip(b" \t")))
    return first, fields


def check_end(events: Sequence[Event], size: int) -> None:
    """Events of an open connection: Close is only the last, and they do not outnumber the bytes."""
    ends = [number for number, event in enumerate(events, 1) if isinstance(event, Close)]
    assert ends == [len(events)], "Close is not once and last"
    assert len(events) <= 1 + size, "more events than bytes"


def values_of(fields: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """The values of the fields with that name."""
    return [value for field, value in fields if field == name]
