"""The mirror of a channel's members. docs/protocol.md, 3.11, 4.8."""

from __future__ import annotations

from typing import Any

import pytest

from sono_core.messaging.lossless import OWN, packets
from sono_core.messaging.lossless.client import PresenceChanged
from sono_core.messaging.lossless.packets import Failure, Gap, Members, Presence
from tests.core.messaging.lossless.client.rig import Rig, at, begun, event


def members(version: int, **data: Any) -> Members:
    return Members("room", version, list(data.items()), len(data))


def came(version: int, count: int = 9, **data: Any) -> Presence:
    return Presence(channel="room", version=version, count=count, entered=list(data.items()))


def went(version: int, *gone: str) -> Presence:
    return Presence(channel="room", version=version, count=9, gone=list(gone))


def changes(rig: Rig) -> list[PresenceChanged]:
    return [told for told in rig.told() if isinstance(told, PresenceChanged)]


def watching(**limits: Any) -> Rig:
    """A client that has joined a room with presence, and has no snapshot yet."""
    rig = Rig(**limits).open()
    rig.join("room", presence=True)
    rig.told()
    return rig


def asked(rig: Rig) -> list[int]:
    """The numbers of the requests for members that the client says."""
    said = rig.said()
    for packet in said:
        assert (packet.name, packet.data) == ("sono.members", {"channel": "room"})
    return [packet.seq for packet in said]


def test_a_snapshot_says_who_is_there() -> None:
    rig = watching()
    rig.receive(members(4, a=1, b=2))
    assert changes(rig) == [PresenceChanged("room", 2, [("a", 1), ("b", 2)], [])]
    assert rig.client.members("room") == {"a": 1, "b": 2}
    assert asked(rig) == []


def test_changes_follow_the_snapshot() -> None:
    rig = watching()
    rig.receive(members(4, a=1, b=2), came(5, 3, c=3), came(6, 3, a=7), went(7, "b", "z"))
    assert changes(rig)[1:] == [
        PresenceChanged("room", 3, [("c", 3)], []),
        PresenceChanged("room", 3, [("a", 7)], []),
        PresenceChanged("room", 9, [], ["b", "z"]),
    ]
    assert rig.client.members("room") == {"a": 7, "c": 3}
    assert asked(rig) == []


def test_changes_that_come_before_the_snapshot_are_held_and_taken_if_they_are_newer() -> None:
    rig = watching()
    rig.receive(came(4, x=1), came(5, c=3), came(6, d=4))
    assert changes(rig) == []
    rig.receive(members(4, a=1))
    assert rig.client.members("room") == {"a": 1, "c": 3, "d": 4}
    assert len(changes(rig)) == 3
    assert asked(rig) == []


@pytest.mark.parametrize("version", [3, 4, -1])
def test_a_change_that_is_not_newer_is_dropped(version: int) -> None:
    """4.8."""
    rig = watching()
    rig.receive(members(4, a=1), came(version, x=1))
    assert rig.client.members("room") == {"a": 1}
    assert asked(rig) == []


def test_a_version_that_was_missed_asks_for_a_snapshot_once() -> None:
    """4.8."""
    rig = watching()
    rig.receive(members(4, a=1), came(6, c=3), came(7, d=4))
    assert asked(rig) == [2]
    assert rig.client.members("room") == {"a": 1}
    rig.result(2, data={"version": 6, "members": [["a", 1], ["b", 2], ["c", 3]], "count": 3})
    assert rig.client.members("room") == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert asked(rig) == []
    assert changes(rig)[1:] == [
        PresenceChanged("room", 3, [("b", 2), ("c", 3)], []),
        PresenceChanged("room", 9, [("d", 4)], []),
    ]


def test_a_snapshot_that_leaves_a_hole_is_asked_for_again() -> None:
    rig = watching()
    rig.receive(members(4), came(9, c=3))
    assert asked(rig) == [2]
    rig.result(2, data={"version": 7, "members": [], "count": 0})
    assert asked(rig) == [3]
    rig.result(3, data={"version": 8, "members": [], "count": 0})
    assert rig.client.members("room") == {"c": 3}


def test_a_snapshot_says_what_is_different() -> None:
    rig = watching()
    rig.receive(members(4, a=1, b=2, c=3), members(5, a=1, b=9, d=4), members(6, a=1, b=9, d=4))
    assert changes(rig)[1:] == [PresenceChanged("room", 3, [("b", 9), ("d", 4)], ["c"])]


def test_a_snapshot_may_hold_fewer_than_there_are() -> None:
    rig = watching()
    rig.receive(Members("room", 4, [], 100), Members("room", 5, [], 101))
    assert [change.count for change in changes(rig)] == [100, 101]


def test_an_older_snapshot_changes_nothing_while_all_is_known() -> None:
    rig = watching()
    rig.receive(members(4, a=1), members(3, b=2), came(5, c=3))
    assert rig.client.members("room") == {"a": 1, "c": 3}


@pytest.mark.parametrize(
    "fields",
    [
        {"error": Failure("unavailable", "later", temporary=True)},
        {"data": None},
        {"data": {"members": "?"}},
        {"data": {"members": [], "count": 0}},
        {},
    ],
)
def test_without_an_answer_the_next_change_asks_again(fields: dict[str, Any]) -> None:
    rig = watching()
    rig.receive(members(4), came(6))
    assert asked(rig) == [2]
    rig.result(2, **fields)
    assert asked(rig) == []
    rig.receive(came(7))
    assert asked(rig) == [3]


def test_a_request_for_members_has_a_time_out_and_is_no_request_of_the_application() -> None:
    rig = watching(max_requests=1)
    rig.receive(members(4), came(6))
    rig.request()
    assert len(rig.said()) == 2
    rig.later(30)
    rig.receive(came(7))
    assert asked(rig) == [4]


def test_an_answer_after_the_end_of_the_membership_changes_nothing() -> None:
    rig = watching()
    rig.receive(members(4), came(6))
    assert asked(rig) == [2]
    rig.expel("room")
    rig.result(2, data={"version": 6, "members": [["a", 1]], "count": 1})
    assert rig.client.members("room") == {}


def test_who_does_not_want_presence_is_told_nothing() -> None:
    rig = Rig().open()
    rig.join("room")
    rig.told()
    rig.receive(members(4, a=1), came(5, b=2))
    assert rig.told() == []
    assert rig.client.members("room") == {}


def test_presence_ends_with_the_membership() -> None:
    rig = watching()
    rig.receive(members(4, a=1))
    rig.expel("room")
    rig.told()
    rig.receive(came(5, b=2))
    assert rig.told() == []
    assert rig.client.members("room") == {}


def test_presence_that_went_with_a_membership_comes_with_the_next() -> None:
    rig = watching()
    rig.client.leave("room", now=rig.now)
    rig.client.join("room", now=rig.now, presence=True)
    rig.said()
    rig.result(2)
    rig.receive(members(4, a=1))  # nobody knows yet that it is for the second
    rig.let_in(3, "room")
    assert asked(rig) == [4]


def test_presence_of_a_join_that_fails_is_forgotten() -> None:
    rig = Rig().open()
    rig.client.join("room", now=rig.now, presence=True)
    rig.said()
    rig.result(1, error=Failure("forbidden", "no"))
    rig.receive(members(4, a=1))
    assert rig.client.members("room") == {}


def test_presence_outlives_another_join_that_fails() -> None:
    rig = watching()
    rig.client.join("room", now=rig.now, presence=True)
    rig.client.join("den", now=rig.now)
    rig.said()
    rig.result(2, error=Failure("unavailable", "later"))
    rig.result(3, error=Failure("unavailable", "later"))
    rig.receive(members(4, a=1))
    assert rig.client.members("room") == {"a": 1}


# -- connections ----------------------------------------------------------------------------------


def come_back(rig: Rig, *, resumed: bool, **more: Any) -> list[Any]:
    rig.lose()
    rig.connect()
    rig.told()
    rig.welcome(begun("#room", recovered=True), resumed=resumed, **more)
    return rig.said()


def test_after_a_resume_a_snapshot_comes() -> None:
    """5.5: what the server told meanwhile is lost."""
    rig = watching()
    rig.receive(members(4, a=1))
    assert come_back(rig, resumed=True, seq=1) == []
    rig.receive(came(9, z=1), members(8, b=2))
    assert rig.client.members("room") == {"b": 2, "z": 1}
    assert changes(rig)[0] == PresenceChanged("room", 1, [("b", 2)], ["a"])
    assert rig.said() == []


def test_an_answer_that_a_resume_has_overtaken_changes_nothing() -> None:
    rig = watching()
    rig.receive(members(4, a=1), came(6))
    assert asked(rig) == [2]
    assert come_back(rig, resumed=True, seq=2) == []
    rig.receive(members(8, b=2))
    rig.result(2, data={"version": 6, "members": [], "count": 0})
    assert rig.client.members("room") == {"b": 2}


def test_a_request_that_was_not_accepted_is_not_sent_again() -> None:
    rig = watching()
    rig.receive(members(4, a=1), came(6))
    assert asked(rig) == [2]
    assert come_back(rig, resumed=True, seq=1) == []
    rig.receive(members(8, b=2), came(10))
    nothing, request = rig.said()
    assert nothing == packets.Reply(seq=2, re=0)
    assert (request.seq, request.name) == (3, "sono.members")


@pytest.mark.parametrize("why", ["new session", "gap"])
def test_a_server_that_may_not_know_it_is_told_again_who_wants_presence(why: str) -> None:
    """3.8, 5.9."""
    rig = watching()
    rig.receive(members(4, a=1))
    if why == "gap":
        rig.receive(Gap(OWN, at(9)))
        rig.own = 9
        said = come_back(rig, resumed=True, seq=1)
    else:
        said = come_back(rig, resumed=False)
    (join,) = said
    assert (join.channel, join.presence) == ("room", True)
    rig.receive(members(2, b=2))
    rig.told()
    rig.let_in(join.seq, "room")
    assert rig.told() == []
    assert rig.client.members("room") == {"b": 2}
    assert come_back(rig, resumed=True, seq=join.seq) == []


def test_a_join_that_restores_presence_and_fails_ends_nothing() -> None:
    rig = watching()
    rig.receive(members(4, a=1))
    (join,) = come_back(rig, resumed=False)
    rig.result(join.seq, error=Failure("unavailable", "later", temporary=True))
    assert rig.client.members("room") == {"a": 1}
    (join,) = come_back(rig, resumed=True, seq=1)
    assert join.presence


def test_presence_of_a_channel_that_is_being_joined_waits_for_it() -> None:
    rig = Rig()
    rig.client.join("room", now=rig.now, presence=True)
    rig.open()
    (join,) = rig.said()
    rig.let_in(join.seq, "room")
    rig.receive(members(4, a=1))
    assert rig.client.members("room") == {"a": 1}
    assert rig.said() == []


def test_a_gap_in_the_channel_asks_for_a_snapshot() -> None:
    """Its life may be another one, and versions begin anew."""
    rig = watching()
    rig.receive(members(4, a=1), event("#room", 1, epoch="f"))
    assert asked(rig) == [2]
    rig.receive(Gap("#room", at(9, "f")))
    assert asked(rig) == []
    rig.result(2, data={"version": 0, "members": [], "count": 0})
    rig.receive(came(1, b=2))
    assert rig.client.members("room") == {"b": 2}


# -- bounds ---------------------------------------------------------------------------------------


def test_so_many_members_are_kept_and_no_more() -> None:
    rig = watching(max_members=2)
    rig.receive(members(4, a=1, b=2, c=3), came(5, d=4, a=9), went(6, "b"), came(7, e=5))
    assert rig.client.members("room") == {"a": 9, "e": 5}
    assert [len(change.entered) for change in changes(rig)] == [3, 2, 0, 1]


def test_so_many_changes_are_held_and_no_more() -> None:
    """Then another snapshot is asked for."""
    rig = watching(max_held=3)
    for version in range(5, 9):
        rig.receive(came(version, **{f"m{version}": 1}))
    rig.receive(members(4))
    assert asked(rig) == [2]
    rig.result(2, data={"version": 7, "members": [], "count": 0})
    assert rig.client.members("room") == {"m8": 1}
