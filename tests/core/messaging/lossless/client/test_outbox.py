"""Numbered packets from the call to the outcome. docs/protocol.md, 3.1 to 3.3, 4.3, 4.4, 5.13."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET

from sono_core.errors import OutboxFull
from sono_core.messaging.lossless import OWN, packets
from sono_core.messaging.lossless.client import Done, Missed, Pending, Refused, Settled
from sono_core.messaging.lossless.packets import Ack, Failure
from tests.core.messaging.lossless.client.rig import Rig, at, event, kept, settled

REFUSED = Failure("not-a-member", "no")


def numbers(said: list[Any]) -> list[tuple[int, Any]]:
    return [(packet.seq, packet.data) for packet in said]


def resume(rig: Rig, seq: int, **more: Any) -> list[Any]:
    """Lose the connection and come back; what is said then."""
    rig.lose()
    rig.connect()
    rig.told()
    rig.welcome(resumed=True, seq=seq, **more)
    return rig.said()


def code(pending: Pending) -> str | None:
    return pending.outcome.code if isinstance(pending.outcome, Failure) else None


# -- numbers and results --------------------------------------------------------------------------


def test_packets_are_numbered_from_1() -> None:
    """3.1."""
    rig = Rig().open()
    for data in "abc":
        rig.publish(data)
    assert rig.client._session.outbox.held > 0
    assert numbers(rig.said()) == [(1, "a"), (2, "b"), (3, "c")]
    assert rig.said() == []


def test_nothing_is_said_before_the_welcome() -> None:
    """5.3."""
    rig = Rig()
    rig.publish("a")
    rig.connect()
    rig.publish("b")
    assert rig.said() == []
    rig.welcome()
    assert numbers(rig.said()) == [(1, "a"), (2, "b")]


def test_each_packet_has_its_result() -> None:
    """4.4."""
    rig = Rig().open()
    pending = [rig.publish(data) for data in "abc"]
    rig.said()
    rig.told()
    rig.result(2, error=REFUSED)
    rig.result(1, published=at(4))
    assert [each.outcome for each in pending] == [Done(published=at(4)), REFUSED, None]
    assert settled(rig.told()) == [pending[1], pending[0]]


def test_a_result_that_comes_twice_counts_once() -> None:
    """3.2."""
    rig = Rig().open()
    pending = rig.publish()
    rig.said()
    rig.result(1)
    rig.told()
    rig.result(1, error=REFUSED)
    assert pending.outcome == Done()
    assert rig.told() == []


@pytest.mark.parametrize("seq", [0, -1, 2, 1 << 70])
def test_a_result_of_no_packet_is_ignored(seq: int) -> None:
    rig = Rig().open()
    pending = rig.publish()
    rig.said()
    rig.result(seq)
    rig.receive(Ack(-1), Ack(1 << 70))
    assert rig.told() == []
    assert pending.outcome is None


def test_the_data_is_what_it_was_at_the_call() -> None:
    rig = Rig()
    data = ["a"]
    rig.publish(data)
    data.append("b")
    rig.open()
    assert numbers(rig.said()) == [(1, ["a"])]


# -- resume ---------------------------------------------------------------------------------------


def test_what_was_not_accepted_is_said_again() -> None:
    """5.13: in order, with the same numbers."""
    rig = Rig().open()
    for data in "abc":
        rig.publish(data)
    rig.said()
    rig.lose()
    rig.publish("d")
    rig.connect()
    rig.welcome(resumed=True, seq=1)
    assert numbers(rig.said()) == [(2, "b"), (3, "c"), (4, "d")]


@pytest.mark.parametrize("acknowledged", [False, True])
def test_what_was_accepted_is_not_said_again(acknowledged: bool) -> None:
    """4.3, 5.13: its result comes."""
    rig = Rig().open()
    pending = rig.publish("a")
    rig.said()
    if acknowledged:
        rig.receive(Ack(1))
    assert resume(rig, 1) == []
    rig.result(1)
    assert pending.outcome == Done()


def test_a_result_does_not_say_that_earlier_numbers_were_accepted() -> None:
    """4.3."""
    rig = Rig().open()
    first, second = rig.publish("a"), rig.publish("b")
    rig.said()
    rig.result(2)
    assert second.outcome == Done()
    assert numbers(resume(rig, 0)) == [(1, "a")]
    assert first.outcome is None


def test_the_number_of_a_packet_that_was_given_up_means_nothing_any_more() -> None:
    """5.13: a process that was lost may have carried it out."""
    rig = Rig(max_age=10.0).open()
    rig.publish("a")
    rig.said()
    rig.now += 5
    rig.publish("b")
    rig.said()
    rig.later(5)
    rig.publish("c")
    assert numbers(resume(rig, 0)) == [(1, UNSET), (2, "b"), (3, "c")]
    rig.lose()
    rig.publish("d")
    assert numbers(resume(rig, 1)) == [(2, "b"), (3, "c"), (4, "d")]
    rig.later(10)
    assert resume(rig, 2) == []
    rig.publish("e")
    *nothing, last = rig.said()
    assert nothing == [packets.Reply(seq=3, re=0), packets.Reply(seq=4, re=0)]
    assert numbers([last]) == [(5, "e")]


def test_numbers_of_another_session_mean_nothing() -> None:
    rig = Rig(max_age=10.0).open()
    rig.publish("a")
    rig.publish("b", harmless=True)
    rig.said()
    rig.lose()
    rig.connect()
    rig.welcome(resumed=False, seq=0)
    assert numbers(rig.said()) == [(1, "b")]


def test_a_welcome_may_be_lost_and_nothing_with_it() -> None:
    """5.11: the same key again, and what was not accepted again."""
    rig = Rig().open()
    rig.publish("a")
    rig.said()
    rig.lose()
    first = rig.connect()
    rig.lose()
    assert rig.connect() == first
    rig.welcome(resumed=True, seq=0)
    assert numbers(rig.said()) == [(1, "a")]


def test_a_server_that_takes_an_acknowledgement_back_gets_nothing_twice() -> None:
    rig = Rig().open()
    pending = rig.publish("a"), rig.publish("b")
    rig.said()
    rig.receive(Ack(2))
    assert resume(rig, 1) == []
    assert [code(each) for each in pending] == [None, "unknown"]
    rig.publish("c")
    assert numbers(rig.said()) == [(2, UNSET), (3, "c")]


def test_a_server_that_has_accepted_more_than_was_said_is_believed() -> None:
    rig = Rig().open()
    assert resume(rig, 1000) == []
    rig.publish("a")
    assert numbers(rig.said()) == [(1001, "a")]


@pytest.mark.parametrize("seq", [-1, 1 << 53, 1 << 70])
def test_a_welcome_with_an_impossible_number_is_none(seq: int) -> None:
    """1.3."""
    rig = Rig()
    rig.connect()
    rig.told()
    rig.welcome(seq=seq)
    assert rig.told() == []
    rig.welcome()
    assert rig.told() != []


# -- a new session --------------------------------------------------------------------------------


def anew(rig: Rig, **more: Any) -> list[Any]:
    """Lose the connection, and find the session gone; what is said then."""
    rig.lose()
    rig.connect()
    rig.told()
    rig.welcome(**more)
    return rig.said()


def test_in_a_new_session_what_was_written_ends_unknown() -> None:
    """5.13: accepted or not."""
    rig = Rig().open()
    accepted, written = rig.publish("a"), rig.publish("b")
    rig.said()
    rig.receive(Ack(1))
    waiting = rig.publish("c")
    assert numbers(anew(rig)) == [(1, "c")]
    assert [code(each) for each in (accepted, written, waiting)] == ["unknown", "unknown", None]


def test_what_was_written_is_unknown_in_a_new_session_whatever_a_resume_has_said() -> None:
    """5.13: a process that was lost may have carried it out."""
    rig = Rig().open()
    pending = rig.publish("a")
    rig.said()
    rig.lose()
    rig.connect()
    rig.welcome(resumed=True, seq=0)
    never_written = rig.publish("b")
    assert numbers(anew(rig)) == [(1, "b")]
    assert [code(each) for each in (pending, never_written)] == ["unknown", None]


def test_a_result_that_comes_before_the_packet_is_sent_again_is_its_result() -> None:
    """5.13: it was carried out by a process that was lost."""
    rig = Rig().open()
    pending = rig.publish("a")
    rig.said()
    rig.lose()
    rig.connect()
    rig.welcome(resumed=True, seq=0)
    rig.result(1)
    assert isinstance(pending.outcome, Done)
    rig.publish("b")
    assert numbers(rig.said()) == [(1, UNSET), (2, "b")]


def test_in_a_new_session_the_harmless_is_said_again() -> None:
    """5.13: accepted or not, in order, before what is later."""
    rig = Rig().open()
    for data in "ab":
        rig.publish(data, harmless=True)
    rig.client.send("you", "chat", "c", now=rig.now, harmless=True)
    rig.said()
    rig.receive(Ack(1))
    rig.publish("d")
    assert numbers(anew(rig)) == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]


def test_a_harmless_packet_that_has_its_result_is_not_said_again() -> None:
    rig = Rig().open()
    rig.publish(harmless=True)
    rig.said()
    rig.result(1)
    assert anew(rig) == []


def test_numbers_begin_anew() -> None:
    """5.9, 5.13."""
    rig = Rig().open()
    rig.publish()
    rig.said()
    anew(rig)
    pending = rig.publish("b")
    assert numbers(rig.said()) == [(1, "b")]
    rig.result(1)
    assert pending.outcome == Done()


# -- gaps in the own stream -----------------------------------------------------------------------


def test_after_a_resume_with_a_gap_what_was_accepted_ends_unknown() -> None:
    """5.14: and the rest is said again."""
    rig = Rig().open()
    accepted, harmless, written = rig.publish("a"), rig.publish("b", harmless=True), rig.publish()
    rig.said()
    rig.lose()
    rig.connect()
    rig.told()
    rig.welcome(packets.Begun(OWN, at(9), False), resumed=True, seq=2)
    assert numbers(rig.said()) == [(3, None), (4, "b")]
    assert [code(each) for each in (accepted, harmless, written)] == ["unknown", None, None]
    assert Missed(OWN, at(9), 1) in rig.told()


@pytest.mark.parametrize("how", ["gap", "epoch"])
def test_after_a_gap_what_was_written_ends_unknown(how: str) -> None:
    """5.14: and memberships may have changed, so that the client comes back."""
    rig = Rig().open()
    written, harmless = rig.publish("a"), rig.publish("b", harmless=True)
    rig.said()
    later = rig.publish("c")
    assert not rig.client.dead
    rig.receive(packets.Gap(OWN, at(5)) if how == "gap" else event(OWN, 6, epoch="f"))
    assert [code(each) for each in (written, harmless, later)] == ["unknown", None, None]
    assert numbers(rig.said()) == [(3, "b"), (4, "c")]
    assert rig.client.dead
    rig.lose()
    assert not rig.client.dead


def test_a_join_that_was_given_up_may_succeed_all_the_same() -> None:
    rig = Rig().open()
    pending = rig.client.join("room", now=rig.now)
    rig.said()
    rig.receive(packets.Gap(OWN, at(5)))
    rig.own = 5
    assert code(pending) == "unknown"
    rig.told()
    rig.let_in(1, "room", 4)
    assert code(pending) == "unknown"
    assert not [told for told in rig.told() if isinstance(told, Settled)]
    assert rig.client.positions["#room"] == at(4)


def test_of_joins_that_were_given_up_the_oldest_are_forgotten() -> None:
    rig = Rig(max_packets=2, max_age=1.0).open()
    for room in "abc":
        rig.client.join(room, now=rig.now)
        rig.said()
        rig.later(1)
    rig.let_in(1, "a")
    rig.let_in(2, "b")
    assert rig.client.channels == ["Home", "b"]


def test_a_join_that_was_given_up_and_not_accepted_is_forgotten() -> None:
    rig = Rig(max_age=1.0).open()
    rig.client.join("room", now=rig.now)
    rig.said()
    rig.later(1)
    assert resume(rig, 0) == []
    rig.publish()
    rig.said()
    rig.let_in(1, "room")
    assert rig.client.channels == ["Home"]


# -- volatile -------------------------------------------------------------------------------------


def test_what_is_volatile_is_said_now_or_never() -> None:
    """3.5, 2.10."""
    rig = Rig()
    for step in (lambda: None, rig.connect):
        step()
        assert rig.client.publish("Home", "chat", 1, now=0, volatile=True) is False
        assert rig.client.send("you", "chat", 1, now=0, volatile=True) is False
    rig.welcome()
    assert rig.client.publish("Home", "chat", 1, now=0, volatile=True, to_self=False) is True
    assert rig.client.send("you", "chat", 2, now=0, volatile=True) is True
    publish, send = rig.said()
    assert publish == packets.Publish(channel="Home", event="chat", data=1, to_self=False)
    assert send == packets.Send(to="you", event="chat", data=2)
    rig.lose()
    assert rig.client.publish("Home", "chat", 3, now=0, volatile=True) is False
    rig.connect()
    rig.welcome(resumed=True)
    assert rig.said() == []


def test_what_is_volatile_and_was_not_yet_written_goes_with_its_connection() -> None:
    rig = Rig().open()
    assert rig.client.publish("Home", "chat", 1, now=0, volatile=True) is True
    assert resume(rig, 0) == []


# -- bounds ---------------------------------------------------------------------------------------


def room_for(rig: Rig, count: int) -> None:
    """The outbox takes so many packets, and no more; what it refuses changes nothing."""
    for _ in range(count):
        rig.publish()
    before = rig.client.next_deadline()
    with pytest.raises(OutboxFull, match="wait for their results"):
        rig.publish()
    with pytest.raises(OutboxFull):
        rig.client.join("room", now=rig.now, presence=True)
    assert rig.client.next_deadline() == before
    assert len(rig.said()) in (0, count)


def test_so_many_packets_wait_and_no_more() -> None:
    room_for(Rig(max_packets=3), 3)
    rig = Rig().open()
    room_for(rig, 1000)
    rig.receive(Ack(1000))
    room_for(rig, 0)
    rig.result(7)
    room_for(rig, 1)


def test_so_many_bytes_wait_and_no_more() -> None:
    size = kept(packets.Publish(channel="Home", event="chat", data="x" * 9, seq=(1 << 53) - 1))[1]
    rig = Rig(max_bytes=2 * size).open()
    rig.publish("x" * 9)
    with pytest.raises(OutboxFull, match=f"more than {2 * size} bytes"):
        rig.publish("x" * 10)
    rig.publish("x" * 9)
    rig.said()
    rig.receive(Ack(1))
    with pytest.raises(OutboxFull, match="bytes"):
        rig.publish("x" * 10)
    rig.publish("x" * 9)


def test_what_may_be_sent_again_takes_room_until_its_result() -> None:
    rig = Rig(max_bytes=200).open()
    rig.publish("x" * 60, harmless=True)
    rig.said()
    rig.receive(Ack(1))
    with pytest.raises(OutboxFull, match="bytes"):
        rig.publish("x" * 60)
    rig.result(1)
    rig.publish("x" * 60)


@pytest.mark.parametrize(
    ("age", "written", "expected"),
    [
        (299.9, False, None),
        (300.0, False, "not-sent"),
        (299.9, True, None),
        (300.0, True, "unknown"),
    ],
)
def test_a_packet_that_waits_too_long_is_given_up(
    age: float, written: bool, expected: str | None
) -> None:
    rig = Rig()
    if written:
        rig.open()
    pending = rig.publish()
    rig.said()
    rig.later(1)
    other = rig.publish()
    rig.later(age - 1)
    assert code(pending) == expected
    assert other.outcome is None
    if not written:
        assert rig.client.next_deadline() == (401.0 if expected else 400.0)


def test_a_harmless_packet_that_may_have_been_done_is_never_called_not_sent() -> None:
    rig = Rig().open()
    pending = rig.publish(harmless=True)
    rig.said()
    rig.lose()
    rig.connect()
    rig.welcome()
    rig.later(300)
    assert code(pending) == "unknown"


def test_at_the_end_everything_has_an_outcome() -> None:
    rig = Rig().open()
    written, asked = rig.publish(), rig.request()
    rig.said()
    waiting = rig.publish()
    rig.told()
    rig.client.lost(rig.now, None)
    assert [code(each) for each in (written, asked, waiting)] == ["unknown", "unknown", "not-sent"]
    assert len(settled(rig.told())) == 3


def test_numbers_that_do_not_fit_are_mended_by_a_resume() -> None:
    """3.3."""
    rig = Rig().open()
    rig.receive(packets.Error("invalid-packet", "what?"))
    assert not rig.client.dead
    rig.receive(packets.Error("bad-seq", "too high"))
    assert rig.client.dead
    assert rig.told() == [Refused("invalid-packet", "what?"), Refused("bad-seq", "too high")]


@pytest.mark.parametrize("kind", ["join", "move", "leave"])
def test_a_client_whose_membership_is_unknown_comes_back(kind: str) -> None:
    """5.14: a welcome says where it is."""
    rig = Rig().open()
    getattr(rig.client, kind)("room", now=rig.now)
    rig.publish("a")
    rig.said()
    rig.result(2, error=Failure("unknown", "its server was lost"))
    assert not rig.client.dead
    rig.result(1, error=Failure("unknown", "its server was lost"))
    assert rig.client.dead
    rig.lose()
    rig.connect()
    rig.welcome(resumed=True, seq=2)
    assert not rig.client.dead
