"""Any chunking of the same bytes gives the same events, and the same bytes to send."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sono_core import Accept, Connection, Event, Limits, Request, Role, State
from tests.helpers import new_connection, open_connection, opening

from .strategies import (
    Chunking,
    Edit,
    Stream,
    Terms,
    chunkings,
    edits,
    frame_like,
    roles,
    spoil,
    spoiled_streams,
    streams,
    terms_or_none,
)

# A limit holds for the bytes that come before the request is answered; how many these are
# depends on the chunks. So the limit is out of reach here.
LIMITS = Limits(max_early_data=1 << 24)

WHOLE = Chunking(0, [], [True])


def outcome(
    connection: Connection, data: bytes, chunking: Chunking, *, end: bool
) -> tuple[list[Event], bytes, State]:
    """The results of the data: the events, the bytes to send and the state.

    Requests are accepted at once.
    """
    events: list[Event] = []

    def pull() -> None:
        while (event := connection.next_event()) is not None:
            events.append(event)
            if isinstance(event, Request):
                connection.send(Accept())

    for number, piece in enumerate(chunking.pieces(data)):
        connection.receive_data(piece)
        if chunking.pulls_after(number):
            pull()
    if end:
        connection.receive_data(b"")
    pull()
    return events, connection.data_to_send(), connection.state


def after_handshake(stream: Stream, chunking: Chunking, end: bool) -> object:
    connection = open_connection(stream.receiver, stream.extensions)
    return outcome(connection, stream.data, chunking, end=end)


def from_first_byte(stream: Stream, chunking: Chunking, end: bool) -> object:
    connection = new_connection(stream.receiver, limits=LIMITS)
    head = opening(connection, stream.extensions)
    return outcome(connection, head + stream.data, chunking, end=end)


@given(streams, chunkings, st.booleans())
def test_valid_streams_after_the_handshake(stream: Stream, chunking: Chunking, end: bool) -> None:
    assert after_handshake(stream, chunking, end) == after_handshake(stream, WHOLE, end)


@given(spoiled_streams, chunkings, st.booleans())
def test_spoiled_streams_after_the_handshake(stream: Stream, chunking: Chunking, end: bool) -> None:
    assert after_handshake(stream, chunking, end) == after_handshake(stream, WHOLE, end)


@given(st.one_of(streams, spoiled_streams), chunkings, st.booleans())
def test_from_the_first_byte_of_the_handshake_on(
    stream: Stream, chunking: Chunking, end: bool
) -> None:
    assert from_first_byte(stream, chunking, end) == from_first_byte(stream, WHOLE, end)


@given(streams, st.lists(edits, min_size=1, max_size=3), chunkings)
def test_spoiled_handshakes(stream: Stream, changes: list[Edit], chunking: Chunking) -> None:
    def come_of(cut: Chunking) -> object:
        connection = new_connection(stream.receiver, limits=LIMITS)
        head = opening(connection, stream.extensions)
        lines = [at + 1 for at, byte in enumerate(head) if byte == ord("\n")]
        return outcome(connection, spoil(head, tuple(lines), changes) + stream.data, cut, end=True)

    assert come_of(chunking) == come_of(WHOLE)


@given(roles, terms_or_none, frame_like, chunkings)
def test_any_bytes_after_the_handshake(
    role: Role, agreed: Terms | None, data: bytes, chunking: Chunking
) -> None:
    stream = Stream(role, agreed, data, (), ())
    assert after_handshake(stream, chunking, True) == after_handshake(stream, WHOLE, True)
