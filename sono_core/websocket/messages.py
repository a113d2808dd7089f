"""From data frames to whole messages. RFC 6455, sections 5.4, 5.6 and 8.1; RFC 7692, section 6.2.

`MessageAssembler` finds every error that a payload can have: compressed data, the size after
inflation, UTF-8. `FrameDecoder` has already checked the order of frames.
"""

from sono_core.close_codes import CloseCode
from sono_core.errors import ProtocolFailure
from sono_core.events import BinaryMessage, TextMessage
from sono_core.limits import Limits
from sono_core.native import Utf8Validator

from .deflate import Inflater
from .frames import Frame
from .opcodes import TEXT
from .outbox import ITEM

INFLATING = 64 * 1024
"""Bytes of zlib's stream in the middle of a message: its window, its tables and its input."""
PIECES = 16
"""Inflated at once: beyond them others may have their turn first."""


def not_utf8() -> ProtocolFailure:
    """The failure for a text that is not UTF-8 (section 8.1)."""
    return ProtocolFailure(CloseCode.INVALID_PAYLOAD, "text is not UTF-8")


class MessageAssembler:
    """Joins fragments and pieces of frames.

    An uncompressed text is validated as its bytes arrive, a compressed one frame by frame, so
    that the same bytes give the same failure however they were cut.

    Args:
        limits: `max_message` is enforced on inflated data.
        inflater: if permessage-deflate was negotiated.
    """

    __slots__ = (
        "_buffer",
        "_compressed",
        "_final",
        "_inflated",
        "_inflater",
        "_inflating",
        "_limit",
        "_opcode",
        "_room",
        "_utf8",
        "final_blocks",
        "unfinished",
    )

    def __init__(self, limits: Limits, inflater: Inflater | None = None) -> None:
        self._limit = limits.max_message
        self._inflater = inflater
        self._opcode = 0  # of the message under way
        self._compressed = False
        self._buffer = bytearray()  # the message under way, or its compressed frame under way
        self._inflated: list[bytes] = []
        self._inflating = 0  # bytes of the frame that is being inflated
        self._final = False  # whether that ends its message
        self.unfinished: bool = False
        """Whether it has been inflated in part: `go_on` must be called before the next `push`."""
        self._room = 0  # bytes that it may still inflate to
        self._utf8: Utf8Validator | None = None
        self.final_blocks: int = 0
        """Of compressed data, in all messages."""

    def push(self, frame: Frame) -> TextMessage | BinaryMessage | None:
        """Take the next data frame, or piece of one; return the message that it ends, if any.

        Raises:
            ProtocolFailure: 1007, 1008 or 1009; nothing more may be pushed after it.
        """
        opcode, payload, fin, rsv1, complete = frame
        if not self._opcode:
            if fin and complete and not rsv1:  # a message that came in one frame
                if opcode != TEXT:
                    return BinaryMessage(payload)
                try:
                    return TextMessage(payload.decode())
                except UnicodeDecodeError:
                    raise not_utf8() from None
            self._opcode = opcode
            self._compressed = rsv1
            self._room = self._limit
            self._utf8 = Utf8Validator() if opcode == TEXT else None
        final = fin and complete
        self._buffer += payload
        if not self._compressed:
            self._validate(payload, final)
        elif complete:
            self._inflating, self._final = len(self._buffer), fin
            data, self._buffer = self._buffer, bytearray()
            return self._inflate(data)
        return self._finish() if final else None

    def go_on(self) -> TextMessage | BinaryMessage | None:
        """Inflate what comes next of a frame; as `push`."""
        return self._inflate(b"")

    @property
    def held(self) -> int:
        """Bytes of memory that the message under way takes."""
        inflated = 0
        if self._inflated:
            inflated = INFLATING + self._limit - self._room + ITEM * len(self._inflated)
        # a bytearray has an eighth to spare
        return len(self._buffer) * 9 // 8 + self._inflating + inflated

    def _inflate(self, data: bytes | bytearray) -> TextMessage | BinaryMessage | None:
        assert self._inflater is not None  # `FrameDecoder` refuses RSV1 otherwise
        pieces = self._inflater.inflate(data, self._room, self._final, PIECES)
        self._room -= sum(map(len, pieces))
        self._inflated += pieces
        for piece in pieces:  # those behind what is illegal do not count
            self._validate(piece, False)
            self.final_blocks += not piece
        self.unfinished = len(pieces) == PIECES
        if self.unfinished:
            return None
        self._inflating = 0
        self._validate(b"", self._final)
        return self._finish() if self._final else None

    def _validate(self, data: bytes, final: bool) -> None:
        if self._utf8 and not self._utf8.feed(data, final):
            raise not_utf8()

    def _finish(self) -> TextMessage | BinaryMessage:
        data: bytes | bytearray = self._buffer
        if self._compressed:
            data = b"".join(self._inflated)
            self._inflated = []
        self._buffer = bytearray()
        opcode, self._opcode = self._opcode, 0
        if opcode == TEXT:
            return TextMessage(data.decode())
        return BinaryMessage(bytes(data))
