"""Inflates compressed messages with zlib alone.

This module is outside the targets because atheris counts no branches here, which would cost most
of its time.
"""

from __future__ import annotations

import zlib

TAIL = b"\x00\x00\xff\xff"
WHOLE = 1 << 20  # bytes of a piece that holds all


class Reference:
    """Inflates messages with zlib alone.

    zlib refuses a reference beyond its window only if the data is not in the same output. So it
    is strict if its output comes byte by byte, and lenient with the largest window.

    Args:
        limit: bytes of a message after which it may stop.
    """

    def __init__(self, bits: int, takeover: bool, limit: int, *, strict: bool) -> None:
        self._bits = bits
        self._takeover = takeover
        self._limit = limit
        self._step, self._most = (1, 1) if strict else (WHOLE, limit + 1)
        self._stream = zlib.decompressobj(-bits)
        self.final_blocks = 0
        """In the last message."""

    def inflate(self, message: bytes) -> bytes | None:
        """The message, or its part up to beyond the limit; None if it is not deflate data."""
        message += TAIL
        out = bytearray()
        self.final_blocks = 0
        if not self._takeover:
            self._stream = zlib.decompressobj(-self._bits)
        try:
            for at in range(0, len(message), self._step):
                self._take(message[at : at + self._step], out)
        except zlib.error:
            return None
        return bytes(out)

    def _take(self, data: bytes, out: bytearray) -> None:
        while len(out) <= self._limit:
            got = self._stream.decompress(data, self._most)
            out += got
            data = self._stream.unconsumed_tail
            if self._stream.eof:
                self.final_blocks += 1
                data = self._stream.unused_data
                self._stream = zlib.decompressobj(-self._bits)
            if not got and not data:
                break
