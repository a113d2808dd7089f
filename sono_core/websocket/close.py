"""The payload of a Close frame. RFC 6455, sections 5.5.1 and 7.4."""

import struct

from sono_core.close_codes import CloseCode
from sono_core.errors import ProtocolFailure

from .opcodes import MAX_CONTROL_PAYLOAD

_U16 = struct.Struct("!H")


def is_close_code(code: int) -> bool:
    """Whether `code` may stand in a Close frame (section 7.4).

    1004, 1005, 1006 and 1015 are reserved, and never appear in a frame.
    """
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def encode_close(code: int, reason: str) -> bytes:
    """The payload of a Close frame (section 5.5.1), the reason cut to 123 bytes.

    The cut never splits a character. 1005 gives an empty payload.
    """
    if code == CloseCode.NO_STATUS_RECEIVED:
        return b""
    text = reason.encode()
    if len(text) > MAX_CONTROL_PAYLOAD - 2:
        text = text[: MAX_CONTROL_PAYLOAD - 2].decode(errors="ignore").encode()
    return _U16.pack(code) + text


def decode_close(payload: bytes) -> tuple[int, str]:
    """Code and reason of a Close frame (sections 5.5.1 and 7.4); 1005 if it is empty.

    Raises:
        ProtocolFailure: 1002 for a payload of one byte or an illegal code, 1007 for a reason
            that is not UTF-8.
    """
    if not payload:
        return CloseCode.NO_STATUS_RECEIVED, ""
    if len(payload) < 2:
        raise ProtocolFailure(CloseCode.PROTOCOL_ERROR, "close payload of one byte")
    (code,) = _U16.unpack_from(payload)
    if not is_close_code(code):
        raise ProtocolFailure(CloseCode.PROTOCOL_ERROR, "illegal close code")
    try:
        return int(code), payload[2:].decode()
    except UnicodeDecodeError:
        raise ProtocolFailure(CloseCode.INVALID_PAYLOAD, "close reason is not UTF-8") from None
