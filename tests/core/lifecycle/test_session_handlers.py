"""Handlers that raise, and handlers that are replaced."""

from __future__ import annotations

import pytest

from sono_core import Accept, BinaryMessage, Close, Pong, Reject, Request, Role, TextMessage
from tests.core.lifecycle.sessions import BOTH, raising
from tests.fakes import RecordingHandler, Rig

UPGRADE = Request("/ws", host="example.com")


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
