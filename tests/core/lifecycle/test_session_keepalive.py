"""A session's pings: sent only after silence, and only one at a time."""

from __future__ import annotations

import pytest

from sono_core import Close, Ping, Role, TextMessage, Timeouts
from tests.core.lifecycle.sessions import BOTH, PAUSE, fill
from tests.fakes import Rig


@BOTH
def test_a_ping_is_sent_after_silence_only(role: Role) -> None:
    rig = Rig(role)
    rig.now = 15.0
    rig.sends(TextMessage("x"))
    rig.tick(20.0)
    assert rig.seen() == []
    rig.tick(34.999)
    assert rig.seen() == []
    rig.tick(35.0)
    assert rig.seen() == [Ping(b"")]


def test_what_is_sent_does_not_count_as_a_sign_of_life() -> None:
    rig = Rig()
    rig.now = 15.0
    rig.session.send(TextMessage("x"))
    rig.transport.write()
    rig.seen()
    rig.tick(20.0)
    assert rig.seen() == [Ping(b"")]


@pytest.mark.parametrize("sign", [b"\x8a\x80\0\0\0\0", b"\x81"], ids=["pong", "half a frame"])
def test_any_byte_counts_as_life(sign: bytes) -> None:
    rig = Rig()
    rig.tick(20.0)
    rig.now = 30.0
    rig.receives(sign)
    rig.tick(40.0)
    assert rig.session.open
    assert rig.handler.closes == []
    rig.seen()
    rig.tick(50.0)
    assert rig.seen() == [Ping(b"")], "20 s after the last byte"


@BOTH
def test_a_peer_that_does_not_answer_a_ping_is_given_up(role: Role) -> None:
    rig = Rig(role)
    rig.tick(20.0)
    rig.tick(39.999)
    assert rig.session.open
    rig.tick(40.0)
    assert rig.session.over
    assert rig.handler.log == [Close(1006, "no answer to a ping", False)]
    assert rig.transport.asked[-1] == "abort"


@BOTH
@pytest.mark.parametrize("ping_interval", [5.0, 20.0, 60.0])
def test_silence_is_ended_by_a_ping_however_long_its_answer_may_take(
    role: Role, ping_interval: float
) -> None:
    rig = Rig(role, timeouts=Timeouts(ping_interval=ping_interval, pong=20.0))
    for _ in range(4):
        rig.tick(rig.now + ping_interval)
        assert rig.seen() == [Ping(b"")], "one in each interval"
        rig.receives(b"\x8a\x80\0\0\0\0" if role is Role.SERVER else b"\x8a\0")
    heard = rig.now
    while rig.session.open:
        rig.tick(rig.session.deadlines.next)
    assert rig.now == heard + ping_interval + 20.0
    assert rig.handler.closes == [Close(1006, "no answer to a ping", False)]


def test_one_ping_is_waited_for_at_a_time() -> None:
    rig = Rig(timeouts=Timeouts(ping_interval=5.0, pong=20.0))
    rig.tick(5.0)
    assert rig.seen() == [Ping(b"")]
    rig.tick(10.0)
    rig.now = 12.0
    assert rig.seen() == []
    rig.receives(b"\x8a\x80\0\0\0\0")
    rig.tick(15.0)
    assert rig.seen() == []
    rig.tick(17.0)
    assert rig.seen() == [Ping(b"")], "5 s after the last byte"
    rig.tick(36.999)
    assert rig.session.open
    rig.tick(37.0)
    assert rig.handler.closes == [Close(1006, "no answer to a ping", False)]


def test_a_tick_that_comes_late_gives_up_nobody_who_had_answered() -> None:
    rig = Rig(timeouts=Timeouts(ping_interval=15.0, pong=20.0))
    rig.tick(15.0)
    rig.seen()
    rig.receives(b"\x8a\x80\0\0\0\0")
    rig.tick(60.0)
    assert rig.seen() == [Ping(b"")]
    assert rig.session.open
    rig.tick(80.0)
    assert rig.handler.closes == [Close(1006, "no answer to a ping", False)]


def test_the_pong_deadline_is_suspended_while_reading_is_paused() -> None:
    rig = Rig()
    rig.tick(20.0)
    fill(rig, PAUSE + 200)
    rig.transport.write()
    assert not rig.session.reading
    rig.now = 39.0
    rig.reads(10)  # progress, so that the connection does not stall
    rig.tick(40.0)
    assert rig.session.open
    assert not rig.session.reading
    rig.now = 50.0
    rig.reads()
    assert rig.session.reading
    rig.tick(69.999)
    assert rig.session.open, "the pong is waited for anew"
    rig.tick(70.0)
    assert rig.handler.closes == [Close(1006, "no answer to a ping", False)]


def test_a_process_that_was_stopped_reads_before_it_times_anybody_out() -> None:
    rig = Rig()
    rig.tick(20.0)
    rig.now = 80.0
    rig.receives(b"\x8a\x80\0\0\0\0")
    rig.tick(80.0)
    assert rig.session.open
    idle = Rig()
    idle.now = 60.0
    idle.receives(b"\x8a\x80\0\0\0\0")
    idle.tick(60.0)
    assert idle.seen() == []
    unasked = Rig()
    unasked.tick(60.0)
    assert unasked.session.open
    assert unasked.seen() == [Ping(b"")]
