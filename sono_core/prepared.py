"""One message for many peers, encoded once."""

from .deflate import Deflater
from .errors import LocalProtocolError
from .events import BinaryMessage, TextMessage
from .frames import BINARY, TEXT, encode_frame


def payload_of(message: TextMessage | BinaryMessage) -> tuple[int, bytes]:
    """Opcode and payload of a message that is to be sent.

    Raises:
        TypeError: the text is no str, or the data no bytes-like object.
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
    """The bytes of a bytes-like object; an int or a str is none.

    Raises:
        TypeError: naming the argument.
    """
    if isinstance(value, bytes):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"{name} must be bytes-like, not {type(value).__name__}")


class Prepared:
    """A message that any number of connections send; each form of its frame is made once.

    Compressed forms too: peers without context takeover share them.

    Raises:
        TypeError, LocalProtocolError: as for sending the message itself.
    """

    __slots__ = ("_frames", "opcode", "payload")

    def __init__(self, message: TextMessage | BinaryMessage) -> None:
        self.opcode, self.payload = payload_of(message)
        self._frames: dict[Deflater | None, bytes] = {}

    def frame(self, deflater: Deflater | None = None) -> bytes:
        """A server's frame of the message, compressed if a deflater without takeover is given."""
        frame = self._frames.get(deflater)
        if frame is None:
            payload = deflater.deflate(self.payload) if deflater else self.payload
            frame = encode_frame(self.opcode, payload, rsv1=deflater is not None)
            self._frames[deflater] = frame
        return frame
