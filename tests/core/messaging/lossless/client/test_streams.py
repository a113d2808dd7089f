"""How streams go on, as the application sees it. docs/protocol.md, sections 2 and 5."""

from __future__ import annotations

import pytest

from sono_core.messaging.lossless import OWN, packets
from sono_core.messaging.lossless.client import Departed, Entered, Missed, Opened
from sono_core.messaging.lossless.packets import Gap, Read, Skip
from tests.core.messaging.lossless.client.rig import Rig, at, begun, event

HOME = "#Home"


# -- entries --------------------------------------------------------------------------------------


def test_entries_are_told_in_order_and_once() -> None:
    """2.4, 2.5."""
    rig = Rig().open()
    first, second = event(HOME, 1, "a"), event(HOME, 2, "b")
    rig.receive(first, first, second, first, second)
    assert rig.told() == [first, second]
    assert rig.client.positions[HOME] == at(2)


def test_behind_a_hole_nothing_is_told_until_it_is_filled() -> None:
    """2.6: it asks once, until an entry can be taken."""
    rig = Rig().open()
    events = [event(HOME, offset) for offset in range(6)]
    rig.receive(events[1], events[3], events[4])
    assert rig.told() == [events[1]]
    assert rig.said() == [Read(HOME, at(1))]
    rig.receive(*events[2:5])
    assert rig.told() == events[2:5]
    rig.receive(event(HOME, 6))
    assert rig.said() == [Read(HOME, at(4))]


def test_a_hole_is_asked_for_again_on_the_next_connection() -> None:
    """2.6: who was asked is gone."""
    rig = Rig().open()
    rig.receive(event(HOME, 2))
    assert rig.said() == [Read(HOME, at(0))]
    rig.lose()
    rig.connect()
    rig.welcome(resumed=True)
    rig.receive(event(HOME, 2))
    assert rig.said() == [Read(HOME, at(0))]


def test_a_new_life_is_a_gap_of_unknown_extent() -> None:
    """2.7."""
    rig = Rig().open()
    reborn = event(HOME, 3, epoch="f")
    rig.receive(event(HOME, 1), reborn)
    assert rig.told()[1:] == [Missed(HOME, at(2, "f"), None), reborn]
    assert rig.client.positions[HOME] == at(3, "f")


def test_a_gap_is_told_with_its_extent() -> None:
    """2.8."""
    rig = Rig().open()
    rig.receive(event(HOME, 1), Gap(HOME, at(5)), event(HOME, 6))
    assert rig.told()[1] == Missed(HOME, at(5), 2)
    assert rig.client.positions[HOME] == at(6)


def test_a_gap_into_another_epoch_is_of_unknown_extent() -> None:
    """2.8."""
    rig = Rig().open()
    rig.receive(Gap(HOME, at(0, "f")), event(HOME, 1, epoch="f"))
    assert rig.told()[0] == Missed(HOME, at(0, "f"), None)


def test_a_gap_in_what_everybody_gets_is_told() -> None:
    """2.8."""
    rig = Rig().open()
    rig.receive(Gap("*", at(2)))
    assert rig.told() == [Missed("*", at(2), 1)]
    assert not rig.client.dead


@pytest.mark.parametrize("offset", [0, 1, 2])
def test_a_gap_that_is_behind_is_dropped(offset: int) -> None:
    """2.8."""
    rig = Rig().open()
    rig.receive(event(HOME, 1), event(HOME, 2))
    rig.told()
    rig.receive(Gap(HOME, at(offset)), event(HOME, 2))
    assert rig.told() == []
    assert rig.client.positions[HOME] == at(2)


def test_a_gap_answers_what_was_asked() -> None:
    """2.6."""
    rig = Rig().open()
    rig.receive(event(HOME, 4), Gap(HOME, at(2)), event(HOME, 5))
    assert rig.said() == [Read(HOME, at(0)), Read(HOME, at(2))]


def test_an_entry_for_others_moves_the_position() -> None:
    """2.9."""
    rig = Rig().open()
    rig.receive(Skip(HOME, at(1)), event(HOME, 2))
    assert [told.at for told in rig.told()] == [at(2)]


def test_a_volatile_event_is_outside_of_the_order() -> None:
    """2.10."""
    rig = Rig().open()
    volatile = event(HOME, None, "now")
    rig.receive(event(HOME, 2), volatile, volatile)
    assert rig.told() == [volatile, volatile]


def test_what_belongs_to_no_stream_of_the_client_is_ignored() -> None:
    """2.11."""
    rig = Rig().open()
    rig.receive(
        event("#other", 1),
        event("#other", None),
        event("", 1),
        Skip("#other", at(1)),
        Gap("#other", at(1)),
    )
    assert rig.told() == []
    assert rig.said() == []


def test_results_belong_to_the_own_stream_alone() -> None:
    """4.4: whoever forges one elsewhere changes nothing."""
    rig = Rig().open()
    pending = rig.publish()
    rig.said()
    rig.receive(packets.Result(stream=HOME, at=at(1), re=1))
    assert pending.outcome is None
    assert rig.client.positions[HOME] == at(0)


# -- memberships ----------------------------------------------------------------------------------


def test_a_join_begins_a_stream_where_its_result_says() -> None:
    rig = Rig().open()
    rig.join("room", 7)
    rig.receive(event("#room", 7), event("#room", 8))
    told = rig.told()
    assert told[0] == Entered("room", current=False)
    assert told[-1].at == at(8)
    assert rig.client.channels == ["Home", "room"]


def test_a_join_from_a_position_on_goes_on_there() -> None:
    rig = Rig().open()
    rig.client.join("room", now=rig.now, at=at(3))
    rig.said()
    rig.let_in(1, "room", 7, recovered=True)
    rig.receive(event("#room", 4))
    assert rig.told()[-1].at == at(4)


@pytest.mark.parametrize(("asked", "first"), [(at(3), 4), (at(3, "old"), None), (at(9), None)])
def test_a_join_that_does_not_recover_is_a_gap(asked: packets.Position, first: int | None) -> None:
    rig = Rig().open()
    rig.client.join("room", now=rig.now, at=asked)
    rig.said()
    rig.let_in(1, "room", 7)
    assert rig.told()[0] == Missed("#room", at(7), first)
    assert rig.client.positions["#room"] == at(7)


def test_a_join_from_the_top_on_misses_nothing() -> None:
    rig = Rig().open()
    rig.client.join("room", now=rig.now, at=at(7))
    rig.said()
    rig.let_in(1, "room", 7)
    assert not [told for told in rig.told() if isinstance(told, Missed)]


def test_joining_twice_changes_nothing() -> None:
    """3.8."""
    rig = Rig().open()
    rig.join("room", 7)
    rig.receive(event("#room", 8))
    rig.told()
    rig.join("room", 7)
    rig.receive(event("#room", 8), event("#room", 9))
    assert [getattr(told, "at", None) for told in rig.told()] == [None, at(9)]
    assert rig.said() == []


def test_a_move_leaves_the_channel_that_was_current() -> None:
    rig = Rig().open()
    rig.client.move("room", now=rig.now)
    rig.said()
    rig.let_in(1, "room")
    assert rig.told()[:2] == [Departed("Home"), Entered("room", current=True)]
    assert rig.client.channel == "room"
    assert rig.client.channels == ["room"]


def test_a_move_to_a_channel_that_was_joined_keeps_its_stream() -> None:
    rig = Rig().open()
    rig.join("room", 7)
    rig.receive(event("#room", 8))
    rig.told()
    rig.client.move("room", now=rig.now)
    rig.said()
    rig.let_in(2, "room", 8)
    assert rig.told()[:2] == [Departed("Home"), Entered("room", current=True)]
    assert rig.client.positions["#room"] == at(8)


def test_a_move_to_the_current_channel_changes_nothing() -> None:
    rig = Rig().open()
    pending = rig.client.move("Home", now=rig.now)
    rig.said()
    rig.let_in(1, "Home")
    assert [told.pending for told in rig.told()] == [pending]


def test_who_leaves_is_told_nothing_more() -> None:
    rig = Rig().open()
    rig.join("room")
    rig.told()
    rig.client.leave("room", now=rig.now)
    rig.said()
    rig.receive(event("#room", 1))
    rig.result(2)
    rig.receive(event("#room", 2))
    told = rig.told()
    assert told[0].at == at(1)
    assert told[1] == Departed("room")
    assert len(told) == 3


def test_the_server_makes_members_and_ends_memberships() -> None:
    rig = Rig().open()
    rig.force("room", 4)
    rig.receive(event("#room", 5))
    rig.force("den", current=True)
    rig.expel("room", "kicked")
    rig.expel("room")
    told = rig.told()
    assert told[0] == Entered("room", current=False)
    assert told[2:] == [
        Departed("Home"),
        Entered("den", current=True),
        Departed("room", "kicked"),
    ]
    assert (rig.client.channel, rig.client.channels) == ("den", ["den"])


@pytest.mark.parametrize("word", ["publish", "present"])
def test_who_is_called_no_member_is_none(word: str) -> None:
    """3.6: although nothing has said so."""
    rig = Rig().open()
    rig.join("room")
    rig.told()
    if word == "publish":
        rig.publish(channel="room")
    else:
        rig.client.present("room", 1, now=rig.now)
    rig.said()
    rig.result(2, error=packets.Failure("not-a-member", "no"))
    assert rig.told()[0] == Departed("room", "not-a-member")
    assert rig.client.channels == ["Home"]


@pytest.mark.parametrize("code", ["not-a-member", "forbidden"])
def test_other_failures_end_no_membership(code: str) -> None:
    rig = Rig().open()
    rig.publish()
    rig.request()
    rig.said()
    rig.result(1, error=packets.Failure("forbidden", "no"))
    rig.result(2, error=packets.Failure(code, "no"))
    assert rig.client.channels == ["Home"]


def test_the_current_channel_may_end_and_another_take_its_place() -> None:
    rig = Rig().open()
    rig.expel("Home")
    assert rig.client.channel is None
    rig.force("den", current=True)
    assert rig.client.channel == "den"


def test_a_repeated_entry_of_the_own_stream_changes_nothing() -> None:
    """2.5."""
    rig = Rig().open()
    rig.force("room")
    rig.told()
    rig.own = 0
    rig.expel("Home")
    rig.own = 0
    rig.force("den")
    assert rig.told() == []


def test_no_more_streams_are_followed_than_there_is_room_for() -> None:
    rig = Rig(max_streams=4).open()
    rig.force("a")
    rig.force("b")
    assert rig.told() == [Entered("a", current=False), Departed("b", "too-many-channels")]
    rig.lose()
    rig.connect()
    rig.welcome(begun("#a", recovered=True), begun("#b"), begun("#c"), resumed=True)
    assert rig.client.channels == ["Home", "a"]


# -- resume ---------------------------------------------------------------------------------------


def test_a_stream_that_was_recovered_goes_on_where_it_was() -> None:
    """5.6."""
    rig = Rig().open()
    rig.receive(event(HOME, 1))
    rig.lose()
    assert rig.connect().streams == {OWN: at(0), "*": at(0), HOME: at(1)}
    rig.welcome(begun(HOME, 1, recovered=True), resumed=True)
    rig.receive(event(HOME, 1), event(HOME, 2), event(HOME, 3))
    told = rig.told()
    assert [each.at.offset for each in told if isinstance(each, packets.Event)] == [1, 2, 3]
    assert not [each for each in told if isinstance(each, Missed)]


@pytest.mark.parametrize(
    ("offset", "epoch", "first"), [(7, "e", 3), (7, "f", None), (1, "e", None), (0, "f", None)]
)
def test_a_stream_that_was_not_recovered_is_a_gap(
    offset: int, epoch: str, first: int | None
) -> None:
    """5.6, 5.7: another one is not concerned."""
    rig = Rig().open()
    rig.receive(event(HOME, 1), event(HOME, 2))
    rig.lose()
    rig.connect()
    rig.told()
    rig.welcome(begun(HOME, offset, epoch), resumed=True)
    assert rig.told()[1:] == [Missed(HOME, at(offset, epoch), first)]
    following = event(HOME, offset + 1, epoch=epoch)
    rig.receive(following, event("*", 1))
    assert rig.told() == [following, event("*", 1)]


def test_where_nothing_is_missing_no_gap_is_told() -> None:
    """5.6."""
    rig = Rig().open()
    rig.receive(event(HOME, 1))
    rig.lose()
    rig.connect()
    rig.told()
    rig.welcome(begun(HOME, 1), resumed=True)
    assert rig.told() == [Opened("me", True, False, {})]


def test_a_channel_that_is_denied_is_one_no_more() -> None:
    """5.8."""
    rig = Rig().open()
    rig.join("room")
    rig.join("den")
    rig.lose()
    rig.connect()
    rig.told()
    error = packets.Failure("forbidden", "no")
    rig.welcome(resumed=True, seq=2, denied=[packets.Denied("room", error)])
    assert rig.told()[1:] == [Departed("room", "forbidden"), Departed("den")]
    rig.receive(event("#room", 1))
    assert rig.told() == []


def test_a_stream_that_a_welcome_does_not_name_is_one_no_more() -> None:
    """5.6; if it is the own one, nothing is known of what was accepted."""
    rig = Rig().open()
    pending = rig.client.join("room", now=rig.now)
    rig.said()
    rig.receive(packets.Ack(1))
    rig.lose()
    rig.connect()
    rig.told()
    rig.receive(
        packets.Welcome(
            id="me", key="k", resumed=True, seq=1, channel="Home", streams=[begun(HOME)]
        )
    )
    assert isinstance(pending.outcome, packets.Failure)
    assert pending.outcome.code == "unknown"
    rig.receive(event("*", 1), event(OWN, 1), event(HOME, 1))
    assert rig.told()[-1] == event(HOME, 1)
    assert list(rig.client.positions) == [HOME]


def test_a_membership_that_the_server_began_meanwhile_is_told() -> None:
    """5.5; and again by the entry that says so, which the welcome has outrun."""
    rig = Rig().open()
    rig.lose()
    rig.connect()
    rig.told()
    rig.welcome(begun("#room", 4), resumed=True)
    assert rig.told()[1:] == [Entered("room", current=False)]
    rig.force("room", 4)
    assert rig.told() == []
    assert rig.said() == []


def late_room() -> Rig:
    """A client that was made a member at 4, and learns it from a welcome at 7."""
    rig = Rig().open()
    rig.lose()
    rig.connect()
    rig.welcome(begun("#room", 7), resumed=True)
    rig.told()
    return rig


def test_what_came_between_a_membership_and_the_welcome_is_read() -> None:
    rig = late_room()
    rig.force("room", 4)
    assert rig.said() == [Read("#room", at(4))]
    rig.receive(*(event("#room", offset) for offset in (5, 6, 7)))
    assert [told.at.offset for told in rig.told()] == [5, 6, 7]


def test_what_can_no_longer_be_taken_in_order_is_a_gap() -> None:
    rig = late_room()
    rig.receive(event("#room", 8))
    rig.told()
    rig.force("room", 4)
    assert rig.told() == [Missed("#room", at(7), 5)]
    rig.force("room", 4)
    assert rig.told() == []


def test_if_the_beginning_of_a_membership_is_lost_there_is_a_gap() -> None:
    """Nobody knows of what extent."""
    rig = late_room()
    rig.receive(Gap(OWN, at(9)))
    assert rig.told() == [Missed(OWN, at(9), 1), Missed("#room", at(7), None)]


@pytest.mark.parametrize("known", [True, False])
def test_a_gap_of_unknown_extent_is_not_followed_by_one_before_it(known: bool) -> None:
    rig = late_room()
    rig.receive(event("#room", 3, epoch="f"))
    assert rig.told()[0] == Missed("#room", at(2, "f"), None)
    if known:
        rig.force("room", 4)
        assert rig.told() == []
    else:
        rig.receive(Gap(OWN, at(9)))
        assert rig.told() == [Missed(OWN, at(9), 1)]


def test_no_entry_is_taken_again_for_a_membership_that_was_renewed_meanwhile() -> None:
    """The welcome names the second membership, and the own stream comes behind it."""
    rig = Rig().open()
    rig.join("room", 4)
    rig.lose()
    rig.connect()
    rig.welcome(begun("#room", 4, recovered=True), resumed=True, seq=1)
    rig.receive(event("#room", 5), event("#room", 6))
    rig.told()
    rig.expel("room")
    rig.receive(event("#room", 7))
    rig.force("room", 5)
    assert rig.said() == [Read("#room", at(6))]
    rig.receive(event("#room", 6), event("#room", 7))
    told = rig.told()
    assert told[:2] == [Departed("room", "forbidden"), Entered("room", current=False)]
    assert [each.at.offset for each in told[2:]] == [7]


def test_a_membership_that_is_certainly_new_begins_where_it_says() -> None:
    """A result of a packet that the welcome did not know shows that nothing is late."""
    rig = Rig().open()
    rig.join("room", 4)
    rig.lose()
    rig.connect()
    rig.welcome(begun("#room", 4, recovered=True), resumed=True, seq=1)
    rig.publish()
    rig.said()
    rig.result(2)
    rig.expel("room")
    rig.force("room", 9)
    assert rig.said() == []
    assert rig.client.positions["#room"] == at(9)


def test_a_later_membership_begins_later_although_something_was_late() -> None:
    rig = late_room()
    rig.expel("room")
    rig.force("room", 9)
    assert rig.client.positions["#room"] == at(9)
    assert rig.said() == []


def test_what_came_before_its_stream_began_is_read_again() -> None:
    """2.11: once."""
    rig = Rig().open()
    rig.receive(event("#room", 8), event("#room", 9))
    rig.force("room", 7)
    assert rig.said() == [Read("#room", at(7))]
    rig.expel("room")
    rig.receive(event("#room", 9))
    rig.force("room", 9)
    assert rig.said() == []


def test_of_streams_that_did_not_begin_a_few_are_noted() -> None:
    rig = Rig(max_streams=5).open()
    for room in "abcdef":
        rig.receive(event(f"#{room}", 1))
    rig.force("f")
    rig.force("a")
    assert rig.said() == [Read("#a", at(0))]


def test_positions_of_streams_that_ended_outlive_another_resume() -> None:
    rig = late_room()
    rig.force("room", 7)
    rig.receive(event("#room", 8))
    rig.expel("room")
    rig.lose()
    rig.connect()
    rig.welcome(begun("#room", 9), resumed=True)
    assert rig.said() == [Read("#room", at(8))]


def test_of_streams_that_ended_the_oldest_are_forgotten() -> None:
    rig = Rig(max_streams=4).open()
    rig.lose()
    rig.connect()
    rig.welcome(resumed=True)
    for room in "abcde":
        rig.force(room, 4)
        rig.expel(room)
    rig.force("a", 1)
    rig.force("b", 1)
    assert rig.client.positions["#a"] == at(1)
    rig.expel("a")
    rig.force("c", 1)
    assert rig.client.positions["#c"] == at(4)


def test_a_new_session_has_its_own_stream() -> None:
    """5.9: and the other positions hold."""
    rig = Rig().open()
    rig.receive(event(OWN, 1), event(HOME, 1))
    rig.lose()
    hello = rig.connect()
    assert (hello.channel, hello.joined) == ("Home", [])
    rig.told()
    rig.welcome(begun(OWN, 0, "own2"), begun(HOME, 1, recovered=True))
    assert rig.told() == [Opened("me", False, False, {})]
    rig.receive(event(OWN, 1, epoch="own2"), event(HOME, 2))
    assert [told.at for told in rig.told()] == [at(1, "own2"), at(2)]


def test_a_new_session_is_asked_for_the_channels_of_the_former() -> None:
    """5.9."""
    rig = Rig().open()
    rig.join("room", 4)
    rig.lose()
    hello = rig.connect()
    assert (hello.channel, hello.joined) == ("Home", ["room"])
    assert hello.streams["#room"] == at(4)


def test_what_came_before_the_welcome_is_read_also_after_another_membership() -> None:
    """The welcome names the second one at 7; it began at 4, after the first one had ended."""
    rig = late_room()
    rig.expel("room")
    rig.force("room", 4)
    assert rig.said() == [Read("#room", at(4))]
    rig.receive(*(event("#room", offset) for offset in (5, 6, 7)))
    assert [told.at.offset for told in rig.told()[2:]] == [5, 6, 7]
