"""The backplanes that the suite is run on. One more is one more entry of `BACKPLANES`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from random import Random
from typing import Any, Protocol, TypeVar

from sono_core import Limits
from sono_core.messaging.lossless.backplane import Backplane, Receipt
from sono_core.messaging.lossless.memory import MemoryBackplane
from tests.backplane.delayed import DelayedBackplane

T = TypeVar("T")


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def epochs() -> Callable[[], str]:
    """Makes epochs that are never the same."""
    numbers = itertools.count(1)
    return lambda: f"e{next(numbers)}"


class Rig(Protocol):
    """A backplane, and what a test needs of its surroundings."""

    backplane: Backplane
    clock: Clock
    """The backplane's."""

    def settle(self) -> None:
        """Wait until nothing is under way."""

    def wait(self, receipt: Receipt[T]) -> T:
        """Wait until it is done, and give its value."""

    def close(self) -> None:
        """It is not needed any more."""


class InMemory:
    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.memory = MemoryBackplane(
            self.clock,
            epochs(),
            Limits(max_histories=options.pop("max_histories", 1 << 20)),
            **options,
        )
        self.backplane: Backplane = self.memory

    def settle(self) -> None:
        pass

    def wait(self, receipt: Receipt[T]) -> T:
        assert receipt.done
        return receipt.value

    def close(self) -> None:
        pass


class Delayed(InMemory):
    def __init__(self, seed: int = 0, **options: Any) -> None:
        super().__init__()
        self.delayed = DelayedBackplane(self.memory, Random(seed), **options)
        self.backplane = self.delayed

    def settle(self) -> None:
        self.delayed.settle()

    def wait(self, receipt: Receipt[T]) -> T:
        while not receipt.done:
            assert self.delayed.step()
        return receipt.value


BACKPLANES: dict[str, Callable[[], Rig]] = {
    "memory": InMemory,
    "delayed": Delayed,
    "delayed-otherwise": lambda: Delayed(seed=1, doubled=0.75),
}
