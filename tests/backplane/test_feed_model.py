"""Feeds on a backplane that is far away: nothing is lost in silence, nothing comes twice.

Every client holds its feed to the protocol while entries are lost, doubled and reordered, while
operations fail, histories are trimmed and the backplane starts again. When all that is over, every
client has what the backplane has, or was told what it has not.
"""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
)

from sono_core import Limits
from sono_core.messaging.lossless.history import History
from sono_core.messaging.lossless.positions import Position
from tests.backplane.delayed import DelayedBackplane
from tests.backplane.each_backplane import Clock, epochs
from tests.backplane.nodes import Node, Truth
from tests.backplane.planted import expect_found, sound
from tests.helpers import SOME_LIVES

STREAM = "#room"
NAMES = ["ann", "bob", "cat", "dan"]
HISTORIES = [History(count=10_000), History(count=3), History(size=45), History(count=0)]


class Feeds(RuleBasedStateMachine):
    """One node with a few clients."""

    parts: SimpleNamespace = sound()

    @initialize(
        seed=st.integers(0, 1 << 20),
        history=st.sampled_from(HISTORIES),
        room=st.sampled_from([1, 1000, 1 << 18]),
        chunk=st.sampled_from([1, 25, 1 << 16]),
        lost=st.sampled_from([0.0, 0.3]),
        there=st.sampled_from([3, 0, 2]),
    )
    def begin(
        self, seed: int, history: History, room: int, chunk: int, lost: float, there: int
    ) -> None:
        self.clock = Clock()
        memory = self.parts.MemoryBackplane(self.clock, epochs(), Limits())
        self.truth = Truth(memory, STREAM)
        self.backplane = DelayedBackplane(memory, Random(seed), lost=lost)
        self.history = history
        self.node = Node(self.parts, self.backplane, self.truth, history, room=room, chunk=chunk)
        self.positions: list[Position] = [Position("elsewhere", 3)]
        self.number = 0
        self.spoiled = history != HISTORIES[0]  # whether gaps may be told
        self.start()
        for name in NAMES[:there]:
            self.node.join(name, None, eager=True)
        if there:
            self.backplane.settle()

    def start(self) -> None:
        def again(receipt: Any) -> None:
            if receipt.error is not None:
                self.node.feed.start().then(again)

        self.node.feed.start().then(again)

    def publish_one(self, size: int) -> None:
        self.number += 1
        self.node.publish(self.number, size)

    # -- rules ----------------------------------------------------------------------------------

    @rule(
        count=st.integers(1, 6),
        echo=st.sampled_from([0, 0, 1, 3]),
        steps=st.integers(0, 30),
    )
    def publish(self, count: int, echo: int, steps: int) -> None:
        """While these are delivered, others are published, and what is under way comes then."""
        self.node.echo = echo
        for _ in range(count):
            self.publish_one(10)
        self.step(steps)

    @rule()
    def publish_too_much(self) -> None:
        if self.history.size < 100:
            self.publish_one(100)

    def step(self, count: int) -> None:
        for _ in range(count):
            self.backplane.step()

    @rule()
    def settle(self) -> None:
        self.backplane.settle()

    @rule()
    def check(self) -> None:
        self.node.check()

    @rule(name=st.sampled_from(NAMES), data=st.data(), eager=st.booleans())
    def join(self, name: str, data: st.DataObject, eager: bool) -> None:
        known: list[Position | None] = [None, *self.positions]
        if name not in self.node.clients:
            self.node.join(name, data.draw(st.sampled_from(known)), eager=eager)

    @rule(name=st.sampled_from(NAMES))
    def leave(self, name: str) -> None:
        if name in self.node.clients:
            position = self.node.leave(name)
            if position is not None:
                self.positions = [*self.positions[-3:], position]

    @rule(name=st.sampled_from(NAMES))
    def ready(self, name: str) -> None:
        self.node.feed.ready(name)

    @rule(share=st.sampled_from([0.0, 0.5, 1.0]))
    def lose(self, share: float) -> None:
        self.backplane.lost = share

    @rule(share=st.sampled_from([0.0, 0.5]))
    def fail(self, share: float) -> None:
        self.backplane.failing = share

    @rule()
    def pass_time(self) -> None:
        self.clock.now += 301
        self.spoiled = True

    @precondition(lambda self: len(self.truth.epochs) < 4)
    @rule()
    def restart(self) -> None:
        self.truth.restart()
        self.spoiled = True

    # -- in the end -----------------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "node"):
            return
        node = self.node
        self.backplane.lost = self.backplane.failing = 0.0
        for _ in range(3):  # an old answer may be under way; the first check may be lost
            self.backplane.settle()
            node.check()
        self.backplane.settle()
        assert node.feed.position == self.truth.top
        for _ in range(2 * self.number + 10):
            for name in list(node.clients):
                node.feed.ready(name)
            self.backplane.settle()
        for client in node.clients.values():
            assert client.live, "still behind"
            assert client.position == self.truth.top
            gaps = [gap for gap in client.missed if gap.after.epoch != "elsewhere"]
            assert self.spoiled or not gaps, "a gap without need"
        assert not node.feed.behind
        assert node.feed.held <= 2 * max(node.feed._room, 500) + 500


TestFeeds = Feeds.TestCase
TestFeeds.settings = SOME_LIVES


# -- and what would be found --------------------------------------------------------------------

DEFECTS = {
    "a hole is not noticed": (
        "feed",
        "at.offset == position.offset + 1 and not",
        "at.offset > position.offset and not",
    ),
    "a lost last entry is not looked for": (
        "feed",
        "differs = lost or top.offset > position.offset",
        "differs = lost",
    ),
    "another epoch is not noticed": (
        "feed",
        "differs = top.epoch != self._former",
        "differs = False",
    ),
    "only the first part of what was lost is read": (
        "feed",
        "return self._again or came or batch.upto != batch.top",
        "return self._again or came",
    ),
    "what is told amid a delivery overtakes it": (
        "feed",
        "at.offset == position.offset + 1 and not self.busy",
        "at.offset == position.offset + 1",
    ),
    "what is read amid a delivery overtakes it": (
        "feed",
        "        if self.busy:\n            self._answer",
        "        if False:\n            self._answer",
    ),
    "entries of another life are delivered": (
        "streams",
        "if at.epoch == upto.epoch and",
        "if True and",
    ),
    "a gap is not told": (
        "streams",
        "            yield Missing(after, Position(",
        "            (Position(",
    ),
    "a gap at the end is not told": (
        "streams",
        "        yield Missing(after, upto)",
        "        pass",
    ),
    "a position of another life counts": (
        "streams",
        "after = position.offset if position.epoch == self.epoch else 0",
        "after = position.offset",
    ),
    "a member is one of the others too early": (
        "replay",
        "caught_up = behind.cursor == self._others.position and not self._others.busy",
        "caught_up = True",
    ),
    "a member becomes one of the others while these are told something": (
        "replay",
        "self._others.position and not self._others.busy",
        "self._others.position",
    ),
    "a member is one of the others too late": (
        "replay",
        "        if caught_up:\n            self.drop(behind.member)\n",
        "",
    ),
    "what was delivered meanwhile is skipped": (
        "replay",
        "entry = self._recent.get(cursor)",
        "entry = self._recent.get(Position(cursor.epoch, cursor.offset + 1))",
    ),
    "what is missing at the beginning is not told": (
        "replay",
        "self._begin_at(behind, items[0].to, recovered=False)",
        "self._begin_at(behind, items[0].to, recovered=True)",
    ),
    "nobody wakes who waits": (
        "replay",
        "        stuck = list(self.stuck)\n",
        "        stuck = []\n",
    ),
}


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_found(defect: str) -> None:
    expect_found(Feeds, *DEFECTS[defect])
