"""A feed whose backplane and audience do what the test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sono_core.messaging.lossless.backplane import BackplaneError, Receipt
from sono_core.messaging.lossless.feed import Feed
from sono_core.messaging.lossless.history import History
from sono_core.messaging.lossless.memory import MemoryBackplane
from sono_core.messaging.lossless.positions import Position
from sono_core.messaging.lossless.replay import Start
from sono_core.messaging.lossless.streams import ENTRY, Batch, Entry, Missing
from tests.backplane.each_backplane import Clock, epochs

STREAM = "#room"
Item = int | str | Missing | tuple[str, list[Any], bool]


class Manual(MemoryBackplane):
    """Tells what the test says, and answers reads when it says so, if it does."""

    def __init__(self) -> None:
        super().__init__(Clock(), epochs())
        self.history = History()
        self.reads: list[tuple[Position, Receipt[Batch]]] = []
        self.later = False
        self.down = False
        self.subscribed = 0
        self.live: Callable[[Entry], object] = lambda _: None

    def put(self, *bodies: Any, size: int = 10, told: bool = True) -> list[Entry]:
        """Publish, and tell it at once if it is to be told."""
        entries = []
        for body in bodies:
            made = self.streams.publish(STREAM, body, size, self.history, 1000.0)[1]
            assert made is not None
            entries.append(made)
            if told:
                self.live(made)
        return entries

    def subscribe(
        self, stream: str, on_entry: Callable[[Entry], object], **options: Any
    ) -> Receipt[Position]:
        self.subscribed += 1
        self.live = on_entry
        return failed() if self.down else super().subscribe(stream, on_entry, **options)

    def read(self, stream: str, after: Position, limit: int | None = None) -> Receipt[Batch]:
        receipt: Receipt[Batch] = Receipt()
        self.reads.append((after, receipt))
        if not self.later:
            self.answer(limit)
        return receipt

    def answer(self, limit: int | None = None) -> None:
        """Answer the last read."""
        after, receipt = self.reads[-1]
        if self.down:
            receipt.fail(BackplaneError("down"))
        else:
            receipt.complete(super().read(STREAM, after, limit).value)


def failed() -> Receipt[Any]:
    receipt: Receipt[Any] = Receipt()
    receipt.fail(BackplaneError("down"))
    return receipt


class Told:
    """An audience that notes what it is told."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.does: Callable[[], object] = lambda: None

    def deliver(self, entry: Entry) -> None:
        self.items.append(entry.body)
        self.does()

    def gap(self, missing: Missing) -> None:
        self.items.append(missing)
        self.does()

    def replay(self, member: str, items: Sequence[Entry | Missing], caught_up: bool) -> None:
        shown = [item.body if isinstance(item, Entry) else item for item in items]
        self.items.append((member, shown, caught_up))
        self.does()

    def take(self) -> list[Item]:
        items, self.items = self.items, []
        return items


class Rig:
    def __init__(self, *, started: bool = True, **options: Any) -> None:
        self.backplane = Manual()
        self.told = Told()
        self.feed: Feed[str] = Feed(STREAM, self.backplane, self.told, **options)
        if started:
            self.feed.start()

    def at(self, offset: int, epoch: str | None = None) -> Position:
        return Position(epoch or self.top.epoch, offset)

    @property
    def top(self) -> Position:
        return self.backplane.streams.tops([STREAM])[STREAM]

    def restart(self) -> None:
        self.backplane.streams.free(STREAM)
        self.backplane.streams.pin(STREAM, 1000.0)

    def rewind(self, offset: int) -> None:
        """The backplane loses the last entries, as after a fail-over."""
        stream = self.backplane.streams._streams[STREAM]
        while stream._kept and stream._kept[-1][1].at.offset > offset:
            size = stream._kept.pop()[1].size
            stream._size -= size
            stream.held -= ENTRY + size
        stream.top = self.at(offset)

    def begins(self, member: str, position: Position | None) -> Start:
        return self.feed.catch_up(member, position).value
