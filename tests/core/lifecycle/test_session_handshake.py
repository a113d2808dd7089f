"""A session's handshake on either side: callbacks, answers and time-outs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest

from sono_core import (
    Accept,
    Close,
    Headers,
    LocalProtocolError,
    Reject,
    Request,
    Role,
    State,
    TextMessage,
)
from sono_core.lifecycle.session import Session
from tests.fakes import Rig
from tests.helpers import new_connection

UPGRADE = Request("/ws", host="example.com")


def test_a_new_session_waits_for_its_handshake() -> None:
    rig = Rig(opened=False)
    connection = new_connection(Role.SERVER)
    session = Session(connection, rig.transport, rig.handler, now=10.0)
    assert session.outbox is connection.outbox
    assert session.deadlines.next == 15.0
    assert session.reading
    assert not session.open
    assert connection.state is State.CONNECTING


# -- the server's -----------------------------------------------------------------------------


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
    """The process was stopped for a minute, but the peer had sent everything in time."""
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


# -- the client's -----------------------------------------------------------------------------


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


def test_the_reason_of_a_loss_is_told_to_a_client_in_its_handshake() -> None:
    rig = Rig(Role.CLIENT, opened=False)
    rig.session.connect(Request("/ws", host="example.com"))
    rig.session.lost(reason="no certificate")
    assert rig.handler.log == [Reject(0, body=b"no certificate")]
    opened = Rig(Role.CLIENT)
    opened.session.lost(reason="no certificate")
    assert [close.code for close in opened.handler.closes] == [1006]


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
