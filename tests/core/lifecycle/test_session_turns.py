"""Messages of a session, and its fair share of a loop's turn."""

from __future__ import annotations

from typing import Any

import pytest

from sono_core import (
    BinaryMessage,
    Close,
    Limits,
    LocalProtocolError,
    Ping,
    Pong,
    Prepared,
    Role,
    TextMessage,
)
from sono_core.lifecycle.deadlines import Deadline
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import BINARY, CONTINUATION, PING, PONG
from tests.core.lifecycle.sessions import BOTH, fragmented
from tests.fakes import CountedTurn, Rig
from tests.rules.peers import MASK

# -- messages ---------------------------------------------------------------------------------


@BOTH
def test_messages_go_both_ways(role: Role) -> None:
    rig = Rig(role)
    rig.sends(TextMessage("a"), BinaryMessage(b"b"), Pong(b"c"), Ping(b"d"))
    assert rig.handler.log == ["a", b"b", b"c"]
    assert rig.seen() == [Pong(b"d")]
    for event in (TextMessage("a"), BinaryMessage(b"b"), Ping(b"c")):
        assert rig.session.send(event)
    assert rig.session.send(Prepared(TextMessage("d")))
    rig.transport.write()
    assert rig.seen() == [TextMessage("a"), BinaryMessage(b"b"), Ping(b"c"), TextMessage("d")]


def test_a_write_is_asked_for_once_for_many_messages() -> None:
    rig = Rig()
    for _ in range(5):
        rig.session.send(TextMessage("x"))
    assert rig.transport.asked == ["write_soon"]


def test_an_illegal_message_raises_and_nothing_is_sent() -> None:
    rig = Rig()
    with pytest.raises(LocalProtocolError):
        rig.session.send(TextMessage("\ud800"))
    with pytest.raises(TypeError):
        rig.session.send(BinaryMessage("text"))  # type: ignore[arg-type]
    assert rig.waiting == 0
    assert rig.session.open


def test_send_before_and_after_the_connection_is_open_is_false() -> None:
    rig = Rig(opened=False)
    assert not rig.session.send(TextMessage("x"))
    assert not rig.session.close(1000, "", 0)
    rig = Rig()
    rig.session.close(1000, "", 0)
    assert not rig.session.send(TextMessage("x"))
    assert not rig.session.close(1000, "", 0)
    rig = Rig()
    rig.session.lost()
    assert not rig.session.send(TextMessage("x"))


# -- fair shares ------------------------------------------------------------------------------


def test_a_turn_handles_1024_messages_and_pump_the_rest() -> None:
    rig = Rig()
    rig.sends(*[TextMessage(str(number)) for number in range(2500)])
    assert len(rig.handler.log) == 1024
    assert rig.session.pump_due
    assert not rig.session.reading
    rig.pump()
    assert len(rig.handler.log) == 2048
    rig.pump()
    assert rig.handler.log == [str(number) for number in range(2500)]
    assert not rig.session.pump_due
    assert rig.session.reading


def test_pings_count_for_the_fair_share() -> None:
    rig = Rig()
    rig.sends(*[Ping(b"%d" % number) for number in range(1500)])
    assert len(rig.seen()) == 1024
    rig.pump()
    assert rig.seen()[-1] == Pong(b"1499")


@pytest.mark.parametrize(("size", "messages"), [(99, 3), (100, 2), (101, 2)])
def test_a_fair_share_is_counted_in_bytes_too(size: int, messages: int) -> None:
    rig = Rig(limits=Limits(max_turn_bytes=200))
    for _ in range(5):
        rig.peer.send(TextMessage("x" * size))
    rig.receives(rig.peer.data_to_send())
    assert len(rig.handler.log) == messages
    assert rig.session.pump_due
    for _ in range(5):
        rig.pump()
    assert len(rig.handler.log) == 5


@BOTH
def test_a_handler_that_ends_the_turn_gets_the_next_message_in_another(role: Role) -> None:
    rig = Rig(role)
    rig.handler.reactions["on_message"] = rig.session.end_turn
    rig.sends(TextMessage("a"), TextMessage("b"), TextMessage("c"))
    for seen in (["a"], ["a", "b"], ["a", "b", "c"]):
        assert rig.handler.log == seen
        assert rig.session.pump_due
        assert not rig.session.reading
        rig.session.pump(rig.now)
    assert not rig.session.pump_due
    assert rig.session.reading


@pytest.mark.parametrize(
    ("event", "little"), [(TextMessage("x"), 64), (Ping(b"x"), 64), (BinaryMessage(bytes(8192)), 8)]
)
def test_who_has_had_64_messages_or_kib_of_a_backlog_is_sated_until_it_ends(
    event: Any, little: int
) -> None:
    turn = CountedTurn()
    turn.spent = True
    rig = Rig(turn=turn, limits=Limits(max_message=1 << 24))
    rig.sends(*[event] * (little + 20))
    handled = 0
    while rig.session.pump_due:
        handled = len(rig.handler.log) or handled + len(rig.seen())
        assert rig.session.sated == (handled > little)
        rig.pump()
    assert handled > little
    assert not rig.session.sated


def test_who_caused_much_work_is_sated_at_once() -> None:
    rig = Rig()
    rig.handler.reactions["on_message"] = rig.session.end_turn
    rig.sends(TextMessage("a"), TextMessage("b"))
    assert rig.session.sated
    rig.handler.reactions.clear()
    rig.pump()
    assert not rig.session.sated


def test_who_waits_for_a_busy_handler_is_not() -> None:
    rig = Rig()
    rig.handler.reactions["on_message"] = rig.session.hold
    rig.sends(TextMessage("a"), TextMessage("b"))
    rig.session.release()
    assert rig.session.pump_due
    assert not rig.session.sated


def test_a_turn_that_ends_twice_ends_once() -> None:
    rig = Rig()
    rig.session.end_turn()
    rig.session.end_turn()
    rig.sends(TextMessage("a"))
    assert rig.handler.log == []
    rig.session.pump(rig.now)
    assert rig.handler.log == ["a"]


# -- the time of a turn -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "event", [TextMessage("x"), Ping(b"x"), Pong(b"x")], ids=["messages", "pings", "pongs"]
)
def test_the_clock_is_looked_at_every_32_messages_or_other_events(event: Any) -> None:
    turn = CountedTurn(looks=3)
    rig = Rig(turn=turn)
    rig.sends(*[event] * 500)
    handled = len(rig.handler.log) or len(rig.seen())
    assert 64 <= handled <= 3 * 32
    assert rig.session.pump_due
    assert not rig.session.reading


def test_few_messages_look_at_no_clock() -> None:
    turn = CountedTurn(looks=1)
    rig = Rig(turn=turn)
    for _ in range(100):
        rig.sends(*[TextMessage("x")] * 30)
    assert len(rig.handler.log) == 3000


def test_what_ends_with_the_time_of_the_turn_is_complete() -> None:
    rig = Rig(turn=CountedTurn(looks=1))
    rig.sends(*[TextMessage("x")] * 31)
    assert len(rig.handler.log) == 31
    assert rig.session.reading


def test_when_the_time_is_over_each_connection_gets_16_messages_more() -> None:
    turn = CountedTurn()
    rig = Rig(turn=turn)
    turn.spent = True
    rig.sends(*[TextMessage(str(number)) for number in range(40)])
    counts = [len(rig.handler.log)]
    for _ in range(2):
        rig.pump()
        counts.append(len(rig.handler.log))
    assert counts == [16, 32, 40]
    rig.sends(*[BinaryMessage(bytes(6000))] * 9)
    assert len(rig.handler.log) == 43  # 16 KiB
    turn.spent = False
    rig.pump()
    assert len(rig.handler.log) == 49


# -- what counts as a message of the turn -----------------------------------------------------


def test_small_fragments_count_like_messages() -> None:
    rig = Rig()
    rig.receives(fragmented(100) * 50)
    assert len(rig.handler.log) == 10  # each counts 101, and 1024 are handled
    rig.pump()
    assert len(rig.handler.log) == 20
    rig = Rig()
    rig.receives(fragmented(100, 1024) * 2)
    assert len(rig.handler.log) == 2
    assert rig.session.reading


def test_a_turn_ends_in_the_middle_of_a_message_of_many_fragments() -> None:
    turn = CountedTurn(looks=1)
    rig = Rig(turn=turn)
    rig.receives(fragmented(1000, 1) + fragmented(2, 1))
    pumps = 0
    while rig.session.pump_due:
        turn.spent = True
        assert rig.handler.log == []
        rig.pump()
        pumps += 1
        if rig.session.deadlines.get(Deadline.THROTTLE):
            break
    assert pumps == (1000 - 32) // 16 + 1
    assert rig.handler.log == [bytes(1000), bytes(2)]


def test_fragments_that_are_read_ahead_count_too() -> None:
    turn = CountedTurn()
    turn.spent = True
    rig = Rig(turn=turn)
    rig.session.hold()
    rig.receives(fragmented(100, 1) + rig.encoded(Ping(b"behind")))
    pumps = 0
    while rig.session.pump_due:
        rig.pump()
        pumps += 1
    assert pumps in (6, 7)
    assert rig.seen() == [Pong(b"behind")]
    assert rig.handler.log == []
    rig.session.release()
    rig.pump()
    assert rig.handler.log == [bytes(100)]


def test_fragments_that_come_after_a_close_of_this_side_count_too() -> None:
    turn = CountedTurn()
    turn.spent = True
    rig = Rig(turn=turn)
    rig.session.close(1000, "", rig.now)
    rig.receives(fragmented(100, 1))
    pumps = 0
    while rig.session.pump_due:
        assert not rig.session.send(TextMessage("too late"))
        rig.pump()
        pumps += 1
    assert pumps == 6
    assert rig.handler.log == []
    assert [type(event) for event in rig.seen()] == [Close]


@pytest.mark.parametrize(
    ("flood", "at_once"),
    [
        (encode_frame(PING, b"", mask=MASK) * 41, 40),
        (encode_frame(PONG, b"", mask=MASK) * 41, 40),
        (fragmented(41), 1),
        (encode_frame(BINARY, b"", fin=False, mask=MASK)
         + encode_frame(CONTINUATION, b"", fin=False, mask=MASK) * 40, 0),
    ],
    ids=["pings", "pongs", "fragments", "half a message"],
)  # fmt: skip
def test_who_sends_too_many_control_frames_is_paused(flood: bytes, at_once: int) -> None:
    rig = Rig(limits=Limits(control_rate=20, max_turn_messages=40))
    rig.receives(flood)
    while rig.session.pump_due:
        rig.pump()
    assert not rig.session.reading
    assert rig.session.deadlines.next == pytest.approx(1 / 20)
    rig.tick(1 / 20)
    while rig.session.pump_due:
        rig.pump()
    assert rig.session.reading


def test_a_longer_pause_is_not_cut_short_by_control_frames() -> None:
    rig = Rig(limits=Limits(control_rate=1))
    rig.handler.reactions["on_pong"] = lambda: rig.session.pause(60, rig.now)
    rig.sends(Pong(b""), Pong(b""), Pong(b""))
    rig.tick(1.5)
    assert not rig.session.reading
    rig.tick(60)
    assert Deadline.PAUSE not in rig.session.deadlines or rig.session.deadlines[Deadline.PAUSE] > 60


def test_whoever_closes_is_charged_no_more() -> None:
    rig = Rig(limits=Limits(control_rate=1))
    rig.sends(*[Ping(b"")] * 10, Close(1000, ""))
    assert isinstance(rig.seen()[-1], Close)


def test_a_pause_can_be_ended_early() -> None:
    rig = Rig()
    rig.session.pause(60, rig.now)
    rig.sends(TextMessage("read ahead"))
    rig.pump()
    assert rig.handler.log == []
    rig.session.unpause()
    assert rig.transport.asked[-1] == "write_soon"
    assert rig.session.pump_due
    rig.pump()
    assert rig.handler.log == ["read ahead"]
