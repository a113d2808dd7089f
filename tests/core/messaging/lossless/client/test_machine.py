"""`ClientMachine`: connections, time, arguments, and a server that says anything."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sono_core.errors import LocalProtocolError, SonoError
from sono_core.limits import Limits
from sono_core.messaging.lossless import OWN, Position, packets
from sono_core.messaging.lossless.client import (
    ClientLimits,
    ClientMachine,
    Missed,
    Opened,
    State,
    Status,
    TokenWanted,
)
from sono_core.messaging.lossless.packets import Failure
from tests.core.messaging.lossless.client.rig import Rig, at, begun, event, kept

# -- opening --------------------------------------------------------------------------------------


def test_the_first_packet_is_hello() -> None:
    """5.1."""
    assert Rig().connect("secret") == packets.Hello(token="secret")


def test_hello_presents_the_newest_key() -> None:
    """5.4, 5.11."""
    rig = Rig()
    keys = []
    for number in range(3):
        keys.append(rig.connect().key)
        rig.welcome(resumed=number > 0)
        rig.lose()
    keys.append(rig.connect().key)
    assert keys == [None, "key1", "key2", "key3"]


def test_a_welcome_tells_what_session_it_is() -> None:
    """5.3, 5.5, 5.9."""
    rig = Rig()
    rig.connect()
    rig.welcome(resumed=True, limits={"max_name": 64})  # there is nothing that it could resume
    assert rig.told()[0] == Opened("me", False, True, {"max_name": 64})
    assert (rig.client.id, rig.client.channel) == ("me", "Home")
    for resumed in (True, False):
        rig.lose()
        rig.connect()
        rig.welcome(resumed=resumed)
        assert rig.told()[0] == Opened("me", resumed, False, {})


def test_before_the_welcome_nothing_else_counts() -> None:
    """5.3."""
    rig = Rig()
    rig.connect()
    rig.told()
    rig.receive(event("#Home", 1), packets.Ack(1), packets.Beat(), packets.Renew(1.0))
    assert rig.told() == []
    rig.receive(packets.Error("hello-first", "what?"))
    assert len(rig.told()) == 1


def test_a_second_welcome_is_ignored() -> None:
    rig = Rig().open()
    rig.welcome(begun("#room"))
    assert rig.told() == []
    rig.lose()
    assert rig.connect().key == "key1"


def test_without_a_connection_nothing_is_received() -> None:
    rig = Rig()
    rig.welcome()
    assert rig.told() == []
    rig.open()
    rig.lose()
    rig.receive(event("#Home", 1))
    assert rig.told() == []


def test_what_is_no_packet_of_the_server_is_ignored() -> None:
    """1.2."""
    rig = Rig().open()
    for packet in (packets.Bye(), packets.Beat(), None, "text", 5):
        rig.receive(packet)
    assert rig.told() == []


# -- status ---------------------------------------------------------------------------------------


def test_the_status_says_when_the_next_attempt_is() -> None:
    rig = Rig()
    client = rig.client
    assert client.status == Status(State.CONNECTING)
    client.lost(10.0, 0.5)
    client.connecting()
    rig.connect()
    rig.welcome()
    client.lost(20.0, 2.0)
    client.lost(22.0, None)
    statuses = [told for told in client.events() if isinstance(told, Status)]
    assert statuses == [
        Status(State.WAITING, 10.5),
        Status(State.CONNECTING),
        Status(State.OPEN),
        Status(State.WAITING, 22.0),
        Status(State.CLOSED),
    ]
    assert repr(statuses[0]) == "Status(state=<State.WAITING: 'waiting'>, retry_at=10.5)"


def test_two_connections_at_once_are_the_callers_mistake() -> None:
    rig = Rig().open()
    for call in (lambda: rig.client.connected(rig.now), rig.client.connecting):
        with pytest.raises(LocalProtocolError, match="there is a connection already"):
            call()
    assert rig.client.status == Status(State.OPEN)
    assert rig.said() == []


WORDS: list[Callable[[ClientMachine], object]] = [
    lambda client: client.join("room", now=0),
    lambda client: client.move("room", now=0),
    lambda client: client.leave("room", now=0),
    lambda client: client.publish("room", "chat", 1, now=0),
    lambda client: client.publish("room", "chat", 1, now=0, volatile=True),
    lambda client: client.send("you", "chat", 1, now=0),
    lambda client: client.request("ask", now=0),
    lambda client: client.reply(1, now=0),
    lambda client: client.present("room", 1, now=0),
    lambda client: client.token("secret"),
    lambda client: client.bye(),
    lambda client: client.connecting(),
    lambda client: client.connected(0),
]


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("how", ["given up", "bye", "bye before the welcome", "bye alone"])
def test_after_the_end_nothing_is_said(word: Callable[[ClientMachine], object], how: str) -> None:
    rig = Rig()
    if how != "bye alone":
        rig.connect()
        if how != "bye before the welcome":
            rig.welcome()
    if how == "given up":
        rig.client.lost(0, None)
    else:
        rig.client.bye()
    with pytest.raises(LocalProtocolError, match="the session has ended"):
        word(rig.client)


# -- the end --------------------------------------------------------------------------------------


def test_bye_comes_after_what_waits_and_nothing_after_it() -> None:
    """5.15."""
    rig = Rig().open()
    pending = rig.publish("last words")
    rig.client.bye()
    said = rig.said()
    assert [type(packet) for packet in said] == [packets.Publish, packets.Bye]
    rig.receive(event("#Home", 2))  # it would read again
    assert rig.said() == []
    rig.result(1)
    assert pending.outcome is not None
    rig.client.lost(rig.now, 1.0)
    assert rig.client.status == Status(State.CLOSED)


@pytest.mark.parametrize("connected", [False, True])
def test_bye_without_a_session_ends_at_once(connected: bool) -> None:
    rig = Rig()
    pending = rig.publish()
    if connected:
        rig.client.connected(rig.now)
    rig.client.bye()
    assert rig.said() == []
    assert isinstance(pending.outcome, Failure)
    assert pending.outcome.code == "not-sent"
    assert rig.client.status == Status(State.CLOSED)
    rig.welcome()
    assert rig.client.status == Status(State.CLOSED)


# -- time -----------------------------------------------------------------------------------------


def test_a_silent_server_is_given_up() -> None:
    """4.9."""
    rig = Rig()
    assert rig.client.next_deadline() == math.inf
    rig.connect()
    assert rig.client.next_deadline() == 150.0
    rig.welcome(beat=4.0)
    assert rig.client.next_deadline() == 108.0
    rig.later(7.9)
    rig.receive(packets.Beat())
    rig.later(7.9)
    assert not rig.client.dead
    rig.later(0.1)
    assert rig.client.dead
    assert rig.client.next_deadline() == math.inf
    rig.lose()
    assert not rig.client.dead
    rig.later(100)
    assert not rig.client.dead


@pytest.mark.parametrize("beat", [0.0, -1.0, math.nan, math.inf, 0.5, 1e9])
def test_an_impossible_beat_is_the_usual_one(beat: float) -> None:
    rig = Rig()
    rig.connect()
    rig.welcome(beat=beat)
    assert rig.client.next_deadline() == rig.now + 50.0


def test_a_read_that_brings_nothing_is_given_up() -> None:
    rig = Rig().open()
    rig.receive(event("#Home", 2))
    rig.now += 29
    rig.receive(event("#Home", 3))
    assert rig.client.next_deadline() == 130.0
    rig.later(0.9)
    assert not rig.client.dead
    rig.later(0.1)
    assert rig.client.dead
    rig.lose()
    rig.connect()
    assert not rig.client.dead


def test_a_read_of_a_stream_that_ends_is_forgotten() -> None:
    rig = Rig().open()
    rig.join("room")
    rig.receive(event("#room", 2))
    rig.expel("room")
    assert rig.client.next_deadline() == rig.now + 50.0


def test_of_all_deadlines_the_first_counts() -> None:
    rig = Rig()
    rig.publish()
    assert rig.client.next_deadline() == 400.0
    rig.request(timeout=60.0)
    assert rig.client.next_deadline() == 160.0
    rig.connect()
    assert rig.client.next_deadline() == 150.0


# -- tokens ---------------------------------------------------------------------------------------


def test_a_token_is_asked_for_and_given() -> None:
    """5.17."""
    rig = Rig().open()
    rig.receive(packets.Renew(30.0))
    assert rig.told() == [TokenWanted(30.0)]
    assert rig.client.token("fresh") is True
    assert rig.said() == [packets.Token("fresh")]
    rig.lose()
    assert rig.client.token("fresh") is False
    rig.connect()
    assert rig.client.token("fresh") is False
    assert rig.said() == []


# -- words ----------------------------------------------------------------------------------------


def test_each_word_is_a_packet() -> None:
    """3.4."""
    rig = Rig().open()
    client, now = rig.client, rig.now
    client.join("room", now=now, at=at(3), presence=True)
    client.move("den", now=now, at=at(4))
    client.leave("room", now=now)
    client.publish("den", "chat", [1], now=now, to_self=False)
    client.send("you", "chat", [2], now=now)
    client.request("ask", [3], now=now)
    client.present("den", [4], now=now)
    assert rig.said() == [
        packets.Join(seq=1, channel="room", at=at(3), presence=True),
        packets.Move(seq=2, channel="den", at=at(4)),
        packets.Leave(seq=3, channel="room"),
        packets.Publish(seq=4, channel="den", event="chat", data=[1], to_self=False),
        packets.Send(seq=5, to="you", event="chat", data=[2]),
        packets.Request(seq=6, name="ask", data=[3]),
        packets.Present(seq=7, channel="den", data=[4]),
    ]


MISTAKES: list[tuple[Callable[[ClientMachine], object], type[Exception], str]] = [
    (lambda client: client.join(5, now=0), TypeError, "channel"),  # type: ignore[arg-type]
    (lambda client: client.join("", now=0), ValueError, "channel"),
    (lambda client: client.join("x" * 11, now=0), ValueError, "1 to 10 characters"),
    (lambda client: client.join("r", now=0, at=["e", 1]), TypeError, "at"),  # type: ignore[arg-type]
    (lambda client: client.join("r", now=0, presence=1), TypeError, "presence"),  # type: ignore[arg-type]
    (lambda client: client.move("a\nb", now=0), ValueError, "channel"),
    (lambda client: client.move("r", now=0, at=5), TypeError, "at"),  # type: ignore[arg-type]
    (lambda client: client.leave("\ud800", now=0), ValueError, "channel"),
    (lambda client: client.publish("", "e", 1, now=0), ValueError, "channel"),
    (lambda client: client.publish("r", "error", 1, now=0), ValueError, "reserved"),
    (lambda client: client.publish("r", "", 1, now=0), ValueError, "event"),
    (lambda client: client.publish("r", "e", {1j}, now=0), TypeError, "complex|set"),
    (lambda client: client.publish("r", "e", 1, now=0, to_self=1), TypeError, "to_self"),  # type: ignore[call-overload]
    (lambda client: client.publish("r", "e", 1, now=0, harmless=1), TypeError, "harmless"),  # type: ignore[call-overload]
    (lambda client: client.publish("r", "e", 1, now=0, volatile=1), TypeError, "volatile"),  # type: ignore[call-overload]
    (lambda client: client.publish("r", "e", 1j, now=0, volatile=True), TypeError, "complex|set"),
    (lambda client: client.send(7, "e", 1, now=0), TypeError, "to"),  # type: ignore[call-overload]
    (lambda client: client.send("you", "grab", 1, now=0), ValueError, "reserved"),
    (lambda client: client.request(5, now=0), TypeError, "name"),  # type: ignore[arg-type]
    (lambda client: client.request("", now=0), ValueError, "name"),
    (lambda client: client.request("r", now=0, timeout=0), ValueError, "timeout"),
    (lambda client: client.request("r", now=0, timeout=math.inf), ValueError, "timeout"),
    (lambda client: client.request("r", 1j, now=0), TypeError, "complex|set"),
    (lambda client: client.reply("7", now=0), TypeError, "request"),  # type: ignore[arg-type]
    (lambda client: client.reply(7, now=0, error="no"), TypeError, "error"),  # type: ignore[arg-type]
    (lambda client: client.present("", 1, now=0), ValueError, "channel"),
    (lambda client: client.token(b"t"), TypeError, "token"),  # type: ignore[arg-type]
    (lambda client: client.connected(0, b"t"), TypeError, "token"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("mistake", "kind", "text"), MISTAKES)
def test_a_mistake_of_the_caller_raises_and_changes_nothing(
    mistake: Callable[[ClientMachine], object], kind: type[Exception], text: str
) -> None:
    client = ClientMachine(keep=kept, limits=Limits(max_name=10))
    with pytest.raises(kind, match=text):
        mistake(client)
    assert client.next_deadline() == math.inf
    assert client.events() == []
    client.connected(0)
    assert client.packets_to_send() == [packets.Hello()]


def test_a_reply_that_cannot_be_written_may_be_given_again() -> None:
    rig = Rig().open()
    rig.ask(7)
    with pytest.raises(TypeError):
        rig.client.reply(7, 1j, now=rig.now)
    rig.client.reply(7, "yes", now=rig.now)
    assert [packet.re for packet in rig.said()] == [7]


def test_a_join_whose_result_says_nothing_has_failed() -> None:
    """1.3."""
    for data in (None, {}, {"stream": "#other", "at": ["e", 0], "recovered": True}, [[[]]]):
        rig = Rig().open()
        pending = rig.client.join("room", now=rig.now)
        rig.said()
        rig.result(1, data=data)
        assert isinstance(pending.outcome, Failure)
        assert pending.outcome.code == "invalid-packet"
        assert rig.client.channels == ["Home"]


def test_what_is_told_shows_no_secrets() -> None:
    """`Discreet`: neither payloads nor keys are in a repr."""
    rig = Rig()
    rig.connect("s3cr3t")
    rig.welcome(limits={"s3cr3t": 1})
    rig.receive(event("#Home", 1, "s3cr3t"), packets.Error("x", "s3cr3t"))
    assert "s3cr3t" not in repr(rig.told())


# -- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ClientLimits.__struct_fields__)
@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan, None, "1", True])
def test_a_limit_is_a_finite_number_above_0(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        ClientLimits(**{name: value})


def test_a_number_of_things_is_whole() -> None:
    with pytest.raises(ValueError, match="max_packets"):
        ClientLimits(max_packets=1.5)  # type: ignore[arg-type]


# -- hostility ------------------------------------------------------------------------------------

offsets = st.sampled_from([0, 1, 2, 3, 5, (1 << 53) - 1])
numbers = st.sampled_from([-(1 << 70), -1, 0, 1, 2, 3, (1 << 53) - 1, 1 << 70])
positions = st.builds(Position, st.sampled_from(["e", "f"]), offsets)
streams = st.sampled_from([OWN, "*", "#Home", "#room", "", "#", "__proto__"])
names = st.sampled_from(["Home", "room", "", "__proto__"])
times = st.sampled_from([0.0, -1.0, 1.0, math.nan, math.inf])
begun_data = st.fixed_dictionaries(
    {"stream": streams, "at": st.lists(st.one_of(offsets, names)), "recovered": st.booleans()}
)
values = st.one_of(
    st.none(),
    numbers,
    begun_data,
    offsets.map(lambda offset: {"stream": "#room", "at": ["e", offset], "recovered": True}),
    st.just({"members": [["a", 1]], "count": -5, "version": 1 << 70}),
)
failures = st.one_of(st.none(), st.builds(Failure, names, names, st.booleans()))
people = st.lists(st.tuples(names, values), max_size=3)
anything = st.one_of(
    st.builds(
        packets.Welcome,
        id=names,
        key=names,
        resumed=st.booleans(),
        seq=numbers,
        channel=names,
        streams=st.lists(st.builds(packets.Begun, streams, positions, st.booleans()), max_size=5),
        denied=st.lists(st.builds(packets.Denied, names, st.builds(Failure, names, names))),
        beat=times,
    ),
    st.builds(
        packets.Event,
        stream=streams,
        event=names,
        data=values,
        at=st.one_of(st.none(), positions),
    ),
    st.builds(packets.Skip, streams, positions),
    st.builds(packets.Gap, streams, positions),
    st.builds(
        packets.Result, stream=streams, at=positions, re=numbers, data=values, error=failures
    ),
    st.builds(packets.Asked, stream=streams, at=positions, id=numbers, name=names, data=values),
    st.builds(
        packets.Joined,
        stream=streams,
        at=positions,
        channel=names,
        position=positions,
        current=st.booleans(),
    ),
    st.builds(packets.Left, streams, positions, names, names),
    st.builds(packets.Members, names, numbers, people, numbers),
    st.builds(
        packets.Presence,
        channel=names,
        version=numbers,
        count=numbers,
        entered=people,
        gone=st.lists(names, max_size=3),
    ),
    st.builds(packets.Ack, numbers),
    st.builds(packets.Renew, times),
    st.builds(packets.Beat),
    st.builds(packets.Error, st.sampled_from(["bad-seq", "", "x"]), names),
)


@given(st.lists(st.one_of(anything, st.integers(0, 5)), max_size=60))
def test_whatever_a_server_says_raises_nothing_and_fills_nothing(said: list[Any]) -> None:
    limits = ClientLimits(
        max_packets=20, max_streams=5, max_members=2, max_held=2, max_asked=2, max_requests=2
    )
    client = ClientMachine(keep=kept, client_limits=limits)
    client.connected(0.0)
    client.join("room", now=0.0, presence=True)
    now = 0.0
    for each in said:
        now += 1
        if not isinstance(each, int):
            client.receive(each, now)
        elif each == 0:
            client.lost(now, 1.0)
            client.connected(now)
        else:
            act(client, each, now)
        client.tick(now)
        client.packets_to_send()
        for told in client.events():
            if isinstance(told, Missed) and told.first is not None:
                assert told.first <= told.at.offset
        assert len(client.positions) <= 5
        assert len(client._session.outbox) <= 20 + 5
        assert len(client._session.questions) <= 2
        assert all(len(mirror.members) <= 2 for mirror in client._session.mirrors)
    client.lost(now, None)
    assert len(client._session.outbox) == client._session.outbox.held == 0


def act(client: ClientMachine, choice: int, now: float) -> None:
    """A word of the application's, in the middle of it all."""
    words: dict[int, Callable[[], object]] = {
        1: lambda: client.publish("room", "e", 1, now=now, harmless=True),
        2: lambda: client.request("ask", now=now, timeout=3.0),
        3: lambda: client.leave("room", now=now),
        4: lambda: client.move("room", now=now),
        5: lambda: client.join("room", now=now, presence=True),
    }
    try:
        words[choice]()
    except SonoError:
        pass
