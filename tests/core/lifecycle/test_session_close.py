"""How a session closes: RFC 6455, section 7, and the time allowed for each step."""

from __future__ import annotations

import math

import pytest

from sono_core import BinaryMessage, Close, LocalProtocolError, Ping, Pong, Role, TextMessage
from sono_core.lifecycle.deadlines import Deadline
from tests.core.lifecycle.sessions import BOTH, fill
from tests.fakes import Rig

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


def test_a_close_waits_for_a_peer_that_takes_what_is_before_it() -> None:
    """Its time to answer begins when the last byte has left."""
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
