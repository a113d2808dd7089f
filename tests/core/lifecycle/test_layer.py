"""A layer that changes nothing: to its transport it is what the inner layer is."""

from __future__ import annotations

import math

from sono_core import Close, TextMessage
from sono_core.lifecycle import ForwardingLayer
from tests.fakes import Rig


def forwarded() -> tuple[Rig, ForwardingLayer]:
    """An open session, and a layer around it."""
    rig = Rig()
    return rig, ForwardingLayer(rig.session)


def test_it_shows_what_the_session_shows() -> None:
    rig, layer = forwarded()
    session = rig.session
    assert layer.outbox is session.outbox
    assert layer.deadlines is session.deadlines
    assert layer.handler is session.handler
    assert layer.fast_path() is session.fast_path()
    assert (layer.over, layer.reading, layer.pump_due) == (False, True, False)
    assert not layer.answers_together
    assert layer.engine is session.engine is None
    layer.lost()
    assert layer.over
    assert not layer.reading


def test_a_pause_shows_in_what_the_transport_is_told() -> None:
    rig, layer = forwarded()
    rig.session.hold()
    layer.receive(rig.encoded(TextMessage("a")), 1.0)
    assert rig.handler.log == []
    rig.session.release()
    assert layer.pump_due == rig.session.pump_due
    layer.pump(2.0)
    assert rig.handler.log == ["a"]


def test_what_was_read_and_when_reaches_the_session() -> None:
    rig, layer = forwarded()
    layer.receive(rig.encoded(TextMessage("a")), 3.0)
    assert rig.handler.log == ["a"]
    assert layer.last_received == 3.0
    layer.last_received = 4.0
    assert rig.session.last_received == 4.0


def test_what_was_written_leaves_the_outbox() -> None:
    rig, layer = forwarded()
    rig.blocks()
    assert rig.session.send(TextMessage("a"))
    size = layer.outbox.size
    layer.blocked(0.0)
    assert layer.deadlines.next < math.inf
    layer.written(size, 1.0)
    assert rig.waiting == 0


def test_the_queue_limit_is_the_sessions() -> None:
    rig, layer = forwarded()
    assert layer.enforce_queue_limit(0)
    rig.blocks()
    rig.session.outbox.append(bytes(rig.session._limits.queue_limit + 1))
    assert not layer.enforce_queue_limit(1)
    assert not rig.session.open


def test_a_failure_of_the_handler_closes_with_1011() -> None:
    rig, layer = forwarded()
    layer.failed(ValueError("handler"), 0.0)
    rig.transport.write()
    assert rig.seen() == [Close(1011, "internal error", True)]


def test_ticks_and_the_end_of_the_server_reach_the_session() -> None:
    rig, layer = forwarded()
    layer.go_away(1001, "leaving", 0.0)
    rig.transport.write()
    assert rig.seen() == [Close(1001, "leaving", True)]
    layer.tick(layer.deadlines.next)
    assert rig.handler.closes
