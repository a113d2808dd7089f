"""A ledger of all that a backplane ever kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sono_core.messaging.lossless import Entry, Position
from sono_core.messaging.lossless.store import StreamStore


class Ledger(StreamStore):
    """Streams that are written down for good."""

    def __init__(self, budget: int, new_epoch: Callable[[], str]) -> None:
        super().__init__(budget, new_epoch)
        self.written: dict[tuple[str, str], list[Any]] = {}
        """The bodies of all entries, by stream and epoch."""

    def publish(self, name: str, *args: Any) -> tuple[Position, Entry | None]:
        at, entry = super().publish(name, *args)
        if entry is not None:
            bodies = self.written.setdefault((name, at.epoch), [])
            bodies.append(entry.body)
            assert at.offset == len(bodies)
        return at, entry
