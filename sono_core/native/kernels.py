"""The inner loops over payload bytes.

RFC 6455, sections 5.3 (masking) and 8.1 (UTF-8); RFC 3629 (which sequences are UTF-8).
"""

import codecs
from collections.abc import Callable

from .path import accelerator

_BLOCK = 4096  # bytes, a multiple of 4: measured best of 1 to 8 KiB
_integer = int.from_bytes
_decoder = codecs.getincrementaldecoder("utf-8")


def pure_apply_mask(data: bytes, mask: bytes) -> bytes:
    """XOR `data` with the 4 bytes of `mask`, repeated; masks and unmasks alike.

    It XORs long integers, because CPython has no faster loop over bytes. Long data is taken in
    blocks that stay in the processor's cache.
    """
    size = len(data)
    if size <= _BLOCK:
        key = mask * (size >> 2) + mask[: size & 3]
        return (_integer(data, "little") ^ _integer(key, "little")).to_bytes(size, "little")
    block_key = _integer(mask * (_BLOCK >> 2), "little")
    end = size - size % _BLOCK
    blocks = [
        (_integer(data[at : at + _BLOCK], "little") ^ block_key).to_bytes(_BLOCK, "little")
        for at in range(0, end, _BLOCK)
    ]
    blocks.append(pure_apply_mask(data[end:], mask))
    return b"".join(blocks)


apply_mask: Callable[[bytes, bytes], bytes] = (
    accelerator.apply_mask if accelerator else pure_apply_mask
)


# The second bytes that RFC 3629, section 4, allows after the lead bytes that do not allow all of
# 80..BF. The others would begin overlong forms, surrogates or code points above U+10FFFF.
_SECOND_BYTE = {
    0xE0: range(0xA0, 0xC0),
    0xED: range(0x80, 0xA0),
    0xF0: range(0x90, 0xC0),
    0xF4: range(0x80, 0x90),
}
_ANY_CONTINUATION = range(0x80, 0xC0)


class Utf8Validator:
    """Validates UTF-8 that comes in pieces; it fails at the first wrong byte."""

    __slots__ = ("_decode", "_getstate")

    def __init__(self) -> None:
        decoder = _decoder("strict")
        self._decode = decoder.decode
        self._getstate = decoder.getstate

    def feed(self, data: bytes, final: bool = False) -> bool:
        """Whether everything so far is valid, and complete if `final`."""
        try:
            self._decode(data, final)
        except UnicodeDecodeError:
            return False
        # Python's decoder holds back an unfinished sequence without checking all of it: it would
        # notice the surrogate ED A0 only at its third byte.
        held = self._getstate()[0]
        return len(held) < 2 or held[1] in _SECOND_BYTE.get(held[0], _ANY_CONTINUATION)
