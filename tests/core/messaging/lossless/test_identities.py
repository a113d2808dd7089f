"""Who a client is, and for how long."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from sono_core.messaging.lossless import Position, packets
from sono_core.messaging.lossless.server.identities import ENDED, Terms, same
from tests.core.messaging.lossless.house import House, Line


@dataclass
class Person:
    name: str
    expires_at: float | None = None
    seen: int = field(default=0, compare=False)


class Member(msgspec.Struct):
    name: str
    expires_at: float | None = None


class Plain(msgspec.Struct):
    name: str


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("ann", "ann", True),
        ("ann", "bob", False),
        (1, True, False),
        (None, None, True),
        (None, "ann", False),
        (Person("ann", 1.0), Person("ann", 2.0), True),
        (Person("ann", 1.0), Person("ann"), True),
        (Person("ann", 1.0, 7), Person("ann", 2.0, 8), True),
        (Person("ann", 1.0), Person("bob", 1.0), False),
        (Member("ann", 1.0), Member("ann", 2.0), True),
        (Member("ann", 1.0), Member("bob", 1.0), False),
        (Member("ann", 1.0), Person("ann", 1.0), False),
        (Plain("ann"), Plain("ann"), True),
        (Plain("ann"), Plain("bob"), False),
        ({"sub": 1, "expires_at": 1}, {"sub": 1, "expires_at": 2}, True),
        ({"sub": 1, "expires_at": 1}, {"sub": 1}, True),
        ({"sub": 1, "expires_at": 1}, {"sub": 2, "expires_at": 1}, False),
        (SimpleNamespace(expires_at=1), SimpleNamespace(expires_at=2), False),
    ],
)
def test_identities_are_the_same_whenever_they_end(one: Any, other: Any, equal: bool) -> None:
    assert same(one, other) is equal
    assert same(other, one) is equal


# -- terms ----------------------------------------------------------------------------------------


def test_who_has_no_end_is_asked_nothing() -> None:
    terms = Terms(60.0)
    assert terms.deadline is None
    terms.begin("a", None, 0.0)
    terms.forget("a")
    assert terms.deadline is None
    assert terms.tick(1e9) == []


def test_a_token_is_asked_for_before_the_end() -> None:
    terms = Terms(60.0)
    terms.begin("a", 3600.0, 0.0)
    assert terms.deadline == 3540.0
    assert terms.tick(3539.9) == []
    assert terms.tick(3540.0) == [("a", 60.0)]
    assert terms.deadline == 3600.0
    assert terms.tick(3599.0) == []
    assert terms.tick(3600.5) == [("a", 0.0)]
    assert terms.deadline is None


def test_a_short_time_is_asked_about_in_its_last_quarter() -> None:
    terms = Terms(60.0)
    terms.begin("a", 108.0, 100.0)
    assert terms.tick(106.0) == [("a", 2.0)]


def test_what_is_late_for_both_is_over() -> None:
    terms = Terms(60.0)
    terms.begin("a", 100.0, 0.0)
    assert terms.tick(200.0) == [("a", 0.0)]
    terms.begin("a", 100.0, 200.0)  # it had ended when it began
    assert terms.tick(200.0) == [("a", 0.0)]


def test_a_fresh_token_counts_from_then_on() -> None:
    terms = Terms(10.0)
    terms.begin("a", 100.0, 0.0)
    terms.begin("b", 100.0, 0.0)
    terms.begin("c", 100.0, 0.0)
    assert sorted(terms.tick(90.0)) == [("a", 10.0), ("b", 10.0), ("c", 10.0)]
    terms.begin("a", 200.0, 95.0)
    terms.begin("b", None, 95.0)
    terms.forget("c")
    assert terms.tick(150.0) == []
    assert terms.tick(190.0) == [("a", 10.0)]


def test_who_renews_without_end_costs_no_memory() -> None:
    terms = Terms(10.0)
    for number in range(1000):
        terms.begin("a", 1000.0 + number, float(number))
        terms.begin("a", 1000.0 + number, float(number))
    assert len(terms._due) < 100
    assert terms.tick(1988.0) == []
    assert terms.tick(1989.0) == [("a", 10.0)]


# -- on the node ----------------------------------------------------------------------------------


def house(lasts: float | None = 100.0) -> House:
    house = House()
    house.lasts = lasts
    house.identity = lambda token: Person(token or "nobody")
    return house


def renewals(line: Line) -> list[packets.FromServer]:
    return [packet for packet in line.taken() if isinstance(packet, packets.Renew)]


def test_a_client_is_asked_for_a_token_and_closed_without_one() -> None:
    one = house()
    line = one.line()
    line.hello(token="ann")
    one.wait(74.9)
    assert renewals(line) == []
    one.wait(0.2)
    assert renewals(line) == [packets.Renew(seconds=25.0)]
    one.wait(24.8)
    assert line.closed is None
    one.wait(0.2)
    assert line.closed == ENDED
    assert line.send() == []
    assert one.over == []


def test_the_session_waits_for_a_fresh_token_as_for_any_connection() -> None:
    one = house()
    line = one.line()
    welcome = line.hello(token="ann")
    one.wait(101.0)
    assert line.closed == ENDED
    again = one.line()
    assert again.hello(token="ann", key=welcome.key).resumed
    assert one.node.sessions[welcome.id].attached is again
    one.wait(99.0)
    assert again.closed is None
    one.wait(2.0)
    assert again.closed == ENDED
    one.wait(61.0)
    assert one.over == [(welcome.id, 1006)]


def test_what_comes_on_that_connection_counts_no_more() -> None:
    one = house()
    line = one.line()
    line.hello(token="ann")
    one.wait(101.0)
    line.taken()
    line.closed = None  # its Close is still under way
    line.send(packets.Publish(seq=1, channel="Home", event="e", data=1))
    assert [type(packet) for packet in line.got] == [packets.Error]
    assert one.heard == []


def test_a_fresh_token_prolongs_the_identity() -> None:
    one = house()
    line = one.line()
    welcome = line.hello(token="ann")
    session = one.node.sessions[welcome.id]
    one.wait(80.0)
    assert len(renewals(line)) == 1
    one.lasts = 1000.0
    line.send(packets.Token(token="ann"))
    assert session.ends == one.now + 1000.0
    one.wait(900.0)
    assert (line.closed, renewals(line)) == (None, [])
    one.wait(41.0)
    assert len(renewals(line)) == 1
    one.lasts = None
    line.send(packets.Token(token="ann"))
    one.wait(10_000.0)
    assert line.closed is None


def test_a_token_of_somebody_else_ends_the_session() -> None:
    one = house()
    line = one.line()
    welcome = line.hello(token="ann")
    line.send(packets.Token(token="bob"))
    assert line.closed == (4011, "the identity is refused")
    assert one.over == [(welcome.id, 4011)]


def test_a_lost_connection_is_asked_nothing() -> None:
    one = house()
    line = one.line()
    welcome = line.hello(token="ann")
    line.lose()
    one.wait(50.0)
    again = one.line()
    assert again.hello(token="ann", key=welcome.key).resumed
    one.wait(60.0)
    assert (again.closed, renewals(line), renewals(again)) == (None, [], [])


def test_a_token_for_a_connection_that_is_lost_meanwhile_is_for_the_next() -> None:
    one = house()
    line = one.line()
    welcome = line.hello(token="ann")
    session = one.node.sessions[welcome.id]
    line.lose()
    one.node.renewed(session, Person("ann"), 500.0)
    assert session.ends == one.now + 500.0
    assert one.node._terms.deadline is None or one.node._terms.tick(1e9) == []


def test_a_token_for_a_session_that_has_ended_changes_nothing() -> None:
    one = house()
    line = one.line()
    line.hello(token="ann")
    work = line.conversation.receive(packets.Token(token="ann"))
    assert work is not None
    line.conversation.receive(packets.Bye())
    one.carry_out(line, work)
    assert one.node.deadline < float("inf")
    one.wait(1000.0)


def test_what_was_said_where_nobody_may_hear_it_is_not_heard() -> None:
    """Handlers hear of nothing that cannot be delivered."""
    one = House()
    line = one.line()
    line.hello()
    for packet, code in (
        (packets.Publish(seq=1, channel="room", event="e", data=1), "not-a-member"),
        (packets.Send(seq=2, to="nobody", event="e", data=1), "unknown-client"),
        (packets.Publish(seq=3, channel="Home", event="e", data=1), None),
        (packets.Send(seq=4, to=line.client, event="e", data=1), None),
    ):
        work = line.conversation.receive(packet)
        assert work is not None
        failure = line.conversation.objection(work)  # type: ignore[arg-type]
        assert (failure.code if failure else None) == code


def test_the_application_has_pages_of_a_channels_past() -> None:
    one = House()
    line = one.line()
    line.hello()
    positions = [one.emit("Home", "e", number) for number in range(5)]
    page = one.node.page("Home", None, 2).value
    assert ([entry.at for entry in page.entries], page.more) == (positions[3:], True)
    page = one.node.page("Home", positions[3], 100).value
    assert ([entry.at for entry in page.entries], page.more) == (positions[:3], False)
    assert one.node.page("nowhere", Position("e", 1), 100).value.entries == ()


def test_a_snapshot_for_the_application_has_all_members() -> None:
    one = House()
    one.node.presence._most = 1
    for _ in range(3):
        one.line().hello()
    assert len(one.node.presence.snapshot("Home").members) == 1
    assert len(one.node.presence.snapshot("Home", 1000).members) == 3
