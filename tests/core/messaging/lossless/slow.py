"""A backplane that answers when it is told to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sono_core.messaging.lossless import BackplaneError, MemoryBackplane, Receipt

OPERATIONS = ("subscribe", "read", "page", "publish", "tops")


class Slow(MemoryBackplane):
    """Operations whose names are in `holding` are done at once, and answered at `release`.

    Those in `failing` fail, and are not done.
    """

    def __init__(self, clock: Callable[[], float], new_epoch: Callable[[], str]) -> None:
        super().__init__(clock, new_epoch)
        self.holding: set[str] = set()
        self.failing: set[str] = set()
        self.under_way: list[tuple[Receipt[Any], Receipt[Any]]] = []
        self.called: list[str] = []

    def release(self) -> None:
        """Answer what was held, and hold no more."""
        self.holding.clear()
        waiting, self.under_way = self.under_way, []
        for outer, inner in waiting:
            outer.complete(inner.value)


def _slow(name: str) -> Callable[..., Any]:
    done = getattr(MemoryBackplane, name)

    def operation(self: Slow, *args: Any, **fields: Any) -> Receipt[Any]:
        self.called.append(name)
        receipt: Receipt[Any] = Receipt()
        if name in self.failing:
            receipt.fail(BackplaneError("the network is down"))
            return receipt
        inner: Receipt[Any] = done(self, *args, **fields)
        if name not in self.holding:
            return inner
        self.under_way.append((receipt, inner))
        return receipt

    return operation


for _name in OPERATIONS:
    setattr(Slow, _name, _slow(_name))
