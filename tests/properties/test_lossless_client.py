"""`ClientMachine` with a server that numbers, trims, forgets and loses, on lines that are cut.

No entry comes twice, none is missing without a gap that says so, and nothing that the application
said is done twice. Defects that are planted are found.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from sono_core.messaging.lossless import OWN, packets, stream_of
from sono_core.messaging.lossless.client import session as sessions
from sono_core.messaging.lossless.client.cursor import Cursor, Verdict
from sono_core.messaging.lossless.client.machine import ClientMachine
from sono_core.messaging.lossless.client.outbox import Outbox
from sono_core.messaging.lossless.client.presence import Mirror
from sono_core.messaging.lossless.client.session import ClientSession
from sono_core.messaging.lossless.client.streams import Streams
from tests.helpers import SOME_LIVES
from tests.properties.lossless_world import HOME, ROOMS, WATCHED, World

STREAMS = ("*", *map(stream_of, (HOME, *ROOMS)))


def steps(world: World, rng: Random) -> list[Callable[[], object]]:
    """What may happen next."""
    client, line, session = world.client, world.line, world.session
    room = rng.choice((HOME, *ROOMS))
    found: list[Callable[[], object]] = [
        lambda: world.publish(room, harmless=rng.random() < 0.3, to_self=rng.random() < 0.7),
        lambda: client.join(room, now=world.now, presence=room == WATCHED),
        lambda: client.leave(room, now=world.now),
        lambda: world.say(rng.choice(STREAMS)) if session else None,
        lambda: world.come_and_go(rng.choice("xyz"), lost=rng.random() < 0.2),
    ]
    rare: list[Callable[[], object]] = [
        lambda: client.move(room, now=world.now),
        lambda: world.streams[rng.choice(STREAMS)].trim(rng.randrange(3)),
        lambda: world.wait(rng.choice((1, 1, 31, 301))),
        world.request,
    ]
    if session:
        found += [lambda: world.say(OWN), world.ask]
        rare += [
            lambda: world.force(room, current=rng.random() < 0.3),
            lambda: world.expel(room),
            lambda: world.renew(rng.choice(STREAMS)),
            lambda: session.own.trim(rng.randrange(3)),
        ]
        if session.waiting:
            found.append(world.answer)
        if line is None:
            rare.append(lambda: setattr(world, "session", None))
    if world.open_requests:
        found.append(world.reply)
    if line is None:
        found += [world.connect] * 4
    else:
        if client.dead:
            found += [world.cut] * 10
        rare.append(world.cut)
        found += [world.flush] * 4
        if line.up:
            found += [lambda: world.serve(rng)] * 6
        if lanes := line.lanes():
            found += [lambda: world.deliver(rng.choice(lanes))] * 10
            if "control" not in lanes:
                rare.append(lambda: world.lose(rng.choice(lanes)))
    return found if rng.random() < 0.8 else rare


def walk(seed: int, length: int = 120) -> None:
    """Some steps at random, and the reckoning."""
    rng = Random(seed)
    world = World()
    for _ in range(length):
        rng.choice(steps(world, rng))()
    world.settle(rng)


class Worlds(RuleBasedStateMachine):
    """The same, with steps that hypothesis chooses."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(chance=st.integers(0, 2**32))
    def step(self, chance: int) -> None:
        rng = Random(chance)
        rng.choice(steps(self.world, rng))()

    def teardown(self) -> None:
        self.world.settle(Random(0))


TestWorlds = Worlds.TestCase
TestWorlds.settings = SOME_LIVES


@pytest.mark.once
def test_walks() -> None:
    for seed in range(300):
        walk(seed)


# -- planted defects ------------------------------------------------------------------------------


def takes_all(self: Cursor, at: Any) -> Verdict:
    self.at = at
    return Verdict.TAKE


def takes_again(self: Cursor, at: Any) -> Verdict:
    verdict = TAKE(self, at)
    return Verdict.TAKE if verdict is Verdict.DROP else verdict


def is_silent_about_new_lives(self: Cursor, at: Any) -> Verdict:
    verdict = TAKE(self, at)
    return Verdict.TAKE if verdict is Verdict.NEW_LIFE else verdict


def never_asks(self: Cursor, at: Any) -> Verdict:
    verdict = TAKE(self, at)
    return Verdict.DROP if verdict is Verdict.ASK else verdict


def jumps_in_silence(self: Streams, stream: str, cursor: Cursor, at: Any) -> None:
    cursor.at = at


def forgets_unaccepted(self: Outbox, seq: int) -> None:
    RESUME(self, seq)
    self._waiting.clear()


def sends_accepted_again(self: Outbox, seq: int) -> None:
    again = [item for item in self._accepted.values() if item.packet]
    RESUME(self, seq)
    self._put_back(again)


def keeps_numbers(self: Outbox, seq: int) -> None:
    before = self._next
    RESUME(self, seq)
    self._next = before


def sends_written_in_new_session(self: Outbox, seq: int) -> None:
    self._put_back(list(self._written.values()))
    self._written.clear()
    BEGIN(self, seq)


def goes_on_numbering(self: Outbox, seq: int) -> None:
    before = self._next
    BEGIN(self, seq)
    self._next = before


def replies_to_strangers(self: Outbox, seq: int) -> None:
    self.doubt_all()
    self._next = seq + 1


def trusts(self: Outbox) -> None:
    pass


def forgets_harmless(self: Outbox, items: list[Any]) -> None:
    for item in items:
        self._give_up(item, sessions.INVALID)


def loses_its_key(self: ClientSession, welcome: Any) -> None:
    key = self.key
    WELCOME(self, welcome)
    if key is not None:
        self.key = key


def believes_every_version(self: Mirror, presence: Any) -> Any:
    if self._current and self._version is not None:
        self._version = presence.version - 1
    return CHANGE(self, presence)


def does_not_catch_up(self: ClientSession, *, watched: bool) -> None:
    pass


def completes_nothing(self: Streams, stream: str, cursor: Cursor, at: Any) -> bool:
    cursor.origin = None
    return False


def remembers_no_former(self: Streams, stream: str) -> bool:
    ended = END(self, stream)
    self._former.clear()
    return ended


def does_not_doubt_streams(self: Streams) -> None:
    pass


def says_everything_at_once(self: ClientMachine, now: float, token: str | None = None) -> None:
    CONNECTED(self, now, token)
    self._session.open = True


def drops_what_has_no_outcome(self: Outbox, seq: int) -> Any:
    item = RESULT(self, seq)
    return None if item is not None and item.kind.__name__ == "Publish" else item


TAKE = Cursor.take
RESUME, BEGIN, RESULT = Outbox.resume, Outbox.begin, Outbox.result
WELCOME = ClientSession._take_welcome
CHANGE = Mirror.change
END = Streams.end
CONNECTED = ClientMachine.connected

DEFECTS: list[tuple[type, str, Callable[..., Any]]] = [
    (Cursor, "take", takes_all),
    (Cursor, "take", takes_again),
    (Cursor, "take", is_silent_about_new_lives),
    (Cursor, "take", never_asks),
    (Streams, "_jump", jumps_in_silence),
    (Streams, "_complete", completes_nothing),
    (Streams, "end", remembers_no_former),
    (Streams, "doubt", does_not_doubt_streams),
    (Outbox, "resume", forgets_unaccepted),
    (Outbox, "resume", sends_accepted_again),
    (Outbox, "resume", keeps_numbers),
    (Outbox, "begin", sends_written_in_new_session),
    (Outbox, "begin", goes_on_numbering),
    (Outbox, "begin", replies_to_strangers),
    (Outbox, "doubt_all", trusts),
    (Outbox, "doubt_accepted", trusts),
    (Outbox, "doubt", forgets_harmless),
    (Outbox, "result", drops_what_has_no_outcome),
    (ClientSession, "_take_welcome", loses_its_key),
    (ClientSession, "_restore_presence", does_not_catch_up),
    (Mirror, "change", believes_every_version),
    (ClientMachine, "connected", says_everything_at_once),
]


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name", "defect"), DEFECTS, ids=[defect.__name__ for _, _, defect in DEFECTS]
)
def test_a_planted_defect_is_found(
    monkeypatch: pytest.MonkeyPatch, kind: type, name: str, defect: Callable[..., Any]
) -> None:
    monkeypatch.setattr(kind, name, defect)
    monkeypatch.setitem(sessions._TAKE, packets.Welcome, ClientSession._take_welcome)
    for seed in range(600):
        try:
            walk(seed)
        except (AssertionError, KeyError):
            return
    pytest.fail("nobody noticed")
