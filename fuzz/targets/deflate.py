"""Any bytes as compressed messages: the same as zlib gives, or a failure; never past the limit.

The first byte chooses window, takeover, limit and cuts; half of the rest is one message, half the
next. The rest is also compressed as plain text, and must come back.
"""

from __future__ import annotations

from typing import NamedTuple

from fuzz.reference import TAIL, WHOLE, Reference
from sono_core.errors import ProtocolFailure
from sono_core.websocket.deflate import Deflater, Inflater

from .checks import Target

_LIMITS = (1000, 70_000)  # bytes; the second is more than one step inflates
_CODES = (1007, 1008, 1009)


class Setting(NamedTuple):
    """The settings that the first byte stands for."""

    bits: int
    takeover: bool
    limit: int
    step: int
    """Bytes of a piece."""


def setting_of(byte: int) -> Setting:
    """The settings of an input."""
    step = (1, 7, 100, WHOLE)[byte >> 5 & 3]
    return Setting(8 + (byte & 7), bool(byte & 8), _LIMITS[byte >> 4 & 1], step)


class Inflated(NamedTuple):
    """What an inflater makes of a message."""

    result: bytes | int
    """The message, or the close code with which it fails."""
    empty: int
    """Pieces of it that are empty: one for each final block."""


def inflated(inflater: Inflater, message: bytes, limit: int, step: int) -> Inflated:
    """Inflate a message that comes in pieces."""
    out, code, empty = bytearray(), 0, 0
    try:
        for at in range(0, len(message) or 1, step):
            final = at + step >= len(message)
            pieces = inflater.inflate(message[at : at + step], limit - len(out), final)
            empty += pieces.count(b"")
            out += b"".join(pieces)
            assert len(out) <= limit, f"{len(out)} bytes passed a limit of {limit}"
    except ProtocolFailure as failure:
        code = failure.code
    assert code in (0, *_CODES), f"it failed with {code}"
    return Inflated(code or bytes(out), empty)


def _is_legal(setting: Setting, messages: tuple[bytes, ...]) -> bool:
    """Whether the last message must be accepted after the others."""
    strict = Reference(setting.bits, setting.takeover, setting.limit, strict=True)
    results = [strict.inflate(message) for message in messages]
    return results[-1] is not None


def _check_inflater(setting: Setting, messages: tuple[bytes, ...]) -> None:
    bits, takeover, limit, step = setting
    inflaters = [(Inflater(bits, takeover), step) for step in (WHOLE, step)]
    lenient = Reference(15, takeover, limit, strict=False)
    for number, message in enumerate(messages, 1):
        allowed = lenient.inflate(message)
        results = [inflated(inflater, message, limit, step) for inflater, step in inflaters]
        for found, empty in results:
            if isinstance(found, bytes):
                assert found == allowed, "zlib says otherwise"
                assert empty == lenient.final_blocks, f"{empty} pieces are empty"
            elif found == 1008:
                assert lenient.final_blocks > 1000, f"{lenient.final_blocks} are too many"
        failed = [found for found, _ in results if not isinstance(found, bytes)]
        refused = [code for code in failed if code != 1008]
        if refused and allowed is not None and len(allowed) <= limit:
            assert not _is_legal(setting, messages[:number]), f"it fails with {refused}"
        if failed:
            return  # as the connection does


def _check_deflater(setting: Setting, text: bytes) -> None:
    bits = max(setting.bits, 9)
    deflater = Deflater(bits, setting.takeover, 6)
    inflater = Inflater(bits, setting.takeover)
    for message in (text, text[::-1], text):
        back = inflated(inflater, deflater.deflate(message), len(text), WHOLE)
        assert back == (message, 0), "a message did not come back"


def _check(data: bytes) -> None:
    setting = setting_of(data[0] if data else 0)
    middle = (1 + len(data)) // 2
    _check_inflater(setting, (data[1:middle], data[middle:]))
    _check_inflater(setting, (data[1:],))
    _check_deflater(setting, data[1:])


WORDS = (
    b"\x00",
    b"\x01\x00\x00\xff\xff",
    TAIL,
    b"\x03\x00",
    b"\x02\x03\x00",
    b"\x00\x05\x00\xfa\xffhello",
    b"\x4b\x04\x00",
    b"\xed\xc1\x01\x01\x00\x00\x00\x80\x90\xfe\xaf\x6e\x08",
)
# For 70,000 bytes the strict reference makes as many calls, up to twice: see the seed far-19.
TARGET = Target("deflate", _check, WORDS, once=0.5)
