"""The write queue: when reading pauses, the queue's limit and the stall deadline."""

from __future__ import annotations

import math

import pytest

from sono_core import BinaryMessage, Close, Limits, Ping, Pong, Prepared, TextMessage, Timeouts
from sono_core.lifecycle.deadlines import Deadline
from sono_core.websocket.outbox import ITEM
from tests.core.lifecycle.sessions import PAUSE, fill, frame_of
from tests.fakes import Rig


@pytest.mark.parametrize(
    ("size", "paused"), [(PAUSE - 1, False), (PAUSE, False), (PAUSE + 1, True)]
)
def test_reading_is_paused_above_64_kib_of_output(size: int, paused: bool) -> None:
    rig = Rig()
    fill(rig, size)
    assert rig.session.reading == (not paused)
    assert rig.session.reading == (not paused)
    assert ("write_now" in rig.transport.asked) or not paused
    rig.reads(1)
    assert rig.session.reading, "at most 64 KiB wait"


def test_a_peer_that_asks_and_never_reads_is_paused_in_the_middle_of_its_messages() -> None:
    rig = Rig()
    rig.blocks()
    rig.sends(*[Ping(bytes(125))] * 1000)
    assert PAUSE < rig.waiting < PAUSE + 200
    assert rig.session.backlog
    assert not rig.session.pump_due
    assert not rig.session.reading
    rig.reads(1000)
    assert rig.session.pump_due
    rig.reads()
    rig.pump()
    assert rig.seen() == [Pong(bytes(125))] * 1000
    assert rig.session.reading


def test_output_that_can_be_written_does_not_pause_anybody() -> None:
    rig = Rig()
    rig.sends(*[Ping(bytes(125))] * 1000)
    assert len(rig.seen()) == 1000
    assert rig.session.reading
    assert "write_now" in rig.transport.asked


@pytest.mark.parametrize(("size", "given_up"), [(4999, False), (5000, False), (5001, True)])
def test_a_slow_reader_is_given_up_beyond_the_queue_limit(size: int, given_up: bool) -> None:
    rig = Rig(limits=Limits(pause_reading_at=1000, max_queue=5000))
    rig.blocks()
    for left in (4000, size - 4000):
        sent = rig.session.send(Prepared(frame_of(left - ITEM)))
    assert sent == (not given_up)
    assert rig.session.open == (not given_up)
    assert rig.handler.log == [], "never from inside send"
    assert not rig.session.over
    rig.tick(0.0)
    if given_up:
        assert rig.handler.log == [Close(4008, "the peer reads too slowly", False)]
        assert rig.session.over
        assert rig.waiting == 0
    else:
        assert rig.session.open


def test_a_queue_limit_below_the_pause_holds_too() -> None:
    rig = Rig(limits=Limits(max_queue=1000))
    fill(rig, 900)
    assert not rig.session.send(frame_of(200))
    rig.tick(0.0)
    assert [close.code for close in rig.handler.closes] == [4008]


def test_the_default_queue_limit_is_4_mib_and_at_least_two_messages() -> None:
    assert Limits().queue_limit == 4 * 1024 * 1024
    assert Limits(max_message=1 << 24).queue_limit == 1 << 25
    assert Limits(max_queue=10).queue_limit == 10


def test_a_slow_reader_that_reads_a_little_is_given_up_all_the_same() -> None:
    rig = Rig(limits=Limits(pause_reading_at=1000, max_queue=5000))
    fill(rig, 5000)
    rig.transport.write()
    assert not rig.session.send(frame_of(200))
    rig.reads()
    rig.tick(0.0)
    assert [close.code for close in rig.handler.closes] == [4008]


def test_sending_to_a_slow_reader_from_its_own_handler_does_not_reenter_it() -> None:
    rig = Rig(limits=Limits(pause_reading_at=1000, max_queue=2000))
    rig.blocks()

    def flood() -> None:
        while rig.session.send(frame_of(500)):
            pass

    rig.handler.reactions["on_message"] = flood
    rig.sends(TextMessage("a"), TextMessage("b"))
    assert rig.handler.log == ["a"]
    rig.tick(0.0)
    assert rig.handler.log == ["a", Close(4008, "the peer reads too slowly", False)]


def test_a_blocked_connection_is_not_written_to_for_every_message() -> None:
    rig = Rig()
    fill(rig, PAUSE + 1)
    rig.transport.asked.clear()
    rig.session.send(frame_of(200))
    assert rig.transport.asked == []


def test_a_connection_that_takes_no_byte_for_20_s_is_given_up() -> None:
    rig = Rig()
    fill(rig, 1000)
    rig.now = 1.0
    rig.transport.write()
    rig.now = 11.0
    rig.transport.write()  # again in vain
    rig.tick(20.0)  # the ping; any sign of life postpones it
    rig.sends(TextMessage("I only talk"))
    rig.tick(20.999)
    assert rig.session.open
    rig.tick(21.0)
    assert rig.handler.closes == [Close(4008, "nothing could be written in time", False)]
    assert rig.session.over


def test_progress_rearms_the_stall_deadline() -> None:
    rig = Rig()
    fill(rig, 1000)
    rig.transport.write()
    rig.now = 19.0
    rig.sends(TextMessage("alive"))
    rig.reads(1)
    rig.tick(38.999)
    assert rig.session.open
    rig.tick(39.0)
    assert [close.code for close in rig.handler.closes] == [4008]


def test_an_emptied_queue_has_no_stall_deadline() -> None:
    rig = Rig()
    fill(rig, 1000)
    rig.transport.write()
    assert Deadline.STALL in rig.session.deadlines
    rig.reads()
    assert Deadline.STALL not in rig.session.deadlines


def test_a_stalled_close_ends_at_the_close_deadline() -> None:
    rig = Rig()
    fill(rig, 1000)
    rig.session.close(1000, "", 1.0)
    rig.transport.write()
    rig.tick(6.0)
    assert rig.handler.closes == [Close(1006, "the close was not answered in time", False)]


def test_tick_tells_one_end_only() -> None:
    rig = Rig(timeouts=Timeouts(ping_interval=1, pong=1, write_stall=1))
    rig.tick(1.0)
    fill(rig, 200)
    rig.transport.write()
    rig.tick(50.0)  # both have long been due
    assert len(rig.handler.closes) == 1
    assert rig.session.deadlines.next == math.inf


def test_a_ping_into_a_full_queue_gives_the_peer_up() -> None:
    rig = Rig(limits=Limits(pause_reading_at=1000, max_queue=1001))
    fill(rig, 1000)
    rig.tick(20.0)
    rig.tick(20.0)
    assert [close.code for close in rig.handler.closes] == [4008]


def test_one_message_fits_into_an_empty_queue_however_large_it_is() -> None:
    rig = Rig(limits=Limits(max_queue=PAUSE * 2))
    rig.blocks()
    assert rig.session.send(BinaryMessage(bytes(PAUSE * 4)))
    assert not rig.session.send(BinaryMessage(b"one more"))
    rig.tick(0.0)
    assert [close.code for close in rig.handler.closes] == [4008]
