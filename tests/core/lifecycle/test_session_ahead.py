"""What a session reads ahead while its handler is busy or its peer is paused: up to a limit.

RFC 6455, sections 5.5.1 and 5.5.2: a ping, and a Close, are answered as soon as is practical.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sono_core import BinaryMessage, Close, Limits, Ping, Pong, Role, TextMessage, Timeouts
from tests.core.lifecycle.sessions import BOTH, PAUSE, fill, raising
from tests.fakes import Rig

Stop = Callable[[Rig], None]
BUSY: dict[str, Stop] = {
    "hold": lambda rig: rig.session.hold(),
    "pause": lambda rig: rig.session.pause(1000.0, rig.now),
}
EACH = pytest.mark.parametrize("stop", BUSY.values(), ids=BUSY)
LITTLE = Limits(max_held=200)
A, B, C = TextMessage("a"), TextMessage("b"), TextMessage("c")


def pumped(rig: Rig) -> Rig:
    while rig.session.pump_due:
        rig.pump()
    return rig


def go_on(rig: Rig) -> None:
    """The handler is no longer busy, nor the peer paused."""
    rig.session.release()
    rig.tick(max(rig.now, 1000.0))
    pumped(rig)


def stopped(stop: Stop, role: Role = Role.SERVER, limits: Limits = LITTLE) -> Rig:
    rig = Rig(role, limits=limits)
    stop(rig)
    rig.session.pump(rig.now)  # a turn without anything, after which reading ahead begins
    return rig


# -- control frames ---------------------------------------------------------------------------


@BOTH
@EACH
def test_a_ping_is_answered_though_messages_wait(stop: Stop, role: Role) -> None:
    rig = stopped(stop, role)
    rig.sends(A, Ping(b"1"), B, Ping(b"2"))
    assert rig.seen() == [Pong(b"1"), Pong(b"2")]
    assert rig.handler.log == []
    rig.sends(Ping(b"3"))
    assert rig.seen() == [Pong(b"3")]
    rig.now = 1.0
    go_on(rig)
    assert rig.handler.log == ["a", "b"]


@BOTH
@EACH
def test_a_pong_is_seen_so_that_a_live_peer_is_kept(stop: Stop, role: Role) -> None:
    rig = stopped(stop, role)
    rig.sends(A)
    for _ in range(5):
        rig.tick(rig.now + 20.0)
        assert rig.seen() == [Ping(b"")]
        rig.now += 19.0
        rig.sends()  # the peer's pong
        rig.tick(rig.now + 1.0)
    assert rig.session.open
    assert rig.handler.log == [b""] * 5


@BOTH
@EACH
def test_a_peer_that_is_gone_is_noticed_and_what_it_said_is_handed_over(
    stop: Stop, role: Role
) -> None:
    rig = stopped(stop, role)
    rig.sends(A, B)
    rig.tick(20.0)
    rig.tick(40.0)
    assert rig.session.over
    assert rig.handler.log == ["a", "b", Close(1006, "no answer to a ping", False)]


@BOTH
@EACH
def test_a_close_is_answered_at_once_and_told_behind_what_came_before(
    stop: Stop, role: Role
) -> None:
    rig = stopped(stop, role)
    rig.sends(A, BinaryMessage(b"b"), Close(4001, "bye"))
    assert rig.seen() == [Close(4001)]
    assert rig.handler.log == ["a", b"b", Close(4001, "bye")]
    assert not rig.session.open
    rig.ends()
    assert rig.session.over
    go_on(rig)
    assert len(rig.handler.log) == 3


@EACH
def test_a_mistake_behind_messages_ends_the_connection_at_once(stop: Stop) -> None:
    rig = stopped(stop)
    rig.receives(rig.encoded(A) + b"\xf1\x80\0\0\0\0")
    assert rig.handler.log[0] == "a"
    assert rig.handler.closes[0].code == 1002
    assert rig.transport.asked[-1] == "close"


@EACH
@pytest.mark.parametrize("in_one", [True, False])
def test_the_end_of_the_stream_is_seen(stop: Stop, in_one: bool) -> None:
    rig = stopped(stop)
    if in_one:
        rig.session.connection.take_in(rig.encoded(A, B))
    else:
        rig.sends(A, B)
    rig.ends()
    assert rig.session.over
    assert rig.handler.log == ["a", "b", Close(1006, "the connection ended", False)]


def test_an_answer_leaves_before_those_to_what_follows_in_the_same_segment() -> None:
    rig = Rig()
    rig.handler.reactions["on_message"] = rig.session.hold
    rig.sends(A, Ping(b"1"), Close(1000))
    assert rig.seen() == []
    rig.session.send(TextMessage("answer"))  # in the same turn
    pumped(rig)
    assert rig.seen() == [TextMessage("answer"), Pong(b"1"), Close(1000)]


# -- order, and the bound -----------------------------------------------------------------------


@EACH
def test_messages_come_in_order_however_often_delivery_stops(stop: Stop) -> None:
    rig = Rig(limits=Limits(max_held=64 * 10), timeouts=Timeouts(ping_interval=1e9))
    rig.handler.reactions["on_message"] = lambda: stop(rig)
    told = [str(number) for number in range(100)]
    rig.sends(*map(TextMessage, told))
    for number in range(100):
        assert rig.handler.log == told[: number + 1]
        rig.session.release()
        rig.tick(rig.now + 1000.0)
        pumped(rig)
    assert rig.handler.log == told


@EACH
def test_above_the_limit_nothing_more_is_read_and_nobody_is_given_up(stop: Stop) -> None:
    rig = stopped(stop)
    rig.sends(BinaryMessage(bytes(136)))
    assert rig.session.reading, "136 and 64 are 200"
    rig.sends(B, Ping(b"behind"), C)
    assert not rig.session.reading
    assert not rig.session.pump_due
    assert rig.seen() == [], "the ping cannot be reached"
    for now in range(20, 1000, 20):
        rig.tick(float(now))
    assert rig.session.open
    assert rig.seen() == [Ping(b"")]
    go_on(rig)
    assert rig.handler.log == [bytes(136), "b", "c"]
    assert rig.seen() == [Pong(b"behind")]
    assert rig.session.reading


def test_the_peer_has_time_to_be_heard_once_reading_goes_on() -> None:
    rig = stopped(BUSY["hold"])
    rig.sends(BinaryMessage(bytes(200)))
    rig.tick(20.0)
    rig.now = 39.9
    rig.session.release()
    pumped(rig)
    assert rig.session.reading
    rig.tick(40.0)
    assert rig.session.open, "nothing can have been read yet"
    rig.tick(60.0)
    assert rig.session.over


def test_a_transport_that_did_not_read_says_so() -> None:
    rig = Rig()
    rig.tick(20.0)
    rig.session.unheard = True
    rig.tick(40.0)
    assert rig.session.open
    rig.tick(60.0)
    assert rig.session.over


@EACH
def test_empty_messages_count_too(stop: Stop) -> None:
    rig = stopped(stop, limits=Limits(max_held=6400))
    rig.sends(*[TextMessage("")] * 100)
    assert rig.session.reading
    rig.sends(A)
    assert not rig.session.reading


@EACH
def test_pings_that_are_not_read_stop_the_reading(stop: Stop) -> None:
    rig = stopped(stop)
    fill(rig, PAUSE)
    rig.sends(*[Ping(bytes(100))] * 10)
    assert not rig.session.reading
    assert rig.waiting < PAUSE + 2 * 102
    rig.reads()
    pumped(rig)
    assert rig.session.reading


@EACH
def test_reading_ahead_takes_no_more_than_a_turn(stop: Stop) -> None:
    rig = stopped(stop, limits=Limits(max_turn_messages=3))
    rig.sends(*[A] * 5, Ping(b"p"))
    assert rig.seen() == []
    assert rig.session.pump_due
    rig.pump()
    assert rig.seen() == [Pong(b"p")]


# -- ends of all kinds ----------------------------------------------------------------------------


@EACH
def test_who_closes_gets_no_more_messages(stop: Stop) -> None:
    rig = stopped(stop)
    rig.sends(A, B)
    rig.session.close(1000, "", rig.now)
    rig.transport.write()
    rig.receives(rig.encoded(C))
    rig.seen()
    rig.sends()
    assert rig.handler.log == [Close(1000)]


@EACH
def test_who_aborts_gets_no_more_messages(stop: Stop) -> None:
    rig = stopped(stop)
    rig.sends(A, B)
    rig.session.abort()
    rig.tick(0.0)
    assert rig.handler.log == [Close(1006, "aborted", False)]


def test_many_messages_before_a_close_are_told_in_turns() -> None:
    rig = stopped(BUSY["pause"], limits=Limits(max_turn_messages=4))
    rig.sends(A, B, C)
    rig.sends(A, Close(1000))
    assert rig.seen() == [Close(1000)]
    assert rig.handler.log == ["a", "b"]
    rig.pump()
    rig.ends()
    assert rig.handler.log == ["a", "b", "c", "a", Close(1000)]
    assert rig.session.over


def test_the_end_of_a_stream_waits_for_the_turns_too() -> None:
    rig = stopped(BUSY["pause"], limits=Limits(max_turn_messages=2))
    rig.sends(A, B)
    rig.sends(C)
    rig.ends()
    assert rig.handler.log == ["a"]
    assert not rig.session.over
    pumped(rig)
    assert rig.handler.log == ["a", "b", "c", Close(1006, "the connection ended", False)]
    assert rig.session.over


def test_a_close_whose_answer_cannot_be_written_is_told_as_it_came() -> None:
    rig = stopped(BUSY["hold"], limits=Limits(max_turn_messages=1))
    fill(rig, PAUSE)
    rig.sends(A)
    rig.sends(Close(4001, "bye"))
    assert rig.handler.log == []
    rig.tick(5.0)
    assert rig.session.over
    assert rig.handler.log == ["a", Close(4001, "bye")]


@EACH
def test_a_handler_that_raises_gets_what_else_the_peer_said_before_its_close(stop: Stop) -> None:
    rig = stopped(stop)
    rig.handler.reactions["on_message"] = raising
    rig.sends(A, B, Close(1000))
    assert [entry for entry in rig.handler.log if not isinstance(entry, Exception)] == [
        "a",
        "b",
        Close(1000),
    ]


@EACH
def test_a_handler_that_raises_while_messages_wait_gets_none_of_them(stop: Stop) -> None:
    rig = stopped(stop)
    rig.sends(A, B, C)
    rig.handler.reactions["on_message"] = raising
    rig.now = 1.0
    go_on(rig)
    assert rig.handler.log[0] == "a"
    assert len(rig.handler.errors) == 1
    assert "b" not in rig.handler.log
