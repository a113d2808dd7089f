"""Bytes on their way out, kept by reference until the transport has written them.

`Outbox` is the specification; `_native.Outbox` does the same, for what C appends and writes too.
"""

from collections import deque

from sono_core.native import accelerator

from .frames import encode_frame, encode_header

_WRITE = 64 * 1024  # bytes: small chunks are joined up to this, so that one write takes many
_COPIED = 4096  # bytes of a payload up to which it is cheaper copied than written apart


class Outbox:
    """A queue of byte strings that is emptied from the front, at any byte.

    A frame that goes to many peers is one object in many outboxes: what a slow reader costs is
    a reference.
    """

    __slots__ = ("_chunks", "_head", "room", "size")

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._head: memoryview | None = None  # what a partial write left
        self.size: int = 0
        """Bytes waiting."""
        self.room: int = 0
        """Bytes of it up to which messages may be exchanged without asking the session first.

        Set by the session; 0 unless the connection is open and nothing is wrong with it."""

    def append(self, data: bytes) -> None:
        """Add to the end."""
        self._chunks.append(data)
        self.size += len(data)

    def append_frame(self, opcode: int, payload: bytes, rsv1: bool, mask: bytes) -> None:
        """Add a frame; nothing is checked, as in `encode_frame`. A large payload is not copied."""
        if mask or len(payload) <= _COPIED:
            frame = encode_frame(opcode, payload, rsv1=rsv1, mask=mask)
            self._chunks.append(frame)
            self.size += len(frame)
        else:
            self.append(encode_header(opcode, len(payload), fin=True, rsv1=rsv1, masked=False))
            self.append(payload)

    def peek(self) -> bytes | memoryview:
        """What to write next: from the first waiting byte on, 64 KiB or one chunk.

        Empty if nothing waits.
        """
        if self._head is not None:
            return self._head
        chunks = self._chunks
        if len(chunks) > 1:
            size = 0
            joined: list[bytes] = []
            while chunks and (not joined or size + len(chunks[0]) <= _WRITE):
                size += len(chunks[0])
                joined.append(chunks.popleft())
            chunks.appendleft(b"".join(joined))
        return chunks[0] if chunks else b""

    def advance(self, size: int) -> None:
        """Drop the first `size` bytes, at most those that `peek` gave: they were written."""
        self.size -= size
        head = self._head
        if head is None:
            chunk = self._chunks.popleft()
            if size < len(chunk):
                self._head = memoryview(chunk)[size:]
        else:
            self._head = head[size:] if size < len(head) else None

    def take(self) -> bytes:
        """Everything that waits; the outbox is empty afterwards."""
        parts: list[bytes | memoryview] = [] if self._head is None else [self._head]
        parts.extend(self._chunks)
        self.clear()
        return b"".join(parts)

    def clear(self) -> None:
        """Drop everything."""
        self._chunks.clear()
        self._head = None
        self.size = 0


def new_outbox() -> Outbox:
    """The fastest outbox that there is."""
    outbox: Outbox = accelerator.Outbox() if accelerator else Outbox()
    return outbox
