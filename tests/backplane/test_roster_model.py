"""Views of a roster that is far away: each change once and in order, or everything anew."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
)

from sono_core.messaging.lossless.positions import Position
from tests.backplane.delayed import DelayedBackplane
from tests.backplane.each_backplane import Clock, epochs
from tests.backplane.planted import expect_found, sound
from tests.helpers import SOME_LIVES

STREAM = "#room"
names = st.sampled_from(["ann", "bob", "cat"])


class Rosters(RuleBasedStateMachine):
    """One node's view, and what one of its clients makes of it."""

    parts: SimpleNamespace = sound()

    @initialize(seed=st.integers(0, 1 << 20), lost=st.sampled_from([0.0, 0.3, 1.0]))
    def begin(self, seed: int, lost: float) -> None:
        self.memory = self.parts.MemoryBackplane(Clock(), epochs())
        self.backplane = DelayedBackplane(self.memory, Random(seed), lost=lost)
        self.view = self.parts.RosterView(STREAM, self.backplane, self.on_change, self.on_roster)
        self.version: Position | None = None
        self.members: dict[str, Any] = {}
        self.amid = 0
        self.number = 0
        self.backplane.subscribe(STREAM, lambda _: None, on_change=self.view.arrived)
        self.view.start()

    def on_change(self, change: Any) -> None:
        assert self.version is not None
        assert change.version == Position(self.version.epoch, self.version.offset + 1)
        if change.present:
            self.members[change.member] = change.data
        else:
            del self.members[change.member]
        assert change.count == len(self.members)
        self.told(change.version)

    def on_roster(self, roster: Any) -> None:
        at, version = roster.version, self.version
        assert version is None or at.epoch != version.epoch or at.offset > version.offset
        self.members = dict(roster.members)
        self.told(roster.version)

    def told(self, version: Position) -> None:
        self.version = version
        assert self.view.members == self.members
        if self.amid:
            self.amid -= 1
            self.enter("ann")
            for _ in range(4):
                self.backplane.step()
            assert self.version == version

    def check_version(self) -> None:
        def compare(receipt: Any) -> None:
            if receipt.error is None and STREAM in receipt.value:
                self.view.check(receipt.value[STREAM].roster)

        self.backplane.tops([STREAM]).then(compare)

    # -- rules ----------------------------------------------------------------------------------

    @rule(name=names)
    def enter(self, name: str) -> None:
        self.number += 1
        self.backplane.enter(STREAM, name, self.number, 1)

    @rule(name=names)
    def exit(self, name: str) -> None:
        self.backplane.exit(STREAM, name)

    @rule(count=st.integers(1, 20))
    def step(self, count: int) -> None:
        for _ in range(count):
            self.backplane.step()

    @rule()
    def check(self) -> None:
        self.check_version()

    @rule(count=st.integers(1, 3))
    def more_happens_amid(self, count: int) -> None:
        self.amid = count

    @rule(share=st.sampled_from([0.0, 0.5]))
    def fail(self, share: float) -> None:
        self.backplane.failing = share

    @rule(known=st.booleans(), after=st.integers(0, 2))
    def restart(self, known: bool, after: int) -> None:
        if known:  # what was there
            self.check_version()
            self.backplane.settle()
        self.memory._rosters.pop(STREAM, None)
        for name in ("ann", "bob")[:after]:
            self.enter(name)

    # -- in the end -----------------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "view"):
            return
        self.backplane.failing = self.backplane.lost = 0.0
        for _ in range(3):
            self.backplane.settle()
            self.check_version()
        self.backplane.settle()
        roster = self.memory.members(STREAM).value
        assert self.members == self.view.members == roster.members


TestRosters = Rosters.TestCase
TestRosters.settings = SOME_LIVES

DEFECTS = {
    "a hole is not noticed": (
        "following = Position(self.version.epoch, self.version.offset + 1)",
        "following = min(self._early, default=self.version, key=lambda at: at.offset)",
    ),
    "a lost last change is not looked for": (
        "version.epoch != ours.epoch or version.offset > ours.offset",
        "version.epoch != ours.epoch",
    ),
    "another roster is not noticed": (
        "version.epoch != ours.epoch or version.offset > ours.offset",
        "version.offset > ours.offset",
    ),
    "an old answer counts": (
        "if version is None or at.epoch != version.epoch or at.offset > version.offset:",
        "if at != version:",
    ),
    "who goes stays": ("self.members.pop(change.member, None)", "pass"),
    "what is told amid another thing overtakes it": (
        "while not self._busy and not self._stopped",
        "while not self._stopped",
    ),
    "an answer amid another thing overtakes it": (
        "        if self._busy:\n",
        "        if False:\n",
    ),
}


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_found(defect: str) -> None:
    expect_found(Rosters, "rosters", *DEFECTS[defect])
