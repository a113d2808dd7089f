"""Looks at a text of JSON before it is parsed: how deep, how many containers, which integers.

All is found in one pass, before a parser has made a single object. The text need not be JSON:
whether it is, the parser says. RFC 8259, section 9, allows such limits.
"""

import re
from collections.abc import Callable
from itertools import accumulate

from .path import accelerator

TOO_DEEP = -1
TOO_MANY = -2
TOO_BIG = -3
# What it takes to read a part of a text and to write it again, in bytes of a plain string that take
# as long: measured, for the costliest of each kind. As in scan.h.
PART = 16
CONTAINER = 64

_BLOCK = 4096  # brackets that are looked at together
_OPEN = b"\x01"
_steps = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # as signed bytes, the steps of the depth
_no_bracket = bytes(byte for byte in range(256) if byte not in b"[{]}")
_digits = re.compile(rb"[0-9]{19}").search


def _above(limit: str) -> str:
    """A pattern of the numbers with as many digits that are larger."""
    return "|".join(
        f"{limit[:at]}[{int(digit) + 1}-9][0-9]{{{len(limit) - at - 1}}}"
        for at, digit in enumerate(limit)
        if digit != "9"
    )


_INT64 = 1 << 63
_too_big = re.compile(
    rf"(?<![-+.eE0-9])(?:-?[0-9]{{20,}}|{_above(str(_INT64 - 1))}|-(?:{_above(str(_INT64))}))"
    r"(?![-+.eE0-9])".encode()
).search


def pure_scan_json(text: str, max_depth: int, max_containers: int) -> int:
    """What a text of JSON would cost to read and to write, in bytes.

    These are its bytes in UTF-8, PART for each comma and colon, and CONTAINER for each object and
    array; what is in strings counts as bytes alone.

    Returns:
        TOO_DEEP or TOO_MANY, whichever comes first, if brackets are nested deeper than
        `max_depth`, or if there are more than `max_containers` objects and arrays; else TOO_BIG if
        an integer does not fit into 64 bits with its sign.

    Raises:
        UnicodeEncodeError: the text holds a lone surrogate.
    """
    data = text.encode()
    if b"\\" in data:
        data = data.replace(rb"\\", b"__").replace(rb"\"", b"__")
    bare = b'"'.join(data.split(b'"')[::2])
    steps = bare.translate(_steps, _no_bracket)
    containers = steps.count(_OPEN)
    if containers > max_containers:  # all before the first that is too many may be too deep
        steps = _OPEN.join(steps.split(_OPEN, max_containers + 1)[:-1])
    if _exceeds(steps, max_depth):
        return TOO_DEEP
    if containers > max_containers:
        return TOO_MANY
    if _digits(bare) and _too_big(bare):
        return TOO_BIG
    parts = bare.count(b",") + bare.count(b":")
    return len(data) + PART * parts + CONTAINER * containers


def _exceeds(steps: bytes, max_depth: int) -> bool:
    depth = 0
    for at in range(0, len(steps), _BLOCK):
        block = steps[at : at + _BLOCK]
        opened = block.count(_OPEN)
        if depth + opened > max_depth:
            signed = memoryview(block).cast("b")
            if max(accumulate(signed, initial=depth)) > max_depth:
                return True
        depth += 2 * opened - len(block)
    return False


scan_json: Callable[[str, int, int], int] = accelerator.scan_json if accelerator else pure_scan_json
