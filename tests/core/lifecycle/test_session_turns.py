"""Messages of a session, and its fair share of a loop's turn."""

from __future__ import annotations

import pytest

from sono_core import (
    BinaryMessage,
    Limits,
    LocalProtocolError,
    Ping,
    Pong,
    Prepared,
    Role,
    TextMessage,
)
from tests.core.lifecycle.sessions import BOTH
from tests.fakes import Rig

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


def test_a_turn_that_ends_twice_ends_once() -> None:
    rig = Rig()
    rig.session.end_turn()
    rig.session.end_turn()
    rig.sends(TextMessage("a"))
    assert rig.handler.log == []
    rig.session.pump(rig.now)
    assert rig.handler.log == ["a"]
