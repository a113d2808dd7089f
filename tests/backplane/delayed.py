"""A backplane that is far away: whatever it does comes late, in any order, twice, or not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeVar

from sono_core.messaging.lossless.backplane import (
    Backplane,
    BackplaneError,
    Change,
    Origin,
    Receipt,
    Roster,
    SavedSession,
    Top,
)
from sono_core.messaging.lossless.history import History
from sono_core.messaging.lossless.positions import Position
from sono_core.messaging.lossless.streams import Batch, Entry, Page

T = TypeVar("T")


class DelayedBackplane(Backplane):
    """Each operation is done at one of its steps, and its receipt at a later one.

    What was done before an operation was called is seen by it, and what is published in one stream
    is published in the order of the calls, as in any backplane, and so is who comes and goes; and a
    stream is forgotten behind what was published before.

    Args:
        inner: does the work, at once.
        random: decides the order of everything.
        lost: of live deliveries, the share that never comes. What was published stays published.
        doubled: of completions and live deliveries, the share that comes twice.
        failing: of operations, the share that fails; half of these are done all the same.
    """

    def __init__(
        self,
        inner: Backplane,
        random: Random,
        *,
        lost: float = 0.0,
        doubled: float = 0.25,
        failing: float = 0.0,
    ) -> None:
        self._inner = inner
        self._random = random
        self.lost = lost
        self.doubled = doubled
        self.failing = failing
        self.reads = 0
        self._under_way: list[Callable[[], object]] = []
        self._publishing: dict[str, deque[object]] = {}  # in each stream, in order
        self._saving: dict[str, deque[object]] = {}  # of each session, in order
        self._rosters: dict[str, deque[object]] = {}  # likewise who comes and goes
        self._wrapped: dict[tuple[str, object], Callable[[Entry], object]] = {}

    # -- time -----------------------------------------------------------------------------------

    def step(self) -> bool:
        """Let one thing happen of all that are under way; False if nothing is."""
        if not self._under_way:
            return False
        self._under_way.pop(self._random.randrange(len(self._under_way)))()
        return True

    @property
    def waits(self) -> bool:
        """Whether something is under way."""
        return bool(self._under_way)

    def settle(self) -> None:
        """Let everything happen that is under way, and what follows from it."""
        for _ in range(100_000):
            if not self.step():
                return
        raise AssertionError("it never ends")

    def _soon(self, happens: Callable[[], object]) -> None:
        self._under_way.append(happens)
        if self._random.random() < self.doubled:
            self._under_way.append(happens)

    def _call(
        self,
        operation: Callable[[], Receipt[T]],
        line: deque[object] | None = None,
    ) -> Receipt[T]:
        """Args:
        line: operations that are done in the order of their calls.
        """
        outer: Receipt[T] = Receipt()
        if line is not None:
            line.append(outer)
        fails = self._random.random() < self.failing
        is_done = not fails or self._random.random() < 0.5

        def begin() -> None:
            if line is not None:
                if line[0] is not outer:
                    self._under_way.append(begin)
                    return
                line.popleft()
            inner = operation() if is_done else None

            def end() -> None:
                if fails or inner is None:
                    outer.fail(BackplaneError("the network is down"))
                elif inner.error is not None:
                    outer.fail(inner.error)
                else:
                    outer.complete(inner.value)

            self._soon(end)

        self._under_way.append(begin)
        return outer

    def _later(self, tell: Callable[[Any], object]) -> Callable[[Any], None]:
        def told(what: Any) -> None:
            if self._random.random() >= self.lost:
                self._soon(lambda: tell(what))

        return told

    # -- operations -----------------------------------------------------------------------------

    def publish(
        self,
        stream: str,
        body: Any,
        size: int,
        history: History,
        key: str | None = None,
        origin: Origin | None = None,
    ) -> Receipt[Position]:
        line = self._publishing.setdefault(stream, deque())
        return self._call(
            lambda: self._inner.publish(stream, body, size, history, key, origin), line
        )

    def send(
        self,
        stream: str,
        body: Any,
        size: int,
        history: History,
        key: str | None = None,
        origin: Origin | None = None,
    ) -> Receipt[Position | None]:
        line = self._publishing.setdefault(stream, deque())
        return self._call(lambda: self._inner.send(stream, body, size, history, key, origin), line)

    def tell(self, stream: str, body: Any) -> Receipt[None]:
        return self._call(lambda: self._inner.tell(stream, body))

    def read(self, stream: str, after: Position, limit: int | None = None) -> Receipt[Batch]:
        self.reads += 1
        return self._call(lambda: self._inner.read(stream, after, limit))

    def erase(self, author: bytes) -> Receipt[int]:
        return self._call(lambda: self._inner.erase(author))

    def page(self, stream: str, before: Position | None, count: int) -> Receipt[Page]:
        return self._call(lambda: self._inner.page(stream, before, count))

    def subscribe(
        self,
        stream: str,
        on_entry: Callable[[Entry], object],
        *,
        on_change: Callable[[Change], object] | None = None,
        on_volatile: Callable[[Any], object] | None = None,
    ) -> Receipt[Position]:
        later = self._wrapped.setdefault((stream, on_entry), self._later(on_entry))
        return self._call(
            lambda: self._inner.subscribe(
                stream,
                later,
                on_change=on_change and self._later(on_change),
                on_volatile=on_volatile and self._later(on_volatile),
            ),
            self._publishing.setdefault(stream, deque()),
        )

    def unsubscribe(self, stream: str, on_entry: Callable[[Entry], object]) -> Receipt[None]:
        later = self._wrapped.get((stream, on_entry), on_entry)
        return self._call(lambda: self._inner.unsubscribe(stream, later))

    def tops(self, streams: Sequence[str]) -> Receipt[dict[str, Top]]:
        return self._call(lambda: self._inner.tops(streams))

    def fence(self, stream: str, session: str, generation: int) -> Receipt[Position]:
        line = self._publishing.setdefault(stream, deque())
        return self._call(lambda: self._inner.fence(stream, session, generation), line)

    def free(self, stream: str) -> Receipt[bool]:
        line = self._publishing.setdefault(stream, deque())
        return self._call(lambda: self._inner.free(stream), line)

    def enter(
        self, stream: str, member: str, data: Any, size: int, *, keep: bool = False
    ) -> Receipt[Position]:
        line = self._rosters.setdefault(stream, deque())
        enter = self._inner.enter
        return self._call(lambda: enter(stream, member, data, size, keep=keep), line)

    def exit(self, stream: str, member: str) -> Receipt[Position | None]:
        line = self._rosters.setdefault(stream, deque())
        return self._call(lambda: self._inner.exit(stream, member), line)

    def members(self, stream: str) -> Receipt[Roster]:
        return self._call(lambda: self._inner.members(stream))

    def save_session(
        self,
        session: str,
        record: bytes,
        keys: Sequence[str],
        age: float,
        *,
        owner: str = "",
        generation: int = 1,
    ) -> Receipt[None]:
        save, line = self._inner.save_session, self._saving.setdefault(session, deque())
        return self._call(
            lambda: save(session, record, keys, age, owner=owner, generation=generation), line
        )

    def load_session(self, session: str, key: str) -> Receipt[SavedSession | None]:
        return self._call(lambda: self._inner.load_session(session, key))

    def claim_session(self, session: str, key: str, owner: str) -> Receipt[SavedSession | None]:
        return self._call(lambda: self._inner.claim_session(session, key, owner))

    def drop_session(self, session: str, generation: int) -> Receipt[bool]:
        return self._call(lambda: self._inner.drop_session(session, generation))

    def alive(self, node: str) -> Receipt[bool]:
        return self._call(lambda: self._inner.alive(node))
