"""The payloads of what a caller sends; the caller's mistakes are raised here.

RFC 6455, sections 5.5 (control frames) and 7.4 (close codes).
"""

from sono_core.close_codes import CloseCode
from sono_core.errors import LocalProtocolError
from sono_core.events import BinaryMessage, Close, TextMessage

from .close import encode_close, is_close_code
from .opcodes import BINARY, MAX_CONTROL_PAYLOAD, TEXT


def payload_of(message: TextMessage | BinaryMessage) -> tuple[int, bytes]:
    """The opcode and the payload of a message to send.

    Raises:
        TypeError: the text is not a str, or the data not bytes-like.
        LocalProtocolError: the text holds a lone surrogate, which UTF-8 cannot express.
    """
    if isinstance(message, TextMessage):
        if not isinstance(message.text, str):
            raise TypeError(f"text must be a str, not {type(message.text).__name__}")
        try:
            return TEXT, message.text.encode()
        except UnicodeEncodeError:
            raise LocalProtocolError("text holds a lone surrogate") from None
    return BINARY, exact_bytes(message.data, "data")


def exact_bytes(value: object, name: str) -> bytes:
    """The bytes of a bytes-like object.

    Raises:
        TypeError: it is not bytes-like, an int or a str for instance; the text calls it `name`.
    """
    if isinstance(value, bytes):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"{name} must be bytes-like, not {type(value).__name__}")


def control_payload(value: object) -> bytes:
    """The payload of a ping or pong.

    Raises:
        TypeError: it is not bytes-like.
        LocalProtocolError: it is longer than 125 bytes.
    """
    payload = exact_bytes(value, "payload")
    if len(payload) > MAX_CONTROL_PAYLOAD:
        raise LocalProtocolError(f"payload of a control frame exceeds {MAX_CONTROL_PAYLOAD} bytes")
    return payload


def close_payload(close: Close) -> bytes:
    """The payload of a Close frame; a reason that is too long is cut.

    Raises:
        TypeError: the code is not an int, or the reason not a str.
        LocalProtocolError: the code may not be sent, or the reason holds a lone surrogate.
    """
    code, reason = close.code, close.reason
    for name, value, wanted in (("code", code, int), ("reason", reason, str)):
        if not isinstance(value, wanted) or isinstance(value, bool):
            kind = type(value).__name__
            raise TypeError(f"{name} must be of type {wanted.__name__}, not {kind}")
    if not is_close_code(code) and (code != CloseCode.NO_STATUS_RECEIVED or reason):
        raise LocalProtocolError(f"close code {code} may not be sent")
    try:
        return encode_close(code, reason)
    except UnicodeEncodeError:
        raise LocalProtocolError("reason holds a lone surrogate") from None
