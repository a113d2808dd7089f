"""Frames: from bytes to payloads and back. RFC 6455, section 5; the RSV1 bit of RFC 7692.

`FrameDecoder` finds every error that a header can have: reserved bits, opcodes, masking, lengths,
the order of fragments, and sizes beyond the limits. It ignores what payloads contain.
"""

import struct
from typing import NamedTuple

from sono_core.close_codes import CloseCode
from sono_core.errors import ProtocolFailure
from sono_core.events import Role
from sono_core.limits import Limits
from sono_core.native import apply_mask

from .opcodes import BINARY, CLOSE, CONTINUATION, MAX_CONTROL_PAYLOAD, PING, PONG, TEXT

_FIN = 0x80
_RSV1 = 0x40
_RSV2_RSV3 = 0x30
_CONTROL = 0x08
_MASKED = 0x80
SMALL = 1024
"""Bytes below which a fragment costs more for being one than for what it holds."""

_U16 = struct.Struct("!H")
_U64 = struct.Struct("!Q")
_HEADER_16 = struct.Struct("!BBH")
_HEADER_64 = struct.Struct("!BBQ")


class Frame(NamedTuple):
    """A frame, or the next piece of a data frame that has not arrived whole."""

    opcode: int
    payload: bytes
    fin: bool
    """The FIN bit: the frame ends its message."""
    rsv1: bool
    complete: bool
    """The payload ends the frame."""


def _first_byte_error(first: int, in_message: bool, rsv1_allowed: bool) -> str:
    """What is wrong with a frame's first byte, or `""` (sections 5.2, 5.4 and 5.5)."""
    opcode = first & 0x0F
    if first & _RSV2_RSV3 or (first & _RSV1 and not rsv1_allowed):
        return "reserved bit set"
    if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
        return "reserved opcode"
    if opcode & _CONTROL:
        if not first & _FIN:
            return "fragmented control frame"
        return "reserved bit set" if first & _RSV1 else ""
    if opcode == CONTINUATION:
        if not in_message:
            return "continuation without a message"
        return "reserved bit set" if first & _RSV1 else ""
    return "new message inside a fragmented one" if in_message else ""


# Whether a first byte is legal depends on two facts alone, so a table says it.
_FIRST_BYTE_ERRORS = {
    (in_message, rsv1_allowed): tuple(
        _first_byte_error(first, in_message, rsv1_allowed) for first in range(256)
    )
    for in_message in (False, True)
    for rsv1_allowed in (False, True)
}


def legal_first_bytes(rsv1_allowed: bool) -> tuple[bytes, bytes]:
    """Whether each first byte is legal: outside a fragmented message, and inside one."""
    outside, inside = (_FIRST_BYTE_ERRORS[i, rsv1_allowed] for i in (False, True))
    return bytes(not error for error in outside), bytes(not error for error in inside)


def compressed_bound(size: int) -> int:
    """The most bytes that `size` bytes may take on the wire (zlib's deflateBound).

    Data that does not compress grows, and must not be refused for that.
    """
    return size + (size >> 3) + (size >> 6) + 64


class FrameDecoder:
    """Cuts a stream of bytes into frames.

    A data frame that has not arrived whole comes out in pieces, so that nothing is kept twice
    and a text can be refused at its first wrong byte.

    Args:
        role: the decoding side; servers need masked frames, clients unmasked ones (section 5.1).
        limits: `max_frame`, `max_message` and `max_fragments` are enforced here.
        compression: whether permessage-deflate was negotiated; RSV1 is an error otherwise.
    """

    __slots__ = (
        "_budget",
        "_buffer",
        "_compressed_frame_limit",
        "_compressed_message_limit",
        "_errors",
        "_errors_inside",
        "_errors_outside",
        "_fragments",
        "_frame_limit",
        "_limits",
        "_mask_bit",
        "_mask_size",
        "_partial",
        "_position",
        "_remaining",
        "_single_frame_limit",
        "_waiting",
        "announced",
        "begun",
        "fragments",
    )

    def __init__(self, role: Role, limits: Limits, compression: bool = False) -> None:
        self._limits = limits
        self._compressed_frame_limit = compressed_bound(limits.max_frame)
        self._compressed_message_limit = compressed_bound(limits.max_message)
        self._errors_outside = _FIRST_BYTE_ERRORS[False, compression]
        self._errors_inside = _FIRST_BYTE_ERRORS[True, compression]
        self._errors = self._errors_outside
        self._mask_bit, self._mask_size = (_MASKED, 4) if role is Role.SERVER else (0, 0)
        self._single_frame_limit = min(limits.max_frame, limits.max_message)
        self._buffer = b""
        self._position = 0
        self._waiting: list[bytes] = []
        self.begun: bool = False
        """After None from `next_frame`: whether more of a frame or a message must come."""
        self.fragments: int = 0
        """Small ones that have come, of all messages."""
        # the message under way: its frames so far, the bytes that it and each frame may take
        self._fragments = 0
        self._budget = 0
        self._frame_limit = 0
        self.announced: int = 0
        """Bytes of the frames of the message under way so far, the last one as it is announced."""
        # the data frame under way: the bytes still missing; its first byte and rotated mask
        self._remaining = 0
        self._partial = (0, b"")

    def resume_message(self, fragments: int, budget: int, frame_limit: int) -> None:
        """Begin inside a fragmented message, with its frames so far and what it may still take."""
        self._errors = self._errors_inside
        self._fragments = fragments
        self._budget = budget
        self._frame_limit = frame_limit

    def feed(self, data: bytes) -> None:
        """Take bytes in; they stay until `next_frame` asks for them."""
        self.begun = True
        if self._position == len(self._buffer) and not self._waiting:
            self._buffer = data
            self._position = 0
        else:
            self._waiting.append(data)

    @property
    def arrived(self) -> int:
        """Bytes of the message under way that have come, as they were on the wire."""
        inside = self._remaining or self._errors is self._errors_inside
        return self.announced - self._remaining if inside else 0

    @property
    def held(self) -> int:
        """Bytes that wait to be looked at."""
        return len(self._buffer) + sum(map(len, self._waiting))

    def _available(self, size: int) -> bool:
        """Join what was fed meanwhile; return whether `size` bytes lie ahead."""
        self._buffer = self._buffer[self._position :]
        self._position = 0
        if self._waiting:
            self._buffer = b"".join((self._buffer, *self._waiting))
            self._waiting.clear()
        return len(self._buffer) >= size

    def next_frame(self) -> Frame | None:
        """The next frame or piece of one, or None until more bytes come.

        Raises:
            ProtocolFailure: 1002, 1008 or 1009; the decoder may not be used after it.
        """
        if self._remaining:
            return self._next_piece()
        if len(self._buffer) - self._position < 2:
            if self._position == len(self._buffer) and not self._waiting:
                self._buffer, self._position = b"", 0  # an idle connection keeps nothing
                self.begun = self._errors is self._errors_inside
                return None
            if not self._available(2):
                return None
        buffer, start = self._buffer, self._position
        first = buffer[start]
        size = buffer[start + 1] ^ self._mask_bit
        if error := self._errors[first]:
            raise ProtocolFailure(CloseCode.PROTOCOL_ERROR, error)
        if size > 0x7F:
            wrong = "unmasked" if self._mask_bit else "masked"
            raise ProtocolFailure(CloseCode.PROTOCOL_ERROR, f"{wrong} frame")
        if size > MAX_CONTROL_PAYLOAD:
            if first & _CONTROL:
                raise ProtocolFailure(CloseCode.PROTOCOL_ERROR, "control frame too long")
            header = (4 if size == 126 else 10) + self._mask_size
        else:
            header = 2 + self._mask_size
        if len(buffer) - start < header:
            if not self._available(header):
                return None
            buffer, start = self._buffer, self._position
        if size > MAX_CONTROL_PAYLOAD:
            size = _extended_length(buffer, start + 2, size)

        body = start + header
        end = body + size
        whole = len(buffer) >= end
        if first & _CONTROL:
            if not whole:
                return self.next_frame() if self._waiting and self._available(end - start) else None
        elif (
            first & _FIN
            and not first & _RSV1
            and size <= self._single_frame_limit
            and self._errors is self._errors_outside
        ):
            self.announced = size  # a message of one frame, within its limits
        else:
            self._count_fragment(first, size)
        if not whole:
            self._remaining = size
            self._partial = (first, buffer[body - self._mask_size : body])
            self._position = body
            return self._next_piece()
        payload = buffer[body:end]
        if self._mask_bit:
            payload = apply_mask(payload, buffer[body - 4 : body])
        self._position = end
        return Frame(first & 0x0F, payload, first >= _FIN, first & _RSV1 != 0, True)

    def _count_fragment(self, first: int, size: int) -> None:
        """Check a data frame against its message's limits, before its payload comes."""
        limits = self._limits
        outside = self._errors is self._errors_outside
        if outside:
            self._fragments = self.announced = 0
            if first & _RSV1:
                self._budget = self._compressed_message_limit
                self._frame_limit = self._compressed_frame_limit
            else:
                self._budget = limits.max_message
                self._frame_limit = limits.max_frame
        self._fragments += 1
        if self._fragments > limits.max_fragments:
            raise ProtocolFailure(CloseCode.POLICY_VIOLATION, "too many fragments")
        if size > self._budget or size > self._frame_limit:
            raise ProtocolFailure(CloseCode.MESSAGE_TOO_BIG, "message too big")
        self._budget -= size
        self.announced += size
        if size < SMALL and not (outside and first & _FIN):
            self.fragments += 1
        self._errors = self._errors_outside if first & _FIN else self._errors_inside

    def _next_piece(self) -> Frame | None:
        if self._position == len(self._buffer) and not self._available(1):
            return None
        first, mask = self._partial
        payload = self._buffer[self._position : self._position + self._remaining]
        size = len(payload)
        self._position += size
        self._remaining -= size
        if mask:
            payload = apply_mask(payload, mask)
            turn = size & 3
            self._partial = (first, mask[turn:] + mask[:turn])
        complete = not self._remaining
        return Frame(first & 0x0F, payload, first >= _FIN, first & _RSV1 != 0, complete)


def _extended_length(buffer: bytes, start: int, form: int) -> int:
    """The length in its 16-bit (126) or 64-bit (127) form, which must be the shortest."""
    if form == 126:
        (size,) = _U16.unpack_from(buffer, start)
        shortest = size > MAX_CONTROL_PAYLOAD
    else:
        (size,) = _U64.unpack_from(buffer, start)
        shortest = size > 0xFFFF
    if not shortest:
        raise ProtocolFailure(CloseCode.PROTOCOL_ERROR, "length not in its shortest form")
    if size >> 63:
        raise ProtocolFailure(CloseCode.PROTOCOL_ERROR, "length of more than 63 bits")
    return int(size)


def encode_frame(
    opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = False, mask: bytes = b""
) -> bytes:
    """One frame as bytes; masked if a 4-byte `mask` is given (section 5.2).

    Checks nothing: `Connection` decides what may be sent when.
    """
    size = len(payload)
    if fin and not rsv1 and size <= MAX_CONTROL_PAYLOAD:  # most are: saves them a call
        header = bytes((_FIN | opcode, size if not mask else _MASKED | size))
    else:
        header = encode_header(opcode, size, fin=fin, rsv1=rsv1, masked=bool(mask))
    if mask:
        return b"".join((header, mask, apply_mask(payload, mask)))
    return header + payload


def encode_header(opcode: int, size: int, *, fin: bool, rsv1: bool, masked: bool) -> bytes:
    """The header of a frame with `size` bytes of payload, without the masking key."""
    first = opcode | (_FIN if fin else 0) | (_RSV1 if rsv1 else 0)
    bit = _MASKED if masked else 0
    if size <= MAX_CONTROL_PAYLOAD:
        return bytes((first, bit | size))
    if size <= 0xFFFF:
        return _HEADER_16.pack(first, bit | 126, size)
    return _HEADER_64.pack(first, bit | 127, size)
