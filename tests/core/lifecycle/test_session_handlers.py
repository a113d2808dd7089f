"""Every policy of a live connection, with time as a number and I/O in memory."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest

from sono_core import (
    Accept,
    BinaryMessage,
    Close,
    Headers,
    Limits,
    LocalProtocolError,
    Ping,
    Pong,
    Prepared,
    Reject,
    Request,
    Role,
    State,
    TextMessage,
    Timeouts,
)
from sono_core.lifecycle.deadlines import Deadline
from sono_core.lifecycle.session import Session
from tests.fakes import RecordingHandler, Rig
from tests.helpers import new_connection

PAUSE = 64 * 1024
BOTH = pytest.mark.parametrize("role", list(Role))
UPGRADE = Request("/ws", host="example.com")


def frame_of(size: int) -> BinaryMessage:
    """A message whose frame, sent by a server, has that many bytes; 130 to 65,539."""
    return BinaryMessage(bytes(size - 4))


def fill(rig: Rig, size: int) -> None:
    """Let exactly that many bytes wait for a peer that does not read."""
    rig.blocks()
    while rig.waiting < size:
        rest = size - rig.waiting
        assert rig.session.send(frame_of(rest if rest <= PAUSE else PAUSE // 2))
    assert rig.waiting == size


# -- handshake: server ------------------------------------------------------------------------


def test_a_request_is_told_and_accepted() -> None:
    rig = Rig(opened=False)
    rig.request()
    (request,) = rig.handler.log
    assert isinstance(request, Request)
    assert not rig.session.open
    assert rig.session.accept(Accept(), 1.0)
    assert rig.session.open
    assert "write_soon" in rig.transport.asked
    rig.transport.write()
    assert isinstance(rig.seen()[0], Accept)


def test_frames_that_came_with_the_request_wait_for_the_next_turn() -> None:
    rig = Rig(opened=False)
    rig.request()
    rig.receives(bytes.fromhex("8180000000008280 00000000"))
    assert len(rig.handler.log) == 1
    rig.session.accept(Accept(), 0)
    assert len(rig.handler.log) == 1, "accept must not call the handler"
    assert rig.session.pump_due
    assert not rig.session.reading
    rig.pump()
    assert rig.handler.log[1:] == ["", b""]
    assert rig.session.reading
    assert not rig.session.pump_due


def test_accept_of_an_invalid_upgrade_refuses() -> None:
    rig = Rig(opened=False)
    rig.receives(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert not rig.session.accept(Accept(), 0)
    assert not rig.session.open
    rig.transport.write()
    assert rig.raw().startswith(b"HTTP/1.1 426 ")
    assert rig.transport.asked[-1] == "close"


def test_a_request_is_answered_once() -> None:
    rig = Rig(opened=False)
    assert not rig.session.accept(Accept(), 0), "nothing was asked yet"
    rig.request()
    assert rig.session.respond(Reject(404, body=b"no"), 0)
    assert not rig.session.respond(Reject(404), 0)
    assert not rig.session.accept(Accept(), 0)
    rig.transport.write()
    assert re.match(rb"HTTP/1.1 404 .*\r\n\r\nno$", rig.raw(), re.DOTALL)


def test_an_illegal_answer_raises_and_changes_nothing() -> None:
    rig = Rig(opened=False)
    rig.request()
    with pytest.raises(LocalProtocolError):
        rig.session.respond(Reject(99), 0)
    with pytest.raises(LocalProtocolError):
        rig.session.accept(Accept(headers=Headers([("x", "a\nb")])), 0)
    assert rig.waiting == 0
    assert rig.session.accept(Accept(), 0)


def test_a_server_cannot_answer_for_a_client() -> None:
    rig = Rig(Role.CLIENT, opened=False)
    rig.session.connect(UPGRADE)
    assert not rig.session.accept(Accept(), 0)
    assert not rig.session.respond(Reject(404), 0)
    assert not Rig(Role.CLIENT, opened=False).session.respond(Reject(404), 0)


@pytest.mark.parametrize("how", ["reset", "abort"])
def test_an_answer_to_a_peer_that_is_gone_is_false(how: str) -> None:
    rig = Rig(opened=False)
    rig.request()
    if how == "reset":
        rig.session.lost()
    else:
        rig.session.abort()
    assert not rig.session.accept(Accept(), 0)
    assert not rig.session.respond(Reject(404), 0)
    rig.tick(0)
    assert rig.transport.asked[-1] == "abort"
    assert len(rig.handler.log) == 1, "a connection that was never open has no on_close"


def test_a_peer_that_ended_its_half_still_gets_its_answer() -> None:
    rig = Rig(opened=False)
    rig.request()
    rig.ends()
    assert not rig.session.over
    assert rig.session.respond(Reject(404), 0)
    rig.transport.write()
    assert rig.raw().startswith(b"HTTP/1.1 404 ")
    assert rig.session.over
    assert rig.transport.asked[-1] == "abort"


def test_a_peer_that_ended_its_half_before_accept_is_told_to_the_handler() -> None:
    rig = Rig(opened=False)
    rig.receives(rig.encoded(UPGRADE) + bytes.fromhex("818000000000"))
    rig.ends()
    assert rig.session.accept(Accept(), 0)
    rig.transport.write()
    rig.pump()
    assert rig.handler.log[1:] == ["", Close(1006, "the connection ended", False)]
    assert rig.session.over


def test_the_handshake_deadline_is_absolute() -> None:
    rig = Rig(opened=False)
    data = rig.encoded(UPGRADE)
    for second in range(5):
        rig.now = second
        rig.receives(data[second : second + 1])
        assert rig.session.deadlines.next == 5.0
    rig.tick(4.999)
    assert not rig.raw()
    rig.tick(5.0)
    assert rig.raw().startswith(b"HTTP/1.1 408 ")
    assert rig.handler.log == []
    rig.ends()
    assert rig.session.over


def test_a_request_that_nobody_answers_gets_503() -> None:
    rig = Rig(opened=False)
    rig.now = 2.0
    rig.request()
    assert rig.session.deadlines.next == 5.0, "the request does not extend the deadline"
    rig.tick(5.0)
    assert rig.raw().startswith(b"HTTP/1.1 503 ")
    assert not rig.session.accept(Accept(), 5.0)


def test_a_request_that_was_read_late_still_gets_its_answer() -> None:
    """The process was stopped for a minute; the peer had sent everything in time."""
    rig = Rig(opened=False)
    rig.now = 60.0
    rig.request()
    rig.tick(60.0)
    assert rig.session.accept(Accept(), 60.0)
    late = Rig(opened=False)
    late.now = 60.0
    late.request()
    for second in range(61, 65):
        late.now = second
        late.receives(b"more")
    late.tick(65.0)
    assert late.raw().startswith(b"HTTP/1.1 503 "), "extended once, by nothing else"


def test_the_handshake_deadline_ends_with_the_handshake() -> None:
    rig = Rig()
    rig.tick(19.999)
    assert rig.session.open
    assert rig.raw() == b""


def test_a_bad_request_is_answered_and_lingers() -> None:
    rig = Rig(opened=False)
    rig.receives(b"\x00\x01GET / HTTP/1.1\r\n\r\n")
    assert rig.raw().startswith(b"HTTP/1.1 400 ")
    assert rig.transport.asked[-1] == "close"
    assert rig.session.reading, "what the peer still sends is read, so that no reset is sent"
    rig.ends()
    assert rig.session.over


def test_an_end_before_any_request_is_quiet() -> None:
    rig = Rig(opened=False)
    rig.ends()
    assert rig.session.over
    assert rig.transport.asked == ["abort"]
    assert rig.handler.log == []


# -- handshake: client ------------------------------------------------------------------------


def test_a_client_sends_its_request_once() -> None:
    rig = Rig(Role.CLIENT, opened=False)
    rig.session.connect(UPGRADE)
    assert rig.transport.asked == ["write_soon"]
    with pytest.raises(LocalProtocolError):
        rig.session.connect(UPGRADE)


def test_a_client_is_told_the_answer() -> None:
    rig = Rig(Role.CLIENT, opened=False)
    rig.session.connect(UPGRADE)
    rig.transport.write()
    rig.seen()
    rig.peer.send(Accept())
    rig.peer.send(TextMessage("at once"))
    rig.receives(rig.peer.data_to_send())
    response, message = rig.handler.log
    assert isinstance(response, Accept)
    assert message == "at once"
    assert rig.session.open


def test_a_client_is_told_a_refusal_and_no_close() -> None:
    rig = Rig(Role.CLIENT, opened=False)
    rig.session.connect(UPGRADE)
    rig.transport.write()
    rig.seen()
    rig.sends(Reject(404, body=b"no"))
    (response,) = rig.handler.log
    assert isinstance(response, Reject)
    assert (response.status, response.body) == (404, b"no")
    rig.ends()
    assert rig.session.over
    assert len(rig.handler.log) == 1


@pytest.mark.parametrize("end", [Session.lost, lambda session: session.receive(b"", 1.0)])
def test_a_client_whose_handshake_breaks_off_is_told(end: Callable[[Session], None]) -> None:
    rig = Rig(Role.CLIENT, opened=False)
    rig.session.connect(UPGRADE)
    rig.transport.write()
    end(rig.session)
    rig.transport.write()
    (response,) = rig.handler.log
    assert isinstance(response, Reject)
    assert response.status == 0
    assert rig.session.over


def test_a_clients_handshake_deadline_is_absolute() -> None:
    rig = Rig(Role.CLIENT, opened=False)
    rig.session.connect(UPGRADE)
    rig.transport.write()
    for second in range(5):
        rig.now = second
        rig.receives(b"HTTP/1.1 101 S"[second : second + 1])
    rig.tick(4.999)
    assert rig.handler.log == []
    rig.tick(5.0)
    (response,) = rig.handler.log
    assert isinstance(response, Reject)
    assert response.status == 0
    assert b"too long" in response.body
    assert rig.session.over
    assert rig.transport.asked[-1] == "abort"
    assert rig.session.deadlines.next == math.inf


def test_a_client_that_gives_up_during_the_handshake_is_told_nothing_more() -> None:
    rig = Rig(Role.CLIENT, opened=False)
    rig.session.connect(UPGRADE)
    rig.session.abort()
    rig.tick(100.0)
    assert rig.session.over
    assert rig.handler.log == []


def test_go_away_is_nothing_for_a_client_in_its_handshake() -> None:
    rig = Rig(Role.CLIENT, opened=False)
    rig.session.connect(UPGRADE)
    before = rig.waiting
    rig.session.go_away(1001, "", 0)
    assert rig.waiting == before


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
    assert rig.session.wants_data
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


# -- keepalive --------------------------------------------------------------------------------


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


# -- closing ----------------------------------------------------------------------------------


@BOTH
def test_the_peer_closes(role: Role) -> None:
    rig = Rig(role)
    rig.sends(Close(1001, "bye"))
    assert rig.handler.log == [Close(1001, "bye", True)]
    assert rig.seen() == [Close(1001, "", True)]
    assert not rig.session.open
    if role is Role.SERVER:
        assert rig.transport.asked == ["close"], "the server ends TCP first"
    else:
        assert "close" not in rig.transport.asked, "a client waits for the server"
    assert rig.session.reading
    rig.ends()
    assert rig.session.over
    assert rig.transport.asked[-1] == "abort"
    assert rig.session.deadlines.next == math.inf


@BOTH
def test_this_side_closes(role: Role) -> None:
    rig = Rig(role)
    assert rig.session.close(4000, "done", 1.0)
    assert rig.handler.log == []
    rig.transport.write()
    assert rig.seen() == [Close(4000, "done", True)]
    rig.receives(rig.peer.data_to_send())
    assert rig.handler.log == [Close(4000, "", True)]
    assert ("close" in rig.transport.asked) == (role is Role.SERVER)
    rig.ends()
    assert rig.session.over
    assert len(rig.handler.closes) == 1


@BOTH
def test_a_close_that_is_not_answered_times_out(role: Role) -> None:
    rig = Rig(role)
    rig.now = rig.transport.now = 1.0
    rig.session.close(1000, "", 1.0)
    rig.transport.write()
    for second in range(2, 6):
        rig.now = second
        rig.sends(TextMessage("I go on"))
    rig.tick(5.999)
    assert rig.handler.log == []
    rig.tick(6.0)
    assert rig.handler.log == [Close(1006, "the close was not answered in time", False)]
    assert rig.session.over


def test_a_peer_that_does_not_end_tcp_is_cut_off() -> None:
    rig = Rig()
    rig.sends(Close(1000))
    rig.now = 4.0
    rig.receives(b"still here")
    rig.tick(4.999)
    assert not rig.session.over
    rig.tick(5.0)
    assert rig.session.over
    assert rig.handler.log == [Close(1000, "", True)], "the clean close was told, and stays"


def test_a_client_cuts_a_server_off_that_does_not_end_tcp() -> None:
    rig = Rig(Role.CLIENT)
    rig.sends(Close(1000))
    rig.tick(5.0)
    assert rig.session.over
    assert rig.handler.closes == [Close(1000, "", True)]


def test_messages_that_come_after_this_sides_close_are_not_delivered() -> None:
    rig = Rig()
    rig.session.close(1000, "", 0)
    rig.sends(TextMessage("late"), BinaryMessage(b"late"), Ping(b"late"), Pong(b"late"))
    assert rig.handler.log == [b"late"], "a pong is no message"
    assert rig.seen() == [Close(1000, "", True)], "and nothing follows a Close"


def test_a_protocol_error_closes_and_lingers() -> None:
    rig = Rig()
    rig.receives(b"\x81\x00")  # not masked
    assert [close.code for close in rig.handler.closes] == [1002]
    (seen,) = rig.seen()
    assert isinstance(seen, Close)
    assert seen.code == 1002
    assert rig.transport.asked == ["close"]
    for _ in range(3):
        rig.receives(bytes(256 * 1024))
        assert rig.session.reading
    rig.ends()
    assert rig.session.over
    assert len(rig.handler.log) == 1


def test_a_client_fails_a_server_that_breaks_a_rule() -> None:
    rig = Rig(Role.CLIENT)
    rig.receives(b"\x81\x80\0\0\0\0")  # masked
    assert [close.code for close in rig.handler.closes] == [1002]
    assert rig.transport.asked == ["close"]
    rig.tick(5.0)
    assert rig.session.over


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
    "pause", [lambda rig: rig.session.hold(), lambda rig: rig.session.pause(9, 0)]
)
def test_a_reset_hands_over_nothing_to_who_holds_but_how_it_ended(
    pause: Callable[[Rig], None],
) -> None:
    rig = Rig()
    pause(rig)
    rig.sends(TextMessage("a"), BinaryMessage(b"b"), Close(1001, "leaving"))
    rig.session.lost()
    assert rig.handler.log == [Close(1001, "leaving", True)]


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


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [(1005, "reason", LocalProtocolError), (1006, "", LocalProtocolError), ("1000", "", TypeError)],
)
def test_an_illegal_close_raises_and_changes_nothing(
    code: int, reason: str, error: type[Exception]
) -> None:
    rig = Rig()
    with pytest.raises(error):
        rig.session.close(code, reason, 0)
    assert rig.session.open
    assert Deadline.CLOSE not in rig.session.deadlines


# -- going away -------------------------------------------------------------------------------


def test_go_away_closes_what_is_open() -> None:
    rig = Rig()
    rig.session.go_away(1001, "stopping", 0)
    rig.transport.write()
    assert rig.seen() == [Close(1001, "stopping", True)]


@pytest.mark.parametrize("requested", [False, True])
def test_go_away_answers_503_before_the_connection_is_open(requested: bool) -> None:
    rig = Rig(opened=False)
    if requested:
        rig.request()
    rig.session.go_away(1001, "", 0)
    rig.transport.write()
    assert rig.raw().startswith(b"HTTP/1.1 503 ")
    rig.session.go_away(1001, "", 0)
    assert rig.raw() == b""


def test_go_away_leaves_what_is_closing_alone() -> None:
    rig = Rig()
    rig.session.close(1000, "", 0)
    waiting = rig.waiting
    rig.session.go_away(1001, "", 1.0)
    assert rig.waiting == waiting
    assert rig.session.deadlines.next == 5.0
    rig.session.lost()
    rig.session.go_away(1001, "", 1.0)
    assert rig.waiting == 0


# -- write queue ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "paused"), [(PAUSE - 1, False), (PAUSE, False), (PAUSE + 1, True)]
)
def test_reading_is_paused_above_64_kib_of_output(size: int, paused: bool) -> None:
    rig = Rig()
    fill(rig, size)
    assert rig.session.reading == (not paused)
    assert rig.session.wants_data == (not paused)
    assert ("write_now" in rig.transport.asked) == paused
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
    fill(rig, 4000)
    sent = rig.session.send(frame_of(size - 4000))
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
    rig.transport.write()  # in vain again
    rig.tick(20.0)  # the ping; any sign of life keeps that one away
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
    rig.tick(50.0)  # both have been due for long
    assert len(rig.handler.closes) == 1
    assert rig.session.deadlines.next == math.inf


def test_a_ping_into_a_full_queue_gives_the_peer_up() -> None:
    rig = Rig(limits=Limits(pause_reading_at=1000, max_queue=1001))
    fill(rig, 1000)
    rig.tick(20.0)
    rig.tick(20.0)
    assert [close.code for close in rig.handler.closes] == [4008]


# -- handlers that raise ----------------------------------------------------------------------


def raising() -> object:
    raise ValueError("handler")


@BOTH
@pytest.mark.parametrize(
    ("method", "event"),
    [
        ("on_message", TextMessage("x")),
        ("on_message", BinaryMessage(b"x")),
        ("on_pong", Pong(b"x")),
    ],
)
def test_a_handler_that_raises_closes_with_1011(
    role: Role, method: str, event: TextMessage | BinaryMessage | Pong
) -> None:
    rig = Rig(role)
    rig.handler.reactions[method] = raising
    rig.sends(event, event)
    assert [str(error) for error in rig.handler.errors][:1] == ["handler"]
    assert rig.seen() == [Close(1011, "internal error", True)]
    rig.receives(rig.peer.data_to_send())
    assert [close.code for close in rig.handler.closes] == [1011]


def test_an_on_message_that_raised_is_not_called_again() -> None:
    rig = Rig()
    rig.handler.reactions["on_message"] = raising
    rig.sends(TextMessage("a"), TextMessage("b"))
    assert len(rig.handler.errors) == 1


def test_an_on_request_that_raises_is_answered_with_500() -> None:
    rig = Rig(opened=False)
    rig.handler.reactions["on_request"] = raising
    rig.request()
    assert len(rig.handler.errors) == 1
    assert rig.raw().startswith(b"HTTP/1.1 500 ")
    rig.ends()
    assert rig.session.over


def test_an_on_response_that_raises_closes_an_accepted_connection() -> None:
    rig = Rig(Role.CLIENT, opened=False)
    rig.handler.reactions["on_response"] = raising
    rig.session.connect(UPGRADE)
    rig.transport.write()
    rig.seen()
    rig.sends(Accept())
    assert len(rig.handler.errors) == 1
    assert rig.seen() == [Close(1011, "internal error", True)]


def test_an_on_response_that_raises_for_a_refusal_ends_quietly() -> None:
    rig = Rig(Role.CLIENT, opened=False)
    rig.handler.reactions["on_response"] = raising
    rig.session.connect(UPGRADE)
    rig.transport.write()
    rig.seen()
    rig.sends(Reject(403))
    rig.ends()
    assert len(rig.handler.errors) == 1
    assert rig.session.over


@pytest.mark.parametrize("end", ["clean", "eof", "reset", "tick"])
def test_an_on_close_that_raises_is_told_once(end: str) -> None:
    rig = Rig()
    rig.handler.reactions["on_close"] = raising
    if end == "clean":
        rig.sends(Close(1000))
        rig.ends()
    elif end == "eof":
        rig.ends()
    elif end == "reset":
        rig.session.lost()
    else:
        rig.tick(20.0)
        rig.tick(40.0)
    assert len(rig.handler.closes) == 1
    assert len(rig.handler.errors) == 1
    assert rig.session.over


def test_the_handler_may_be_exchanged() -> None:
    rig = Rig()
    second = RecordingHandler()

    def exchange() -> None:
        rig.session.handler = second

    rig.handler.reactions["on_message"] = exchange
    rig.sends(TextMessage("a"), TextMessage("b"))
    assert rig.handler.log == ["a"]
    assert second.log == ["b"]


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


def test_a_new_session_waits_for_its_handshake() -> None:
    rig = Rig(opened=False)
    connection = new_connection(Role.SERVER)
    session = Session(connection, rig.transport, rig.handler, now=10.0)
    assert session.outbox is connection.outbox
    assert session.deadlines.next == 15.0
    assert session.reading
    assert not session.open
    assert connection.state is State.CONNECTING


# -- found in review --------------------------------------------------------------------------


def test_a_close_waits_for_a_peer_that_takes_what_is_before_it() -> None:
    """Its time to answer begins when it has got the last byte."""
    rig = Rig()
    fill(rig, 60_000)
    rig.session.close(1000, "", 0.0)
    for second in range(4, 41, 4):
        rig.now = rig.transport.now = float(second)
        rig.transport.room = 5_000
        rig.transport.write()
        rig.tick(float(second))
        assert not rig.session.over
    rig.transport.room = math.inf
    rig.transport.write()
    rig.tick(44.9)
    assert not rig.session.over
    rig.tick(45.0)
    assert rig.session.over


def test_a_response_waits_for_a_peer_that_takes_it_slowly() -> None:
    rig = Rig(opened=False)
    rig.request()
    rig.blocks()
    assert rig.session.respond(Reject(200, body=bytes(60_000)), 0.0)
    for second in range(4, 41, 4):
        rig.now = rig.transport.now = float(second)
        rig.transport.room = 5_000
        rig.transport.write()
        rig.tick(float(second))
        assert not rig.session.over


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


def test_one_message_fits_into_an_empty_queue_however_large_it_is() -> None:
    rig = Rig(limits=Limits(max_queue=PAUSE * 2))
    rig.blocks()
    assert rig.session.send(BinaryMessage(bytes(PAUSE * 4)))
    assert not rig.session.send(BinaryMessage(b"one more"))
    rig.tick(0.0)
    assert [close.code for close in rig.handler.closes] == [4008]


@pytest.mark.parametrize(
    ("requested", "now", "status", "reason"),
    [
        (False, 5.0, b"408", b"the request took too long\n"),
        (True, 5.0, b"503", b"nobody answered the request\n"),
    ],
)
def test_time_outs_of_the_handshake_give_their_reason(
    requested: bool, now: float, status: bytes, reason: bytes
) -> None:
    rig = Rig(opened=False)
    if requested:
        rig.request()
    rig.tick(now)
    rig.transport.write()
    response = bytes(rig.transport.wire)
    assert response.startswith(b"HTTP/1.1 " + status)
    assert response.endswith(b"\r\n\r\n" + reason)


# -- a handler that is busy -------------------------------------------------------------------


def test_a_handler_that_holds_gets_nothing_more_until_it_releases() -> None:
    rig = Rig()
    rig.handler.reactions["on_message"] = rig.session.hold
    rig.sends(TextMessage("a"), TextMessage("b"))
    assert rig.handler.log == ["a"]
    assert not rig.session.reading
    assert not rig.session.wants_data
    assert not rig.session.pump_due
    assert rig.session.fast_path() is None
    rig.session.release()
    assert rig.session.pump_due
    rig.pump()
    assert rig.handler.log == ["a", "b"]


def test_what_is_held_is_not_read_so_its_peer_need_not_answer_pings() -> None:
    rig = Rig()
    rig.session.hold()
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


def test_a_turn_that_ends_twice_ends_once() -> None:
    rig = Rig()
    rig.session.end_turn()
    rig.session.end_turn()
    rig.sends(TextMessage("a"))
    assert rig.handler.log == []
    rig.session.pump(rig.now)
    assert rig.handler.log == ["a"]


def test_a_reset_in_a_turn_that_ended_hands_over_what_one_more_would() -> None:
    rig = Rig()
    rig.handler.reactions["on_message"] = rig.session.end_turn
    rig.sends(TextMessage("a"), TextMessage("b"), TextMessage("c"))
    rig.session.lost()
    assert rig.handler.log == ["a", "b", Close(1006, "the connection ended", False)]


def test_who_closes_while_it_holds_hears_the_answer() -> None:
    rig = Rig()
    rig.session.hold()
    rig.session.close(1000, "", rig.now)
    assert rig.session.reading
    rig.transport.write()
    rig.seen()
    rig.sends()
    assert rig.handler.closes == [Close(1000)]


def test_the_reason_of_a_loss_is_told_to_a_client_in_its_handshake() -> None:
    rig = Rig(Role.CLIENT, opened=False)
    rig.session.connect(Request("/ws", host="example.com"))
    rig.session.lost(reason="no certificate")
    assert rig.handler.log == [Reject(0, body=b"no certificate")]
    opened = Rig(Role.CLIENT)
    opened.session.lost(reason="no certificate")
    assert [close.code for close in opened.handler.closes] == [1006]


def test_messages_in_what_could_still_be_read_of_a_lost_stream_are_delivered() -> None:
    rig = Rig()
    rest = rig.encoded(TextMessage("a"), BinaryMessage(b"b"))
    rig.session.lost(rest)
    assert rig.handler.log[:2] == ["a", b"b"]
    assert [close.code for close in rig.handler.closes] == [1006]


# -- a peer that sends too fast -----------------------------------------------------------------


def test_a_pause_delivers_nothing_and_reads_nothing_until_it_is_over() -> None:
    rig = Rig()
    rig.handler.reactions["on_message"] = lambda: rig.session.pause(2, rig.now)
    rig.sends(TextMessage("a"), TextMessage("b"))
    assert rig.handler.log == ["a"]
    assert not rig.session.reading
    rig.tick(1.9)
    assert not rig.session.pump_due
    rig.handler.reactions.clear()
    rig.tick(2)
    assert rig.session.pump_due
    rig.pump()
    assert rig.handler.log == ["a", "b"]
    assert rig.session.reading


def test_a_peer_that_was_paused_until_its_pong_was_due_is_read_from_first() -> None:
    rig = Rig()
    rig.tick(20.0)
    assert Deadline.PONG in rig.session.deadlines
    rig.session.pause(20.0, 20.0)
    rig.tick(40.0)
    assert not rig.session.over
    assert rig.session.reading
    rig.tick(60.0)
    assert rig.session.over


def test_a_pause_ends_with_the_close() -> None:
    rig = Rig()
    rig.session.pause(2, 0)
    rig.session.close(1000, "", 0)
    assert rig.session.wants_data


# -- looking at a request before it is accepted -------------------------------------------------


def test_a_valid_request_can_be_accepted_after_it_was_verified() -> None:
    rig = Rig(opened=False)
    rig.request()
    assert rig.session.verify(0)
    assert rig.session.verify(0)
    assert rig.session.accept(Accept(), 0)
    assert not rig.session.verify(0)


def test_a_request_that_could_not_be_accepted_is_refused_when_it_is_verified() -> None:
    rig = Rig(opened=False)
    rig.receives(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert not rig.session.verify(0)
    rig.transport.write()
    assert rig.raw().startswith(b"HTTP/1.1 426 ")
