"""From the peer's bytes to whole messages and control frames. RFC 6455, section 5.

`MessageReader` chains `FrameDecoder` and `MessageAssembler`; it is the specification.
`_native.MessageReader` does the same for valid input, and leaves whatever looks wrong to the
functions here, so that every error is defined once.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Protocol

from sono_core.events import BinaryMessage, Event, Role, TextMessage
from sono_core.limits import Limits
from sono_core.native import accelerator

from .deflate import Inflater
from .frames import Frame, FrameDecoder, compressed_bound, legal_first_bytes
from .messages import MessageAssembler, not_utf8
from .opcodes import CLOSE
from .outbox import Outbox

Item = TextMessage | BinaryMessage | Frame
"""What comes out: a message, or a control frame."""


class Stop:
    """Why `Reader.deliver` stopped: plain integers, because every read compares them."""

    EMPTY = 0
    """Nothing more has arrived completely."""
    OTHER = 1
    """Something other than a message comes next: `next` returns it, or raises its error."""
    LIMIT = 2
    """The share is used up, or the outbox is too full or has no `room`; more may have arrived."""
    PARTIAL = 3
    """As `EMPTY`, and a message or a frame was begun."""


_UINT64 = (1 << 64) - 1  # no frame is larger, so larger limits mean the same


class Reader(Protocol):
    """What both implementations offer."""

    extra: int
    """Small fragments and final blocks that have come since this was set to 0: work beside
    messages, for which the peer is charged."""
    since: float | None
    """When the message under way began: whoever ends a turn says so, and delivery forgets it."""

    @property
    def arrived(self) -> int:
        """Bytes of the message under way that have come, as they were on the wire."""

    @property
    def held(self) -> int:
        """Bytes of memory that are held for what has not come whole, reserved ones included."""

    def feed(self, data: bytes, /) -> None:
        """Take bytes; they stay until they are asked for."""

    def next(self) -> Item | None:
        """The next message or control frame, or None until more bytes come.

        Raises:
            ProtocolFailure: the peer broke a rule; the reader may not be used after it.
        """

    def deliver(
        self,
        on_message: Callable[[str | bytes], object],
        outbox: Outbox,
        pause: int,
        messages: int,
        size: int,
        /,
    ) -> tuple[int, int, int]:
        """Call `on_message` for each message, until something else is to be decided.

        Args:
            outbox: stop when more than `pause` bytes wait in it, or it has no `room`.
            messages: stop after this many, `extra` included, in the middle of a message too.
            size: stop after this many bytes or characters of them.

        Returns:
            The number of messages and what was `extra`, the size of messages, and why it stopped:
            one of `Stop`.
        """

    def events(self, otherwise: Callable[[], Event | None], /) -> Iterator[Event]:
        """Iterate over messages and, where something else comes next, over `otherwise()`.

        Ends when that returns None.
        """

    def stop(self) -> None:
        """Drop everything: nothing more comes out."""


class MessageReader:
    """The reader in pure Python.

    Args:
        role: the reading side.
        limits: of messages, frames and fragments.
        inflater: if permessage-deflate was negotiated.
    """

    __slots__ = ("_assembler", "_frames", "_next", "_stopped", "since")

    def __init__(self, role: Role, limits: Limits, inflater: Inflater | None) -> None:
        self._frames = FrameDecoder(role, limits, inflater is not None)
        self._assembler = MessageAssembler(limits, inflater)
        self._next: Frame | Exception | None = None  # found by `deliver`
        self._stopped = False
        self.since: float | None = None

    @property
    def arrived(self) -> int:
        """See `Reader`."""
        if self._stopped:
            return 0
        return self._frames.announced if self._assembler.unfinished else self._frames.arrived

    @property
    def held(self) -> int:
        """See `Reader`."""
        return 0 if self._stopped else self._frames.held + self._assembler.held

    @property
    def extra(self) -> int:
        """See `Reader`."""
        return self._frames.fragments + self._assembler.final_blocks

    @extra.setter
    def extra(self, extra: int) -> None:
        self._frames.fragments, self._assembler.final_blocks = extra, 0

    def feed(self, data: bytes, /) -> None:
        """See `Reader`."""
        self._frames.feed(data)

    def next(self) -> Item | None:
        """See `Reader`."""
        if self._next:
            found, self._next = self._next, None
            if isinstance(found, Exception):
                raise found
            return found
        message = None
        while message is None and not self._stopped:
            if self._assembler.unfinished:
                message = self._assembler.go_on()
                continue
            frame = self._frames.next_frame()
            if frame is None or frame.opcode >= CLOSE:
                return frame
            message = self._assembler.push(frame)
        return message

    def deliver(
        self,
        on_message: Callable[[str | bytes], object],
        outbox: Outbox,
        pause: int,
        messages: int,
        size: int,
        /,
    ) -> tuple[int, int, int]:
        """See `Reader`."""
        left, share = messages, size
        frames, assembler = self._frames, self._assembler
        next_frame, push = frames.next_frame, assembler.push
        extra = frames.fragments + assembler.final_blocks
        frame, unfinished = None, assembler.unfinished
        stop = Stop.LIMIT
        while left > 0 and share > 0 and outbox.size <= pause and outbox.room:
            if self._next:
                stop = Stop.OTHER
                break
            try:
                if unfinished:
                    item = assembler.go_on()
                else:
                    frame = next_frame()
                    if frame is None:
                        stop = Stop.PARTIAL if frames.begun else Stop.EMPTY
                        break
                    if frame.opcode >= CLOSE:
                        self._next = frame
                        continue
                    item = push(frame)
            except Exception as failure:  # also for want of memory: it is not the handler's
                self._next = failure
                continue
            if item is None:
                unfinished = assembler.unfinished
                if (frame is None or frame.complete) and (
                    frames.fragments + assembler.final_blocks - extra >= left
                ):
                    break  # others have their turn before the rest of the message
                continue
            unfinished = False
            message = item.text if isinstance(item, TextMessage) else item.data
            left -= 1
            if (counted := frames.fragments + assembler.final_blocks) != extra:
                left -= counted - extra
                extra = counted
            share -= len(message)
            self.since = None  # what is under way now began later
            on_message(message)
        left -= frames.fragments + assembler.final_blocks - extra
        return messages - left, size - share, stop if left > 0 else Stop.LIMIT

    def events(self, otherwise: Callable[[], Event | None], /) -> Iterator[Event]:
        """See `Reader`."""
        while (event := otherwise()) is not None:
            yield event

    def stop(self) -> None:
        """See `Reader`."""
        self._stopped = True
        self._next = None
        del self._frames, self._assembler


def message_reader(role: Role, limits: Limits, inflater: Inflater | None) -> Reader:
    """A reader in C, or in Python where C is not available."""
    if accelerator is None:
        return MessageReader(role, limits, inflater)
    reader: Reader = accelerator.MessageReader(
        _native_rules(role, limits, inflater is not None), inflater and inflater.inflate
    )
    return reader


@lru_cache(maxsize=64)
def _native_rules(role: Role, limits: Limits, compression: bool) -> Any:
    """The rules that the native readers of all connections of one kind share."""

    def judge_header(
        data: bytes, in_message: bool, fragments: int, budget: int, frame_limit: int
    ) -> None:
        """Raise the error in the header at the start of `data`."""
        decoder = FrameDecoder(role, limits, compression)
        if in_message:
            decoder.resume_message(fragments, budget, frame_limit)
        decoder.feed(data)
        decoder.next_frame()

    assert accelerator is not None
    return accelerator.MessageRules(
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
    )


def _control_frame(opcode: int, payload: bytes) -> Frame:
    return Frame(opcode, payload, True, False, True)


def _judge_text() -> None:
    raise not_utf8()
