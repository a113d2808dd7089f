"""A session that delivers nothing for a while: its handler is busy, or its peer sends too fast.

What it reads meanwhile is in test_session_ahead.py.
"""

from __future__ import annotations

from sono_core import BinaryMessage, Close, Limits, TextMessage
from sono_core.lifecycle.deadlines import Deadline
from tests.fakes import Rig

# -- a handler that is busy -------------------------------------------------------------------


def test_a_handler_that_holds_gets_nothing_more_until_it_releases() -> None:
    rig = Rig()
    rig.handler.reactions["on_message"] = rig.session.hold
    rig.sends(TextMessage("a"), TextMessage("b"))
    assert rig.handler.log == ["a"]
    rig.pump()
    assert rig.handler.log == ["a"]
    assert rig.session.reading
    assert not rig.session.pump_due
    assert rig.session.fast_path() is None
    rig.session.release()
    assert rig.session.pump_due
    rig.pump()
    assert rig.handler.log == ["a", "b"]


def test_who_reads_nothing_ahead_need_not_hear_pongs() -> None:
    rig = Rig()
    rig.session.hold(ahead=False)
    assert not rig.session.reading
    for now in (20.0, 40.0, 60.0, 80.0):
        rig.now = now
        rig.session.tick(now)
    assert not rig.session.over
    rig.session.release()
    assert rig.session.reading


def test_messages_that_were_held_are_dropped_when_the_connection_closes_meanwhile() -> None:
    rig = Rig()
    rig.session.hold()
    rig.sends(TextMessage("a"), BinaryMessage(b"b"))
    rig.session.close(1000, "", rig.now)
    rig.pump()
    assert rig.handler.log == []


def test_who_closes_while_it_holds_hears_the_answer() -> None:
    rig = Rig()
    rig.session.hold()
    rig.session.close(1000, "", rig.now)
    assert rig.session.reading
    rig.transport.write()
    rig.seen()
    rig.sends()
    rig.pump()
    assert rig.handler.closes == [Close(1000)]


# -- a peer that sends too fast -----------------------------------------------------------------


def test_a_pause_delivers_nothing_until_it_is_over() -> None:
    rig = Rig()
    rig.handler.reactions["on_message"] = lambda: rig.session.pause(2, rig.now)
    rig.sends(TextMessage("a"), TextMessage("b"))
    rig.pump()
    assert rig.handler.log == ["a"]
    assert rig.session.fast_path() is None
    rig.tick(1.9)
    assert not rig.session.pump_due
    rig.handler.reactions.clear()
    rig.tick(2)
    assert rig.session.pump_due
    rig.pump()
    assert rig.handler.log == ["a", "b"]
    assert rig.session.reading
    assert rig.session.fast_path() is not None


def test_a_peer_that_was_paused_until_its_pong_was_due_is_read_from_first() -> None:
    rig = Rig(limits=Limits(max_held=1))
    rig.tick(20.0)
    assert Deadline.PONG in rig.session.deadlines
    rig.session.pause(20.0, 20.0)
    rig.session.last_received = 0.0
    rig.session.connection.take_in(rig.encoded(TextMessage("x")))
    rig.session.pump(20.0)
    assert not rig.session.reading
    rig.tick(40.0)
    assert not rig.session.over
    rig.pump()
    assert rig.handler.log == ["x"]
    assert rig.session.reading
    rig.tick(60.0)
    assert rig.session.over


def test_whatever_stops_delivery_ends_the_fast_path() -> None:
    rig = Rig()
    rig.session.pause(2, 0)
    assert rig.session.reading
    assert rig.session.fast_path() is None
    rig.tick(2)
    assert rig.session.fast_path() is not None
    rig.session.hold()
    assert rig.session.fast_path() is None
    rig.session.release()
    assert rig.session.fast_path() is not None


def test_a_pause_ends_with_the_close() -> None:
    rig = Rig()
    rig.session.pause(2, 0)
    rig.session.close(1000, "", 0)
    assert rig.session.reading
