"""Memberships of a node's clients, also where the backplane is slow or fails. docs/protocol.md."""

from __future__ import annotations

from typing import Any

import pytest

from sono_core.limits import Limits
from sono_core.messaging import MessagingError
from sono_core.messaging.lossless import OWN, Position, packets
from sono_core.messaging.lossless.packets import Join, Leave, Move, Present, Publish, Read, Request
from tests.core.messaging.lossless.house import House, Line
from tests.core.messaging.lossless.slow import Slow


def house() -> tuple[House, Slow]:
    made = House(Slow)
    assert isinstance(made.backplane, Slow)
    return made, made.backplane


def results(got: list[packets.FromServer]) -> list[packets.Result]:
    return [packet for packet in got if isinstance(packet, packets.Result)]


def codes(got: list[packets.FromServer]) -> list[tuple[int, str | None]]:
    return [(one.re, one.error.code if one.error else None) for one in results(got)]


def positions(welcome: packets.Welcome) -> dict[str, Position]:
    return {begun.stream: begun.at for begun in welcome.streams}


def welcomed(line: Line) -> packets.Welcome:
    (welcome,) = [packet for packet in line.got if isinstance(packet, packets.Welcome)]
    return welcome


def test_a_channel_that_cannot_be_made_is_refused() -> None:
    """7: `unknown-channel`, `too-many-channels`; of a session and of the server."""
    closed = House(open_channels=False)
    line = closed.line()
    line.hello()
    got = line.send(Join(seq=1, channel="x"), Move(seq=2, channel="x"))
    assert codes(got) == [(1, "unknown-channel"), (2, "unknown-channel")]
    full = House(limits=Limits(max_channels=2))
    line = full.line()
    line.hello()
    line.send(Join(seq=1, channel="x"))
    (refused,) = results(line.send(Join(seq=2, channel="y")))
    assert refused.error is not None
    assert (refused.error.code, refused.error.temporary) == ("too-many-channels", True)


def test_a_session_joins_so_many_channels() -> None:
    """7: `too-many-channels`, at the bound and above it."""
    town = House()
    line = town.line()
    line.hello()
    got = line.send(*(Join(seq=n, channel=f"r{n}") for n in range(1, 10)))
    assert codes(got) == [*((n, None) for n in range(1, 9)), (9, "too-many-channels")]


def test_moving_to_a_channel_that_one_is_in() -> None:
    """3.3: nothing begins; and the same where one is already."""
    town = House()
    line = town.line()
    line.hello()
    got = line.send(Join(seq=1, channel="x"), Move(seq=2, channel="x"), Move(seq=3, channel="x"))
    assert codes(got) == [(1, None), (2, None), (3, None)]
    assert town.hub.channels_of("c1") == ["x"]


def test_public_data_has_a_bound() -> None:
    """3.4, at the bound of 4,096 bytes and above it; and only members have any."""
    town = House()
    line = town.line()
    line.hello()
    got = line.send(
        Present(seq=1, channel="Home", data="x" * 4094),
        Present(seq=2, channel="Home", data="x" * 4095),
        Present(seq=3, channel="x", data=1),
    )
    assert codes(got) == [(1, None), (2, "invalid-packet"), (3, "not-a-member")]


def test_entries_follow_the_result_that_begins_their_stream() -> None:
    """2.11: also if the result takes its time."""
    town, slow = house()
    a, b = town.line(), town.line()
    a.hello()
    b.hello()
    slow.holding = {"subscribe"}
    b.send(Join(seq=1, channel="x"))
    town.emit("x", "e", 1)
    assert not results(b.taken())
    slow.release()
    town.emit("x", "e", 2)
    result, *events = [packet for packet in b.taken() if not isinstance(packet, packets.Ack)]
    assert isinstance(result, packets.Result)
    assert [event.data.value() for event in events] == [1, 2]  # type: ignore[union-attr]


def test_memberships_are_told_in_their_order() -> None:
    """3.7: a leave does not overtake the join before it, nor a second join the first."""
    town, slow = house()
    line = town.line()
    line.hello()
    slow.holding = {"subscribe"}
    line.taken()
    got = line.send(
        Join(seq=1, channel="x"),
        Join(seq=2, channel="x"),
        Join(seq=3, channel="y"),
        Leave(seq=4, channel="x"),
    )
    assert codes(got) == [(1, None), (2, None)]  # they are done, as it has left
    slow.release()
    assert codes(line.taken()) == [(1, None), (2, None), (3, None), (4, None)]


def test_a_join_has_a_result_although_the_connection_is_lost() -> None:
    """3.1, 4.4, 5.5: the welcome names the channel; so does the result, with the same begin."""
    town, slow = house()
    a = town.line()
    welcome = a.hello()
    slow.holding = {"subscribe"}
    a.send(Join(seq=1, channel="x"))
    a.lose()
    slow.release()
    town.emit("x", "e", 1)
    again = town.line()
    back = again.hello(key=welcome.key, streams=positions(welcome))
    assert positions(back)["#x"].offset == 1
    (result,) = results(again.got)
    assert result.data.value()["at"][1] == 0
    town.emit("x", "e", 2)
    assert again.got[-1].at.offset == 2  # type: ignore[union-attr]
    assert not town.node._following._places


def test_a_join_that_a_resume_overtakes() -> None:
    """5.5: it begins where the welcome says."""
    town, slow = house()
    a = town.line()
    welcome = a.hello()
    slow.holding = {"subscribe"}
    a.send(Join(seq=1, channel="x"))
    again = town.line()
    again.send(packets.Hello(key=welcome.key, streams=positions(welcome)))
    assert not again.got
    slow.release()
    back = welcomed(again)
    (result,) = results(again.got)
    assert result.data.value()["at"] == [
        *map(positions(back)["#x"].__getattribute__, ("epoch", "offset"))
    ]


def test_a_join_by_a_session_without_a_connection() -> None:
    """3.10 of results: nothing is kept of where it begins, a resume says it."""
    town = House()
    a = town.line()
    a.hello()
    session = town.node.sessions["c1"]
    a.lose()
    town.node.join(session, Join(seq=1, channel="x", presence=True))
    assert town.hub.channels_of("c1") == ["Home", "x"]
    assert not town.node._following._places


@pytest.mark.parametrize("packet", [Join(seq=1, channel="x"), Move(seq=1, channel="x")])
def test_a_stream_that_cannot_be_followed(packet: Join | Move) -> None:
    """7: `unavailable`. A join is undone; who has moved comes back and hears where it is."""
    town, slow = house()
    line = town.line()
    line.hello()
    slow.failing = {"subscribe"}
    line.send(packet)
    town.wait(11.0)
    assert codes(line.got) == [(1, "unavailable")]
    moved = isinstance(packet, Move)
    assert (line.closed is not None) == moved
    assert town.hub.channels_of("c1") == (["x"] if moved else ["Home"])


def test_a_failure_that_nobody_is_told() -> None:
    """The same of a move whose connection is lost meanwhile."""
    town, slow = house()
    line = town.line()
    line.hello()
    slow.failing = {"subscribe"}
    line.send(Move(seq=1, channel="x"))
    line.lose()
    town.wait(11.0)
    slow.failing.clear()
    town.wait(11.0)  # it is tried again
    assert town.node._following.position("#x") is not None


def test_read() -> None:
    """3.9: entries and gaps come again; a stream that one has not is refused."""
    town, slow = house()
    line = town.line()
    welcome = line.hello()
    at = positions(welcome)["#Home"]
    for n in range(150):
        town.emit("Home", "e", n)
    line.taken()
    gap, *events = line.send(Read(stream="#Home", at=at))
    assert gap == packets.Gap(stream="#Home", at=Position(at.epoch, 50))
    assert len(events) == 100
    (error,) = line.send(Read(stream="#x", at=at))
    assert error.code == "not-a-member"  # type: ignore[union-attr]
    slow.failing = {"read"}
    (error,) = line.send(Read(stream="#Home", at=Position(at.epoch, 100)))
    assert error.code == "unavailable"  # type: ignore[union-attr]


def test_a_read_that_another_overtakes_is_not_answered() -> None:
    """3.9."""
    town, slow = house()
    line = town.line()
    at = positions(line.hello())["#Home"]
    for n in range(3):
        town.emit("Home", "e", n)
    line.taken()
    slow.holding = {"read"}
    line.send(Read(stream="#Home", at=at))
    line.send(Read(stream="#Home", at=Position(at.epoch, 1)))
    slow.release()
    assert [event.at.offset for event in line.taken()] == [2, 3]  # type: ignore[union-attr]


def test_history() -> None:
    """3.11: bounded by bytes, and `unavailable` if it cannot be had."""
    town, slow = house()
    line = town.line()
    line.hello()
    for n in range(5):
        town.emit("Home", "e", str(n) * 1500)
    ask = {"name": "sono.history", "data": {"channel": "Home"}}
    (result,) = results(line.send(Request(seq=1, **ask)))  # type: ignore[arg-type]
    told: Any = result.data.value()
    assert [entry["data"][0] for entry in told["entries"]] == ["3", "4"]
    assert told["more"]
    slow.failing = {"page"}
    assert codes(line.send(Request(seq=2, **ask))) == [(2, "unavailable")]  # type: ignore[arg-type]


def test_channels_are_listed_as_far_as_there_is_room() -> None:
    """3.11: 4,096 bytes here."""
    town = House()
    line = town.line()
    line.hello()
    for n in range(40):
        town.hub.create(f"{n:0>120}")
    (result,) = results(line.send(Request(seq=1, name="sono.channels", data=None)))
    told: Any = result.data.value()
    assert told["truncated"]
    assert len(told["channels"]) == 1 + 33


def test_who_may_not_come_back_is_told_after_what_it_has_still_to_hear() -> None:
    """5.8: it joined and moved, and does not know it yet."""
    town = House()
    a = town.line()
    welcome = a.hello()
    a.send(Join(seq=1, channel="x"), Move(seq=2, channel="y"))
    a.lose()
    town.may_join = lambda client, channel: False
    again = town.line()
    back = again.hello(key=welcome.key, streams=positions(welcome), channel="Home")
    assert [denied.channel for denied in back.denied] == ["y", "x"]
    assert town.hub.channels_of("c1") == ["Home"]
    told = [type(packet).__name__ for packet in again.got[1:]]
    assert told == ["Result", "Result", "Joined", "Left", "Left"]


@pytest.mark.parametrize("knows", [None, "elsewhere", "all"])
def test_who_knows_all_hears_it_in_the_welcome(knows: str | None) -> None:
    """5.8."""
    town = House()
    a = town.line()
    welcome = a.hello()
    (result,) = results(a.send(Join(seq=1, channel="x")))
    a.lose()
    town.may_join = lambda client, channel: False
    own = {"all": result.at, "elsewhere": Position("other", 1), None: None}[knows]
    again = town.line()
    back = again.hello(key=welcome.key, streams={OWN: own} if own else {})
    assert [denied.channel for denied in back.denied] == ["x"]
    assert any(isinstance(packet, packets.Left) for packet in again.got) == (knows == "elsewhere")


def test_publishing_where_the_backplane_fails() -> None:
    """7: `unavailable`; and who has ended hears nothing."""
    town, slow = house()
    line = town.line()
    line.hello()
    slow.holding = {"publish"}
    line.send(Publish(channel="Home", event="e", data=1, seq=1))
    town.node.end(town.node.sessions["c1"], 4013)
    slow.release()
    assert not results(line.got)


def test_who_has_never_changed_channels_knows_all() -> None:
    """5.8; and who waits to hear of a change does not."""
    town, slow = house()
    a = town.line()
    welcome = a.hello()
    session = town.node.sessions["c1"]
    kept = town.node._kept["c1"]
    assert kept.knows_all(None)
    slow.holding = {"subscribe"}
    a.send(Join(seq=1, channel="x"))
    assert not kept.knows_all(welcome.streams[0].at)
    slow.release()
    assert not kept.knows_all(welcome.streams[0].at)
    assert kept.knows_all(results(a.got)[-1].at)
    assert session.accepted == 1


def test_who_may_not_be_in_its_current_channel_goes_home_where_it_is_already() -> None:
    """5.8."""
    town = House()
    a = town.line()
    welcome = a.hello()
    a.send(Move(seq=1, channel="x"), Join(seq=2, channel="Home"))
    a.lose()
    town.may_join = lambda client, channel: False
    again = town.line()
    assert again.hello(key=welcome.key).channel == "Home"
    assert town.hub.channels_of("c1") == ["Home"]


def test_a_result_that_cannot_be_had_again() -> None:
    """3.2."""
    town, slow = house()
    a = town.line()
    a.hello()
    a.send(Join(seq=1, channel="x"))
    slow.failing = {"page"}
    assert not a.send(Join(seq=1, channel="x"))


def test_a_member_that_has_left_is_not_read_to() -> None:
    """2.8, 3.9: it leaves while it is behind, and while a gap is under way."""
    town, slow = house()
    a, b = town.line(), town.line()
    at = positions(a.hello())["#Home"]
    b.hello()
    a.send(Move(seq=1, channel="x"), Join(seq=2, channel="Home"))
    for n in range(3):
        town.emit("Home", "e", n)
    slow.holding = {"read"}
    a.send(Read(stream="#Home", at=at))
    a.taken()
    a.send(Leave(seq=3, channel="Home"))
    slow.release()
    assert not [packet for packet in a.got if getattr(packet, "stream", "") == "#Home"]
    town.hub.add("classic")
    town.backplane.streams.free("#Home")  # type: ignore[attr-defined]
    town.emit("Home", "e", 3)
    gaps = [line for line in (a, b) if any(isinstance(p, packets.Gap) for p in line.got)]
    assert gaps == [b]
    town.node._following.go_on("c1", ["#Home"])


def test_a_gap_amid_a_replay() -> None:
    """2.8: trimming overtakes a slow client."""
    town = House()
    a = town.line()
    welcome = a.hello()
    for _ in range(100):
        town.emit("Home", "e", "x" * 2000)
    a.lose()
    again = town.line()
    again.room = 1
    again.hello(key=welcome.key, streams=positions(welcome))
    for n in range(100):
        town.emit("Home", "e", n)
    for _ in range(20):
        again.room = 1
        town.node.drained("c1")
    told = [packet for packet in again.got if getattr(packet, "stream", "") == "#Home"]
    at = 0
    for packet in told:
        offset = packet.at.offset  # type: ignore[union-attr]
        assert offset == at + 1 or isinstance(packet, packets.Gap)
        at = offset
    assert at == 200
    assert sum(isinstance(packet, packets.Gap) for packet in told) == 1


def test_a_check_that_comes_after_a_channel_was_left() -> None:
    """Its stream is followed no longer, and nothing happens."""
    town, slow = house()
    a = town.line()
    a.hello()
    a.send(Join(seq=1, channel="x"))
    slow.holding = {"tops"}
    town.wait(11.0)
    a.send(Leave(seq=2, channel="x"))
    slow.release()
    assert "#x" not in town.node._following._feeds


def test_leaving_a_stream_that_nobody_follows_changes_nothing() -> None:
    house = House()
    house.node._following.leave("#nowhere", "c1")
    line = house.line()
    assert line.hello().channel == "Home"


# -- memberships that the server changes ----------------------------------------------------------


def told(got: list[packets.FromServer]) -> list[packets.FromServer]:
    return [packet for packet in got if isinstance(packet, (packets.Joined, packets.Left))]


def test_the_server_makes_a_client_a_member_once() -> None:
    """3.8, 2.11: it is told from where on it gets what is said there."""
    town = House()
    line = town.line()
    line.hello()
    session = line.conversation.session
    assert session is not None
    before = town.emit("room", "e", 1)
    town.hub.create("room")
    line.taken()
    town.node.admit(session, "room")
    (joined,) = told(line.got)
    assert isinstance(joined, packets.Joined)
    assert (joined.channel, joined.position, joined.current) == ("room", before, False)
    at = town.emit("room", "e", 2)
    assert [packet.at for packet in line.got if isinstance(packet, packets.Event)] == [at]
    line.taken()
    town.node.admit(session, "room")
    assert line.taken() == []
    assert session.joined


def test_the_server_cannot_make_a_client_a_member_of_what_is_not_there() -> None:
    town = House(open_channels=False)
    line = town.line()
    line.hello()
    session = line.conversation.session
    assert session is not None
    line.taken()
    with pytest.raises(MessagingError) as refused:
        town.node.admit(session, "room")
    assert refused.value.code == "unknown-channel"
    assert (line.taken(), town.hub.channels_of(session.id)) == ([], ["Home"])


def test_the_server_ends_a_membership() -> None:
    town = House()
    line = town.line()
    line.hello()
    session = line.conversation.session
    assert session is not None
    line.send(Join(seq=1, channel="room"))
    line.taken()
    town.node.expel(session, "room", "left")
    (left,) = told(line.taken())
    assert isinstance(left, packets.Left)
    assert (left.channel, left.code) == ("room", "left")
    town.node.expel(session, "room", "left")
    town.node.expel(session, "nowhere", "left")
    assert line.taken() == []
    assert town.hub.channels_of(session.id) == ["Home"]


def test_whom_the_server_expels_from_its_current_channel_goes_home() -> None:
    town = House()
    line = town.line()
    line.hello()
    session = line.conversation.session
    assert session is not None
    line.send(Move(seq=1, channel="room"))
    line.taken()
    town.node.expel(session, "room", "forbidden")
    left, joined = told(line.taken())
    assert isinstance(left, packets.Left)
    assert isinstance(joined, packets.Joined)
    assert (left.code, joined.channel) == ("forbidden", "Home")
    at = town.emit("Home", "e", 1)
    assert [packet.at for packet in line.got if isinstance(packet, packets.Event)] == [at]


def test_a_client_without_a_connection_hears_later_what_the_server_changed() -> None:
    town = House()
    line = town.line()
    welcome = line.hello()
    session = line.conversation.session
    assert session is not None
    line.send(Join(seq=1, channel="old"))
    line.lose()
    town.node.admit(session, "new")
    town.node.expel(session, "old", "left")
    again = town.line()
    streams = {begun.stream: begun.at for begun in welcome.streams}
    back = again.hello(key=welcome.key, streams=streams)
    assert {begun.stream for begun in back.streams} == {"@", "*", "#Home", "#new"}
    kinds = [type(packet) for packet in told(again.got)]
    assert kinds == [packets.Joined, packets.Left]


def test_a_channel_goes_with_its_last_member() -> None:
    """Its stream is freed: whoever makes it again begins another life."""
    town = House()
    line = town.line()
    line.hello()
    (first,) = results(line.send(Join(seq=1, channel="room")))
    line.send(Leave(seq=2, channel="room"))
    assert "#room" not in town.node._following._feeds
    second = results(line.send(Join(seq=3, channel="room")))[-1]
    begun = [result.data.value()["at"] for result in (first, second)]  # type: ignore[union-attr]
    assert begun[0][0] != begun[1][0]


def test_a_membership_whose_stream_cannot_be_followed_is_taken_back() -> None:
    """Nobody was told of it."""
    town, slow = house()
    line = town.line()
    line.hello()
    session = line.conversation.session
    assert session is not None
    line.taken()
    slow.failing = {"subscribe"}
    town.node.admit(session, "room")
    town.wait(11.0)
    assert town.hub.channels_of(session.id) == ["Home"]
    assert (line.taken(), line.closed) == ([], None)


def test_a_membership_that_ends_before_it_has_begun_is_not_told() -> None:
    town, slow = house()
    line = town.line()
    line.hello()
    session = line.conversation.session
    assert session is not None
    line.taken()
    slow.holding = {"subscribe"}
    town.node.admit(session, "room")
    town.node.expel(session, "room", "left")
    slow.release()
    assert [type(packet) for packet in told(line.taken())] == [packets.Left]
    assert town.hub.channels_of(session.id) == ["Home"]
