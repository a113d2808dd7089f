"""Streams: entries with consecutive offsets, and what is kept of them. docs/protocol.md, section 2.

A stream does not look into what its entries hold, and has no clock: callers say what time it is, in
seconds of one that never steps.
"""

from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import msgspec

from sono_core.limits import MAX_UTF8
from sono_core.quoting import Discreet

from .history import DEFAULT_HISTORY, History
from .positions import Position

ENTRY = 256
"""Bytes of memory that an entry takes beside its body's own bytes."""
KEY = 256
"""Bytes of memory that a remembered key takes beside its characters, which take four each."""
STREAM = 1280
"""Bytes of memory that a stream takes beside what it keeps."""
MAX_KEYS = 1024
"""Keys that a stream remembers."""
KEY_AGE = 300.0
"""Seconds for which it does: longer than anybody tries again."""
FENCE_AGE = 600.0
"""Seconds for which a stream knows the generations of sessions that have said something in it."""

Why = Literal["other-epoch", "above-top", "trimmed"]


class Entry(Discreet, frozen=True):
    """One of the values that make a stream."""

    at: Position
    body: Any
    """What was published, as its publisher gave it."""
    size: int
    """Bytes of the body."""

    def shown(self) -> Iterable[tuple[str, object]]:
        """See `Discreet`."""
        yield from (("at", self.at), ("size", self.size))


_Kept = tuple[float, Entry, bytes]
"""When it came, and its author."""


class Missing(msgspec.Struct, frozen=True):
    """What is between two positions, and cannot be had."""

    after: Position
    to: Position

    @property
    def extent(self) -> tuple[int, int] | None:
        """The first and the last offset that are missing; None if nobody knows what is."""
        if self.after.epoch != self.to.epoch or self.to.offset <= self.after.offset:
            return None
        return self.after.offset + 1, self.to.offset


class Batch(Discreet, frozen=True):
    """Entries of a stream. What is not among them, up to `upto`, cannot be had."""

    entries: tuple[Entry, ...]
    """In order."""
    upto: Position
    """How far this says anything; before `top` if a limit was reached."""
    top: Position
    """The stream's last position."""
    first: int
    """Offset of the first entry that is kept; of the next one if none is."""
    why: Why | None
    """Why something is missing; None if nothing is."""

    @classmethod
    def found(
        cls, after: Position, entries: tuple[Entry, ...], upto: Position, top: Position, first: int
    ) -> "Batch":
        """What was found after a position.

        A position of another epoch is before all entries of this one, and one above the top after
        them.
        """
        why: Why | None = None
        if after.epoch != top.epoch:
            why = "other-epoch"
        elif after.offset > top.offset:
            why = "above-top"
        elif len(entries) < upto.offset - after.offset:
            why = "trimmed"
        return cls(entries, upto, top, first, why)

    def shown(self) -> Iterable[tuple[str, object]]:
        """See `Discreet`."""
        yield from (("upto", self.upto), ("top", self.top), ("why", self.why))


class Page(Discreet, frozen=True):
    """A part of what is kept."""

    entries: tuple[Entry, ...]
    """In order."""
    more: bool
    """Whether others are kept that are before them."""


def in_order(
    after: Position, entries: Iterable[Entry], upto: Position
) -> Iterator[Entry | Missing]:
    """What follows a position, as far as `upto`: entries, and what is missing where it is missing.

    Args:
        entries: of one epoch, in order; those that are not after the position are left out.
    """
    for entry in entries:
        at = entry.at
        if at.epoch != after.epoch or at.offset > after.offset + 1:
            yield Missing(after, Position(at.epoch, at.offset - 1))
        elif at.offset <= after.offset:
            continue
        yield entry
        after = at
    if upto.epoch != after.epoch or upto.offset > after.offset:
        yield Missing(after, upto)


def completed(batch: Batch, others: Mapping[Position, Entry]) -> Sequence[Entry]:
    """The entries of a batch, and what others have of those that are missing in it, in order."""
    if batch.why is None or not others:
        return batch.entries
    upto = batch.upto
    found = {entry.at: entry for entry in batch.entries}
    for at, entry in others.items():
        if at.epoch == upto.epoch and at.offset <= upto.offset:
            found[at] = entry
    return sorted(found.values(), key=lambda entry: entry.at.offset)


class Stream:
    """One life of a stream.

    Args:
        epoch: what tells it from other lives.
        history: what is kept of it; it may be changed, and counts from the next call on.
    """

    __slots__ = (
        "_fences",
        "_kept",
        "_keys",
        "_size",
        "charged",
        "epoch",
        "held",
        "history",
        "top",
        "used",
    )

    def __init__(self, epoch: str, history: History = DEFAULT_HISTORY) -> None:
        self.epoch: str = epoch
        self.history: History = history
        self.top: Position = Position(epoch, 0)
        """The position of the last entry."""
        self.used: float = 0.0
        """When somebody used it, for whoever keeps it."""
        self.held: int = 0
        """Bytes of memory that its entries and keys take."""
        self.charged: int = 0
        """Bytes that are counted for it, for whoever keeps it."""
        # Most streams keep nothing most of the time, and a deque takes 600 bytes.
        self._kept: deque[_Kept] | None = None
        self._size = 0  # bytes of their bodies
        self._keys: OrderedDict[str, tuple[float, Position]] | None = None
        self._fences: OrderedDict[str, tuple[float, int]] | None = None  # generations of sessions

    @property
    def size(self) -> int:
        """Bytes of the entries that are kept."""
        return self._size

    def __len__(self) -> int:
        """Entries that are kept."""
        return len(self._kept) if self._kept else 0

    @property
    def first(self) -> int:
        """Offset of the first entry that is kept; of the next one if none is."""
        return self._kept[0][1].at.offset if self._kept else self.top.offset + 1

    def append(self, body: Any, size: int, now: float, author: bytes = b"") -> Entry:
        """Give a value the next position, and keep it if its size allows.

        Args:
            body: is not changed any more by anybody.
            size: bytes of the body.
            author: see `erase`.
        """
        self.top = top = Position(self.epoch, self.top.offset + 1)
        entry = Entry(top, body, size)
        history, kept = self.history, self._kept
        if history.count and size <= history.size:
            if kept is None:
                kept = self._kept = deque()
            kept.append((now, entry, author))
            self._size += size
            self.held += ENTRY + size
        if kept is not None or self._keys is not None or self._fences is not None:
            self.trim(now)
        return entry

    def remember(self, key: str, position: Position, now: float) -> None:
        """Keep a position under a key that is not remembered yet."""
        if self._keys is None:
            self._keys = OrderedDict()
        self._keys[key] = now, position
        self.held += KEY + MAX_UTF8 * len(key)
        if len(self._keys) > MAX_KEYS:
            self._drop_key(self._keys)

    def remembered(self, key: str, now: float) -> Position | None:
        """The position that is kept under a key."""
        found = self._keys.get(key) if self._keys else None
        if found and now - found[0] > KEY_AGE:
            self.trim(now)
            return None
        return found[1] if found else None

    def admits(self, session: str, generation: int, now: float) -> bool:
        """Whether no higher generation of that session was seen lately; this one is seen now."""
        seen = self._fences.get(session) if self._fences else None
        if seen and seen[1] > generation and now - seen[0] <= FENCE_AGE:
            return False
        if generation > 1:  # most sessions never go elsewhere
            if self._fences is None:
                self._fences = OrderedDict()
            if self._fences.pop(session, None) is None:
                self.held += KEY + MAX_UTF8 * len(session)
            self._fences[session] = now, generation
            if len(self._fences) > MAX_KEYS:
                self._drop_fence(self._fences)
        return True

    def since(self, position: Position, now: float, limit: int | None = None) -> Batch:
        """The entries after a position, or why some cannot be had; see `Batch.found`.

        Args:
            limit: bytes of the entries; one is always there if there are any. None: all of them.
        """
        self.trim(now)
        top = self.top
        after = position.offset if position.epoch == self.epoch else 0
        kept = self._kept or ()
        entries: list[Entry] = []
        upto = top
        left = limit
        start = bisect_right(kept, after, key=_offset)
        for _, entry, _ in islice(kept, start, None):
            if left is not None:
                left -= entry.size
                if left < 0 and entries:
                    upto = entries[-1].at
                    break
            entries.append(entry)
        return Batch.found(position, tuple(entries), upto, top, self.first)

    def before(self, position: Position | None, now: float, count: int) -> Page:
        """The last entries before a position, at most `count`; None stands for behind the top.

        There are none before a position of another epoch.
        """
        self.trim(now)
        kept = self._kept or ()
        if position is None:
            stop = len(kept)
        elif position.epoch == self.epoch:
            stop = bisect_right(kept, position.offset - 1, key=_offset)
        else:
            stop = 0
        start = max(0, stop - count)
        return Page(tuple(entry for _, entry, _ in islice(kept, start, stop)), start > 0)

    def trim(self, now: float) -> None:
        """Let go what exceeds the history's bounds, and the keys that are too old or too many."""
        history = self.history
        kept, keys = self._kept, self._keys
        count, size, age = history.count, history.size, history.age
        while kept and (len(kept) > count or self._size > size or now - kept[0][0] > age):
            self._drop_entry(kept)
        fences = self._fences
        while fences and now - next(iter(fences.values()))[0] > FENCE_AGE:
            self._drop_fence(fences)
        while keys and (len(keys) > MAX_KEYS or now - next(iter(keys.values()))[0] > KEY_AGE):
            self._drop_key(keys)

    def erase(self, author: bytes) -> int:
        """Let go all entries of an author.

        Returns:
            How many they were.
        """
        kept = self._kept or ()
        theirs = [entry for _, entry, whose in kept if whose == author]
        if theirs:
            self._kept = deque(one for one in kept if one[2] != author) or None
            self._size -= sum(entry.size for entry in theirs)
            self.held -= sum(ENTRY + entry.size for entry in theirs)
        return len(theirs)

    def cut(self, excess: int) -> None:
        """Let go the oldest entries, then keys, then generations, until so many bytes are free."""
        enough = self.held - excess
        while self._kept and self.held > enough:
            self._drop_entry(self._kept)
        while self._keys and self.held > enough:
            self._drop_key(self._keys)
        while self._fences and self.held > enough:
            self._drop_fence(self._fences)

    def _drop_entry(self, kept: deque[_Kept]) -> None:
        _, entry, _ = kept.popleft()
        self._size -= entry.size
        self.held -= ENTRY + entry.size
        if not kept:
            self._kept = None

    def _drop_key(self, keys: OrderedDict[str, tuple[float, Position]]) -> None:
        key, _ = keys.popitem(last=False)
        self.held -= KEY + MAX_UTF8 * len(key)
        if not keys:
            self._keys = None

    def _drop_fence(self, fences: OrderedDict[str, tuple[float, int]]) -> None:
        session, _ = fences.popitem(last=False)
        self.held -= KEY + MAX_UTF8 * len(session)
        if not fences:
            self._fences = None


def _offset(kept: _Kept) -> int:
    return kept[1].at.offset
