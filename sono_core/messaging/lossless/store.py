"""All streams of a process by their names, and the memory that they take together."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from .history import History
from .positions import Position
from .streams import KEY_AGE, STREAM, Batch, Entry, Page, Stream


class StreamStore:
    """Makes streams when they are first named, and lets go what is used least.

    A stream that is pinned, because somebody follows it, stays. It counts what it keeps; the others
    count themselves too. Beyond the budget the streams that were used least recently lose their
    oldest entries first, and those that are not pinned go when they have none left.

    Args:
        budget: bytes.
        new_epoch: makes a text that it never made before.
    """

    __slots__ = ("_held", "_new_epoch", "_pinned", "_round", "_streams", "_used", "budget")

    def __init__(self, budget: int, new_epoch: Callable[[], str]) -> None:
        self.budget: int = budget
        """Bytes; another one counts from the next use of a stream on."""
        self._new_epoch = new_epoch
        self._streams: dict[str, Stream] = {}
        self._pinned: set[str] = set()
        # Those that count something, the least recently used first. A pinned stream that keeps
        # nothing is not among them: looking for something to let go would pass it again and again.
        self._used: OrderedDict[str, Stream] = OrderedDict()
        self._held = 0
        self._round: list[str] = []  # names that `expire` has still to look at

    @property
    def held(self) -> int:
        """Bytes; at most the budget, whenever a call has returned."""
        return self._held

    def __len__(self) -> int:
        """Streams that there are."""
        return len(self._streams)

    def __contains__(self, name: object) -> bool:
        return name in self._streams

    def publish(
        self,
        name: str,
        body: Any,
        size: int,
        history: History,
        now: float,
        key: str | None = None,
        author: bytes = b"",
    ) -> tuple[Position, Entry | None]:
        """Append to a stream, once for each key.

        Args:
            key: of the publication. What was published under it lately is not published again.
            author: see `erase`.

        Returns:
            The position, and the entry unless it was there already.
        """
        stream = self._stream(name, now)
        stream.history = history
        known = stream.remembered(key, now) if key is not None else None
        entry = None
        if known is None:
            entry = stream.append(body, size, now, author)
            known = entry.at
            if key is not None:
                stream.remember(key, known, now)
        self._count(name, stream)
        return known, entry

    def admits(self, name: str, session: str, generation: int, now: float) -> bool:
        """Whether a stream has seen no higher generation of that session; it has seen this one."""
        stream = self._stream(name, now)
        admitted = stream.admits(session, generation, now)
        self._count(name, stream)
        return admitted

    def since(self, name: str, position: Position, now: float, limit: int | None = None) -> Batch:
        """See `Stream.since`."""
        stream = self._stream(name, now)
        batch = stream.since(position, now, limit)
        self._count(name, stream)
        return batch

    def before(self, name: str, position: Position | None, now: float, count: int) -> Page:
        """See `Stream.before`."""
        stream = self._stream(name, now)
        page = stream.before(position, now, count)
        self._count(name, stream)
        return page

    def tops(self, names: Iterable[str]) -> dict[str, Position]:
        """The last positions of those streams that there are. They are not used by that."""
        streams = self._streams
        return {name: streams[name].top for name in names if name in streams}

    def pin(self, name: str, now: float) -> Position:
        """Keep a stream until `unpin`, and say what its last position is."""
        self._pinned.add(name)
        stream = self._stream(name, now)
        self._count(name, stream)
        return stream.top

    def unpin(self, name: str, now: float) -> None:
        """Keep a stream no longer than the others."""
        self._pinned.discard(name)
        stream = self._streams.get(name)
        if stream is not None:
            stream.used = now
            self._count(name, stream)

    def free(self, name: str) -> None:
        """Forget a stream, even if it is pinned. If it is named again, that is another life."""
        stream = self._streams.pop(name, None)
        if stream is not None:
            self._used.pop(name, None)
            self._held -= stream.charged

    def erase(self, author: bytes) -> int:
        """Let go all entries of an author; see `Stream.erase`."""
        erased = 0
        for name, stream in self._streams.items():
            if found := stream.erase(author):
                erased += found
                self._charge(name, stream)
        return erased

    def expire(self, now: float, most: int = 1000) -> None:
        """Let go what is too old, and the streams that nobody used as long as they keep anything.

        Call it every now and then; each call looks at some streams, in rotation.

        Args:
            most: streams that are looked at.
        """
        if not self._round:
            self._round = list(self._streams)
        for name in self._round[-most:]:
            stream = self._streams.get(name)
            if stream is None:
                continue
            lasting = max(stream.history.age, KEY_AGE)
            if name not in self._pinned and now - stream.used > lasting:
                self.free(name)
            elif stream.held:
                stream.trim(now)
                self._charge(name, stream)
        del self._round[-most:]

    def _stream(self, name: str, now: float) -> Stream:
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = Stream(self._new_epoch())
        stream.used = now
        return stream

    def _count(self, name: str, stream: Stream) -> None:
        """A stream was used: count it anew, and keep to the budget."""
        held = stream.held
        if not held or stream.charged != held + STREAM:
            self._charge(name, stream)
        if stream.charged:
            self._used.move_to_end(name)
        while self._held > self.budget:
            other, oldest = next(iter(self._used.items()))
            oldest.cut(self._held - self.budget)
            if oldest.held or other in self._pinned:
                self._charge(other, oldest)
            else:
                self.free(other)

    def _charge(self, name: str, stream: Stream) -> None:
        charge = stream.held
        if charge or name not in self._pinned:
            charge += STREAM
            if not stream.charged:
                self._used[name] = stream
        else:
            self._used.pop(name, None)
        self._held += charge - stream.charged
        stream.charged = charge
