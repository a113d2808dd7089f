"""Bytes of the peer in, whole messages and control frames out. RFC 6455, section 5.

`MessageReader` puts `FrameDecoder` and `MessageAssembler` in a row; it is the specification.
`_native.MessageReader` does the same for valid input, and leaves what looks wrong to the
functions here, so that every error is defined once.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from .deflate import Inflater
from .events import BinaryMessage, Event, Role, TextMessage
from .frames import CLOSE, Frame, FrameDecoder, compressed_bound, legal_first_bytes
from .kernels import native
from .limits import Limits
from .messages import MessageAssembler, not_utf8

Item = TextMessage | BinaryMessage | Frame
"""What comes out: a message, or a control frame."""

_UINT64 = (1 << 64) - 1  # no frame is larger, so a larger limit is the same


class Reader(Protocol):
    """What both implementations offer."""

    def feed(self, data: bytes, /) -> None:
        """Take bytes in; they stay until they are asked for."""

    def next(self) -> Item | None:
        """The next message or control frame, or None until more bytes come.

        Raises:
            ProtocolFailure: the peer broke a rule; nothing more may be asked for.
        """

    def events(self, otherwise: Callable[[], Event | None], /) -> Iterator[Event]:
        """Messages as they are asked for, and where something else comes next, `otherwise()`.

        Ends when that gives None.
        """

    def stop(self) -> None:
        """Drop everything: nothing more comes out."""


class MessageReader:
    """The reader in pure Python.

    Args:
        role: who reads.
        limits: of messages, frames and fragments.
        inflater: where permessage-deflate was negotiated.
    """

    __slots__ = ("_assembler", "_frames", "_stopped")

    def __init__(self, role: Role, limits: Limits, inflater: Inflater | None) -> None:
        self._frames = FrameDecoder(role, limits, inflater is not None)
        self._assembler = MessageAssembler(limits, inflater)
        self._stopped = False

    def feed(self, data: bytes, /) -> None:
        """See `Reader`."""
        self._frames.feed(data)

    def next(self) -> Item | None:
        """See `Reader`."""
        while not self._stopped and (frame := self._frames.next_frame()) is not None:
            if frame.opcode >= CLOSE:
                return frame
            if message := self._assembler.push(frame):
                return message
        return None

    def events(self, otherwise: Callable[[], Event | None], /) -> Iterator[Event]:
        """See `Reader`."""
        while (event := otherwise()) is not None:
            yield event

    def stop(self) -> None:
        """See `Reader`."""
        self._stopped = True
        del self._frames, self._assembler


def message_reader(role: Role, limits: Limits, inflater: Inflater | None) -> Reader:
    """The fastest reader that there is."""
    if native is None:
        return MessageReader(role, limits, inflater)
    compression = inflater is not None

    def judge_header(
        data: bytes, in_message: bool, fragments: int, budget: int, frame_limit: int
    ) -> None:
        """Raise what is wrong with the header that `data` begins with."""
        decoder = FrameDecoder(role, limits, compression)
        if in_message:
            decoder.go_on(fragments, budget, frame_limit)
        decoder.feed(data)
        decoder.next_frame()

    def inflate(frame: bytes, out: bytearray, final: bool) -> None:
        assert inflater is not None  # RSV1 is refused where nothing was negotiated
        inflater.inflate(frame, out, limits.max_message, final)

    reader: Reader = native.MessageReader(
        masked=role is Role.SERVER,
        legal=legal_first_bytes(compression),
        max_message=min(limits.max_message, _UINT64),
        max_frame=min(limits.max_frame, _UINT64),
        max_fragments=min(limits.max_fragments, _UINT64),
        max_compressed_message=min(compressed_bound(limits.max_message), _UINT64),
        max_compressed_frame=min(compressed_bound(limits.max_frame), _UINT64),
        text=TextMessage,
        binary=BinaryMessage,
        control=_control_frame,
        judge_header=judge_header,
        judge_text=_judge_text,
        inflate=inflate,
    )
    return reader


def _control_frame(opcode: int, payload: bytes) -> Frame:
    return Frame(opcode, payload, True, False, True)


def _judge_text() -> None:
    raise not_utf8()
