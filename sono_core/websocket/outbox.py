"""Bytes on their way out, kept by reference until the transport has written them.

`Outbox` is the specification; `_native.Outbox` does the same, and C can append and write as well.
"""

from collections import deque
from typing import cast

from sono_core.native import accelerator

from .frames import encode_frame, encode_header

_WRITE = 64 * 1024  # bytes: small chunks are joined up to this, so that one write takes many
ITEM = 64
"""Bytes that each object in an outbox takes beside its own: its header and the reference."""
_COPIED = 4096  # bytes up to which copying a payload is cheaper than a separate write


class Outbox:
    """A queue of byte strings that is emptied from the front, at any byte.

    A frame for many peers is one object in many outboxes, so a slow reader costs a reference.
    """

    __slots__ = ("_chunks", "_head", "held", "room", "size")

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._head: memoryview | None = None  # what a partial write left
        self.size: int = 0
        """Bytes waiting."""
        self.held: int = 0
        """Bytes of memory that what waits takes: unused room counts, and `ITEM` for each object.
        The written part of a chunk does not count, although it stays until the rest is written."""
        self.room: int = 0
        """Up to how much may wait, with `ITEM` for each object, without asking the session first.

        The session sets it; 0 unless the connection is open and nothing is wrong."""

    def append(self, data: bytes) -> None:
        """Add to the end."""
        self._chunks.append(data)
        self.size += len(data)
        self.held += len(data) + ITEM

    def append_frame(self, opcode: int, payload: bytes, rsv1: bool, mask: bytes) -> None:
        """Add a frame, unchecked, as in `encode_frame`. A large payload is not copied."""
        if mask or len(payload) <= _COPIED:
            frame = encode_frame(opcode, payload, rsv1=rsv1, mask=mask)
            self._chunks.append(frame)
            self.size += len(frame)
            self.held += len(frame) + ITEM
        else:
            self.append(encode_header(opcode, len(payload), fin=True, rsv1=rsv1, masked=False))
            self.append(payload)

    def peek(self) -> bytes | memoryview:
        """The bytes to write next: up to 64 KiB, or one larger chunk; empty if nothing waits."""
        if self._head is not None:
            return self._head
        chunks = self._chunks
        if len(chunks) > 1:
            size = 0
            joined: list[bytes] = []
            while chunks and (not joined or size + len(chunks[0]) <= _WRITE):
                size += len(chunks[0])
                joined.append(chunks.popleft())
            self.held -= (len(joined) - 1) * ITEM
            chunks.appendleft(b"".join(joined))
        return chunks[0] if chunks else b""

    def advance(self, size: int) -> None:
        """Drop the first `size` bytes, which were written; at most as many as `peek` gave."""
        self.size -= size
        self.held -= size
        head = self._head
        if head is None:
            chunk = self._chunks.popleft()
            if size < len(chunk):
                self._head = memoryview(chunk)[size:]
                return
        elif size < len(head):
            self._head = head[size:]
            return
        self._head = None
        self.held -= ITEM

    def take(self) -> bytes:
        """Remove and return everything."""
        parts: list[bytes | memoryview] = [] if self._head is None else [self._head]
        parts.extend(self._chunks)
        self.clear()
        return b"".join(parts)

    def clear(self) -> None:
        """Drop everything."""
        self._chunks.clear()
        self._head = None
        self.size = self.held = 0

    @property
    def kept(self) -> int:
        """`held`, and the part of the first chunk that has been written and cannot be freed yet."""
        head = self._head
        return self.held if head is None else self.held + len(_whole(head)) - len(head)

    def distinct(self, seen: set[int], /) -> int:
        """`kept`, without large chunks that others hold too.

        Args:
            seen: the ids of those that are counted already; new ones are added.
        """
        kept = self.kept
        first = () if self._head is None else (_whole(self._head),)
        for chunk in (*first, *self._chunks):
            if len(chunk) > _COPIED:
                if id(chunk) in seen:
                    kept -= len(chunk)
                seen.add(id(chunk))
        return kept


def _whole(head: memoryview) -> bytes:
    """The chunk that is partly written."""
    return cast(bytes, head.obj)


def new_outbox() -> Outbox:
    """An outbox in C, or in Python where C is not available."""
    outbox: Outbox = accelerator.Outbox() if accelerator else Outbox()
    return outbox
