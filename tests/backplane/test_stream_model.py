"""`Stream` beside a list of everything that was ever appended, at, below and above its bounds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from sono_core.messaging.lossless.history import History
from sono_core.messaging.lossless.positions import Position
from tests.backplane.planted import expect_found, sound
from tests.helpers import SOME_LIVES

histories = st.builds(
    History,
    count=st.sampled_from([3, 1, 100, 0]),
    size=st.sampled_from([20, 1000, 1]),
    age=st.sampled_from([10.0, 1.0, 1000.0]),
)
keys = st.sampled_from(["k", "l", "m"])
authors = st.sampled_from([b"", b"ann", b"bob"])


class Streams(RuleBasedStateMachine):
    """One stream."""

    parts: SimpleNamespace = sound()

    @initialize(history=histories)
    def begin(self, history: History) -> None:
        self.stream = self.parts.Stream("e", history)
        self.now = 0.0
        self.sizes: list[int] = []
        self.authors: list[bytes] = []
        self.kept: list[tuple[float, int]] = []  # since when, and offsets
        self.keys: dict[str, tuple[float, int]] = {}

    def let_go(self) -> None:
        """What the bounds say, in the simplest words."""
        history = self.stream.history
        self.kept = [(at, offset) for at, offset in self.kept if self.now - at <= history.age]
        while len(self.kept) > history.count or self.held() > history.size:
            del self.kept[0]
        self.keys = {key: (at, n) for key, (at, n) in self.keys.items() if self.now - at <= 300}

    def held(self) -> int:
        return sum(self.sizes[offset - 1] for _, offset in self.kept)

    def check(self, entry: Any) -> None:
        """An entry is what was appended."""
        assert entry.body == f"body {entry.at.offset}"
        assert entry.size == self.sizes[entry.at.offset - 1]
        assert entry.at.epoch == "e"

    # -- rules ----------------------------------------------------------------------------------

    @rule(
        sizes=st.lists(st.sampled_from([10, 1, 2, 0, 19, 20, 21, 1000, 1001]), min_size=1),
        author=authors,
    )
    def append(self, sizes: list[int], author: bytes) -> None:
        for size in sizes:
            self.append_one(size, author)

    def append_one(self, size: int, author: bytes) -> None:
        self.sizes.append(size)
        self.authors.append(author)
        offset = len(self.sizes)
        entry = self.stream.append(f"body {offset}", size, self.now, author)
        assert entry.at == Position("e", offset)
        self.check(entry)
        history = self.stream.history
        if history.count and size <= history.size:
            self.kept.append((self.now, offset))
        self.let_go()

    @rule(seconds=st.sampled_from([0.5, 1.0, 10.0, 300.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(history=histories)
    def change(self, history: History) -> None:
        self.stream.history = history

    @rule(key=keys)
    def remember(self, key: str) -> None:
        if key in self.keys and self.now - self.keys[key][0] > 300:
            self.let_go()
        known = self.stream.remembered(key, self.now)
        assert known == (Position("e", self.keys[key][1]) if key in self.keys else None)
        if known is None and self.sizes:
            self.stream.remember(key, self.stream.top, self.now)
            self.keys[key] = self.now, len(self.sizes)

    @rule(
        epoch=st.sampled_from(["e", "e", "e", "other"]),
        back=st.integers(-2, 12),
        limit=st.sampled_from([None, 0, 1, 10, 20, 21]),
    )
    def since(self, epoch: str, back: int, limit: int | None) -> None:
        position = Position(epoch, max(0, len(self.sizes) - back))
        batch = self.stream.since(position, self.now, limit)
        self.let_go()
        after = position.offset if epoch == "e" else 0
        expected, left = [], limit
        for _, offset in self.kept:
            if offset > after:
                if left is not None and expected and self.sizes[offset - 1] > left:
                    break
                expected.append(offset)
                left = None if left is None else left - self.sizes[offset - 1]
        assert [entry.at.offset for entry in batch.entries] == expected
        for entry in batch.entries:
            self.check(entry)
        all_there = expected == [offset for _, offset in self.kept if offset > after]
        assert batch.top == Position("e", len(self.sizes))
        assert batch.upto == (batch.top if all_there else batch.entries[-1].at)
        assert batch.first == (self.kept[0][1] if self.kept else len(self.sizes) + 1)
        if epoch != "e":
            assert batch.why == "other-epoch"
        elif after > len(self.sizes):
            assert batch.why == "above-top"
        else:
            everything = list(range(after + 1, batch.upto.offset + 1))
            assert batch.why == (None if expected == everything else "trimmed")
        self.told_in_order(position, batch)

    def told_in_order(self, position: Position, batch: Any) -> None:
        """Entries and gaps fill the way from a position without overlap."""
        at = position
        for item in self.parts.in_order(position, batch.entries, batch.upto):
            if isinstance(item, self.parts.Missing):
                assert item.after == at
                assert item.to != at
                at = item.to
            else:
                assert item.at == Position(at.epoch, at.offset + 1)
                at = item.at
        if batch.why != "above-top":
            assert at == batch.upto

    @rule(back=st.integers(-2, 9) | st.none(), count=st.integers(0, 5))
    def before(self, back: int | None, count: int) -> None:
        offset = None if back is None else max(0, len(self.sizes) - back)
        page = self.stream.before(
            None if offset is None else Position("e", offset), self.now, count
        )
        self.let_go()
        found = [n for _, n in self.kept if offset is None or n < offset]
        expected = found[len(found) - count :] if count < len(found) else found
        assert [entry.at.offset for entry in page.entries] == expected
        assert page.more == (len(expected) < len(found))

    @rule(author=authors)
    def erase(self, author: bytes) -> None:
        self.before(None, 0)  # what is too old is gone already, whoever said it
        rest = [(at, offset) for at, offset in self.kept if self.authors[offset - 1] != author]
        assert self.stream.erase(author) == len(self.kept) - len(rest)
        self.kept = rest

    @rule(excess=st.sampled_from([1, 50, 300, 1000]))
    def cut(self, excess: int) -> None:
        before = self.stream.held
        self.stream.cut(excess)
        assert before - self.stream.held >= min(excess, before)
        while self.kept and len(self.stream) < len(self.kept):
            del self.kept[0]
        if before != self.stream.held and self.kept == []:
            self.keys = {
                key: value
                for key, value in self.keys.items()
                if self.stream._keys and key in self.stream._keys
            }

    # -- what always holds ----------------------------------------------------------------------

    @invariant()
    def what_is_held_is_what_is_kept(self) -> None:
        assert len(self.stream) == len(self.stream._kept or ())
        assert self.stream.size == sum(e.size for _, e, _ in self.stream._kept or ())
        size_of_keys = sum(self.parts.KEY + 4 * len(key) for key in self.stream._keys or ())
        entries = len(self.stream) * self.parts.ENTRY
        assert self.stream.held == self.stream.size + entries + size_of_keys


TestStreams = Streams.TestCase
TestStreams.settings = SOME_LIVES


DEFECTS = {
    "one too many": ("len(kept) > count", "len(kept) > count + 1"),
    "one too few": ("len(kept) > count", "len(kept) >= count"),
    "one byte too many": ("size <= history.size:", "size <= history.size + 1:"),
    "the size is forgotten": ("or self._size > size", "or False"),
    "it ends too early": ("now - kept[0][0] > age", "now - kept[0][0] >= age"),
    "a hole is no hole": ("elif len(entries) < upto.offset - after.offset:", "elif False:"),
    "the top is the limit": ("upto = entries[-1].at", "upto = top"),
    "an offset is not raised": (
        "self.top = top = Position(self.epoch, self.top.offset + 1)",
        "self.top = top = Position(self.epoch, max(1, self.top.offset + (size < 21)))",
    ),
    "bytes are lost": ("self._size -= entry.size", "pass"),
    "keys are counted when they are gone": ("self.held -= KEY + MAX_UTF8 * len(key)", "pass"),
    "entries are counted when they are gone": ("self.held -= ENTRY + entry.size", "pass"),
    "entries are counted when they are erased": ("ENTRY + entry.size for entry in", "0 for _ in"),
    "bytes stay when they are erased": ("sum(entry.size for entry in theirs)", "0"),
    "others are erased": ("one[2] != author) or None", "not author) or None"),
    "a page is one too long": ("position.offset - 1, key=_offset", "position.offset, key=_offset"),
    "the position itself comes again": (
        "start = bisect_right(kept, after, key=_offset)",
        "start = bisect_right(kept, after - 1, key=_offset)",
    ),
}


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_found(defect: str) -> None:
    expect_found(Streams, "streams", *DEFECTS[defect])
