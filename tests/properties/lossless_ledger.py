"""A backplane that is far away, and a ledger of all that it ever kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from sono_core.messaging.lossless import Backplane, Entry, Position, Receipt
from sono_core.messaging.lossless.history import History
from sono_core.messaging.lossless.store import StreamStore
from tests.backplane.delayed import DelayedBackplane


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


class Distant(DelayedBackplane):
    """What one node publishes in one stream is appended in the order of its calls."""

    def __init__(self, inner: Backplane, random: Random, **faults: float) -> None:
        super().__init__(inner, random, **faults)
        self._queues: dict[str, deque[tuple[Any, ...]]] = {}

    def publish(
        self, stream: str, body: Any, size: int, history: History, key: str | None = None
    ) -> Receipt[Position]:
        queue = self._queues.setdefault(stream, deque())
        outer: Receipt[Position] = Receipt()
        queue.append((body, size, history, key, outer))

        def begin() -> None:
            *rest, first = queue.popleft()
            position = self._inner.publish(stream, *rest).value
            self._soon(lambda: first.complete(position))

        self._under_way.append(begin)
        return outer
