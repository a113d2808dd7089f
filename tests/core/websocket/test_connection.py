"""connection.py: the state machine. What a caller may do; what a peer may do is in rules/."""

import itertools
from collections.abc import Iterator

import pytest

from sono_core import (
    LEGAL,
    Accept,
    BinaryMessage,
    Close,
    Connection,
    Deflate,
    Event,
    Headers,
    Limits,
    LocalProtocolError,
    Ping,
    Pong,
    Prepared,
    Reject,
    Request,
    Role,
    State,
    TextMessage,
)
from tests.rules.peers import (
    CLOSE,
    FIN,
    PING,
    PONG,
    TEXT,
    connecting,
    frames,
    opened,
    request,
    requesting,
    split,
)

ROLES = pytest.mark.parametrize("role", list(Role), ids=lambda role: role.value)

EXAMPLES: dict[type, Event | Prepared] = {
    type(event): event
    for event in (
        Request("/", host="a"),
        Accept(),
        Reject(404),
        TextMessage("x"),
        BinaryMessage(b"x"),
        Ping(b"x"),
        Pong(b"x"),
        Close(1000, "x"),
        Prepared(TextMessage("x")),
    )
}


def in_state(role: Role, state: State) -> Connection:
    """A connection with that role and state, and nothing to send."""
    if state is State.CONNECTING:
        connection = connecting(role)
    elif state is State.REQUESTED:
        if role is Role.CLIENT:
            connection = requesting()
        else:
            connection = connecting(role)
            list(connection.receive_data(request()))
    else:
        connection = opened(role)
        if state is State.CLOSING:
            connection.send(Close())
        elif state is State.CLOSED:
            list(connection.receive_data(b""))
    connection.data_to_send()
    assert connection.state is state
    return connection


def test_the_table_has_a_row_for_each_role_and_state() -> None:
    assert set(LEGAL) == set(itertools.product(Role, State))
    assert set().union(*LEGAL.values()) == set(EXAMPLES)


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("state", list(State), ids=lambda state: state.value)
@ROLES
def test_every_cell_of_the_table(role: Role, state: State, kind: type) -> None:
    connection = in_state(role, state)
    if kind in LEGAL[role, state]:
        connection.send(EXAMPLES[kind])
        assert connection.data_to_send()
    else:
        match = f"a {role.value} may not send {kind.__name__} when {state.value}"
        with pytest.raises(LocalProtocolError, match=match):
            connection.send(EXAMPLES[kind])
        assert connection.state is state
        assert connection.data_to_send() == b""


@pytest.mark.parametrize("thing", ["text", b"bytes", None, 5, Close], ids=repr)
def test_what_is_no_event_cannot_be_sent(thing: object) -> None:
    connection = opened(Role.SERVER)
    with pytest.raises(LocalProtocolError):
        connection.send(thing)  # type: ignore[arg-type]
    assert connection.data_to_send() == b""


MISTAKES = [
    (TextMessage("\ud800"), LocalProtocolError),
    (TextMessage(b"x"), TypeError),  # type: ignore[arg-type]
    (BinaryMessage("x"), TypeError),  # type: ignore[arg-type]
    (BinaryMessage(5), TypeError),  # type: ignore[arg-type]
    (Ping("x"), TypeError),  # type: ignore[arg-type]
    (Ping(5), TypeError),  # type: ignore[arg-type]
    (Ping([1]), TypeError),  # type: ignore[arg-type]
    (Pong(1.5), TypeError),  # type: ignore[arg-type]
    (Ping(bytes(126)), LocalProtocolError),
    (Pong(bytes(126)), LocalProtocolError),
    (Close(1006), LocalProtocolError),
    (Close(1000, "\udfff"), LocalProtocolError),
]


@ROLES
@pytest.mark.parametrize(("event", "error"), MISTAKES, ids=repr)
def test_a_callers_mistake_raises_and_changes_nothing(
    role: Role, event: Event, error: type[Exception]
) -> None:
    takeover = Deflate(context_takeover=True, threshold=0)
    one, other = (opened(role, "permessage-deflate", deflate=takeover) for _ in range(2))
    for connection in (one, other):
        connection.send(TextMessage("before"))
    before = one.outbox.size
    with pytest.raises(error):
        one.send(event)
    assert one.state is State.OPEN
    assert one.outbox.size == before
    for connection in (one, other):
        connection.send(TextMessage("before"))
    assert one.data_to_send() == other.data_to_send()


@pytest.mark.parametrize(
    "answer",
    [
        Accept("unoffered"),
        Accept(None, Headers({"Upgrade": "x"})),
        Accept(None, Headers({"X": "a\r\nb"})),
        Reject(101),
        Reject(404, Headers({"X": "\x00"})),
    ],
    ids=repr,
)
def test_an_illegal_answer_raises_and_the_request_can_still_be_answered(answer: Event) -> None:
    server = in_state(Role.SERVER, State.REQUESTED)
    with pytest.raises(LocalProtocolError):
        server.send(answer)
    assert server.state is State.REQUESTED
    assert server.data_to_send() == b""
    server.send(Accept())
    assert server.data_to_send().startswith(b"HTTP/1.1 101 ")


@ROLES
def test_bytes_like_payloads_are_sent_byte_for_byte(role: Role) -> None:
    connection = opened(role)
    for payload in (b"ab", bytearray(b"ab"), memoryview(b"xabx")[1:3]):
        for event in (BinaryMessage(payload), Ping(payload), Pong(payload)):  # type: ignore[arg-type]
            connection.send(event)
            ((_, sent),) = split(connection.data_to_send())
            assert sent == b"ab"


@ROLES
def test_received_bytes_may_be_any_bytes_like_object_and_are_kept(role: Role) -> None:
    connection = opened(role)
    data = bytearray(frames(role, (FIN | TEXT, b"hello")))
    events = connection.receive_data(data)
    data[:] = bytes(len(data))
    assert list(events) == [TextMessage("hello")]
    view = memoryview(frames(role, (FIN | TEXT, b"again")))
    assert list(connection.receive_data(view)) == [TextMessage("again")]  # type: ignore[arg-type]


@ROLES
def test_replies_leave_in_the_order_of_their_causes_when_events_are_pulled(role: Role) -> None:
    connection = opened(role)
    events = connection.receive_data(
        frames(role, (FIN | TEXT, b"1"), (FIN | PING, b"2"), (FIN | CLOSE, b"\x03\xe8"))
    )
    assert connection.data_to_send() == b""
    assert next(events) == TextMessage("1")
    connection.send(TextMessage("answer"))
    assert [next(events), next(events)] == [Ping(b"2"), Close(1000, "", True)]
    assert split(connection.data_to_send()) == [
        (FIN | TEXT, b"answer"),
        (FIN | PONG, b"2"),
        (FIN | CLOSE, b"\x03\xe8"),
    ]


@ROLES
def test_what_is_not_pulled_stays_for_the_next_call(role: Role) -> None:
    connection = opened(role)
    connection.receive_data(frames(role, (FIN | TEXT, b"1"), (FIN | TEXT, b"2")))
    connection.receive_data(b"")
    assert connection.next_event() == TextMessage("1")
    two, close = connection.receive_data(b"")
    assert two == TextMessage("2")
    assert isinstance(close, Close)
    assert connection.next_event() is None


def test_an_iterator_ends_when_nothing_waits_and_a_new_one_goes_on() -> None:
    server = opened(Role.SERVER)
    half = frames(Role.SERVER, (FIN | TEXT, b"hello"))
    events: Iterator[Event] = server.receive_data(half[:4])
    assert list(events) == []
    assert list(server.receive_data(half[4:])) == [TextMessage("hello")]
    assert list(events) == []


def test_a_client_in_closing_discards_what_comes_behind_the_close() -> None:
    client = opened(Role.CLIENT)
    list(client.receive_data(frames(Role.CLIENT, (FIN | CLOSE, b""))))
    assert client.state is State.CLOSING
    assert list(client.receive_data(frames(Role.CLIENT, (FIN | TEXT, b"late")))) == []
    assert not hasattr(client, "_frames")
    assert list(client.receive_data(b"")) == []
    assert client.state is State.CLOSED


def test_a_refusal_of_the_core_closes_the_connection() -> None:
    server = connecting(Role.SERVER, limits=Limits(max_headers=2))
    assert list(server.receive_data(request())) == []
    assert server.state is State.CLOSED
    assert server.data_to_send().startswith(b"HTTP/1.1 431 ")
    assert list(server.receive_data(request())) == []


def test_a_client_told_off_before_it_asked_gets_a_reject() -> None:
    client = connecting(Role.CLIENT)
    (reject,) = client.receive_data(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
    assert isinstance(reject, Reject)
    assert reject.status == 503
    assert client.state is State.CLOSED


def test_the_subprotocol_is_known_to_both_sides() -> None:
    client, server = requesting(subprotocols=("a", "b")), connecting(Role.SERVER)
    list(server.receive_data(client.data_to_send()))
    server.send(Accept("b"))
    list(client.receive_data(server.data_to_send()))
    assert client.subprotocol == server.subprotocol == "b"
    assert opened(Role.SERVER).subprotocol is None


def test_a_prepared_frame_is_one_object_in_all_outboxes() -> None:
    servers = [opened(Role.SERVER) for _ in range(3)]
    prepared = Prepared(TextMessage("x" * 100_000))
    for server in servers:
        server.send(prepared)
    assert len({id(server.outbox.peek()) for server in servers}) == 1


def verified(server: Connection) -> Reject | None:
    """The reason for refusing the request."""
    assert list(server.receive_data(request())) != []
    return server.verify()


def test_a_request_is_verified_before_it_is_accepted() -> None:
    server = connecting(Role.SERVER)
    with pytest.raises(LocalProtocolError, match="no request"):
        server.verify()
    assert verified(server) is None
    server.send(Accept())
    with pytest.raises(LocalProtocolError, match="no request"):
        server.verify()


def test_what_came_after_the_request_was_verified_counts_too() -> None:
    server = Connection(Role.SERVER, limits=Limits(max_early_data=4))
    assert verified(server) is None
    server.take_in(b"12345")
    refused = server.verify()
    assert refused is not None
    assert refused.status == 400


def test_a_request_may_be_rewritten_before_anybody_sees_it() -> None:
    server = Connection(Role.SERVER, rewrite=lambda request: Request("/other", host="b"))
    assert list(server.receive_data(request())) == [Request("/other", host="b")]
