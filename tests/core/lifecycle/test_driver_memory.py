"""driver.py: whatever runs out of memory, one connection ends, and its loop goes on."""

from __future__ import annotations

from typing import Any

import pytest

from sono_core import Close, Limits, Role, TextMessage
from sono_core.lifecycle import Driver, ForwardingLayer
from sono_core.lifecycle.session import Session
from sono_core.websocket.deflate import Inflater
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import BINARY
from sono_core.websocket.outbox import new_outbox
from sono_core.websocket.reader import Stop, message_reader
from tests.core.testing.test_pipe import Rig

RAN_OUT = Close(1011, "memory ran out", False)


class Around(ForwardingLayer):
    """A layer, which has a transport."""


def fail(*arguments: Any) -> Any:
    raise MemoryError


@pytest.mark.parametrize("layered", [False, True], ids=["session", "layer"])
@pytest.mark.parametrize("method", ["receive", "pump", "tick", "written"])
def test_only_the_connection_ends_that_ran_out_of_memory(
    method: str, layered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig()
    transport = rig.pair.server
    if layered:
        layer = Around(rig.far)
        layer.transport = transport
        transport.layer = layer
    rig.server.log.clear()
    with monkeypatch.context() as patch:
        patch.setattr(Session, method, fail)
        CALLS[method](transport, rig.far)
    assert transport.layer.over
    assert [type(entry) for entry in rig.server.log] == [MemoryError, Close]
    assert rig.server.closes == [RAN_OUT]


def _write(transport: Driver, session: Session) -> None:
    assert session.send(TextMessage("x"))
    transport.flush(0.0)


CALLS: dict[str, Any] = {
    "receive": lambda transport, session: transport.receive(b"x", 0.0),
    "pump": lambda transport, session: transport.resume(0.0),
    "tick": lambda transport, session: transport.tick(0.0),
    "written": _write,
}


@pytest.mark.parametrize("error", [MemoryError(), ValueError("planted")], ids=["memory", "defect"])
@pytest.mark.parametrize("messages", [0, 1], ids=["at once", "after a message"])
def test_what_fails_while_a_message_is_read_is_not_the_handlers(
    error: Exception, messages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inflate(*arguments: Any) -> Any:
        raise error

    heard: list[object] = []
    monkeypatch.setattr(Inflater, "inflate", inflate)
    reader = message_reader(Role.SERVER, Limits(), Inflater(None, takeover=False))
    outbox = new_outbox()
    outbox.room = 1000
    reader.feed(encode_frame(BINARY, b"x", mask=b"mask") * messages)
    reader.feed(encode_frame(BINARY, b"x", rsv1=True, mask=b"mask"))
    assert reader.deliver(heard.append, outbox, 1000, 10, 1000) == (messages, messages, Stop.OTHER)
    assert heard == [b"x"] * messages
    with pytest.raises(type(error)) as caught:
        reader.next()
    assert caught.value is error


def test_a_layer_passes_on_that_its_session_settles() -> None:
    session = Rig().far
    assert ForwardingLayer(session).settle() is False
