"""Several nodes with one memory backplane: each can be stopped, go on again, or be lost."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from sono_core.messaging.lossless import Backplane, MemoryBackplane, Receipt
from tests.core.messaging.lossless.house import House


class _Face:
    """What one node sees of the backplane; see `face`."""

    shared = True

    def __init__(self, inner: MemoryBackplane, node: str, alive: set[str]) -> None:
        self.inner = inner
        self.node = node
        self.stopped = False
        """Whether it hears nothing, until it goes on."""
        self._alive = alive
        self._held: list[Callable[[], object]] = []
        self._heard_by: dict[Any, Any] = {}

    def go_on(self) -> None:
        self.stopped = False
        held, self._held = self._held, []
        for call in held:
            call()

    def _later(self, call: Callable[[Any], object], what: Any) -> None:
        if self.stopped:
            self._held.append(partial(call, what))
        else:
            call(what)

    def subscribe(self, stream: str, on_entry: Any, **others: Any) -> Any:
        heard = self._heard_by.setdefault((stream, on_entry), partial(self._later, on_entry))
        rest = {name: call and partial(self._later, call) for name, call in others.items()}
        return self.inner.subscribe(stream, heard, **rest)

    def unsubscribe(self, stream: str, on_entry: Any) -> Any:
        return self.inner.unsubscribe(stream, self._heard_by.get((stream, on_entry), on_entry))

    def alive(self, node: str) -> Receipt[bool]:
        return Receipt.of(node in self._alive)


def _forwarded(name: str) -> Callable[..., Any]:
    def operation(self: _Face, *args: Any, **named: Any) -> Any:
        return getattr(self.inner, name)(*args, **named)

    return operation


_rest = {
    name: _forwarded(name)
    for name in (*Backplane.__abstractmethods__, "announce", "announced")  # type: ignore[attr-defined]
    if name not in vars(_Face)
}
Face: Any = type("Face", (_Face, Backplane), _rest)


class Town:
    """Houses that share a backplane."""

    def __init__(self, nodes: str = "ab", **options: Any) -> None:
        epochs = count(1)
        self.now = 1000.0
        self.memory = MemoryBackplane(lambda: self.now, lambda: f"e{next(epochs)}")
        self.alive = set(nodes)
        numbers = count(1)
        self.houses = [
            House(
                lambda *_, name=name: Face(self.memory, name, self.alive),
                numbers=numbers,
                **options,
            )
            for name in nodes
        ]
        for house in self.houses:
            house.node.begin()

    def wait(self, seconds: float) -> None:
        """Time goes by, for those that are not stopped."""
        self.now += seconds
        for house in self.houses:
            if not house.backplane.stopped:  # type: ignore[attr-defined]
                house.wait(seconds)

    def stop(self, house: House) -> None:
        """It does nothing any more, for now, and its lease ends."""
        house.backplane.stopped = True  # type: ignore[attr-defined]
        self.alive.discard(house.backplane.node)
