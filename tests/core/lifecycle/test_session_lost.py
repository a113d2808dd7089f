"""A session whose stream ends, is reset or aborted, and `on_close` exactly once in every case."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from sono_core import Accept, BinaryMessage, Close, Limits, Pong, Request, Role, TextMessage
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import PING, PONG
from tests.core.lifecycle.sessions import BOTH, fill, fragmented, raising
from tests.fakes import CountedTurn, Rig
from tests.rules.peers import MASK

# -- the end of the stream --------------------------------------------------------------------


@BOTH
def test_an_end_of_file_is_1006(role: Role) -> None:
    rig = Rig(role)
    rig.ends()
    assert rig.handler.log == [Close(1006, "the connection ended", False)]
    assert rig.session.over


def test_an_end_of_file_while_output_waits_is_given_the_time_of_a_close() -> None:
    rig = Rig()
    fill(rig, 1000)
    rig.ends()
    assert rig.handler.closes == [Close(1006, "the connection ended", False)]
    assert not rig.session.over
    assert rig.transport.asked[-1] == "close"
    rig.reads()
    assert rig.session.over
    blocked = Rig()
    fill(blocked, 1000)
    blocked.ends()
    blocked.tick(5.0)
    assert blocked.session.over
    assert blocked.waiting == 0


# -- a reset ----------------------------------------------------------------------------------


@BOTH
def test_a_reset_delivers_what_had_arrived(role: Role) -> None:
    limits = Limits(max_turn_messages=1)
    rig = Rig(role, limits=limits)
    rig.sends(TextMessage("a"), TextMessage("b"), TextMessage("c"))
    assert rig.handler.log == ["a"]
    rig.session.lost()
    assert rig.handler.log == ["a", "b", "c", Close(1006, "the connection ended", False)]
    assert rig.transport.asked[-1] == "abort"
    rig.session.lost()
    assert len(rig.handler.log) == 4


def test_a_reset_delivers_what_could_still_be_read() -> None:
    rig = Rig()
    rig.session.lost(rig.encoded(TextMessage("a"), Close(1001, "leaving")))
    assert rig.handler.log == ["a", Close(1001, "leaving", True)]
    assert rig.session.over


def test_a_reset_hands_over_no_more_than_a_turn_does() -> None:
    rig = Rig()
    rig.sends(*[TextMessage(str(number)) for number in range(4000)])
    assert len(rig.handler.log) == 1024
    rig.session.lost()
    assert rig.handler.log[1024:-1] == [str(number) for number in range(1024, 2048)]
    assert rig.handler.closes == [Close(1006, "the connection ended", False)]


def test_a_reset_hands_over_no_more_bytes_than_a_turn_does() -> None:
    rig = Rig(limits=Limits(max_turn_bytes=1000))
    rig.sends(*[BinaryMessage(bytes(400))] * 9)
    assert len(rig.handler.log) == 3
    rig.session.lost()
    assert len(rig.handler.log) == 7
    assert rig.handler.closes == [Close(1006, "the connection ended", False)]


@pytest.mark.parametrize(
    "work",
    [
        fragmented(100) * 50,
        encode_frame(PING, b"", mask=MASK) * 4000,
        encode_frame(PONG, b"", mask=MASK) * 4000,
    ],
    ids=["fragments", "pings", "pongs"],
)
def test_work_beside_messages_counts_after_a_reset_too(work: bytes) -> None:
    rig = Rig()
    rig.session.lost(rig.encoded(TextMessage("before")) + work + rig.encoded(TextMessage("late")))
    assert rig.handler.log[0] == "before"
    assert "late" not in rig.handler.log
    # each message of fragments counts 101; the first message is one of 1,024
    assert len(rig.handler.log) - 2 in (0, 10, 1023)
    assert rig.handler.closes == [Close(1006, "the connection ended", False)]


def test_a_reset_hands_over_a_little_when_the_time_of_the_turn_is_over() -> None:
    turn = CountedTurn()
    rigs = [Rig(turn=turn) for _ in range(3)]
    turn.looks = 2
    for rig in rigs:
        rig.session.lost(rig.encoded(*[TextMessage("x")] * 40))
        assert rig.handler.closes == [Close(1006, "the connection ended", False)]
    assert [rig.handler.log.count("x") for rig in rigs] == [40, 16, 16]
    rig = Rig(turn=turn)
    rig.session.lost(rig.encoded(*[BinaryMessage(bytes(6000))] * 9))
    assert len(rig.handler.log) == 3 + 1  # 16 KiB, and the Close
    rig = Rig(turn=turn)
    rig.session.lost(fragmented(100, 1) + rig.encoded(TextMessage("late")))
    assert rig.handler.log == rig.handler.closes  # it ends in the middle of a message


def test_what_was_read_ahead_of_a_busy_handler_comes_whenever_the_stream_is_lost() -> None:
    turn = CountedTurn()
    rig = Rig(turn=turn)
    rig.session.hold()
    rig.sends(*[TextMessage(str(number)) for number in range(40)])
    rig.pump()
    assert rig.session.reading
    turn.looks = 0
    rig.session.lost(rig.encoded(*[TextMessage("late")] * 40))
    assert rig.handler.log[:40] == [str(number) for number in range(40)]
    assert rig.handler.log[40:-1] == ["late"] * 16


@pytest.mark.parametrize(
    "pause", [lambda rig: rig.session.hold(), lambda rig: rig.session.pause(9, 0)]
)
def test_a_reset_hands_over_what_came_to_who_holds_too(
    pause: Callable[[Rig], None],
) -> None:
    rig = Rig()
    pause(rig)
    rig.sends(TextMessage("a"), BinaryMessage(b"b"), Close(1001, "leaving"))
    rig.session.lost()
    assert rig.handler.log == ["a", b"b", Close(1001, "leaving", True)]


def test_a_handler_that_raises_or_answers_after_a_reset_harms_nothing() -> None:
    rig = Rig(limits=Limits(max_turn_messages=1))
    rig.sends(TextMessage("a"), TextMessage("b"), TextMessage("c"))

    def react() -> None:
        assert not rig.session.send(TextMessage("answer"))
        assert not rig.session.close(1000, "", 0)
        raise ValueError("no")

    rig.handler.reactions["on_message"] = react
    rig.session.lost()
    assert [str(error) for error in rig.handler.errors] == ["no", "no"]
    assert len(rig.handler.closes) == 1


def test_a_reset_in_a_turn_that_ended_hands_over_what_one_more_would() -> None:
    rig = Rig()
    rig.handler.reactions["on_message"] = rig.session.end_turn
    rig.sends(TextMessage("a"), TextMessage("b"), TextMessage("c"))
    rig.session.lost()
    assert rig.handler.log == ["a", "b", Close(1006, "the connection ended", False)]


def test_messages_in_what_could_still_be_read_of_a_lost_stream_are_delivered() -> None:
    rig = Rig()
    rest = rig.encoded(TextMessage("a"), BinaryMessage(b"b"))
    rig.session.lost(rest)
    assert rig.handler.log[:2] == ["a", b"b"]
    assert [close.code for close in rig.handler.closes] == [1006]


# -- abort ------------------------------------------------------------------------------------


def test_a_response_in_what_could_still_be_read_opens_a_connection_that_ends() -> None:
    rig = Rig(Role.CLIENT, opened=False)
    rig.session.connect(Request("/ws", host="example.com"))
    rig.transport.write()
    assert isinstance(rig.seen()[0], Request)
    rig.session.lost(rig.encoded(Accept(), TextMessage("a")))
    assert isinstance(rig.handler.log[0], Accept)
    assert rig.handler.log[1:] == ["a", Close(1006, "the connection ended", False)]
    assert rig.session.over
    assert rig.session.deadlines.next == math.inf


def test_abort_is_told_later_and_not_in_the_middle_of_the_call() -> None:
    rig = Rig()
    rig.session.abort()
    assert rig.handler.log == []
    assert not rig.session.open
    assert not rig.session.send(TextMessage("x"))
    assert rig.session.deadlines.next == -math.inf
    rig.tick(0.0)
    assert rig.handler.log == [Close(1006, "aborted", False)]
    assert rig.session.over
    rig.session.abort()
    assert rig.session.deadlines.next == math.inf


def test_abort_with_output_waiting_is_not_forgotten_when_that_is_written() -> None:
    rig = Rig()
    fill(rig, 1000)
    rig.transport.write()
    rig.session.abort()
    rig.reads(10)
    assert rig.session.deadlines.next == -math.inf
    rig.reads()
    assert rig.session.deadlines.next == -math.inf
    rig.tick(0.0)
    assert rig.handler.log == [Close(1006, "aborted", False)]


def test_nothing_is_delivered_after_abort() -> None:
    rig = Rig()
    rig.handler.reactions["on_message"] = rig.session.abort
    rig.sends(TextMessage("a"), TextMessage("b"), Close(1000))
    assert not rig.session.reading
    assert not rig.session.pump_due
    rig.tick(0.0)
    assert rig.handler.log == ["a", Close(1006, "aborted", False)]


def test_abort_and_then_a_reset_is_told_as_abort() -> None:
    rig = Rig()
    rig.session.abort()
    rig.session.lost(rig.encoded(TextMessage("late")))
    assert rig.handler.log == [Close(1006, "aborted", False)]


def test_abort_in_on_close_cuts_the_lingering_short() -> None:
    rig = Rig()
    rig.handler.reactions["on_close"] = rig.session.abort
    rig.sends(Close(1000))
    rig.tick(0.0)
    assert rig.session.over
    assert rig.handler.log == [Close(1000, "", True)]


# -- on_close, exactly once -------------------------------------------------------------------


def _peer_closes(rig: Rig) -> None:
    rig.sends(Close(1000))


def _this_side_closes(rig: Rig) -> None:
    rig.session.close(1000, "", rig.now)
    rig.transport.write()
    rig.seen()
    rig.receives(rig.peer.data_to_send())


def _breaks_a_rule(rig: Rig) -> None:
    rig.receives(b"\xff\xff")


def _leaves_pings_unanswered(rig: Rig) -> None:
    rig.tick(20.0)
    rig.tick(40.0)


def _reads_too_slowly(rig: Rig) -> None:
    rig.blocks()
    while rig.session.send(BinaryMessage(bytes(1 << 20))):
        pass


def _stalls(rig: Rig) -> None:
    rig.blocks()
    rig.session.send(TextMessage("x"))
    rig.transport.write()
    rig.tick(19.0)
    rig.sends(Pong())
    rig.tick(20.0)


def _raises(rig: Rig) -> None:
    rig.handler.reactions["on_message"] = raising
    rig.sends(TextMessage("x"))


ENDINGS: list[Callable[[Rig], object]] = [
    _peer_closes,
    _this_side_closes,
    _breaks_a_rule,
    _leaves_pings_unanswered,
    _reads_too_slowly,
    _stalls,
    _raises,
    Rig.ends,
    lambda rig: rig.session.lost(),
    lambda rig: rig.session.abort(),
]


@BOTH
@pytest.mark.parametrize("first", ENDINGS)
@pytest.mark.parametrize("then", ["lost", "abort", "wait"])
def test_on_close_comes_exactly_once_in_every_ending(
    role: Role, first: Callable[[Rig], object], then: str
) -> None:
    rig = Rig(role)
    first(rig)
    if then == "lost":
        rig.session.lost()
    elif then == "abort":
        rig.session.abort()
    for second in range(100):
        rig.tick(rig.now + 1)
        if second == 50 and not rig.session.over and rig.session.reading:
            rig.ends()
    assert rig.session.over
    assert len(rig.handler.closes) == 1
    assert rig.transport.asked.count("abort") == 1
    assert rig.session.deadlines.next == math.inf
    assert not rig.session.reading
    assert not rig.session.pump_due
    assert rig.waiting == 0
    assert not rig.session.send(TextMessage("x"))
    assert not rig.session.accept(Accept(), rig.now)
