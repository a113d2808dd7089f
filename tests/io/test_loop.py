"""The C loop's own promises: what it refuses, what it releases, what it keeps."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest

from sono_core import BinaryMessage, Ping, Prepared, TextMessage
from sono_core.limits import DEFAULT_LIMITS
from sono_core.websocket.frames import encode_frame
from sono_io import fast
from sono_server.selector.transport import SelectorTransport
from tests.io.wired import MASK, FakeLoop, Stop, Wired, echo, native


@native
def test_c_refuses_what_is_not_its_own(wire: Callable[..., Wired]) -> None:
    loop: Any = fast.loop
    one = wire()
    context = one.loop.context
    for wrong in (None, 1, object()):
        with pytest.raises(TypeError):
            loop.FastTransport(wrong, 1)
        with pytest.raises(TypeError):
            loop.Sender(wrong, one.transport, one.session.outbox, 1)
        with pytest.raises(TypeError):
            loop.Sender(context, one.transport, wrong, 1)
        transport = loop.FastTransport(context, -1)
        with pytest.raises((TypeError, AttributeError)):
            transport.layer = wrong
        with pytest.raises(TypeError):
            transport.reader = wrong if wrong is not None else 2
    with pytest.raises(BufferError):
        loop.LoopContext(
            buffer=b"read only",
            pause=1,
            messages=1,
            size=1,
            prepared=Prepared,
            time=float,
            seconds=1.0,
        )
    with pytest.raises(TypeError):
        one.transport.ready(1)  # type: ignore[call-arg]


@native
def test_what_was_not_initialised_says_so() -> None:
    loop: Any = fast.loop
    transport = loop.FastTransport.__new__(loop.FastTransport)
    sender = loop.Sender.__new__(loop.Sender)
    for call in (lambda: transport.ready(1, 0.0), transport.write_soon, lambda: sender.send("x")):
        with pytest.raises(RuntimeError, match="__init__ was not called"):
            call()
    with pytest.raises(RuntimeError, match="no layer"):
        transport.write_some()
    with pytest.raises(AttributeError):
        _ = transport.layer


@native
def test_a_flush_that_raises_forgets_nobody(
    wire: Callable[..., Wired], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = FakeLoop(DEFAULT_LIMITS)
    one, bad, other = (wire(loop=loop) for _ in range(3))
    flush = SelectorTransport.flush

    def failing(transport: SelectorTransport, now: float) -> None:
        if transport is bad.transport:
            raise Stop
        flush(transport, now)

    monkeypatch.setattr(SelectorTransport, "flush", failing)
    bad.transport.reader = None
    for member in (one, bad, other):
        member.ws.send("x")
    with pytest.raises(Stop):
        loop.context.flush(0.0)
    loop.context.flush(0.0)
    assert one.read() == other.read() == [TextMessage("x")]


@native
def test_the_loops_memory_is_flat(wire: Callable[..., Wired]) -> None:
    """Connections come and go on every path; nothing may pile up."""

    def everything() -> None:
        one = Wired(echo)
        one.write(TextMessage("a"), BinaryMessage(b"b"), TextMessage("ü"), Ping())
        one.turn()
        one.ws.send(Prepared(TextMessage("x" * 5000)))
        one.ws.send("x" * 5000)
        one.ws.send(bytes(70_000))
        one.turn()
        one.write_raw(encode_frame(2, bytes(90_000), mask=MASK)[:50_000])
        one.turn()
        one.close()

    def growth() -> int:
        before = sys.getallocatedblocks()
        for _ in range(200):
            everything()
        gc.collect()
        return sys.getallocatedblocks() - before

    growth()
    # A leak grows in each round; a cache that fills up does not.
    assert min(growth() for _ in range(8)) < 100
