"""A session on a socket that a program waits for: what to wait for, and what a turn does."""

from __future__ import annotations

from collections import deque

import pytest

from sono_core import Accept, Close, Role, Session, TextMessage, Timeouts
from sono_io.blocking import SocketDriver, Wanted
from tests.fakes import RecordingHandler
from tests.helpers import new_connection, request_bytes

HANDSHAKE = Timeouts().handshake
HELLO = b"\x81\x85\0\0\0\0hello"


class FakeSocket:
    """Returns what a test puts into it, and keeps what is sent."""

    def __init__(self) -> None:
        self.coming: deque[bytes | OSError] = deque()
        self.room = 1 << 30
        self.error: OSError | None = None
        """The exception that sending raises."""
        self.sent = bytearray()
        self.done: list[str] = []

    def recv(self, size: int, /) -> bytes:
        if not self.coming:
            raise BlockingIOError
        data = self.coming.popleft()
        if isinstance(data, OSError):
            raise data
        if len(data) > size:
            self.coming.appendleft(data[size:])
        return data[:size]

    def send(self, data: bytes | memoryview, /) -> int:
        if self.error:
            raise self.error
        if not self.room:
            raise BlockingIOError
        part = data[: self.room]
        self.room -= len(part)
        self.sent += part
        return len(part)

    def shutdown(self, how: int, /) -> None:
        self.done.append(f"shutdown {how}")

    def close(self) -> None:
        self.done.append("close")


class Rig:
    """A server's session on a fake socket."""

    def __init__(self, opened: bool = True) -> None:
        self.now = 0.0
        self.sock = FakeSocket()
        self.handler = RecordingHandler()
        self.driver = SocketDriver(self.sock, lambda: self.now)
        connection = new_connection(Role.SERVER, deflate=None)
        self.session = Session(connection, self.driver, self.handler, now=0.0)
        self.driver.layer = self.session
        self.handler.reactions["on_request"] = lambda: self.session.accept(Accept(), self.now)
        if opened:
            self.turn(request_bytes())
            assert self.sock.sent.startswith(b"HTTP/1.1 101 ")
            self.sock.sent.clear()
            self.handler.log.clear()

    def turn(self, *data: bytes | OSError) -> None:
        self.sock.coming.extend(data)
        self.driver.turn()


def test_at_first_the_request_is_waited_for_until_its_deadline() -> None:
    rig = Rig(opened=False)
    rig.now = 1.0
    assert rig.driver.wanted() == Wanted(True, False, HANDSHAKE - 1)


def test_what_was_read_is_answered_in_the_same_turn() -> None:
    rig = Rig()
    rig.handler.reactions["on_message"] = lambda: rig.session.send(TextMessage("hi"))
    rig.turn(HELLO)
    assert rig.handler.log == ["hello"]
    assert rig.sock.sent == b"\x81\x02hi"


def test_a_turn_without_anything_to_read_changes_nothing() -> None:
    rig = Rig()
    before = rig.driver.wanted()
    rig.turn()
    assert rig.driver.wanted() == before
    assert not rig.sock.sent


def test_a_deadline_that_has_passed_is_not_waited_for_and_kept_in_the_turn() -> None:
    rig = Rig(opened=False)
    rig.now = HANDSHAKE + 1
    assert rig.driver.wanted().seconds == 0.0
    rig.turn()
    assert rig.sock.sent.startswith(b"HTTP/1.1 408 ")


def test_what_came_in_time_is_read_before_the_deadlines_are_looked_at() -> None:
    rig = Rig(opened=False)
    rig.now = HANDSHAKE + 1
    rig.turn(request_bytes())
    assert rig.sock.sent.startswith(b"HTTP/1.1 101 ")


def test_no_wait_is_longer_than_any_way_of_waiting_takes() -> None:
    rig = Rig()
    rig.session.deadlines.clear()
    assert rig.driver.wanted() == Wanted(True, False, 3600.0)


def test_what_cannot_be_written_waits_for_the_socket() -> None:
    rig = Rig()
    rig.sock.room = 3
    assert rig.session.send(TextMessage("hi"))
    rig.turn()
    assert rig.driver.wanted() == Wanted(True, True, Timeouts().write_stall)
    rig.sock.room = 100
    rig.turn()
    assert rig.sock.sent == b"\x81\x02hi"
    assert not rig.driver.wanted().write


def test_from_a_peer_that_does_not_read_nothing_more_is_read() -> None:
    rig = Rig()
    rig.sock.room = 0
    rig.session.send(TextMessage("x" * 100_000))
    rig.turn(HELLO)
    assert rig.sock.coming
    assert rig.driver.wanted()[:2] == (False, True)
    rig.sock.room = 1 << 30
    rig.turn()
    rig.turn()
    assert rig.handler.log == ["hello"]


def test_a_peer_that_never_reads_is_given_up() -> None:
    rig = Rig()
    rig.sock.room = 0
    rig.session.send(TextMessage("x"))
    rig.turn()
    rig.now += rig.driver.wanted().seconds
    rig.turn()
    assert [close.code for close in rig.handler.closes] == [4008]
    assert rig.sock.done == ["close"]


def test_a_fair_share_a_turn_and_no_wait_before_the_next() -> None:
    rig = Rig()
    rig.turn(HELLO * 2000)
    assert len(rig.handler.log) == 1024
    assert rig.driver.wanted() == Wanted(False, False, 0.0)
    rig.turn()
    assert len(rig.handler.log) == 2000
    assert rig.driver.wanted().read


def test_each_side_of_the_stream_is_ended_by_itself() -> None:
    rig = Rig()
    rig.turn(b"\x88\x82\0\0\0\0\x03\xe8")
    assert rig.sock.sent == b"\x88\x02\x03\xe8"
    assert rig.sock.done == ["shutdown 1"]
    assert rig.driver.wanted().read
    rig.turn(b"")
    assert rig.sock.done == ["shutdown 1", "close"]
    assert rig.handler.closes == [Close(1000, "", True)]


def test_a_turn_after_the_end_does_nothing() -> None:
    rig = Rig()
    rig.session.lost()
    log = list(rig.handler.log)
    rig.turn(HELLO)
    assert rig.handler.log == log


def test_a_stream_that_breaks_while_reading_is_lost() -> None:
    rig = Rig()
    rig.turn(ConnectionResetError())
    assert [close.code for close in rig.handler.closes] == [1006]
    assert rig.sock.done == ["close"]


@pytest.mark.parametrize("rest", [HELLO, OSError()], ids=["a message", "nothing"])
def test_a_stream_that_breaks_while_writing_is_lost_with_what_had_come(
    rest: bytes | OSError,
) -> None:
    rig = Rig()
    rig.session.send(TextMessage("x"))
    rig.sock.error = BrokenPipeError()
    rig.turn(InterruptedError(), rest)
    assert ("hello" in rig.handler.log) == (rest == HELLO)
    assert [close.code for close in rig.handler.closes] == [1006]
    assert rig.sock.done == ["close"]


def test_a_stream_that_is_gone_when_it_is_to_be_ended_is_lost_when_it_is_read() -> None:
    rig = Rig()
    shutdown = rig.sock.shutdown

    def fail(how: int, /) -> None:
        shutdown(how)
        raise OSError("not connected")

    rig.sock.shutdown = fail  # type: ignore[method-assign]
    rig.turn(b"\x88\x82\0\0\0\0\x03\xe8")
    assert not rig.session.over
    rig.turn(ConnectionResetError())
    assert rig.sock.done == ["shutdown 1", "close"]


def test_a_large_message_is_written_at_once_as_far_as_it_goes() -> None:
    rig = Rig()

    def answer() -> None:
        rig.session.send(TextMessage("x" * 100_000))
        assert len(rig.sock.sent) > 100_000

    rig.handler.reactions["on_message"] = answer
    rig.turn(HELLO)
    assert not rig.handler.errors
