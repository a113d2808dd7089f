"""The deadline of a message that was begun: `Timeouts.message`, and a second for each KiB."""

from __future__ import annotations

import pytest

from sono_core import Close, Ping, Pong, Role, TextMessage, Timeouts
from sono_core.connect.backoff import retryable
from sono_core.lifecycle.deadlines import Deadline
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import BINARY, CONTINUATION, PING
from tests.core.lifecycle.sessions import BOTH, PAUSE, fill
from tests.fakes import Rig

TIME = 60.0
TOO_LONG = Close(4009, "the message took too long", False)
KIB = 1024


def mask(role: Role) -> bytes:
    """Of the frames that a session of this role receives."""
    return b"\0\0\0\0" if role is Role.SERVER else b""


def begin(rig: Rig, role: Role = Role.SERVER, size: int = 0) -> None:
    rig.receives(encode_frame(BINARY, bytes(size), fin=False, mask=mask(role)))


def passes(rig: Rig, until: float) -> None:
    """Time passes, and the peer answers pings; only between two frames can it."""
    while not rig.session.over and rig.session.deadlines.next <= until:
        rig.tick(rig.session.deadlines.next)
        if any(isinstance(event, Ping) for event in rig.seen()):
            rig.sends(Pong())
    rig.now = until


def quiet() -> Rig:
    """A session that does not ping."""
    return Rig(timeouts=Timeouts(ping_interval=1e6))


def ended(rig: Rig) -> bool:
    return TOO_LONG in rig.handler.log


@BOTH
def test_a_message_that_is_not_finished_ends_the_connection(role: Role) -> None:
    rig = Rig(role)
    rig.now = 7.0
    begin(rig, role)
    passes(rig, 7.0 + TIME - 0.001)
    assert not ended(rig)
    rig.tick(7.0 + TIME)
    assert ended(rig)
    (close,) = [event for event in rig.seen() if isinstance(event, Close)]
    assert (close.code, close.reason) == (4009, "the message took too long")


@pytest.mark.parametrize(
    "data",
    [
        encode_frame(BINARY, bytes(300), mask=b"abcd")[:1],
        encode_frame(BINARY, bytes(300), mask=b"abcd")[:7],
        encode_frame(BINARY, bytes(300), mask=b"abcd")[:8],
        encode_frame(PING, bytes(100), mask=b"abcd")[:50],
        encode_frame(BINARY, b"", fin=False, mask=b"abcd"),
        encode_frame(BINARY, b"whole", mask=b"abcd") + encode_frame(BINARY, b"x", mask=b"abcd")[:3],
    ],
    ids=["a byte", "a header less a byte", "a header", "a ping", "a fragment", "a second one"],
)
def test_it_counts_from_the_first_byte(data: bytes) -> None:
    rig = quiet()
    rig.receives(data)
    passes(rig, TIME - 0.001)
    assert not ended(rig)
    passes(rig, TIME)
    assert ended(rig)


def test_each_kib_that_arrives_adds_a_second() -> None:
    rig = quiet()
    begin(rig, size=2 * KIB)
    rig.receives(encode_frame(CONTINUATION, bytes(KIB), fin=False, mask=b"abcd"))
    rig.receives(encode_frame(CONTINUATION, bytes(2 * KIB), mask=b"\0\0\0\0")[:-KIB])
    passes(rig, TIME + 3.999)
    assert not ended(rig)
    passes(rig, TIME + 4)
    assert ended(rig)


def test_a_frame_that_comes_byte_by_byte_adds_as_much() -> None:
    rig = quiet()
    rig.receives(encode_frame(BINARY, bytes(10 * KIB), mask=b"\0\0\0\0")[: 8 + 512])
    passes(rig, 30.0)
    rig.receives(bytes(512))
    passes(rig, TIME + 0.999)
    assert not ended(rig)
    passes(rig, TIME + 1)
    assert ended(rig)


def test_pings_and_empty_fragments_add_nothing() -> None:
    rig = Rig()
    begin(rig)
    for second in range(1, 60):
        passes(rig, float(second))
        rig.sends(Ping(b"still here"))
        rig.receives(encode_frame(CONTINUATION, b"", fin=False, mask=b"abcd"))
    assert not ended(rig)
    passes(rig, TIME)
    assert ended(rig)


def test_the_next_message_has_a_time_of_its_own() -> None:
    rig = quiet()
    begin(rig)
    passes(rig, 50.0)
    rig.receives(encode_frame(CONTINUATION, b"", mask=b"abcd"))
    begin(rig)
    passes(rig, 50.0 + TIME - 0.001)
    assert not ended(rig)
    passes(rig, 50.0 + TIME)
    assert ended(rig)


def test_who_sends_whole_messages_has_no_such_end() -> None:
    rig = Rig()
    for second in range(1, 300):
        passes(rig, float(second))
        rig.sends(TextMessage("whole"))
    assert rig.session.open
    assert Deadline.MESSAGE in rig.session.deadlines


def test_what_this_side_does_not_read_is_not_the_peer_s_fault() -> None:
    rig = Rig(timeouts=Timeouts(write_stall=1e6, pong=1e6))
    begin(rig)
    fill(rig, PAUSE + 1)
    rig.tick(TIME)
    assert not ended(rig)
    rig.reads()
    rig.tick(2 * TIME - 0.001)
    assert not ended(rig)
    rig.tick(2 * TIME)
    assert ended(rig)


def test_a_process_that_was_stopped_reads_before_it_judges() -> None:
    rig = quiet()
    begin(rig)
    rig.tick(1000.0)  # nobody looked for that long
    rig.tick(1000.0 + TIME - 0.001)
    assert not ended(rig)
    rig.tick(1000.0 + TIME)
    assert ended(rig)


def test_a_connection_that_closes_has_the_deadline_of_the_close_alone() -> None:
    rig = Rig()
    begin(rig)
    rig.session.close(1000, "", 0.0)
    assert set(rig.session.deadlines) == {Deadline.CLOSE}
    rig.session._watch_message(TIME)
    assert not ended(rig)


def test_a_client_that_gives_a_message_up_comes_back() -> None:
    assert retryable(TOO_LONG)


def test_held_messages_wait_for_the_handler_not_for_the_peer() -> None:
    rig = quiet()
    rig.session.hold()
    begin(rig)
    rig.tick(TIME)
    rig.session.release()
    assert not ended(rig)
