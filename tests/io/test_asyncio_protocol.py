"""A session on a fake asyncio transport: what it is handed, and what it is told."""

from __future__ import annotations

import math
from typing import Any

from sono_core import Accept, Close, Connection, Request, Role, Session, TextMessage
from sono_io.asyncio_protocol import SessionProtocol
from tests.fakes import RecordingHandler
from tests.helpers import new_connection


class FakeStream:
    """An asyncio transport that writes `room` bytes at once, and keeps the rest."""

    def __init__(self, room: float = math.inf, *, ends: bool = True) -> None:
        self.room = room
        self.written = bytearray()
        self.kept = bytearray()
        self.asked: list[str] = []
        self._ends = ends

    def set_write_buffer_limits(self, high: int) -> None:
        assert high == 0

    def write(self, data: bytes) -> None:
        self.kept += data
        self.drain()

    def drain(self) -> None:
        size = int(min(len(self.kept), self.room))
        self.room -= size
        self.written += self.kept[:size]
        del self.kept[:size]

    def get_write_buffer_size(self) -> int:
        return len(self.kept)

    def can_write_eof(self) -> bool:
        return self._ends

    def write_eof(self) -> None:
        self.asked.append("write_eof")

    def pause_reading(self) -> None:
        self.asked.append("pause_reading")

    def resume_reading(self) -> None:
        self.asked.append("resume_reading")

    def close(self) -> None:
        self.asked.append("close")

    def abort(self) -> None:
        self.asked.append("abort")


class Wired(SessionProtocol):
    """A server's session, opened, on a fake stream."""

    def __init__(self, stream: FakeStream) -> None:
        self.now = 0.0
        self.pumps = 0
        self.waiting = False
        self.due = math.inf
        self.handler = RecordingHandler()
        self.start_on(stream, fast=False)
        self.layer = self.session = Session(
            Connection(Role.SERVER, deflate=None), self, self.handler, now=0.0
        )
        self.client = new_connection(Role.CLIENT, deflate=None)
        room, stream.room = stream.room, math.inf
        self.client.send(Request("/", host="a"))
        self.receive(self.client.data_to_send(), 0.0)
        self.session.accept(Accept(), 0.0)
        self.flush(0.0)
        list(self.client.receive_data(bytes(stream.written)))
        stream.written.clear()
        stream.room = room

    def time(self) -> float:
        return self.now

    def write_soon(self) -> None:
        self.waiting = True

    def turn(self) -> None:
        """The loop's next turn, in which the scheduled writes happen."""
        assert self.waiting
        self.waiting = False
        self.flush(self.now)

    def _pump_later(self) -> None:
        self.pumps += 1

    def _tick_at(self, due: float) -> None:
        self.scheduled = self.due = due

    def sends(self, *events: Any) -> bytes:
        for event in events:
            self.client.send(event)
        return self.client.data_to_send()


def test_what_the_stream_could_not_write_stays_in_the_outbox_until_it_has() -> None:
    stream = FakeStream(room=10)
    wired = Wired(stream)
    wired.session.send(TextMessage("x" * 98))
    wired.flush(1.0)
    assert (len(stream.written), wired.session.outbox.size) == (10, 90)
    stream.room = 50
    stream.drain()
    wired.flush(2.0)  # some of it has left meanwhile, so nobody stalls
    assert wired.session.outbox.size == 40
    stream.room = math.inf
    stream.drain()
    wired.resume_writing()  # while the transport itself is writing
    assert wired.session.outbox.size == 40
    wired.turn()
    assert wired.session.outbox.size == 0
    assert list(wired.client.receive_data(bytes(stream.written))) == [TextMessage("x" * 98)]


def test_a_large_message_is_handed_over_in_pieces() -> None:
    stream = FakeStream(room=0)
    wired = Wired(stream)
    wired.session.send(TextMessage("x" * 1_000_000))
    wired.flush(1.0)
    pieces = 0
    while wired.session.outbox.size:
        pieces += 1
        assert 0 < len(stream.kept) <= 64 * 1024
        stream.room = math.inf
        stream.drain()
        stream.room = 0
        wired.resume_writing()
        wired.turn()
    assert pieces >= 16
    assert list(wired.client.receive_data(bytes(stream.written))) == [TextMessage("x" * 1_000_000)]


def test_a_backlog_pauses_reading_until_it_is_dealt_with() -> None:
    stream = FakeStream()
    wired = Wired(stream)
    wired.receive(wired.sends(*[TextMessage("x")] * 1500), 1.0)
    assert (stream.asked, wired.pumps) == (["pause_reading"], 1)
    wired.pump(1.0)
    assert stream.asked == ["pause_reading", "resume_reading"]
    assert len(wired.handler.log) == 1501


def test_the_end_of_the_stream_is_asked_for_and_answered() -> None:
    stream = FakeStream()
    wired = Wired(stream)
    wired.receive(wired.sends(Close(1000)), 1.0)
    assert "write_eof" in stream.asked
    assert wired.eof_received()
    assert stream.asked[-1] == "abort"
    wired.resume_writing()  # which comes late
    assert wired.handler.closes == [Close(1000)]


def test_a_stream_that_has_no_ends_of_its_own() -> None:
    stream = FakeStream(ends=False)
    wired = Wired(stream)
    wired.receive(wired.sends(Close(1000)), 1.0)
    assert "write_eof" not in stream.asked
    assert stream.asked.count("close") == 1  # nothing to wait for: RFC 6455, section 7.1.1


def test_a_lost_stream_ends_the_session_once() -> None:
    stream = FakeStream()
    wired = Wired(stream)
    wired.connection_lost(None)
    wired.connection_lost(None)
    wired.tick(100.0)
    wired.pump(100.0)
    assert [close.code for close in wired.handler.closes] == [1006]
    wired.pause_writing()
