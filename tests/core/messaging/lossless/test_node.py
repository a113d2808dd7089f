"""A node with its clients, packet by packet. The clauses of docs/protocol.md are named."""

from __future__ import annotations

import pytest

from sono_core.messaging.lossless import OWN, Data, Position, packets
from sono_core.messaging.lossless.packets import Begun, Failure, Join, Publish
from sono_core.messaging.lossless.server.sessions import Session
from tests.core.messaging.lossless.house import House


def test_a_new_client_is_welcome_in_the_home_channel() -> None:
    """5.3, 5.6."""
    house = House()
    welcome = house.line().hello()
    assert not welcome.resumed
    assert (welcome.id, welcome.seq, welcome.channel) == ("c1", 0, "Home")
    assert welcome.key.startswith("c1.")
    assert [begun.stream for begun in welcome.streams] == [OWN, "*", "#Home"]
    assert {(begun.at.offset, begun.recovered) for begun in welcome.streams} == {(0, False)}


def test_what_one_says_all_get_in_order_with_positions() -> None:
    """2.2, 4.2, 4.4."""
    house = House()
    a, b = house.line(), house.line()
    welcome = a.hello()
    b.hello()
    epoch = welcome.streams[2].at.epoch
    a.taken()
    b.taken()
    a.send(*(Publish(channel="Home", event="say", data=n, seq=n) for n in (1, 2, 3)))
    got = b.taken()
    assert [(event.at, event.data.value(), event.sender) for event in got] == [  # type: ignore[union-attr]
        (Position(epoch, n), n, "c1") for n in (1, 2, 3)
    ]
    mine = a.taken()
    results = [packet for packet in mine if isinstance(packet, packets.Result)]
    assert [(result.re, result.published) for result in results] == [
        (n, Position(epoch, n)) for n in (1, 2, 3)
    ]
    assert not any(isinstance(packet, packets.Ack) for packet in mine)  # the results said it


def test_who_comes_back_gets_exactly_what_was_missed() -> None:
    """5.5, 5.6; also its own results."""
    house = House()
    a, b = house.line(), house.line()
    welcome = a.hello()
    b.hello()
    at = {begun.stream: begun.at for begun in welcome.streams}
    a.lose()
    for n in (1, 2):
        b.send(Publish(channel="Home", event="say", data=n, seq=n))
    b.send(packets.Send(to=welcome.id, event="psst", data="x", seq=3))
    again = house.line()
    back = again.hello(key=welcome.key, streams=at)
    assert back.resumed
    assert back.id == welcome.id
    assert back.key != welcome.key
    assert [begun.recovered for begun in back.streams] == [True, True, True]
    _, psst, *said = again.taken()
    assert (psst.event, psst.stream, psst.at.offset) == ("psst", OWN, 1)  # type: ignore[union-attr]
    assert [event.data.value() for event in said] == [1, 2]  # type: ignore[union-attr]
    b.send(Publish(channel="Home", event="say", data=3, seq=4))
    (live,) = again.taken()
    assert live.at.offset == 3  # type: ignore[union-attr]


def test_who_missed_more_than_one_piece_gets_all_of_it_in_order() -> None:
    """5.6; a member gets 64 KiB at once."""
    house = House()
    a, b = house.line(), house.line()
    welcome = a.hello()
    b.hello()
    a.lose()
    large = ["x" * 20_000 + str(n) for n in range(5)]
    for seq, data in enumerate(large, 1):
        b.send(Publish(channel="Home", event="say", data=data, seq=seq))
    at = {begun.stream: begun.at for begun in welcome.streams}
    again = house.line()
    assert again.hello(key=welcome.key, streams=at).resumed
    said = [packet for packet in again.taken() if isinstance(packet, packets.Event)]
    assert [event.data.value() for event in said if event.stream == "#Home"] == large


@pytest.mark.parametrize("seq", [1, 2, 4])
def test_numbers(seq: int) -> None:
    """3.2, 3.3."""
    house = House()
    a = house.line()
    a.hello()
    a.send(Publish(channel="Home", event="x", data=None, seq=1))
    a.send(Publish(channel="Home", event="unwanted", data=None, seq=2))
    before = len(house.heard)
    answer = a.send(Publish(channel="Home", event="x", data=None, seq=seq))
    assert len(house.heard) == before
    (packet,) = answer
    if seq == 4:
        assert packet == packets.Error(code="bad-seq", message="the next number is 3")
    else:
        assert isinstance(packet, packets.Result)
        assert packet.re == seq
        assert (packet.error is None) == (seq == 1)


def test_a_join_begins_a_stream_and_twice_is_harmless() -> None:
    """2.11, 3.8, 4.6."""
    house = House()
    a = house.line()
    a.hello()
    house.hub.create("room")
    (first,) = a.send(Join(seq=1, channel="room"))
    assert isinstance(first, packets.Result)
    begun = first.data.value()
    assert (begun["stream"], begun["at"][1], begun["recovered"]) == ("#room", 0, False)
    house.emit("room", "x", 1)
    (event,) = a.taken()[-1:]
    assert isinstance(event, packets.Event)
    (second,) = a.send(Join(seq=2, channel="room"))
    assert isinstance(second, packets.Result)
    assert second.data.value()["at"] == [event.at.epoch, 1]  # type: ignore[union-attr]
    (no,) = a.send(Join(seq=3, channel="forbidden"))
    assert isinstance(no, packets.Result)
    assert no.error == Failure("forbidden", "no")
    assert house.hub.channels_of("c1") == ["Home", "room"]


def test_a_stream_that_was_evicted_does_not_spoil_another() -> None:
    """5.6, 5.7."""
    house = House()
    a = house.line()
    welcome = a.hello()
    a.send(Join(seq=1, channel="room"))
    at = {begun.stream: begun.at for begun in welcome.streams}
    room = a.got[-1].data.value()  # type: ignore[union-attr]
    at["#room"] = Position(*room["at"])
    a.lose()
    for n in range(150):
        house.emit("room", "x", n)
    house.emit("Home", "y", "kept")
    again = house.line()
    back = {begun.stream: begun for begun in again.hello(key=welcome.key, streams=at).streams}
    assert back["#Home"] == Begun("#Home", at["#Home"], True)
    assert back["#room"] == Begun("#room", Position(at["#room"].epoch, 50), False)
    offsets = [p.at.offset for p in again.got if getattr(p, "stream", "") == "#room"]  # type: ignore[union-attr]
    assert offsets == list(range(51, 151))


def two(town: House) -> tuple[Session, Session]:
    """Sessions of two clients that have said hello; the second has lost its connection."""
    lines = town.line(), town.line()
    for line in lines:
        line.hello()
    lines[1].lose()
    first, second = (line.conversation.session for line in lines)
    assert first is not None
    assert second is not None
    return first, second


def test_of_requests_that_time_out_at_once_one_may_end_the_others_session() -> None:
    town = House()
    sessions = two(town)
    for session in sessions:
        assert town.node.await_answer(session, packets.Request(1, "later", None))
    town.node.sessions._held += 1 << 20  # the next byte is too much
    town.wait(30.0)
    assert [client for client, _ in town.over] == [sessions[1].id]
    (result,) = [got for got in town.lines[sessions[0].id].got if isinstance(got, packets.Result)]
    assert result.error is not None
    assert (result.error.code, result.error.temporary) == ("timeout", True)
    assert not town.node.awaits_answer(sessions[0], packets.Request(1, "later", None))


def test_of_requests_that_time_out_at_once_the_first_may_end_the_session_of_the_second() -> None:
    town = House()
    sessions = two(town)  # of which the second has no connection
    for session in sessions:
        assert town.node.await_answer(session, packets.Request(1, "later", None))
    town.lines[sessions[0].id].lose()
    town.node.sessions._held += 1 << 20  # which is never enough
    town.wait(30.0)
    assert [client for client, _ in town.over] == [sessions[1].id, sessions[0].id]


def test_of_questions_that_time_out_at_once_one_may_end_the_others_session() -> None:
    town = House()
    first, second = two(town)
    answers: list[tuple[str, str]] = []

    def ended(data: object, error: Failure | None) -> None:
        assert error is not None
        answers.append(("first", error.code))
        town.node.end(second, 4013)

    def over(data: object, error: Failure | None) -> None:
        assert error is not None
        answers.append(("second", error.code))

    town.node.ask(first, "q", Data.of(1), 10.0, ended)
    town.node.ask(second, "q", Data.of(1), 10.0, over)
    assert town.node.asks(first.id)
    town.wait(10.0)
    assert answers == [("first", "timeout"), ("second", "unknown")]
    assert not town.node.asks(first.id)
    assert not town.node.asks(second.id)
