"""Looks at MessagePack before it is parsed: what `scan` does for a text of JSON, and whether it is
MessagePack at all.

It walks from header to header, and makes no object of what is between. Accepted is only what JSON
can say, and binary values. https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from collections.abc import Callable

from .path import accelerator
from .scan import CONTAINER, PART, TOO_BIG, TOO_DEEP, TOO_MANY

# As in scan_msgpack.h.
NOT_FINITE = -4
NOT_A_KEY = -5
EXTENSION = -6
HAS_BINARY = -7
MALFORMED = -8
DEEPEST = 256
"""Levels that a message may have whatever its limit is, so that whoever reads it can recurse."""

_INT64_MAX = (1 << 63) - 1
_FLOAT32_ODD = 0x7F80_0000  # the bits that are all set in NaN and in infinities
_FLOAT64_ODD = 0x7FF0_0000_0000_0000

_STR, _BIN, _ARRAY, _MAP, _EXT, _UINT64, _FLOAT32, _FLOAT64, _NEVER = range(9)
# By the first byte of a value: how many bytes follow it, if that is all there is to know; or else
# what it is, and of how many bytes its length or its number is.
_PLAIN = [-1] * 256
_PLAIN[:0x80] = [0] * 0x80  # small integers
_PLAIN[0xA0:0xC1] = [*range(0x20), 0]  # short strings, nil
_PLAIN[0xC2:0xC4] = [0, 0]  # booleans
_PLAIN[0xCC:0xCF] = [1, 2, 4]  # unsigned integers
_PLAIN[0xD0:0xD4] = [1, 2, 4, 8]  # integers
_PLAIN[0xE0:] = [0] * 0x20  # small negative integers
_HEADERS = {
    **dict.fromkeys(range(0x80, 0x90), (_MAP, 0)),
    **dict.fromkeys(range(0x90, 0xA0), (_ARRAY, 0)),
    0xC1: (_NEVER, 0),
    0xC4: (_BIN, 1),
    0xC5: (_BIN, 2),
    0xC6: (_BIN, 4),
    **dict.fromkeys((*range(0xC7, 0xCA), *range(0xD4, 0xD9)), (_EXT, 0)),
    0xCA: (_FLOAT32, 4),
    0xCB: (_FLOAT64, 8),
    0xCF: (_UINT64, 8),
    0xD9: (_STR, 1),
    0xDA: (_STR, 2),
    0xDB: (_STR, 4),
    0xDC: (_ARRAY, 2),
    0xDD: (_ARRAY, 4),
    0xDE: (_MAP, 2),
    0xDF: (_MAP, 4),
}
_IS_STRING = [0xA0 <= kind <= 0xBF or 0xD9 <= kind <= 0xDB for kind in range(256)]
_REFUSED = {_EXT: EXTENSION, _NEVER: MALFORMED}


def pure_scan_msgpack(data: bytes, max_depth: int, max_containers: int, binary: bool) -> int:
    """What a value in MessagePack would cost to read and to write, in bytes.

    These are its bytes, and what `scan_json` counts beside them for the same value in JSON.

    Args:
        max_depth: at most DEEPEST counts.
        binary: whether it may hold binary values.

    Returns:
        Or the first thing in it that is too much or not allowed: TOO_MANY or TOO_DEEP, as of
        `scan_json`; TOO_BIG, an integer that does not fit into 64 bits with its sign; NOT_FINITE,
        NaN or an infinity; NOT_A_KEY, a key that is no string; EXTENSION; HAS_BINARY; MALFORMED, if
        it is not one value and nothing else, or if a length exceeds what is there.
    """
    size = len(data)
    max_depth = min(max_depth, DEEPEST)
    at = parts = containers = 0
    # Of the container that is open: how many values are to come, and whether it is a map.
    left, is_map = 1, False
    outer: list[tuple[int, bool]] = []
    waiting = 0  # values to come in all containers around it: each has a byte at least
    while True:
        while not left:
            if not outer:
                return size + PART * parts + CONTAINER * containers if at == size else MALFORMED
            left, is_map = outer.pop()
            waiting -= left
        if at >= size:
            return MALFORMED
        kind = data[at]
        at += 1
        if is_map and not left & 1 and not _IS_STRING[kind]:
            return NOT_A_KEY
        left -= 1
        plain = _PLAIN[kind]
        if plain >= 0:
            at += plain
            continue
        what, width = _HEADERS[kind]
        number = int.from_bytes(data[at : at + width], "big") if width else kind & 0x0F
        at += width
        if at > size:
            return MALFORMED
        if what in (_ARRAY, _MAP):
            containers += 1
            if containers > max_containers:
                return TOO_MANY
            if len(outer) >= max_depth:
                return TOO_DEEP
            waiting += left
            outer.append((left, is_map))
            left, is_map = number << (what == _MAP), what == _MAP
            if left + waiting > size - at:
                return MALFORMED
            parts += max(left - 1, 0)
        elif what == _STR:
            at += number
        elif what == _BIN:
            if not binary:
                return HAS_BINARY
            at += number
        elif what == _UINT64:
            if number > _INT64_MAX:
                return TOO_BIG
        elif what in _REFUSED:
            return _REFUSED[what]
        else:
            odd = _FLOAT32_ODD if what == _FLOAT32 else _FLOAT64_ODD
            if number & odd == odd:
                return NOT_FINITE


scan_msgpack: Callable[[bytes, int, int, bool], int] = (
    accelerator.scan_msgpack if accelerator else pure_scan_msgpack
)
