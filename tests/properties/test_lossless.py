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
from sono_core.messaging.lossless.client.outbox import Outbox
from sono_core.messaging.lossless.client.streams import Streams
from sono_core.messaging.lossless.feed import Feed
from sono_core.messaging.lossless.nodes import LetGo
from sono_core.messaging.lossless.server.arrivals import Arrivals
from sono_core.messaging.lossless.server.conversation import Conversation
from sono_core.messaging.lossless.server.delivery import Delivery, event
from sono_core.messaging.lossless.server.following import Following
from sono_core.messaging.lossless.server.handing_over import HandingOver
from sono_core.messaging.lossless.server.kept import Turn
from sono_core.messaging.lossless.server.memberships import Memberships
from sono_core.messaging.lossless.server.node import Node
from sono_core.messaging.lossless.server.questions import Questions
from sono_core.messaging.lossless.server.sessions import Numbering, Session
from tests.backplane.brokers import broker, require_redis
from tests.helpers import SOME_LIVES
from tests.properties.lossless_country import ROOMS, Client, Country
from tests.properties.lossless_town import Town, Wire


def steps(country: Country) -> list[Callable[[], object]]:
    """What may happen next."""
    rng = country.random
    client = rng.choice(country.clients)
    town = rng.choice(country.working)
    found: list[Callable[[], object]] = [
        lambda: country.say(client, "publish"),
        lambda: country.say(client, rng.choice(("publish", "send"))),
        lambda: country.say(client, rng.choice(("join", "join", "leave", "move", "request"))),
        lambda: country.flush(client),
    ]
    rare: list[Callable[[], object]] = [
        lambda: town.emit_something(rng.choice((None, "Home", *ROOMS))),
        lambda: country.let_time_pass(rng.choice((0.1, 1.0, 5.0, 11.0))),
        lambda: country.volatile(client),
        lambda: rng.random() < 0.2 and country.renew(rng.choice(("*", "#Home", "#a", "#b"))),
    ]
    if town.node.sessions:
        some = rng.choice(list(town.node.sessions.all())).id
        rare += [lambda: town.direct_something(some), lambda: town.ask_something(some)]
    if client.asked:
        found.append(lambda: country.say(client, "reply"))
    if town.opening:
        found += [lambda: town.opening.pop(rng.randrange(len(town.opening)))()] * 4
    if town.work:
        found += [lambda: town.work_on(rng.choice(list(town.work)))] * 6
    if town.distant:
        found += [lambda: several(rng, town.distant.step)] * 6  # type: ignore[union-attr]
    zombies = [wire for wire in country.zombies if not wire.town.stopped]
    if zombies:
        zombie = rng.choice(zombies)
        if zombie.up:
            found += [lambda: zombie.town.serve(zombie)] * 3
        rare += [lambda: reach(country, zombie)] * 2
    if country.shared:
        rare += others(country, town)
    wire = client.wire
    if wire is None:
        found += [lambda: country.connect(client)] * 6
        rare.append(lambda: country.let_time_pass(61.0))
    else:
        found += [lambda: climb(country, client)] * 6
        if wire.got:
            found += [
                lambda: several(rng, lambda: bool(wire.got) and country.deliver_one(client))
            ] * 6
        if client.machine.dead or wire.closed:
            found += [lambda: country.cut(client, wire.closed[0] if wire.closed else 1006)] * 10
        rare += [
            lambda: country.cut(client, None),
            lambda: country.cut(client, 1006),
        ]
        if not wire.town.stopped:
            rare += [lambda: wire.town.drain(wire, rng.choice((1, 2, 100)))] * 2
        if rng.random() < 0.05:
            rare.append(lambda: country.bye(client))
    return found if rng.random() < 0.8 else rare


def several(rng: Random, step: Callable[[], object]) -> None:
    for _ in range(rng.randrange(1, 6)):
        step()


def others(country: Country, town: Town) -> list[Callable[[], object]]:
    """What may become of one of several nodes."""
    stopped = [one for one in country.towns if one.stopped]
    if stopped:
        return [lambda: country.go_on(stopped[0])] * 4
    return [lambda: country.stop(town), lambda: country.lose(town)]


def reach(country: Country, zombie: Wire) -> None:
    country.zombies.remove(zombie)
    zombie.town.reach(zombie)


def climb(country: Country, client: Client) -> None:
    """What the client has written reaches the server, one packet of it."""
    country.flush(client)
    if client.wire and client.wire.up and not client.wire.town.stopped:
        client.wire.town.serve(client.wire)


def walk(seed: int, length: int = 300, nodes: int = 1) -> None:
    """Some steps at random, and the reckoning."""
    country = Country(Random(seed), distant=seed % 4 != 0, short=seed % 3 == 1, nodes=nodes)
    go_through(country, length)


def go_through(country: Country, length: int) -> None:
    country.run_dry()
    for _ in range(length):
        country.random.choice(steps(country))()
    country.settle()


@pytest.mark.once
@pytest.mark.parametrize("nodes", [1, 3])
def test_walks(nodes: int) -> None:
    for seed in range(100):
        walk(seed, nodes=nodes)


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("nodes", [1, 3])
def test_long_walks(nodes: int) -> None:
    for seed in range(100, 500):
        walk(seed, 600, nodes)


@pytest.mark.once
@pytest.mark.slow
def test_walks_behind_one_redis() -> None:
    require_redis()
    from tests.properties.lossless_on_redis import CountryOnRedis

    with broker() as server:
        for seed in range(20):
            country = CountryOnRedis(Random(seed), server.url, short=seed % 3 == 1)
            go_through(country, 300)
            country.close()


class Countries(RuleBasedStateMachine):
    """The same, with steps that hypothesis chooses."""

    @initialize(
        seed=st.integers(0, 2**32),
        distant=st.booleans(),
        short=st.booleans(),
        nodes=st.sampled_from([1, 3]),
    )
    def begin(self, seed: int, distant: bool, short: bool, nodes: int) -> None:
        self.country = Country(Random(seed), distant=distant, short=short, nodes=nodes)
        self.country.run_dry()

    @rule(chance=st.integers(0, 2**32))
    def step(self, chance: int) -> None:
        self.country.random.seed(chance)
        self.country.random.choice(steps(self.country))()

    def teardown(self) -> None:
        if hasattr(self, "country"):
            self.country.random.seed(0)
            self.country.settle()


TestCountries = Countries.TestCase
TestCountries.settings = SOME_LIVES


# -- planted defects ------------------------------------------------------------------------------

REPLAYED, DELIVERED, TELL = Delivery.replayed, Delivery.delivered, Delivery.tell
PUBLISH, PUBLISHED, DIRECT = Delivery.publish, Delivery._published, Delivery.direct
BEGIN = Following.begin
DETACH, LOST, ANSWER = Node._detach, Node.lost, Questions.answer
RECEIVE, NUMBER = Conversation.receive, Session.number
SAY_GONE, PASS_ON = Arrivals.say_gone, Arrivals.pass_on
ARRIVE, RESUME = Node._arrive, Outbox.resume


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


def keeps_no_results(
    self: Delivery, session: Session, packet: Any, *others: Any, **named: Any
) -> Any:
    if isinstance(packet, packets.Result) and session.attached is None:
        return Receipt.of(None)
    return TELL(self, session, packet, *others, **named)


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


def keeps_its_word_to_itself(self: Arrivals, to: Any, accepted: int) -> None:
    if accepted:
        SAY_GONE(self, to, accepted)


def tells_before_it_is_saved(self: Delivery, session: Session, publish: Any) -> Any:
    return publish()


def doubts_nothing(self: Node, opening: Any, arrived: Any) -> None:
    ARRIVE(self, opening, arrived._replace(doubtful=[]))


def changes_memberships_to_the_end(self: HandingOver, session: Session) -> bool:
    return False


def lets_in_whoever_was_passed_on(self: Arrivals, said: LetGo) -> Any:
    session = PASS_ON(self, said)
    if session is not None and session.opening is not None:
        session.opening = None  # so that its connection is not closed
    return session


def fetches_nothing(self: HandingOver, key: str, identity: Any) -> None:
    return None


def numbers_anew(self: Outbox, seq: int) -> None:
    RESUME(self, seq)
    self._highest = seq
    for item in self._waiting.values():
        item.former = None


DEFECTS_OF_SEVERAL: list[tuple[type, str, Callable[..., Any]]] = [
    (Arrivals, "say_gone", keeps_its_word_to_itself),
    (Delivery, "_put", tells_before_it_is_saved),
    (Node, "_arrive", doubts_nothing),
    (HandingOver, "leaves", changes_memberships_to_the_end),
    (HandingOver, "fetch", fetches_nothing),
    (Memberships, "_changed", nothing),
    (HandingOver, "outrun", nothing),
    (Arrivals, "pass_on", lets_in_whoever_was_passed_on),
    (Outbox, "resume", numbers_anew),
]
PLANTED = [*((1, *one) for one in DEFECTS), *((3, *one) for one in DEFECTS_OF_SEVERAL)]


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize(
    ("nodes", "kind", "name", "defect"),
    PLANTED,
    ids=[f"{nodes}-{kind.__name__}.{name}-{one.__name__}" for nodes, kind, name, one in PLANTED],
)
def test_a_planted_defect_is_found(
    monkeypatch: pytest.MonkeyPatch,
    nodes: int,
    kind: type,
    name: str,
    defect: Callable[..., Any],
) -> None:
    monkeypatch.setattr(kind, name, defect)
    for seed in range(3000):
        try:
            walk(seed, nodes=nodes)
        except (AssertionError, KeyError, AttributeError):
            return
    pytest.fail("nobody noticed")
