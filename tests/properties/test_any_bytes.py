"""Any bytes give events, never an exception; Close comes at most once, and nothing after it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sono_core import Accept, Close, Connection, Event, Reject, Request, Role, State
from tests.helpers import new_connection, open_connection, opening

from .strategies import (
    Chunking,
    Edit,
    Stream,
    Terms,
    chunkings,
    edits,
    extensions_of,
    frame_like,
    roles,
    spoil,
    spoiled_streams,
    streams,
    terms_or_none,
)

any_bytes = st.one_of(st.binary(max_size=40), frame_like)


def feed(connection: Connection, data: bytes, chunking: Chunking) -> list[Event]:
    """All events of the data and of the stream's end; requests are accepted."""
    events = []
    for piece in [*chunking.pieces(data), b""]:
        for event in connection.receive_data(piece):
            events.append(event)
            if isinstance(event, Request):
                connection.send(Accept())
    return events


def check_end(connection: Connection, events: list[Event], *, accepted: bool) -> None:
    """The stream has ended; so has the connection, for good."""
    closes = [event for event in events if isinstance(event, Close)]
    assert connection.state is State.CLOSED
    assert len(closes) == (1 if accepted else 0)
    assert not accepted or events[-1] is closes[0]
    connection.data_to_send()
    for data in (b"\x89\x80\0\0\0\0", b"\x89\x00", b"GET / HTTP/1.1\r\n\r\n", b""):
        assert list(connection.receive_data(data)) == []
    assert connection.data_to_send() == b""
    assert connection.state is State.CLOSED


def check_open(stream: Stream, chunking: Chunking) -> None:
    connection = open_connection(stream.receiver, stream.extensions)
    events = feed(connection, stream.data, chunking)
    check_end(connection, events, accepted=True)


@given(roles, terms_or_none, any_bytes, chunkings)
def test_any_bytes_after_the_handshake(
    role: Role, agreed: Terms | None, data: bytes, chunking: Chunking
) -> None:
    check_open(Stream(role, agreed, data, (), ()), chunking)


@given(spoiled_streams, chunkings)
def test_spoiled_streams_after_the_handshake(stream: Stream, chunking: Chunking) -> None:
    check_open(stream, chunking)


@given(any_bytes, chunkings)
def test_any_bytes_as_a_request(data: bytes, chunking: Chunking) -> None:
    connection = new_connection(Role.SERVER)
    check_end(connection, feed(connection, data, chunking), accepted=False)


@given(any_bytes, chunkings)
def test_any_bytes_as_a_response(data: bytes, chunking: Chunking) -> None:
    connection = new_connection(Role.CLIENT)
    opening(connection)
    events = feed(connection, data, chunking)
    assert [type(event) for event in events] == [Reject]
    check_end(connection, events, accepted=False)


@given(roles, terms_or_none, st.lists(edits, min_size=1, max_size=4), any_bytes, chunkings)
def test_spoiled_handshakes(
    role: Role, agreed: Terms | None, changes: list[Edit], rest: bytes, chunking: Chunking
) -> None:
    connection = new_connection(role)
    head = opening(connection, extensions_of(agreed, role))
    lines = tuple(at + 1 for at, byte in enumerate(head) if byte == ord("\n"))
    events = feed(connection, spoil(head, lines, changes) + rest, chunking)
    answer = connection.data_to_send()
    if role is Role.SERVER:
        accepted = answer.startswith(b"HTTP/1.1 101 ")
        assert accepted or not answer or answer.startswith(b"HTTP/1.1 4") or b" 50" in answer[:12]
    else:
        accepted = any(isinstance(event, Accept) for event in events)
    check_end(connection, events, accepted=accepted)


@given(streams, st.data())
def test_a_stream_that_ends_anywhere(stream: Stream, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, len(stream.data)))
    connection = open_connection(stream.receiver, stream.extensions)
    events = feed(connection, stream.data[:size], Chunking(0, [], [True]))
    check_end(connection, events, accepted=True)
    *before, close = events
    assert tuple(before) == stream.events[: len(before)]
    assert close in stream.events or close == Close(1006, "the connection ended", False)
