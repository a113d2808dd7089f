"""One message for many peers, encoded once."""

from sono_core.events import BinaryMessage, TextMessage

from .deflate import Deflater
from .frames import encode_frame
from .payloads import payload_of


class Prepared:
    """A message for any number of connections; each form of its frame is encoded once.

    Peers without context takeover share the compressed forms as well.

    Raises:
        TypeError, LocalProtocolError: as for sending the message itself.
    """

    __slots__ = ("_frames", "opcode", "payload", "text")

    def __init__(self, message: TextMessage | BinaryMessage) -> None:
        self.opcode: int
        self.payload: bytes
        self.opcode, self.payload = payload_of(message)
        self.text: str | None = message.text if isinstance(message, TextMessage) else None
        """The text of a text message, for servers that frame it elsewhere."""
        self._frames: dict[tuple[int, int] | None, bytes] = {}  # by the deflater's parameters

    def frame(self, deflater: Deflater | None = None) -> bytes:
        """A server's frame of the message, compressed if a deflater without takeover is given."""
        form = deflater.parameters if deflater else None
        frame = self._frames.get(form)
        if frame is None:
            payload = deflater.deflate(self.payload) if deflater else self.payload
            frame = encode_frame(self.opcode, payload, rsv1=deflater is not None)
            self._frames[form] = frame
        return frame


def message_event(
    message: str | bytes | bytearray | memoryview | Prepared,
) -> TextMessage | BinaryMessage | Prepared:
    """The event that sends a message.

    Raises:
        TypeError: it is neither a str nor bytes-like.
    """
    if isinstance(message, str):
        return TextMessage(message)
    if isinstance(message, Prepared):
        return message
    if isinstance(message, (bytes, bytearray, memoryview)):
        return BinaryMessage(bytes(message))
    raise TypeError(f"message must be str or bytes, not {type(message).__name__}")
