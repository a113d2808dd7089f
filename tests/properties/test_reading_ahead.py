"""However delivery stops and goes on: every message once, in order, and every ping answered."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from sono_core import Close, Limits, Ping, Pong, TextMessage
from tests.fakes import Rig

STEPS = st.lists(
    st.sampled_from(["message", "message", "ping", "hold", "release", "pause", "time", "pump"]),
    max_size=60,
)
ENDS = st.sampled_from(["close", "end", "lost", "none"])


class Play:
    """A peer that sends what comes next whenever the session reads, as a transport lets it."""

    def __init__(self, max_held: int, turn: int, busy: bool) -> None:
        # the reader's own turn, so that messages also wait behind a share that is used up
        self.rig = Rig(limits=Limits(max_held=max_held, max_turn_messages=turn))
        if busy:
            self.rig.handler.reactions["on_message"] = self.rig.session.hold
        self.unread = bytearray()
        self.sent: list[str] = []
        self.pings = 0

    def step(self, step: str) -> None:
        rig = self.rig
        if step == "message":
            self.sent.append(str(len(self.sent)))
            self.unread += rig.encoded(TextMessage(self.sent[-1]))
        elif step == "ping":
            self.pings += 1
            self.unread += rig.encoded(Ping(b"p"))
        elif step == "hold":
            rig.session.hold()
        elif step == "release":
            rig.session.release()
        elif step == "pause":
            rig.session.pause(1.0, rig.now)
        elif step == "time":
            rig.tick(rig.now + 0.5)
        else:
            rig.pump()
        self.read()

    def read(self) -> None:
        if self.rig.session.reading and self.unread:
            data = bytes(self.unread)
            self.unread.clear()
            self.rig.receives(data)

    def settle(self) -> None:
        """Let all that can happen by itself happen."""
        while self.rig.session.pump_due or (self.rig.session.reading and self.unread):
            self.rig.pump()
            self.read()

    @property
    def told(self) -> list[object]:
        return [entry for entry in self.rig.handler.log if isinstance(entry, str)]


@given(
    STEPS, ENDS, st.sampled_from([1, 150, 100_000]), st.sampled_from([1, 3, 1024]), st.booleans()
)
@example(["hold", "message"], "end", 100_000, 1, False)
@example(["hold", "message", "ping", "message"], "close", 100_000, 1, True)
def test_every_message_is_told_once_and_in_order(
    steps: list[str], end: str, max_held: int, turn: int, busy: bool
) -> None:
    play = Play(max_held, turn, busy)
    rig = play.rig
    for step in steps:
        play.step(step)
        assert play.told == play.sent[: len(play.told)]
    if end == "lost":
        rig.session.lost(bytes(play.unread))
        assert play.told == play.sent
        assert rig.handler.log[-1] == Close(1006, "the connection ended", False)
        return
    if end == "close":
        play.unread += rig.encoded(Close(4000))
    rig.now += 1.0
    for _ in range(len(play.sent) + 1):
        play.settle()
        if end == "end" and rig.session.reading and not play.unread:
            rig.ends()
        rig.session.release()
        rig.tick(rig.now)
    play.settle()
    assert play.told == play.sent
    answers = rig.seen()
    assert answers.count(Pong(b"p")) == play.pings
    closes = rig.handler.closes
    if end == "close":
        assert closes == [Close(4000)]
        assert answers[-1] == Close(4000)
    elif end == "end":
        assert [close.code for close in closes] == [1006]
    else:
        assert closes == []
        assert rig.session.reading
    assert rig.handler.log[-1:] == closes or not closes
