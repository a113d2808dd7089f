"""Requests in both directions. docs/protocol.md, 3.4, 4.6, 4.7, 5.14."""

from __future__ import annotations

import pytest

from sono_core.errors import OutboxFull
from sono_core.messaging.lossless import OWN, packets
from sono_core.messaging.lossless.client import Done, Settled
from sono_core.messaging.lossless.client.requests import Questions
from sono_core.messaging.lossless.packets import Ack, Failure
from tests.core.messaging.lossless.client.rig import Rig, at

# -- the client asks ------------------------------------------------------------------------------


def test_a_request_has_what_its_handler_returned() -> None:
    """4.6."""
    rig = Rig().open()
    pending = rig.request({"q": "x"}, timeout=5.0)
    (request,) = rig.said()
    assert request == packets.Request(seq=1, name="ask", data={"q": "x"}, timeout=5.0)
    rig.result(1, data=[1, 2])
    assert pending.outcome == Done([1, 2])


def test_a_request_may_fail() -> None:
    """4.5."""
    rig = Rig().open()
    pending = rig.request()
    rig.said()
    failure = Failure("failed", "the handler raised", temporary=True)
    rig.result(1, error=failure)
    assert pending.outcome == failure


@pytest.mark.parametrize(("timeout", "seconds"), [(None, 30.0), (0.5, 0.5), (600.0, 600.0)])
@pytest.mark.parametrize("state", ["waiting", "written", "accepted"])
def test_a_request_has_a_time_out(timeout: float | None, seconds: float, state: str) -> None:
    rig = Rig()
    if state != "waiting":
        rig.open()
    rig.publish()
    pending = rig.request(timeout=timeout)
    rig.said()
    if state == "accepted":
        rig.receive(Ack(2))
    rig.now += seconds - 0.25
    rig.receive(packets.Beat())
    rig.client.tick(rig.now)
    assert pending.outcome is None
    rig.later(0.25)
    assert isinstance(pending.outcome, Failure)
    assert (pending.outcome.code, pending.outcome.temporary) == ("timeout", True)
    rig.result(2, data="late")
    assert isinstance(pending.outcome, Failure)


def test_a_request_that_was_not_written_in_time_is_never_written() -> None:
    rig = Rig()
    rig.request("a")
    rig.later(30)
    rig.open()
    assert rig.said() == []


def test_an_accepted_request_survives_a_resume() -> None:
    """5.14."""
    rig = Rig().open()
    pending = rig.request()
    rig.said()
    rig.receive(Ack(1))
    rig.lose()
    rig.connect()
    rig.welcome(resumed=True, seq=1)
    assert rig.said() == []
    rig.result(1, data="yes")
    assert pending.outcome == Done("yes")


def test_so_many_requests_are_pending_and_no_more() -> None:
    rig = Rig().open()
    for _ in range(64):
        rig.request()
    with pytest.raises(OutboxFull, match="64 requests"):
        rig.request()
    rig.said()
    rig.publish()
    rig.result(3)
    rig.request()
    with pytest.raises(OutboxFull, match="64 requests"):
        rig.request()


# -- the server asks ------------------------------------------------------------------------------


def test_a_request_of_the_server_is_answered_once() -> None:
    """4.7."""
    rig = Rig().open()
    rig.ask(7, "sure?")
    (asked,) = rig.told()
    assert (asked.id, asked.name, asked.data) == (7, "confirm", "sure?")
    pending = rig.client.reply(7, {"sure": True}, now=rig.now)
    assert rig.said() == [packets.Reply(seq=1, re=7, data={"sure": True})]
    again = rig.client.reply(7, "no", now=rig.now)
    assert rig.said() == []
    assert isinstance(again.outcome, Failure)
    assert again.outcome.code == "no-such-request"
    rig.result(1)
    assert pending.outcome == Done()


def test_a_request_of_the_server_may_be_answered_by_an_error() -> None:
    rig = Rig().open()
    rig.ask(7)
    error = Failure("busy", "later", temporary=True)
    rig.client.reply(7, error=error, now=rig.now)
    assert rig.said() == [packets.Reply(seq=1, re=7, error=error)]


def test_a_reply_to_nobody_fails_at_once() -> None:
    """4.7."""
    rig = Rig().open()
    pending = rig.client.reply(1, "yes", now=rig.now)
    assert isinstance(pending.outcome, Failure)
    assert rig.told() == [Settled(pending)]


def test_a_request_that_is_repeated_is_told_once() -> None:
    rig = Rig().open()
    rig.ask(7)
    rig.ask(7)
    assert len(rig.told()) == 1


def test_a_reply_survives_a_resume() -> None:
    rig = Rig().open()
    rig.ask(7)
    rig.lose()
    rig.client.reply(7, "yes", now=rig.now)
    rig.connect()
    rig.welcome(resumed=True)
    assert [packet.re for packet in rig.said()] == [7]


def test_no_reply_reaches_another_session() -> None:
    """5.13: its requests may have the same numbers."""
    rig = Rig().open()
    rig.ask(7)
    rig.ask(8)
    rig.lose()
    waiting = rig.client.reply(7, "yes", now=rig.now)
    rig.connect()
    rig.welcome()
    late = rig.client.reply(8, "yes", now=rig.now)
    assert rig.said() == []
    for pending in (waiting, late):
        assert isinstance(pending.outcome, Failure)
        assert pending.outcome.code == "no-such-request"


def test_so_many_requests_of_the_server_are_open_and_no_more() -> None:
    rig = Rig(max_asked=2).open()
    for number in (1, 2, 3):
        rig.ask(number)
    assert [asked.id for asked in rig.told()] == [1, 2]
    (busy,) = rig.said()
    assert (busy.re, busy.error.code, busy.error.temporary) == (3, "too-many-requests", True)
    rig.client.reply(1, now=rig.now)
    rig.ask(4)
    assert rig.told()[-1].id == 4


def test_a_server_that_asks_without_end_fills_nothing() -> None:
    rig = Rig(max_asked=1, max_packets=3).open()
    for number in range(100):
        rig.ask(number)
    assert [packet.re for packet in rig.said()] == [1, 2, 3]
    assert [asked.id for asked in rig.told()] == [0]


def test_a_request_that_nobody_answers_is_forgotten() -> None:
    questions = Questions(2, 10.0)
    assert questions.ask(1, 0.0)
    assert questions.ask(2, 5.0)
    assert not questions.ask(3, 9.0)
    assert questions.ask(3, 10.0)
    assert (1 in questions, 2 in questions, len(questions)) == (False, True, 2)
    assert not questions.answer(1)
    assert questions.answer(2)


def test_a_request_in_another_stream_is_none() -> None:
    rig = Rig().open()
    rig.receive(packets.Asked(stream="#Home", at=at(1), id=1, name="confirm", data=None))
    rig.receive(packets.Asked(stream=OWN, at=at(2), id=1, name="confirm", data=None))
    assert rig.told() == []
