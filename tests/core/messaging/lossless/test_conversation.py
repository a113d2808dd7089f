"""Connections of a node's clients: opening, losing and ending them. docs/protocol.md, section 5."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from sono_core.messaging import Deliver
from sono_core.messaging import Publish as Publication
from sono_core.messaging.lossless import Data, Position, packets
from sono_core.messaging.lossless.packets import Failure, Hello, Join, Leave, Publish, Request, Send
from sono_core.messaging.lossless.server.conversation import (
    Answer,
    Authorise,
    Do,
    Enumerate,
    Hear,
    Identify,
    Work,
)
from sono_core.messaging.lossless.server.questions import GONE
from tests.core.messaging.lossless.house import House, Line
from tests.core.messaging.lossless.slow import Slow


def house() -> tuple[House, Slow]:
    made = House(Slow)
    assert isinstance(made.backplane, Slow)
    return made, made.backplane


def works(line: Line, packet: packets.FromClient) -> Work:
    """What the application is asked."""
    work = line.conversation.receive(packet)
    assert work is not None
    return work


# -- opening --------------------------------------------------------------------------------------


def test_who_is_not_welcome_in_time_is_closed() -> None:
    """5.2: the time for a hello is over, and then the time to decide."""
    town, _ = house()
    silent, waiting, gone, welcome = (town.line() for _ in range(4))
    silent.conversation.late()
    assert silent.closed is not None
    assert silent.closed[0] == 4010
    assert isinstance(works(waiting, Hello()), Identify)
    waiting.conversation.late()
    assert waiting.closed is not None
    assert waiting.closed[0] == 1013
    gone.lose()
    gone.conversation.late()
    assert gone.closed == (1006, "")
    welcome.hello()
    welcome.conversation.late()
    assert welcome.closed is None


def test_a_pending_welcome_that_a_newer_connection_overtakes() -> None:
    """5.11, 5.12: the newer one gets it, once; nobody stays behind in a feed."""
    town, slow = house()
    a = town.line()
    welcome = a.hello()
    a.lose()
    for n in range(3):
        town.emit("Home", "e", n)
    at = {begun.stream: begun.at for begun in welcome.streams}
    slow.holding = {"read"}
    first, second = town.line(), town.line()
    first.send(Hello(key=welcome.key, streams=at))
    second.send(Hello(key=welcome.key, streams=at))
    assert first.closed == (4012, "a newer connection has the session")
    first.lose()
    slow.release()
    assert not first.got
    back, *events = second.got
    assert isinstance(back, packets.Welcome)
    assert [event.data.value() for event in events] == [0, 1, 2]  # type: ignore[union-attr]
    assert not town.node._following._places


def test_a_pending_welcome_whose_connection_is_lost() -> None:
    """5.15: it is suspended, and forgotten in time."""
    town, slow = house()
    a = town.line()
    welcome = a.hello()
    a.lose()
    town.emit("Home", "e", 1)
    slow.holding = {"read"}
    again = town.line()
    again.send(Hello(key=welcome.key, streams={"#Home": Position("other", 1)}))
    again.lose()
    slow.release()
    assert not again.got
    assert not town.node._following._places
    assert not town.node._following._feeds["#Home"].behind
    town.wait(61.0)
    assert town.over == [("c1", 1006)]


def test_nothing_is_said_to_a_connection_that_was_lost() -> None:
    town = House()
    a, b = town.line(), town.line()
    asked = works(a, Hello())
    a.lose()
    a.conversation.refused(asked)
    b.hello()
    said = works(b, Publish(channel="Home", event="e", data=1))
    assert isinstance(said, Hear)
    b.lose()
    b.taken()
    assert b.conversation.heard(said, Failure("declined", "no")) is None
    assert (a.closed, b.closed, b.got) == ((1006, ""), (1006, ""), [])


def test_streams_that_cannot_be_had() -> None:
    """5.3: the connection is closed, and the client comes back."""
    town, slow = house()
    a = town.line()
    welcome = a.hello()
    a.lose()
    slow.failing = {"subscribe"}
    again = town.line()
    again.send(Hello(key=welcome.key))
    town.wait(11.0)
    assert again.closed == (1013, "what keeps the streams did not answer")
    again.lose()
    slow.failing.clear()
    assert town.line().hello(key=welcome.key).resumed


def test_memberships_that_change_while_the_welcome_is_prepared() -> None:
    """5.6: the welcome names those that there are."""
    town, slow = house()
    a = town.line()
    welcome = a.hello()
    a.send(Join(seq=1, channel="x"))
    session = town.node.sessions["c1"]
    a.lose()
    town.emit("Home", "e", 1)
    at = {begun.stream: begun.at for begun in welcome.streams}
    slow.holding = {"read"}
    again = town.line()
    again.send(Hello(key=welcome.key, streams=at))
    town.node.leave(session, Leave(seq=2, channel="x"))
    town.node.join(session, Join(seq=3, channel="y"))
    slow.release()
    back = again.got[0]
    assert isinstance(back, packets.Welcome)
    assert [begun.stream for begun in back.streams] == ["@", "*", "#Home", "#y"]


def test_a_new_session_becomes_a_member_of_what_the_client_names() -> None:
    """5.9: the home channel too, beside another; what cannot be is denied."""
    town = House(open_channels=False)
    town.hub.create("x")
    line = town.line()
    welcome = line.hello(channel="x", joined=["Home", "no", "forbidden"])
    assert town.hub.channels_of("c1") == ["x", "Home"]
    assert [(one.channel, one.error.code) for one in welcome.denied] == [
        ("forbidden", "forbidden"),
        ("no", "unknown-channel"),
    ]
    line = town.line()
    line.hello(channel="x")
    assert town.hub.channels_of(line.client) == ["x"]
    line = town.line()
    line.hello(channel="Home", joined=["x"])
    assert town.hub.channels_of(line.client) == ["Home", "x"]


def test_who_has_gone_is_not_let_in() -> None:
    """5.1: a connection that is lost while the application is asked."""
    town = House()
    line = town.line()
    identify = works(line, Hello())
    assert isinstance(identify, Identify)
    line.lose()
    assert line.conversation.identified(identify, None) is None
    line = town.line()
    identify = works(line, Hello())
    assert isinstance(identify, Identify)
    assert line.conversation.identified(identify, None) == []
    line.lose(1000)
    assert not line.conversation.welcome({})
    assert len(town.node.sessions) == 0


def test_a_channel_that_is_left_while_the_application_is_asked() -> None:
    """5.8: then there is nothing to deny."""
    town = House()
    a = town.line()
    welcome = a.hello()
    a.send(Join(seq=1, channel="x"))
    session = town.node.sessions["c1"]
    a.lose()
    again = town.line()
    identify = works(again, Hello(key=welcome.key))
    assert isinstance(identify, Identify)
    assert again.conversation.identified(identify, None) == ["x"]
    town.node.leave(session, Leave(seq=2, channel="x"))
    assert not again.conversation.welcome({"x": Failure("forbidden", "no")})
    assert town.hub.channels_of("c1") == ["Home"]


@pytest.mark.parametrize("identity", [True, 1.0, "1", None])
def test_another_identity_is_refused(identity: Any) -> None:
    """5.10, 5.17: 1 is another one than True."""
    town = House()
    town.identity = lambda token: 1
    a = town.line()
    welcome = a.hello()
    a.send(packets.Token(token="t"))
    assert a.closed is None
    town.identity = lambda token: identity
    other = town.line()
    other.send(Hello(key=welcome.key))
    assert other.closed == (4011, "the identity is refused")
    assert a.closed is None
    a.send(packets.Token(token="t"))
    assert a.closed == (4011, "the identity is refused")
    assert town.over == [("c1", 4011)]


def test_a_token_of_an_old_connection_ends_no_session() -> None:
    """5.12."""
    town = House()
    a = town.line()
    welcome = a.hello()
    token = works(a, packets.Token(token="t"))
    again = town.line()
    again.hello(key=welcome.key)
    assert isinstance(token, Identify)
    assert a.conversation.identified(token, "other") is None
    assert again.closed is None
    assert "c1" in town.node.sessions


def test_a_close_with_1000_ends_the_session_also_while_it_is_opened() -> None:
    """5.15."""
    town = House()
    a = town.line()
    welcome = a.hello()
    a.lose()
    again = town.line()
    identify = works(again, Hello(key=welcome.key))
    assert isinstance(identify, Identify)
    again.conversation.identified(identify, None)
    again.lose(1000)
    assert town.over == [("c1", 1000)]


# -- sessions that end ----------------------------------------------------------------------------


def test_work_for_a_session_that_has_ended_does_nothing() -> None:
    """3.1: nobody waits for its results any more."""
    town = House()
    line = town.line()
    line.hello()
    conversation = line.conversation
    said = [
        Join(seq=1, channel="x"),
        Publish(channel="Home", event="e", data=1, seq=2),
        Request(seq=3, name="r", data=1),
        Request(seq=4, name="sono.channels", data=None),
        Leave(seq=5, channel="Home"),
    ]
    join, publish, request, channels, leave = (works(line, packet) for packet in said)
    assert "Join" in repr(join)
    session = town.node.sessions["c1"]
    town.node.end(session, 4013)
    town.node.end(session, 4013)
    before = len(line.got)
    assert isinstance(join, Authorise)
    conversation.authorised(join, None)
    assert isinstance(publish, Hear)
    assert conversation.heard(publish, None) is None
    conversation.publish(publish, Publication("Home", "e", Data.of(1), "c1"))
    conversation.publish(publish, Deliver("nobody", "e", Data.of(1), "c1"))
    assert isinstance(request, Answer)
    conversation.answered(request, Data.of(1), None)
    assert isinstance(channels, Enumerate)
    conversation.enumerated(channels, [])
    assert isinstance(leave, Do)
    conversation.do(leave)
    town.node.refuse(session, 9, Failure("x", "y"))
    assert len(line.got) == before
    asked: list[Any] = []
    town.node.ask(session, "r", Data.of(1), 1.0, lambda *answer: asked.append(answer))
    assert asked == [(None, GONE)]
    town.node.drained("c1")
    line.lose()
    assert town.over == [("c1", 4013)]


def test_what_is_said_to_another_dialect() -> None:
    """3.10: the host delivers it, and the sender has its result."""
    town = House()
    line = town.line()
    line.hello()
    town.hub.add("classic")
    line.taken()
    (result,) = line.send(Send(to="classic", event="e", data=1, seq=1))
    assert isinstance(result, packets.Result)
    assert [delivery.client for delivery in town.directed] == ["classic"]


def test_a_direct_message_is_done_when_it_is_in_its_stream() -> None:
    """3.10, 7."""
    town, slow = house()
    a, b = town.line(), town.line()
    a.hello()
    b.hello()
    a.taken()
    slow.holding = {"publish"}
    a.send(Send(to="c3", event="e", data=1, seq=1))
    assert slow.called.count("publish") == 1
    slow.release()
    assert isinstance(a.got[-1], packets.Result)
    slow.failing = {"publish"}
    a.send(Send(to="c3", event="e", data=1, seq=2))
    a.send(Publish(channel="Home", event="e", data=1, seq=3))
    assert slow.called[-4:] == ["publish"] * 4  # each is refused, and that fails as well


def test_many_messages_for_one_suspended_session_end_no_other() -> None:
    """5.15: they count as far as they are kept, 256 KiB; and the size counts."""
    town = House()
    a, b, c = town.line(), town.line(), town.line()
    for line in (a, b, c):
        line.hello()
        line.send(Join(seq=1, channel="x"))
    b.lose()
    a.lose()
    for n in range(200):
        c.send(Send(to="c1", event="e", data="x" * 50_000, seq=n + 2))
    assert town.over == []
    assert town.node.sessions["c1"].charged == 256 * 1024
    town.node.sessions._held += 1 << 20
    c.send(Send(to="c3", event="e", data=1, seq=202))
    assert [client for client, _ in town.over] == ["c3", "c1"]


def test_too_many_sessions() -> None:
    """6: 1013; the first goes that never joined."""
    town = House()
    lines = [town.line() for _ in range(1001)]
    for line in lines:
        line.hello()
    for line in lines:
        line.lose()
    assert town.over == [("c1", 1013)]


# -- the rest -------------------------------------------------------------------------------------


def test_presence_goes_on_where_a_watcher_ends_meanwhile() -> None:
    """4.8."""
    town = House()
    a, b = town.line(), town.line()
    a.hello()
    b.hello()
    for line in (a, b):
        line.send(Join(seq=1, channel="x", presence=True))
    town.wait(1.0)
    sends, town.send = (
        town.send,
        lambda connection, packet: (  # type: ignore[method-assign]
            town.node.end(town.node.sessions["c3"], 4013)
            if connection is a and "c3" in town.node.sessions
            else sends(connection, packet)
        ),
    )
    c = town.line()
    c.hello()
    c.send(Join(seq=1, channel="x"))
    town.wait(1.0)
    assert ("c3", 4013) in town.over


def test_gaps_are_told_to_those_who_are_there() -> None:
    """2.8: in a channel, in the stream of everybody, and in one's own."""
    town = House()
    a, b = town.line(), town.line()
    a.hello()
    b.hello()
    b.lose()
    a.taken()
    streams = town.backplane.streams  # type: ignore[attr-defined]
    for name in ("#Home", "*", "@c1"):
        streams.free(name)
    town.emit("Home", "e", 1)
    town.emit(None, "e", 1)
    town.node.direct(Deliver("c1", "e", Data.of(1), None))
    gaps = [packet.stream for packet in a.got if isinstance(packet, packets.Gap)]
    assert gaps == ["#Home", "*", "@"]


def test_a_connection_that_is_lost_amid_a_replay() -> None:
    """5.6: nothing is written to it any more."""
    town = House()
    a = town.line()
    welcome = a.hello()
    a.lose()
    for n in range(5):
        town.emit("Home", "e", n)
    again = town.line()
    replay = town.replay

    def cut(connection: Line, packet: packets.FromServer) -> bool:
        replay(connection, packet)
        connection.lose()
        return True

    town.replay = cut  # type: ignore[method-assign]
    again.send(Hello(key=welcome.key, streams={b.stream: b.at for b in welcome.streams}))
    assert len(again.got) == 2
    assert not town.node._following._places


def test_a_slow_client_gets_the_rest_when_it_has_room() -> None:
    """5.6, 5.7: its own stream first, with its gaps."""
    town = House()
    a = town.line()
    welcome = a.hello()
    a.lose()
    for _ in range(150):
        town.node.direct(Deliver("c1", "e", Data.of("x" * 2000), None))
        town.emit("Home", "e", "x" * 2000)
    again = town.line()
    again.room = 1
    at = {begun.stream: begun.at for begun in welcome.streams}
    again.send(Hello(key=welcome.key, streams=at))
    assert {getattr(packet, "stream", "@") for packet in again.got} == {"@"}
    for _ in range(20):
        again.room = 1
        town.node.drained("c1")
    told = [getattr(packet, "stream", "") for packet in again.got[1:]]
    assert told == ["@"] * 100 + ["#Home"] * 100


def test_a_check_waits_for_the_answer_to_the_one_before() -> None:
    """3.9: an old answer would look like a loss."""
    town, slow = house()
    town.line().hello()
    slow.holding = {"tops"}
    town.wait(35.0)
    assert slow.called.count("tops") == 1
    slow.release()
    slow.failing = {"tops"}
    town.wait(10.0)
    slow.failing.clear()
    town.wait(10.0)
    assert slow.called.count("tops") == 3


def test_a_stream_that_is_left_before_it_is_followed() -> None:
    """2.11: what the backplane says of it then is not heard."""
    town, slow = house()
    line = town.line()
    line.hello()
    slow.holding = {"subscribe", "tops"}
    town.wait(11.0)
    line.send(Join(seq=1, channel="x"))
    town.wait(11.0)
    line.send(Leave(seq=2, channel="x"))
    slow.release()
    assert set(town.node._following._feeds) == {"*", "#Home", "@c1"}
    assert not town.node._following._starting


def test_a_member_that_was_away_does_not_leave_twice() -> None:
    """4.8: it has come back, and was lost before it was welcome."""
    town = House()
    a = town.line()
    welcome = a.hello()
    a.lose()
    town.wait(16.0)
    again = town.line()
    identify = works(again, Hello(key=welcome.key))
    assert isinstance(identify, Identify)
    again.conversation.identified(identify, None)
    again.lose()
    assert town.node.presence.deadline is None


# -- what it costs --------------------------------------------------------------------------------


def calls_of_a_disconnect(others: int) -> int:
    """Functions that are called when one of many loses its connection."""
    town = House()
    lines = [town.line() for _ in range(others + 1)]
    for line in lines:
        line.hello()
        line.send(Join(seq=1, channel="x", presence=True))
    for line in lines[: others // 2]:
        line.lose()
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    profile = sys.getprofile()
    sys.setprofile(count)
    try:
        lines[-1].lose()
    finally:
        sys.setprofile(profile)
    return calls


def test_a_disconnect_costs_nothing_for_the_other_clients() -> None:
    few, many = calls_of_a_disconnect(4), calls_of_a_disconnect(400)
    assert many <= few + 10


# -- what comes of it when the connection is lost -------------------------------------------------


def test_nobody_is_told_on_a_lost_connection_that_it_is_refused() -> None:
    town = House()
    line = town.line()
    work = works(line, Hello())
    assert isinstance(work, Identify)
    line.lose()
    line.conversation.refused(work)
    assert line.closed == (1006, "")
    assert line.got == []


def test_nobody_is_told_on_a_lost_connection_what_failed() -> None:
    town = House()
    line = town.line()
    line.hello()
    work = works(line, Publish(channel="Home", event="e", data=None))
    assert isinstance(work, Hear)
    line.lose()
    line.taken()
    assert line.conversation.heard(work, Failure("declined", "no")) is None
    line.conversation.bad("invalid-packet", "no", None)
    assert line.got == []


def test_who_has_left_a_channel_is_not_told_of_it_at_a_resume() -> None:
    town = House()
    line = town.line()
    welcome = line.hello()
    line.send(Join(seq=1, channel="x", presence=True), Join(seq=2, channel="y", presence=True))
    line.send(Leave(seq=3, channel="x"))
    line.lose()
    again = town.line()
    again.hello(key=welcome.key)
    told = [packet.channel for packet in again.got if isinstance(packet, packets.Members)]
    assert told == ["y"]


def test_a_time_out_may_end_the_session() -> None:
    town = House()
    line = town.line()
    session = town.node.sessions[line.hello().id]
    told: list[Any] = []

    def answered(data: Any, error: Failure | None) -> None:
        told.append(error)
        town.node.end(session, 4100)

    for _ in range(2):
        town.node.ask(session, "sure?", Data.of(None), 5.0, answered)
    town.wait(10.0)
    assert sorted(error.code for error in told) == ["timeout", "unknown"]
    assert len(town.node.sessions) == 0
