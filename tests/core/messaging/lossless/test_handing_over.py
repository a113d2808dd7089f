"""Sessions that go on at another node of the same backplane. docs/protocol.md, section 5."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import msgspec
import pytest

from sono_core.messaging import Publish as Published
from sono_core.messaging.lossless import OWN, Data, Position, packets
from sono_core.messaging.lossless.nodes import LetGo, control
from sono_core.messaging.lossless.packets import Event, Join, Publish, Request, Result
from sono_core.messaging.lossless.server.arrivals import FIRST_LOOK, LOOK
from sono_core.messaging.lossless.server.handing_over import PATIENCE
from sono_core.messaging.lossless.server.records import REFRESH, SOON
from tests.core.messaging.lossless.house import House, Line
from tests.core.messaging.lossless.shared import Town


class Person:
    """A client that comes back with all that it knows."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.streams: dict[str, Position] = {}
        self.got: list[Any] = []
        self.joined: list[str] = []
        line.hello()
        self.take()

    def take(self) -> list[Any]:
        """What has come meanwhile."""
        new = self.line.taken()
        for packet in new:
            if isinstance(packet, packets.Welcome):
                self.welcome = packet
                known = {each.stream: each.at for each in packet.streams}
                self.streams = {name: self.streams.get(name, at) for name, at in known.items()}
            elif isinstance(packet, Result) and "stream" in written(packet):
                begun = packet.data.value()
                self.streams[begun["stream"]] = Position(*begun["at"])
            if (at := getattr(packet, "at", None)) is not None:
                self.streams[packet.stream] = at
        self.got += new
        return new

    def say(self, *sent: Any) -> list[Any]:
        self.line.send(*sent)
        return self.take()

    def comes_to(self, house: House, **known: Any) -> Line:
        """Whether it is welcome there shows what it takes."""
        self.take()
        self.line = house.line()
        fields = {"key": self.welcome.key, "streams": self.streams}
        self.line.send(packets.Hello(**{**fields, **known}))
        return self.line

    @property
    def said(self) -> list[Any]:
        """Payloads of the events that it got."""
        return [packet.data.value() for packet in self.got if isinstance(packet, Event)]

    def results(self, number: int) -> list[Result]:
        return [one for one in self.got if isinstance(one, Result) and one.re == number]


def written(result: Result) -> Any:
    return {} if result.data is msgspec.UNSET else result.data.value()


def chat(number: int, channel: str = "room") -> Publish:
    return Publish(channel=channel, event="chat", data=number, seq=number)


@pytest.fixture
def town() -> Town:
    return Town()


def settled(town: Town) -> tuple[House, House, Person, Person]:
    """Ann is at the one house, Bob at the other; both are in a room."""
    one, other = town.houses
    ann, bob = Person(one.line()), Person(other.line())
    for person in (ann, bob):
        person.say(Join(seq=1, channel="room"))
    return one, other, ann, bob


def test_a_session_goes_on_at_another_node(town: Town) -> None:
    one, other, ann, bob = settled(town)
    ann.say(chat(2))
    before, line = ann.welcome, ann.line
    line.lose()
    bob.say(chat(2))
    ann.comes_to(other)
    ann.take()
    welcome = ann.welcome
    assert (welcome.resumed, welcome.id, welcome.seq) == (True, before.id, 2)
    assert welcome.key != before.key
    assert all(begun.recovered for begun in welcome.streams)
    assert {begun.stream for begun in welcome.streams} == {OWN, "*", "#Home", "#room"}
    assert ann.said == [2, 2]
    assert (one.away, one.over, other.over) == ([before.id], [], [])
    assert before.id not in one.node.sessions
    assert before.id not in one.hub.clients
    ann.say(chat(3))
    assert ann.said == [2, 2, 3]
    assert ann.results(3)[0].published is not None


def test_the_older_connection_is_told_that_a_newer_one_has_the_session(town: Town) -> None:
    _, other, ann, _ = settled(town)
    line = ann.line
    ann.comes_to(other)
    assert line.closed == (4012, "a newer connection has the session")
    ann.take()
    assert ann.welcome.resumed


def test_what_it_was_and_wished_goes_with_it(town: Town) -> None:
    one, other, ann, _bob = settled(town)
    one.hub.create("hall")
    other.hub.create("hall")
    ann.say(packets.Move(seq=2, channel="hall"), Join(seq=3, channel="room", presence=True))
    ann.line.lose()
    ann.comes_to(other)
    new = ann.take()
    assert ann.welcome.channel == "hall"
    assert other.hub.channels_of(ann.welcome.id) == ["hall", "room"]
    (members,) = [packet for packet in new if isinstance(packet, packets.Members)]
    assert members.channel == "room"
    assert other.node.sessions[ann.welcome.id].joined


def test_each_channel_is_asked_about_again(town: Town) -> None:
    _, other, ann, _ = settled(town)
    ann.line.lose()
    other.may_join = lambda client, channel: channel != "room"
    ann.comes_to(other)
    ann.take()
    assert [denied.channel for denied in ann.welcome.denied] == ["room"]
    assert other.hub.channels_of(ann.welcome.id) == ["Home"]
    (left,) = [packet for packet in ann.got if isinstance(packet, packets.Left)]
    assert (left.channel, left.code) == ("room", "forbidden")


def test_a_result_that_was_not_heard_of_is_given_again_and_not_made_again(town: Town) -> None:
    _, other, ann, _ = settled(town)
    ann.line.send(chat(2))
    ann.line.got.clear()  # all of that was lost
    ann.line.lose()
    ann.comes_to(other)
    ann.take()
    assert ann.welcome.seq == 2
    assert len(ann.results(2)) == 1
    assert other.heard == []
    ann.say(chat(2))
    assert len(ann.results(2)) == 2
    assert other.heard == []


def test_accepted_is_only_what_has_its_result(town: Town) -> None:
    one, _, ann, _ = settled(town)
    waiting(one, ann.line, Request(seq=2, name="slow", data=None))
    assert not any(isinstance(packet, packets.Ack) for packet in ann.take())


def waiting(house: House, line: Line, packet: Any) -> Any:
    """The handler of a packet has begun, and does not return yet."""
    carry_out, works = house.carry_out, []
    house.carry_out = lambda line, work: works.append(work)  # type: ignore[method-assign]
    line.send(packet)
    house.carry_out = carry_out  # type: ignore[method-assign]
    return lambda: carry_out(line, works.pop())


def test_what_a_handler_has_begun_it_ends_before_the_session_goes(town: Town) -> None:
    one, other, ann, _ = settled(town)
    go_on = waiting(one, ann.line, Request(seq=2, name="slow", data="x"))
    ann.comes_to(other)
    assert ann.take() == []
    go_on()
    ann.take()
    assert (ann.welcome.resumed, ann.welcome.seq) == (True, 2)
    (result,) = ann.results(2)
    assert result.data.value() == "x"


def test_what_takes_too_long_ends_as_unknown(town: Town) -> None:
    one, other, ann, _ = settled(town)
    go_on = waiting(one, ann.line, Request(seq=2, name="slow", data="x"))
    ann.comes_to(other)
    town.wait(PATIENCE)
    ann.take()
    assert (ann.welcome.resumed, ann.welcome.seq) == (True, 2)
    (result,) = ann.results(2)
    assert result.error is not None
    assert result.error.code == "unknown"
    go_on()  # and nobody hears of it
    assert ann.take() == []


def test_what_the_client_is_asked_ends_as_unknown(town: Town) -> None:
    one, other, ann, _ = settled(town)
    answers: list[Any] = []
    ask = (Data.of(None), 30.0, lambda *answer: answers.append(answer))
    one.node.ask(one.node.sessions[ann.welcome.id], "confirm", *ask)
    go_on = waiting(one, ann.line, Request(seq=2, name="confirmed", data="x"))
    ann.comes_to(other)
    ((data, failure),) = answers  # a handler may wait for it
    go_on()
    assert (data, failure.code) == (None, "unknown")
    ann.take()
    (asked,) = [packet for packet in ann.got if isinstance(packet, packets.Asked)]
    other.node.ask(other.node.sessions[ann.welcome.id], "confirm", *ask)
    ann.take()
    again = [packet.id for packet in ann.got if isinstance(packet, packets.Asked)]
    assert len({asked.id, *again}) == 2
    ann.say(packets.Reply(seq=3, re=again[-1], data="yes"))
    assert answers[1:] == [("yes", None)]


def test_the_session_of_a_node_that_was_lost_comes_when_its_lease_has_ended(town: Town) -> None:
    one, other, ann, _bob = settled(town)
    ann.say(chat(2))
    one.backplane.stopped = True  # type: ignore[attr-defined]
    ann.comes_to(other)
    town.wait(LOOK)
    assert ann.take() == []
    town.alive.discard("a")
    town.wait(LOOK)
    ann.take()
    assert (ann.welcome.resumed, ann.welcome.seq) == (True, 2)
    assert all(begun.recovered for begun in ann.welcome.streams)


def test_who_was_sent_away_meanwhile_finds_the_session_at_the_node(town: Town) -> None:
    one, other, ann, _ = settled(town)
    town.stop(one)
    town.alive.add("a")
    ann.comes_to(other).lose()
    town.wait(LOOK)
    town.alive.discard("a")
    town.wait(LOOK)
    ann.comes_to(other)
    ann.take()
    assert ann.welcome.resumed


@pytest.mark.parametrize("later", [SOON, 0.0])
def test_the_highest_number_is_known_although_results_are_not_kept(
    town: Town, later: float
) -> None:
    """It is saved soon after results, and when much has come behind them."""
    one, other, ann, bob = settled(town)
    ann.say(*(chat(number) for number in range(2, 8)))
    town.wait(later)
    for number in range(2, 130):
        if later and number == 2:
            town.stop(one)
        psst = packets.Send(to=ann.welcome.id, event="psst", data=number, seq=number)
        bob.line.send(psst)
    town.stop(one)
    ann.comes_to(other)
    ann.take()
    resumed = not later
    assert (ann.welcome.resumed, ann.welcome.seq) == ((True, 7) if resumed else (False, 0))


def test_an_idle_session_goes_on_although_its_stream_keeps_nothing(town: Town) -> None:
    one, other, ann, bob = settled(town)
    ann.say(*(chat(number) for number in range(2, 8)))
    town.wait(SOON)
    town.wait(10 * SOON)
    town.stop(one)
    ann.comes_to(other)
    ann.take()
    assert (ann.welcome.resumed, ann.welcome.seq) == (True, 7)
    ann.say(chat(8))
    assert ann.results(8)[0].published is not None
    assert bob.take()[-1].data.value() == 8


def test_a_number_before_others_that_has_no_result_is_unknown(town: Town) -> None:
    one, other, ann, _ = settled(town)
    waiting(one, ann.line, chat(2))
    ann.say(packets.Reply(seq=3, re=1, data=None))
    town.stop(one)
    ann.comes_to(other)
    ann.take()
    assert ann.welcome.seq == 3
    (result,) = ann.results(2)
    assert result.error is not None
    assert result.error.code == "unknown"


def test_what_had_no_result_is_said_again_and_published_once(town: Town) -> None:
    one, other, ann, bob = settled(town)
    session = one.node.sessions[ann.welcome.id]
    session.accepted = 2  # its node was lost when it had published that, and said nothing of it
    history = one.node._histories.default
    body = Published("room", "chat", Data.of(2), session.id)
    town.memory.publish("#room", body, 1, history, f"{session.id}:2:{Data.of(2).checksum:x}")
    town.stop(one)
    ann.comes_to(other)
    ann.take()
    assert ann.welcome.seq == 1
    ann.say(chat(2))
    assert ann.results(2)[0].published is not None
    bob.take()
    assert (bob.said, ann.said) == ([2], [2])


def test_what_was_sent_to_a_client_is_sent_once(town: Town) -> None:
    one, other, ann, bob = settled(town)
    psst = packets.Send(to=bob.welcome.id, event="psst", data="x", seq=2)
    ann.say(psst)
    town.stop(one)
    kept = town.memory.streams._streams[f"{OWN}{ann.welcome.id}"]._kept
    assert kept is not None
    time, last, whose = kept[-1]
    former = msgspec.structs.replace(last, body=ann.results(1)[0])
    kept[-1] = time, former, whose  # the result was lost
    ann.comes_to(other)
    ann.take()
    assert ann.welcome.seq == 1
    ann.say(psst)
    assert len(ann.results(2)) == 2
    bob.take()
    assert bob.said == ["x"]


@pytest.mark.parametrize("told", [False, True])
def test_a_node_that_was_stopped_says_nothing_more_for_the_session(town: Town, told: bool) -> None:
    one, other, ann, bob = settled(town)
    line = ann.line
    town.stop(one)
    ann.comes_to(other)
    ann.take()
    ann.say(chat(2))
    if told:
        one.backplane.go_on()  # type: ignore[attr-defined]
    else:
        line.send(Publish(channel="room", event="chat", data="late", seq=2))
    assert line.closed == (4012, "a newer connection has the session")
    assert one.away == [ann.welcome.id]
    assert one.over == []
    if not told:
        one.backplane.go_on()  # type: ignore[attr-defined]
    bob.take()
    assert bob.said == [2]


def test_a_stopped_node_does_not_publish_what_nobody_said_again(town: Town) -> None:
    one, other, ann, bob = settled(town)
    line = ann.line
    town.stop(one)
    ann.comes_to(other)
    ann.take()
    ann.say(chat(2))
    line.send(Publish(channel="room", event="chat", data="late", seq=2))
    one.backplane.go_on()  # type: ignore[attr-defined]
    bob.take()
    assert bob.said == [2]


def test_who_comes_back_to_a_node_that_was_stopped_is_sent_on(town: Town) -> None:
    one, other, ann, _ = settled(town)
    town.stop(one)
    former = ann.welcome.key
    ann.comes_to(other).lose()  # and the welcome is lost
    line = ann.comes_to(one, key=former)
    assert line.closed == (1013, "the session is just going elsewhere")
    assert one.away == [ann.welcome.id]
    one.backplane.go_on()  # type: ignore[attr-defined]
    ann.comes_to(one)
    ann.take()
    assert ann.welcome.resumed


@pytest.mark.parametrize("deaf", [False, True])
def test_a_node_that_was_stopped_knows_the_session_again_when_it_comes_back(
    town: Town, deaf: bool
) -> None:
    one, other, ann, _ = settled(town)
    town.stop(one)
    ann.comes_to(other).lose()
    ann.take()
    if deaf:  # what it was told meanwhile is lost
        one.backplane._held.clear()  # type: ignore[attr-defined]
    ann.comes_to(one)
    assert ann.take() == []
    one.backplane.go_on()  # type: ignore[attr-defined]
    ann.take()
    assert ann.welcome.resumed
    assert (one.over, other.over) == ([], [])
    ann.say(chat(2))
    assert ann.results(2)[0].published is not None


def test_a_key_that_is_used_at_two_nodes_at_once_has_one_winner() -> None:
    town = Town("abc")
    one, other, third = town.houses
    ann = Person(one.line())
    go_on = waiting(one, ann.line, Request(seq=1, name="slow", data="x"))
    key = ann.welcome.key
    lines = [house.line() for house in (other, third)]
    for line in lines:
        line.send(packets.Hello(key=key))
    go_on()
    first, second = lines
    assert first.closed == (4012, "a newer connection has the session")
    assert not any(isinstance(packet, packets.Welcome) for packet in first.got)
    (welcome,) = [packet for packet in second.got if isinstance(packet, packets.Welcome)]
    assert (welcome.resumed, welcome.id, welcome.seq) == (True, ann.welcome.id, 1)
    assert [ann.welcome.id in house.node.sessions for house in town.houses] == [False, False, True]


def test_a_key_that_is_used_twice_at_one_node_has_one_winner(town: Town) -> None:
    one, other, ann, _ = settled(town)
    go_on = waiting(one, ann.line, Request(seq=2, name="slow", data="x"))
    first, second = ann.comes_to(other), ann.comes_to(other)
    go_on()
    welcomes = [
        packet
        for line in (first, second)
        for packet in line.got
        if isinstance(packet, packets.Welcome)
    ]
    assert welcomes[-1].resumed
    assert first.closed == (4012, "a newer connection has the session")
    assert second.closed is None


def test_somebody_elses_key_is_refused_and_the_session_goes_on() -> None:
    town = Town()
    one, other = town.houses
    for house in (one, other):
        house.identity = lambda token: {"sub": token, "expires_at": 1}
    line = one.line()
    welcome = line.hello(token="ann")
    thief = other.line()
    thief.send(packets.Hello(key=welcome.key, token="bob"))
    assert thief.closed == (4011, "the identity is refused")
    assert line.closed is None
    other.identity = lambda token: {"sub": token, "expires_at": 2}
    again = other.line()
    assert again.hello(key=welcome.key, token="ann").resumed


@pytest.mark.parametrize("used", ["unknown", "other"])
def test_a_key_that_opens_nothing_gets_a_new_session(town: Town, used: str) -> None:
    _, other, ann, _ = settled(town)
    key = "nobody.x" if used == "unknown" else f"{ann.welcome.id}.x"
    welcome = other.line().hello(key=key)
    assert not welcome.resumed
    assert ann.line.closed is None


def test_the_former_key_opens_it_elsewhere_until_the_present_one_was_used(town: Town) -> None:
    one, other, ann, _ = settled(town)
    former = ann.welcome.key
    ann.line.lose()
    ann.comes_to(other).lose()  # and the welcome is lost
    back = ann.comes_to(one)
    ann.take()
    assert ann.welcome.resumed
    back.send(packets.Beat())
    assert not other.line().hello(key=former).resumed
    assert back.closed is None


def test_a_key_that_was_replaced_opens_it_nowhere_once_the_new_one_was_used(town: Town) -> None:
    one, other, ann, _ = settled(town)
    former = ann.welcome.key
    ann.line.lose()
    ann.comes_to(one)
    ann.take()
    ann.line.send(packets.Beat())
    assert not other.line().hello(key=former).resumed
    assert ann.line.closed is None


def test_a_welcome_that_was_lost_is_given_elsewhere_with_another_key(town: Town) -> None:
    one, other, ann, _ = settled(town)
    former = ann.welcome.key
    ann.line.lose()
    lost = ann.comes_to(one)
    lost.lose()
    welcome = other.line().hello(key=former)
    assert welcome.resumed
    assert welcome.key not in (former, lost.got[0].key)  # type: ignore[union-attr]


@pytest.mark.parametrize("how", ["move", "leave", "admit", "expel"])
def test_memberships_are_saved_as_they_change(town: Town, how: str) -> None:
    one, other, ann, _ = settled(town)
    one.hub.create("hall")
    other.hub.create("hall")
    session = one.node.sessions[ann.welcome.id]
    if how == "move":
        ann.say(packets.Move(seq=2, channel="hall"))
    elif how == "leave":
        ann.say(packets.Leave(seq=2, channel="room"))
    elif how == "admit":
        one.node.admit(session, "hall")
    else:
        one.node.expel(session, "room", "left")
    before = one.hub.channels_of(ann.welcome.id)
    town.stop(one)
    ann.comes_to(other)
    ann.take()
    assert other.hub.channels_of(ann.welcome.id) == before
    assert ann.welcome.resumed


def test_what_a_client_does_not_know_to_be_accepted_it_may_say_again(town: Town) -> None:
    one, other, ann, _ = settled(town)
    waiting(one, ann.line, chat(2))
    one.node.save(one.node.sessions[ann.welcome.id])
    town.stop(one)
    ann.comes_to(other)
    ann.take()
    assert ann.welcome.seq == 1
    assert ann.results(2) == []


def test_nobody_reads_a_secret_or_an_identity_in_the_backplane() -> None:
    town = Town()
    one, _ = town.houses
    one.identity = lambda token: "ann@example.org"
    welcome = one.line().hello()
    (saved,) = town.memory._sessions.values()
    _, secret = welcome.key.split(".")
    kept = msgspec.msgpack.encode((saved.saved.record, saved.keys))
    assert secret.encode() not in kept
    assert b"ann@" not in kept


def test_a_node_that_ends_in_good_order_gives_its_sessions_away(town: Town) -> None:
    one, other, ann, bob = settled(town)
    ann.say(chat(2))
    ann.line.lose(1001)
    one.node.close(1001)
    assert (one.away, one.over) == ([ann.welcome.id], [])
    bob.say(packets.Send(to=ann.welcome.id, event="psst", data="while away", seq=2))
    assert bob.results(2)[0].error is None
    one.backplane.stopped = True  # type: ignore[attr-defined]  # nobody waits for it
    ann.comes_to(other)
    ann.take()
    assert (ann.welcome.resumed, ann.welcome.seq) == (True, 2)
    assert all(begun.recovered for begun in ann.welcome.streams)
    assert ann.said == [2, "while away"]


def test_the_only_member_of_a_channel_misses_nothing_of_it(town: Town) -> None:
    one, other = town.houses
    ann = Person(one.line())
    ann.say(Join(seq=1, channel="room"))
    one.emit("room", "x", "before")
    ann.line.lose()
    one.emit("room", "x", "meanwhile")
    ann.comes_to(other)
    ann.take()
    assert all(begun.recovered for begun in ann.welcome.streams)
    assert ann.said == ["before", "meanwhile"]


def test_what_has_no_result_when_the_node_ends_is_said_again(town: Town) -> None:
    one, other, ann, _ = settled(town)
    asked = Request(seq=2, name="slow", data="x")
    go_on = waiting(one, ann.line, asked)
    ann.line.lose(1001)
    one.node.close(1001)
    go_on()  # too late
    ann.comes_to(other)
    ann.take()
    assert (ann.welcome.resumed, ann.welcome.seq) == (True, 1)
    ann.say(asked)
    (result,) = ann.results(2)
    assert result.data.value() == "x"


def test_an_identity_that_cannot_be_written_stays_on_its_node(town: Town) -> None:
    one, other = town.houses
    who = object()
    for house in (one, other):
        house.identity = lambda token: who
    line = one.line()
    welcome = line.hello()
    assert set(one.staying) == {welcome.id}
    line.send(Publish(channel="Home", event="chat", data=1, seq=1))
    town.wait(SOON)
    assert one.node.deadline > one.now  # nothing is tried again and again
    line.lose()
    assert not other.line().hello(key=welcome.key).resumed
    assert one.line().hello(key=welcome.key).resumed
    one.node.close(1001)
    assert one.over == [(welcome.id, 1001)]


def test_what_another_version_has_saved_is_gone(town: Town) -> None:
    _, other, ann, _ = settled(town)
    ann.line.lose()
    id = ann.welcome.id
    saved = town.memory._sessions[id]
    version, record = msgspec.msgpack.decode(saved.saved.record)
    later = msgspec.msgpack.encode((version + 1, record))
    town.memory.save_session(id, later, saved.keys, 60)
    welcome = other.line().hello(key=ann.welcome.key)
    assert not welcome.resumed


@pytest.mark.parametrize(("away", "resumes"), [(59, True), (60, False)])
def test_a_session_lasts_as_long_as_on_one_node(town: Town, away: float, resumes: bool) -> None:
    one, other, ann, _ = settled(town)
    ann.line.lose()
    town.stop(one)
    town.wait(away)
    assert other.line().hello(key=ann.welcome.key).resumed is resumes


def test_a_session_with_a_connection_is_kept_however_long_that_lasts(town: Town) -> None:
    one, other, ann, _ = settled(town)
    for _ in range(5):
        town.wait(REFRESH)
    town.stop(one)
    ann.comes_to(other)
    ann.take()
    assert ann.welcome.resumed


def test_a_session_that_has_ended_is_nowhere(town: Town) -> None:
    _, other, ann, bob = settled(town)
    key = ann.welcome.key
    ann.line.send(packets.Bye())
    assert list(town.memory._sessions) == [bob.welcome.id]
    assert not other.line().hello(key=key).resumed


def test_an_arrived_session_that_nobody_takes_ends(town: Town) -> None:
    one, other, ann, _ = settled(town)
    town.stop(one)
    line = ann.comes_to(other)
    assert line is ann.line
    line.lose()
    town.wait(61)
    assert ann.welcome.id not in other.node.sessions
    assert not other.line().hello(key=ann.welcome.key).resumed


def test_an_arrived_session_whose_client_is_being_let_in_does_not_end(town: Town) -> None:
    """However long the application takes."""
    one, other, ann, _ = settled(town)
    ann.line.lose()
    deciding: list[Any] = []
    other.may_join = lambda client, channel: bool(deciding)
    identified = other.identified

    def later(line: Line, work: Any, identity: Any) -> None:
        wanted = line.conversation.identified(work, identity)
        deciding.append((line, wanted))

    other.identified = later  # type: ignore[method-assign]
    line = ann.comes_to(other)
    town.wait(61)
    assert other.node.deadline > other.now
    other.identified = identified  # type: ignore[method-assign]
    line.conversation.welcome({})
    ann.take()
    assert ann.welcome.resumed
    assert ann.welcome.id not in one.node.sessions


def test_others_do_not_see_it_leave(town: Town) -> None:
    one, other = town.houses
    ann, bob = Person(one.line()), Person(one.line())
    for person in (ann, bob):
        person.say(Join(seq=1, channel="room", presence=True))
    town.wait(1)
    bob.take()
    ann.comes_to(other)
    town.wait(1)
    changes = [packet for packet in bob.take() if isinstance(packet, packets.Presence)]
    assert not any(packet.gone for packet in changes)


def test_a_word_that_was_lost_is_said_again(town: Town) -> None:
    _one, other, ann, _ = settled(town)
    tell, lost = town.memory.tell, []

    def deaf(stream: str, body: Any) -> Any:
        if not lost and isinstance(body, LetGo):
            lost.append(body)
            return tell("nowhere", body)
        return tell(stream, body)

    town.memory.tell = deaf  # type: ignore[method-assign]
    ann.comes_to(other)
    assert ann.take() == []
    town.wait(LOOK)
    ann.take()
    assert ann.welcome.resumed
    assert lost


def test_who_learns_from_the_backplane_that_a_session_was_claimed_ends_what_it_has_begun(
    town: Town,
) -> None:
    """The claim is known there before the claimant's word has come."""
    one, other, ann, _ = settled(town)
    go_on = waiting(one, ann.line, Request(seq=2, name="slow", data="x"))
    tell, held = town.memory.tell, []

    def late(stream: str, body: Any) -> Any:
        if isinstance(body, LetGo):
            held.append(partial(tell, stream, body))
            return tell("nowhere", body)
        return tell(stream, body)

    town.memory.tell = late  # type: ignore[method-assign]
    line = ann.line
    ann.comes_to(other)
    line.lose()  # so that it is to be saved
    assert ann.take() == []
    go_on()
    town.wait(PATIENCE)
    assert ann.welcome.id not in one.node.sessions
    held[0]()
    ann.take()
    assert (ann.welcome.resumed, ann.welcome.seq) == (True, 2)
    assert [result.data.value() for result in ann.results(2)] == ["x"]
    assert (one.over, other.heard) == ([], [])


def test_a_former_owner_is_asked_again_soon_and_then_each_second(town: Town) -> None:
    one, other, ann, _ = settled(town)
    one.backplane.stopped = True  # type: ignore[attr-defined]
    tell, asked = town.memory.tell, [town.now]

    def counted(stream: str, body: Any) -> Any:
        if isinstance(body, LetGo):
            asked.append(town.now)
        return tell(stream, body)

    town.memory.tell = counted  # type: ignore[method-assign]
    ann.comes_to(other)
    for _ in range(40):
        town.wait(FIRST_LOOK)
    pauses = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert pauses == [0, FIRST_LOOK, 0.25, 0.5, *[LOOK] * 4]


def test_an_old_word_changes_nothing(town: Town) -> None:
    one, _, ann, _ = settled(town)
    town.memory.tell(control("a"), LetGo(ann.welcome.id, 1, "b"))
    assert ann.line.closed is None
    assert ann.welcome.id in one.node.sessions


def test_one_node_alone_saves_nothing() -> None:
    house = House()
    welcome = house.line().hello()
    assert house.backplane._sessions == {}  # type: ignore[attr-defined]
    assert house.node.sessions[welcome.id].owed is None
