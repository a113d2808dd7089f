"""fast.py and what is built on it: one connection's bytes over a socket pair, without a loop.

All tests run on either path; counters show that C handles ordinary traffic without detours.
"""

from __future__ import annotations

import contextlib
import math
import socket
import struct
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from sono_core import (
    BinaryMessage,
    Close,
    Deflate,
    Event,
    Limits,
    LocalProtocolError,
    Ping,
    Pong,
    Prepared,
    TextMessage,
)
from sono_core.limits import DEFAULT_LIMITS
from sono_core.websocket.frames import encode_frame
from sono_io import fast
from sono_server import WebSocket
from sono_server.selector.transport import READ, WRITE
from sono_server.serving.requests import RequestHandler
from tests.io.wired import MASK, MIB, FakeLoop, Stop, Wired, echo, native

# -- the ordinary case ------------------------------------------------------------------------


MESSAGES = [
    "",
    "text",
    "grüß €",
    "\U0001f600",
    "x" * 125,
    "x" * 126,
    "ä" * 40_000,
    b"",
    bytes(range(256)),
    bytes(65535),
    bytes(65536),
    b"x" * 300_000,
]


def test_every_kind_of_message_is_echoed(wire: Callable[..., Wired]) -> None:
    one = wire(echo)
    one.write(*[TextMessage(m) if isinstance(m, str) else BinaryMessage(m) for m in MESSAGES])
    got = one.exchange()
    assert [e.text if isinstance(e, TextMessage) else e.data for e in got] == MESSAGES  # type: ignore[union-attr]


@native
def test_valid_input_takes_no_detour(wire: Callable[..., Wired]) -> None:
    """Whole, fragmented, in pieces, large: what C delivers and sends, Python never touches."""
    one = wire(echo)
    context: Any = one.loop.context
    before = (context.messages, context.turns, context.detours, context.sent, context.sent_fallback)
    frames = [
        encode_frame(
            1 if isinstance(m, str) else 2, m.encode() if isinstance(m, str) else m, mask=MASK
        )
        for m in MESSAGES
        if len(m) <= 65536  # the socket takes this much at once
    ]
    fragmented = encode_frame(1, b"a", fin=False, mask=MASK) + encode_frame(0, b"b", mask=MASK)
    count = 0
    for frame in (*frames, fragmented):
        half = len(frame) // 2
        for pieces in ((frame,), (frame[:half], frame[half:]), (frame[:1], frame[1:])):
            for piece in pieces:
                one.write_raw(piece)
                one.turn()
                one.read()
            count += 1
    one.write_raw(encode_frame(1, b"x" * 64, mask=MASK) * 500)
    one.turn()
    count += 500
    after = (context.messages, context.turns, context.detours, context.sent, context.sent_fallback)
    messages, turns, detours, sent, fallback = (b - a for a, b in zip(before, after, strict=True))
    assert (messages, sent, detours, fallback) == (count, count, 0, 0)
    assert turns >= 2 * len(frames)


@native
def test_a_fan_out_takes_no_detour(wire: Callable[..., Wired]) -> None:
    loop = FakeLoop(DEFAULT_LIMITS)
    members = [wire(loop=loop) for _ in range(10)]
    context: Any = loop.context
    sent, fallback = context.sent, context.sent_fallback
    for text in ("first", "zweitens: ü"):
        prepared = Prepared(TextMessage(text))
        assert all(member.ws.send(prepared) for member in members)
    assert (context.sent - sent, context.sent_fallback - fallback) == (20, 0)
    for member in members:
        assert member.read() == []
    loop.context.flush(0.0)
    for member in members:
        assert member.read() == [TextMessage("first"), TextMessage("zweitens: ü")]


def test_what_is_answered_in_a_turn_leaves_in_one_write(wire: Callable[..., Wired]) -> None:
    one = wire(echo)
    one.write(*[TextMessage(str(i)) for i in range(100)])
    one.turn()
    assert [event.text for event in one.read()] == [str(i) for i in range(100)]  # type: ignore[union-attr]
    assert not one.loop.context.to_flush


def test_a_message_larger_than_the_buffer(wire: Callable[..., Wired]) -> None:
    one = wire(echo, limits=Limits(max_message=8 * MIB, max_frame=8 * MIB))
    text, data = "é" * (2 * MIB), bytes(range(256)) * (5 * MIB // 256)
    one.write(TextMessage(text), BinaryMessage(data), TextMessage("after"))
    assert one.exchange() == [TextMessage(text), BinaryMessage(data), TextMessage("after")]


def test_a_text_received_in_its_place_is_refused_at_its_first_wrong_byte(
    wire: Callable[..., Wired],
) -> None:
    one = wire(limits=Limits(max_message=8 * MIB, max_frame=8 * MIB))
    frame = encode_frame(1, b"x" * MIB + b"\xff" + b"x" * MIB, mask=MASK)
    one.write_raw(frame[: MIB + 100])
    while not one.closes:
        one.turn()
    assert (one.closes[0].code, one.received) == (1007, [])


# -- everything else --------------------------------------------------------------------------


def test_control_frames_come_in_their_place(wire: Callable[..., Wired]) -> None:
    one = wire(echo)
    one.write(TextMessage("a"), Ping(b"p"), TextMessage("b"), Pong(b""), TextMessage("c"))
    assert one.exchange() == [TextMessage("a"), Pong(b"p"), TextMessage("b"), TextMessage("c")]


def test_a_close_after_messages(wire: Callable[..., Wired]) -> None:
    one = wire(echo)
    one.write(TextMessage("a"), Close(1000, "bye"))
    assert one.exchange() == [TextMessage("a"), Close(1000, "", True)]
    assert one.closes == [Close(1000, "bye", True)]


def test_a_broken_rule_after_messages(wire: Callable[..., Wired]) -> None:
    one = wire(echo)
    one.write_raw(encode_frame(1, b"a", mask=MASK) + encode_frame(3, b"", mask=MASK) + b"\x81")
    events = one.exchange()
    assert events[0] == TextMessage("a")
    assert isinstance(events[1], Close)
    assert one.closes == [Close(1002, "reserved opcode", False)]


def test_a_handler_that_raises_ends_its_connection(
    wire: Callable[..., Wired], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(ws: WebSocket, message: str) -> None:
        ws.send(message)
        if message == "2":
            raise ValueError("no twos")

    one = wire(fail)
    one.write(*[TextMessage(str(i)) for i in range(5)])
    texts = [e.text for e in one.exchange() if isinstance(e, TextMessage)]
    assert texts == ["0", "1", "2"]
    assert [(close.code, close.clean) for close in one.closes] == [(1011, True)]
    assert "no twos" in caplog.text


def test_what_is_no_exception_passes_through(wire: Callable[..., Wired]) -> None:
    def stop(ws: WebSocket, message: str) -> None:
        raise Stop

    one = wire(stop)
    one.write(TextMessage("x"))
    with pytest.raises(Stop):
        one.turn()


def test_closing_in_a_handler_ends_the_delivery(wire: Callable[..., Wired]) -> None:
    def close(ws: WebSocket, message: str) -> None:
        one.received.append(message)
        assert ws.close(4000, "enough")
        assert not ws.send("too late")

    one = wire(close)
    one.write(TextMessage("a"), TextMessage("b"))
    assert one.exchange() == [Close(4000, "enough", True)]
    assert one.received == ["a"]


def test_the_handler_may_be_exchanged_by_a_message(wire: Callable[..., Wired]) -> None:
    class Other(RequestHandler):
        def on_message(self, message: str | bytes) -> None:
            one.received.append(("other", message))

    def exchange(ws: WebSocket, message: str) -> None:
        one.received.append(message)
        one.session.handler = Other(one.loop, None, lambda request: None)

    one = wire(exchange)
    one.write(TextMessage("a"), TextMessage("b"))
    one.turn()
    one.write(TextMessage("c"))
    one.turn()
    assert one.received == ["a", ("other", "b"), ("other", "c")]


def test_a_turn_ends_with_its_share_of_messages(wire: Callable[..., Wired]) -> None:
    one = wire(limits=Limits(max_turn_messages=10))
    one.write(*[TextMessage(str(i)) for i in range(25)])
    counts = []
    for _ in range(4):
        one.turn()
        counts.append(len(one.received))
    assert counts == [10, 20, 25, 25]


def test_a_turn_ends_with_its_share_of_bytes(wire: Callable[..., Wired]) -> None:
    one = wire(limits=Limits(max_turn_bytes=1000))
    one.write(*[BinaryMessage(bytes(400)) for _ in range(5)])
    one.turn()
    assert len(one.received) == 3
    one.turn()
    assert len(one.received) == 5


def test_a_handler_ends_the_turn(wire: Callable[..., Wired]) -> None:
    def take(ws: WebSocket, message: str) -> None:
        one.received.append(message)
        if message in "bd":
            ws.end_turn()

    one = wire(take)
    one.write(*map(TextMessage, "abcd"))
    counts = []
    for _ in range(3):
        one.turn()
        counts.append(len(one.received))
    assert counts == [2, 4, 4]
    one.write(TextMessage("e"))
    one.turn()
    assert one.received == list("abcde")


def test_a_peer_that_does_not_read_is_not_read_from(wire: Callable[..., Wired]) -> None:
    one = wire(echo)
    frame = encode_frame(2, bytes(20_000), mask=MASK)
    for _ in range(1000):
        if not one.loop.events & READ:
            break
        with contextlib.suppress(BlockingIOError):
            one.here.send(one.encrypted(frame))
        one.turn()
    assert one.loop.events == WRITE
    assert one.transport.reader is None


def test_what_waits_for_a_slow_reader_leaves_in_order(wire: Callable[..., Wired]) -> None:
    one = wire()
    expected: list[Event] = []
    for i in range(400):
        message: Any = ("x" * (i % 130)) + str(i) if i % 3 else bytes([i % 256]) * (i * 37 % 9000)
        expected.append(
            TextMessage(message) if isinstance(message, str) else BinaryMessage(message)
        )
        assert one.ws.send(message)
        one.turn()
    assert one.exchange() == expected


def test_a_slow_reader_is_given_up_beyond_the_queue_limit(wire: Callable[..., Wired]) -> None:
    one = wire(limits=Limits(max_queue=500_000))
    for _ in range(200):
        if not one.ws.send(bytes(20_000)):
            break
    else:
        pytest.fail("it was never given up")
    assert not one.ws.open
    assert one.session.deadlines.next == -math.inf
    one.session.tick(0.0)
    assert [close.code for close in one.closes] == [4008]


def test_a_compressed_connection_sends_what_is_short_as_it_is(wire: Callable[..., Wired]) -> None:
    one = wire(echo, deflate=Deflate(threshold=100))
    texts = ["x" * 99, "x" * 100, "ü" * 50]
    one.write(*[TextMessage(text) for text in texts])
    assert one.exchange() == [TextMessage(text) for text in texts]
    sizes = []
    for text in texts:
        one.ws.send(text)
        one.loop.context.flush(0.0)
        sizes.append(len(one.read_raw()))
    assert sizes[0] == 101
    assert max(sizes[1:]) < 50
    prepared = Prepared(TextMessage("y" * 200))
    assert one.ws.send(prepared)
    one.loop.context.flush(0.0)
    assert one.read_raw() == prepared.frame(one.session.connection._deflater)


@pytest.mark.parametrize("wrong", [1, None, ["x"]])
def test_what_is_no_message_is_refused(wire: Callable[..., Wired], wrong: Any) -> None:
    one = wire()
    with pytest.raises(TypeError, match="message must be str or bytes"):
        one.ws.send(wrong)
    with pytest.raises(LocalProtocolError, match="lone surrogate"):
        one.ws.send("\ud800")
    assert one.ws.send(bytearray(b"x"))
    assert one.ws.send(memoryview(b"y"))
    one.loop.context.flush(0.0)
    assert one.read() == [BinaryMessage(b"x"), BinaryMessage(b"y")]


def test_a_message_of_another_thread_takes_the_detour(wire: Callable[..., Wired]) -> None:
    one = wire()
    thread = threading.Thread(target=one.ws.send, args=("from afar",))
    thread.start()
    thread.join()
    assert one.session.outbox.size == 0
    function, arguments = one.loop.posted.get_nowait()
    function(*arguments)
    one.loop.context.flush(0.0)
    assert one.read() == [TextMessage("from afar")]


def test_another_thread_ends_the_turn_in_the_servers_own(wire: Callable[..., Wired]) -> None:
    one = wire(lambda ws, message: one.received.append(message))
    thread = threading.Thread(target=one.ws.end_turn)
    thread.start()
    thread.join()
    function, arguments = one.loop.posted.get_nowait()
    function(*arguments)
    one.write(TextMessage("a"))
    one.turn()
    assert one.received == []
    one.turn()
    assert one.received == ["a"]


# -- ends of the stream -----------------------------------------------------------------------


def test_the_end_of_the_stream(wire: Callable[..., Wired]) -> None:
    one = wire()
    one.write(TextMessage("a"))
    one.here.shutdown(socket.SHUT_WR)
    for _ in range(3):
        one.turn()
    assert one.received == ["a"]
    assert [close.code for close in one.closes] == [1006]


def connected(limits: Limits = DEFAULT_LIMITS) -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        here = socket.create_connection(listening.getsockname())
        there, _ = listening.accept()
    return here, there


@pytest.mark.parametrize("answer", [True, False])
def test_a_reset_ends_that_connection(
    wire: Callable[..., Wired], monkeypatch: pytest.MonkeyPatch, answer: bool
) -> None:
    monkeypatch.setattr(socket, "socketpair", connected)
    one = wire()
    if answer:
        one.ws.send("never read")
    one.here.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.here.close()
    for _ in range(50):
        if one.loop.forgotten:
            break
        if not one.session.over and one.loop.events & READ:
            one.transport.ready(READ, 0.0)
        one.loop.context.flush(0.0)
    assert one.loop.forgotten
    assert [close.code for close in one.closes] == [1006]


def test_a_peer_that_is_gone_while_it_is_written_to(
    wire: Callable[..., Wired], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = wire(echo)
    one.write(TextMessage("a"))
    one.here.shutdown(socket.SHUT_RD)
    one.turn()
    assert one.loop.forgotten
    assert [close.code for close in one.closes] == [1006]


# -- without C --------------------------------------------------------------------------------


def test_where_the_extension_is_missing_python_does_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fast, "accelerator", None)
    assert fast._import_loop() is None
    monkeypatch.setattr(fast, "accelerator", object())
    monkeypatch.delattr("sono_io._loop", raising=False)
    monkeypatch.setitem(sys.modules, "sono_io._loop", None)
    assert fast._import_loop() is None
