"""What one side sends is what the other receives."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from sono_core import (
    Accept,
    BinaryMessage,
    Close,
    Connection,
    Deflate,
    Event,
    Ping,
    Pong,
    Prepared,
    Request,
    Role,
    SharedDeflaters,
    State,
    TextMessage,
)
from tests.helpers import open_connection, repeatable

from .strategies import Chunking, Stream, chunkings, closes, messages, pings, pongs, streams

WHOLE = Chunking(0, [], [True])


@given(streams, chunkings)
def test_frames_of_every_kind_give_the_events_they_were_made_of(
    stream: Stream, chunking: Chunking
) -> None:
    """Fragmented, masked, compressed, with control frames between the fragments."""
    connection = open_connection(stream.receiver, stream.extensions)
    events: list[Event] = []
    for piece in chunking.pieces(stream.data):
        events.extend(connection.receive_data(piece))
    assert tuple(events) == stream.events


# -- two connections --------------------------------------------------------------------------


class Setting(NamedTuple):
    """Both sides' permessage-deflate options, their own and those in the headers between them."""

    client: Deflate | None
    server: Deflate | None
    offer: str | None
    """Replaces the client's offer."""
    client_bits: int | None
    """Added to the server's answer, if it agrees."""
    shared: bool
    """Whether the server takes its compressors from a pool."""


deflates = st.builds(
    lambda takeover, bits, level, threshold: Deflate(
        context_takeover=takeover, max_window_bits=bits, level=level, threshold=threshold
    ),
    st.booleans(),
    st.integers(9, 15),
    st.sampled_from([1, 6, 9]),
    st.sampled_from([0, 20, 1024]),
)
offers = st.builds(
    lambda parts, bits: "; ".join(
        ["permessage-deflate", *sorted(parts), *([f"server_max_window_bits={bits}"] * (bits > 8))]
    ),
    st.sets(
        st.sampled_from(
            ["server_no_context_takeover", "client_no_context_takeover", "client_max_window_bits"]
        )
    ),
    st.integers(8, 15),
)
settings = st.builds(
    Setting,
    st.one_of(st.none(), deflates),
    st.one_of(st.none(), deflates),
    st.one_of(st.none(), offers),
    st.one_of(st.none(), st.integers(9, 15)),
    st.booleans(),
)


def replaced(head: bytes, value: str | None, more: str | None) -> bytes:
    """The head with another value of Sec-WebSocket-Extensions, or with a longer one."""
    lines = head.split(b"\r\n")
    for number, line in enumerate(lines):
        if line.startswith(b"Sec-WebSocket-Extensions: "):
            if value:
                line = b"Sec-WebSocket-Extensions: " + value.encode()
            lines[number] = line + (f"; {more}".encode() if more else b"")
    return b"\r\n".join(lines)


def pair(setting: Setting) -> tuple[Connection, Connection]:
    """A client and a server after their handshake, with the headers changed on the way."""
    client = Connection(Role.CLIENT, deflate=setting.client, random=repeatable())
    server = Connection(
        Role.SERVER,
        deflate=setting.server,
        deflaters=SharedDeflaters() if setting.shared else None,
    )
    client.send(Request("/", host="example.com"))
    # A client that does not want context takeover insists that the server does not use it.
    takeover = setting.client is not None and setting.client.context_takeover
    request = replaced(client.data_to_send(), setting.offer if takeover else None, None)
    (event,) = server.receive_data(request)
    assert isinstance(event, Request)
    server.send(Accept())
    bits = f"client_max_window_bits={setting.client_bits}" if setting.client_bits else None
    (event,) = client.receive_data(replaced(server.data_to_send(), None, bits))
    assert isinstance(event, Accept)
    return client, server


sides = st.sampled_from(["client", "server"])
bursts = st.lists(
    st.tuples(
        sides,
        st.lists(st.tuples(st.one_of(messages, pings, pongs), st.booleans()), max_size=4),
        chunkings,
    ),
    max_size=5,
)


@given(settings, bursts, sides, closes)
def test_two_connections_understand_each_other(
    setting: Setting,
    turns: list[tuple[str, list[tuple[TextMessage | BinaryMessage | Ping | Pong, bool]], Chunking]],
    closer: str,
    close: Close,
) -> None:
    """Under every agreement on compression, also with prepared messages; pongs are automatic."""
    client, server = pair(setting)
    ends = {"client": (client, server), "server": (server, client)}
    under_way: dict[str, list[Event]] = {"client": [], "server": []}
    other = {"client": "server", "server": "client"}

    def deliver(side: str, chunking: Chunking) -> None:
        sender, receiver = ends[side]
        events: list[Event] = []
        for piece in chunking.pieces(sender.data_to_send()):
            events.extend(receiver.receive_data(piece))
        assert events == under_way[side]
        under_way[side].clear()
        under_way[other[side]] += [Pong(it.payload) for it in events if isinstance(it, Ping)]

    for side, burst, chunking in turns:
        for event, prepare in burst:
            sent: Any = event
            if prepare and isinstance(event, (TextMessage, BinaryMessage)):
                sent = Prepared(event)
            ends[side][0].send(sent)
            under_way[side].append(event)
        deliver(side, chunking)
    deliver("client", WHOLE)
    deliver("server", WHOLE)

    sender, receiver = ends[closer]
    deliver(other[closer], WHOLE)
    sender.send(close)
    assert list(receiver.receive_data(sender.data_to_send())) == [close]
    (echo,) = sender.receive_data(receiver.data_to_send())
    assert echo == Close(close.code, "", True)
    # the server ends the stream (section 7.1.1)
    assert (client.state, server.state) == (State.CLOSING, State.CLOSED)
    assert list(client.receive_data(b"")) == []
    assert (client.state, server.state) == (State.CLOSED, State.CLOSED)


@given(messages, st.lists(settings, min_size=1, max_size=4))
def test_one_prepared_message_for_many(
    message: TextMessage | BinaryMessage, many: list[Setting]
) -> None:
    """The same object goes to peers of every agreement, from either role, more than once."""
    prepared = Prepared(message)
    for client, server in [pair(setting) for setting in many] * 2:
        server.send(prepared)
        client.send(prepared)
        assert list(client.receive_data(server.data_to_send())) == [message]
        assert list(server.receive_data(client.data_to_send())) == [message]
