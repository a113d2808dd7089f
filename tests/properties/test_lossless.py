"""Clients, a node and a backplane together: nothing is lost in silence, nothing comes twice, nobody
gets what is for others, and each packet ends once, as what it was. Defects that are planted are
found.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from sono_core.messaging import Publish
from sono_core.messaging.lossless import Missing, Position, Receipt, packets
from sono_core.messaging.lossless.client.cursor import Cursor, Verdict
from sono_core.messaging.lossless.client.streams import Streams
from sono_core.messaging.lossless.feed import Feed
from sono_core.messaging.lossless.server.conversation import Conversation
from sono_core.messaging.lossless.server.delivery import Delivery, Turn, event
from sono_core.messaging.lossless.server.following import Following
from sono_core.messaging.lossless.server.memberships import Memberships
from sono_core.messaging.lossless.server.node import Node
from sono_core.messaging.lossless.server.questions import Questions
from sono_core.messaging.lossless.server.sessions import Numbering, Session
from tests.helpers import SOME_LIVES
from tests.properties.lossless_town import ROOMS, Client, Town, Wire


def steps(town: Town) -> list[Callable[[], object]]:
    """What may happen next."""
    rng = town.random
    client = rng.choice(town.clients)
    found: list[Callable[[], object]] = [
        lambda: town.say(client, "publish"),
        lambda: town.say(client, rng.choice(("publish", "send"))),
        lambda: town.say(client, rng.choice(("join", "join", "leave", "move", "request"))),
        lambda: town.flush(client),
    ]
    rare: list[Callable[[], object]] = [
        lambda: town.emit_something(rng.choice((None, "Home", *ROOMS))),
        lambda: town.let_time_pass(rng.choice((0.1, 1.0, 5.0, 11.0))),
        lambda: town.volatile(client),
        lambda: rng.random() < 0.2 and town.renew(rng.choice(("*", "#Home", "#a", "#b"))),
    ]
    if town.node.sessions:
        some = rng.choice(list(town.node._kept))
        rare += [lambda: town.direct_something(some), lambda: town.ask_something(some)]
    if client.asked:
        found.append(lambda: town.say(client, "reply"))
    if town.opening:
        found += [lambda: town.opening.pop(rng.randrange(len(town.opening)))()] * 4
    if town.work:
        found += [lambda: town.work_on(rng.choice(list(town.work)))] * 6
    if town.distant:
        found += [lambda: several(rng, town.distant.step)] * 6  # type: ignore[union-attr]
    if town.zombies:
        zombie = rng.choice(town.zombies)
        if zombie.up:
            found += [lambda: town.serve(zombie)] * 3
        rare += [lambda: reach(town, zombie)] * 2
    wire = client.wire
    if wire is None:
        found += [lambda: town.connect(client)] * 6
        rare.append(lambda: town.let_time_pass(61.0))
    else:
        found += [lambda: climb(town, client)] * 6
        if wire.got:
            found += [lambda: several(rng, lambda: bool(wire.got) and town.deliver_one(client))] * 6
        if client.machine.dead or wire.closed:
            found += [lambda: town.cut(client, wire.closed[0] if wire.closed else 1006)] * 10
        rare += [
            lambda: town.cut(client, None),
            lambda: town.cut(client, 1006),
            lambda: town.drain(wire, rng.choice((1, 2, 100))),
            lambda: town.drain(wire, rng.choice((1, 2, 100))),
        ]
        if rng.random() < 0.05:
            rare.append(lambda: town.bye(client))
    return found if rng.random() < 0.8 else rare


def several(rng: Random, step: Callable[[], object]) -> None:
    for _ in range(rng.randrange(1, 6)):
        step()


def reach(town: Town, zombie: Wire) -> None:
    town.zombies.remove(zombie)
    town.reach(zombie)


def climb(town: Town, client: Client) -> None:
    """What the client has written reaches the server, one packet of it."""
    town.flush(client)
    if client.wire and client.wire.up:
        town.serve(client.wire)


def walk(seed: int, length: int = 300) -> None:
    """Some steps at random, and the reckoning."""
    rng = Random(seed)
    town = Town(rng, distant=seed % 4 != 0, short=seed % 3 == 1)
    town.run_dry()
    for _ in range(length):
        rng.choice(steps(town))()
    town.settle()


@pytest.mark.once
def test_walks() -> None:
    for seed in range(100):
        walk(seed)


@pytest.mark.once
@pytest.mark.slow
def test_long_walks() -> None:
    for seed in range(100, 500):
        walk(seed, 600)


class Towns(RuleBasedStateMachine):
    """The same, with steps that hypothesis chooses."""

    @initialize(seed=st.integers(0, 2**32), distant=st.booleans(), short=st.booleans())
    def begin(self, seed: int, distant: bool, short: bool) -> None:
        self.town = Town(Random(seed), distant=distant, short=short)
        self.town.run_dry()

    @rule(chance=st.integers(0, 2**32))
    def step(self, chance: int) -> None:
        self.town.random.seed(chance)
        self.town.random.choice(steps(self.town))()

    def teardown(self) -> None:
        if hasattr(self, "town"):
            self.town.random.seed(0)
            self.town.settle()


TestTowns = Towns.TestCase
TestTowns.settings = SOME_LIVES


# -- planted defects ------------------------------------------------------------------------------

REPLAYED, DELIVERED, TELL = Delivery.replayed, Delivery.delivered, Delivery.tell
PUBLISH, PUBLISHED, DIRECT = Delivery.publish, Delivery._published, Delivery.direct
BEGIN = Following.begin
DETACH, LOST, ANSWER = Node._detach, Node.lost, Questions.answer
RECEIVE, NUMBER = Conversation.receive, Session.number


def nothing(*_: Any, **__: Any) -> None:
    pass


def forgets_the_marker(self: Delivery, name: str, member: str, item: Any) -> bool:
    if isinstance(getattr(item, "body", None), Publish) and item.body.skip == member:
        return True
    return REPLAYED(self, name, member, item)


def gives_a_broadcast_to_its_sender(self: Delivery, name: str, member: str, item: Any) -> bool:
    if isinstance(getattr(item, "body", None), Publish):
        return self.host.replay(self.sessions[member].attached, event(item.body, name, item.at))
    return REPLAYED(self, name, member, item)


def replays_no_gap(self: Delivery, name: str, member: str, item: Any) -> bool:
    return isinstance(item, Missing) or REPLAYED(self, name, member, item)


def delivers_to_those_behind(self: Delivery, name: str, entry: Any, behind: Any) -> None:
    DELIVERED(self, name, entry, ())


def keeps_no_results(self: Delivery, session: Session, packet: Any, *others: Any) -> Any:
    if isinstance(packet, packets.Result) and session.attached is None:
        return Receipt.of(None)
    return TELL(self, session, packet, *others)


def answers_before_it_is_published(self: Delivery, publication: Any, seq: Any = None) -> Any:
    receipt = PUBLISH(self, publication)
    if seq is not None:
        self.answer(self.sessions[publication.sender], seq)
    return receipt


def publishes_without_a_place(self: Delivery, publication: Any, seq: Any = None) -> Any:
    self.publish_volatile(publication)
    if seq is not None:
        self.answer(self.sessions[publication.sender], seq)


def sends_only_to_those_here(self: Delivery, delivery: Any, seq: Any = None, **_: Any) -> None:
    there = self._kept[delivery.client].session.attached is not None
    DIRECT(self, delivery, seq, volatile=not there)


def begins_at_the_top(self: Following, name: str, member: str, position: Any) -> Any:
    return BEGIN(self, name, member, None)


def begins_anew_in_silence(self: Following, name: str, member: str, position: Any) -> Any:
    places = self._places.setdefault(member, {})
    places.pop(name, None)
    return BEGIN(self, name, member, position)


def replays_nothing(self: Following, member: str, names: Any = None) -> None:
    for name in list(self._places.get(member, {})) if names is None else names:
        self.leave(name, member)


def forgets_without_connection(self: Node, session: Session, connection: Any, size: int) -> None:
    if connection in (session.attached, session.opening):
        self.end(session, 1006)


def forgets_numbers(self: Node, session: Session, connection: Any, size: int) -> None:
    LOST(self, session, connection, size)
    session.accepted = 0


def keeps_following(self: Node, session: Session) -> None:
    session.attached, session.opening, attached = None, None, session.attached
    if attached is not None:
        self.host.detached(session.id)


def hears_old_connections(self: Conversation, packet: Any) -> Any:
    session = self.session
    if session is None or session.attached is None:
        return RECEIVE(self, packet)
    attached, session.attached = session.attached, self._connection
    work = RECEIVE(self, packet)
    if session.attached is self._connection:
        session.attached = attached
    return work


def records_no_numbers(self: Session, seq: int) -> Numbering:
    numbering = NUMBER(self, seq)
    if numbering is Numbering.NEXT and seq % 3 == 0:
        self.accepted -= 1
    return numbering


def handles_again(self: Session, seq: int) -> Numbering:
    NUMBER(self, seq)
    return Numbering.NEXT


def knows_no_former_key(self: Session, secret: str) -> bool:
    return secret == self._secret


def client_takes_all(self: Cursor, at: Position) -> Verdict:
    self.at = at
    return Verdict.TAKE


def client_jumps_in_silence(self: Streams, stream: str, cursor: Cursor, at: Position) -> None:
    cursor.at = at


def tells_at_once(self: Turn, tell: Callable[[], Any]) -> None:
    self._kept.turns.remove(self)
    tell()


def answers_again(self: Questions, id: int, data: Any, error: Any) -> bool:
    waiting = self._waiting.get(id)
    if waiting is not None:
        waiting[1](data, error)
    return ANSWER(self, id, data, error)


def never_leaves(self: Memberships, client: str, channel: str) -> None:
    pass


DEFECTS: list[tuple[type, str, Callable[..., Any]]] = [
    (Delivery, "replayed", forgets_the_marker),
    (Delivery, "replayed", gives_a_broadcast_to_its_sender),
    (Delivery, "replayed", replays_no_gap),
    (Delivery, "delivered", delivers_to_those_behind),
    (Delivery, "tell", keeps_no_results),
    (Delivery, "_published", nothing),
    (Delivery, "publish", answers_before_it_is_published),
    (Delivery, "publish", publishes_without_a_place),
    (Delivery, "direct", sends_only_to_those_here),
    (Turn, "come", tells_at_once),
    (Following, "begin", begins_at_the_top),
    (Following, "begin", begins_anew_in_silence),
    (Following, "go_on", replays_nothing),
    (Following, "passed", nothing),
    (Following, "leave", nothing),
    (Following, "_compare", nothing),
    (Memberships, "_leave", never_leaves),
    (Node, "lost", forgets_without_connection),
    (Node, "lost", forgets_numbers),
    (Node, "_detach", keeps_following),
    (Node, "_expel", nothing),
    (Conversation, "receive", hears_old_connections),
    (Session, "number", records_no_numbers),
    (Session, "number", handles_again),
    (Session, "renew", nothing),
    (Session, "opens", knows_no_former_key),
    (Questions, "answer", answers_again),
    (Feed, "check", nothing),
    (Cursor, "take", client_takes_all),
    (Streams, "_jump", client_jumps_in_silence),
]


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name", "defect"),
    DEFECTS,
    ids=[f"{kind.__name__}.{name}-{defect.__name__}" for kind, name, defect in DEFECTS],
)
def test_a_planted_defect_is_found(
    monkeypatch: pytest.MonkeyPatch, kind: type, name: str, defect: Callable[..., Any]
) -> None:
    monkeypatch.setattr(kind, name, defect)
    for seed in range(3000):
        try:
            walk(seed)
        except (AssertionError, KeyError, AttributeError):
            return
    pytest.fail("nobody noticed")
