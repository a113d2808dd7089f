"""Closing: RFC 6455, sections 5.5.1, 7.1 and 7.4."""

import pytest

from sono_core import (
    BinaryMessage,
    Close,
    Event,
    LocalProtocolError,
    Ping,
    Pong,
    Prepared,
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
    close_payload,
    fails,
    frames,
    opened,
    outcome,
    split,
)

ROLES = pytest.mark.parametrize("role", list(Role), ids=lambda role: role.value)
LEGAL_CODES = [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4008, 4999]
ILLEGAL_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]
MESSAGES = [
    TextMessage("x"),
    BinaryMessage(b"x"),
    Ping(),
    Pong(),
    Close(),
    Prepared(TextMessage("x")),
]


@ROLES
def test_an_empty_close_is_1005_and_its_echo_is_empty(role: Role) -> None:
    result = outcome(lambda: opened(role), frames(role, (FIN | CLOSE, b"")))
    assert result.events == [Close(1005, "", True)]
    assert result.frames == [(FIN | CLOSE, b"")]


@ROLES
def test_a_close_payload_of_one_byte_is_1002(role: Role) -> None:
    fails(role, frames(role, (FIN | CLOSE, b"\x03")), 1002)


@ROLES
@pytest.mark.parametrize("code", LEGAL_CODES)
def test_a_legal_code_is_told_and_echoed_once(role: Role, code: int) -> None:
    payload = close_payload(code, "wéll".encode())
    result = outcome(lambda: opened(role), frames(role, (FIN | CLOSE, payload)) * 2)
    assert result.events == [Close(code, "wéll", True)]
    assert result.frames == [(FIN | CLOSE, close_payload(code))]


@ROLES
@pytest.mark.parametrize("code", ILLEGAL_CODES)
def test_an_illegal_code_is_1002(role: Role, code: int) -> None:
    fails(role, frames(role, (FIN | CLOSE, close_payload(code))), 1002)
    fails(role, frames(role, (FIN | CLOSE, close_payload(code, b"reason"))), 1002)


@ROLES
@pytest.mark.parametrize("code", LEGAL_CODES)
def test_every_legal_code_can_be_sent(role: Role, code: int) -> None:
    connection = opened(role)
    connection.send(Close(code, "bye"))
    assert split(connection.data_to_send()) == [(FIN | CLOSE, close_payload(code, b"bye"))]
    assert connection.state is State.CLOSING


@ROLES
@pytest.mark.parametrize("code", [*(c for c in ILLEGAL_CODES if c != 1005), -1, 1 << 20])
def test_1004_1006_1015_and_other_illegal_codes_are_never_sent(role: Role, code: int) -> None:
    connection = opened(role)
    with pytest.raises(LocalProtocolError, match="close code"):
        connection.send(Close(code))
    assert connection.state is State.OPEN
    assert connection.data_to_send() == b""


@ROLES
def test_1005_stands_for_an_empty_close_and_takes_no_reason(role: Role) -> None:
    connection = opened(role)
    with pytest.raises(LocalProtocolError, match="1005"):
        connection.send(Close(1005, "reason"))
    connection.send(Close(1005))
    assert split(connection.data_to_send()) == [(FIN | CLOSE, b"")]


@ROLES
@pytest.mark.parametrize(
    ("reason", "sent"),
    [
        ("x" * 123, b"x" * 123),
        ("x" * 124, b"x" * 123),
        ("x" * 122 + "é", b"x" * 122),
        ("x" * 121 + "é", b"x" * 121 + "é".encode()),
        ("x" * 122 + "😀", b"x" * 122),
        ("x" * 120 + "😀", b"x" * 120),
        ("x" * 119 + "😀y", b"x" * 119 + "😀".encode()),
        ("€" * 50, "€".encode() * 41),
    ],
)
def test_a_reason_is_cut_to_123_bytes_on_the_boundary_of_a_character(
    role: Role, reason: str, sent: bytes
) -> None:
    connection = opened(role)
    connection.send(Close(1000, reason))
    assert split(connection.data_to_send()) == [(FIN | CLOSE, close_payload(1000, sent))]


@ROLES
@pytest.mark.parametrize(
    ("close", "error"),
    [
        (Close(1000, "\ud800"), LocalProtocolError),
        (Close(1000, b"bytes"), TypeError),  # type: ignore[arg-type]
        (Close(1000, 5), TypeError),  # type: ignore[arg-type]
        (Close(1000.0, ""), TypeError),  # type: ignore[arg-type]
        (Close("1000", ""), TypeError),  # type: ignore[arg-type]
        (Close(True, ""), TypeError),
        (Close(None, ""), TypeError),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_a_close_that_cannot_be_sent_raises_and_changes_nothing(
    role: Role, close: Close, error: type[Exception]
) -> None:
    connection = opened(role)
    with pytest.raises(error):
        connection.send(close)
    assert connection.state is State.OPEN
    assert connection.data_to_send() == b""


@ROLES
@pytest.mark.parametrize("event", MESSAGES, ids=lambda event: type(event).__name__)
def test_nothing_is_sent_after_close(role: Role, event: Event | Prepared) -> None:
    connection = opened(role)
    connection.send(Close())
    sent = connection.data_to_send()
    assert sent
    with pytest.raises(LocalProtocolError, match="closing"):
        connection.send(event)
    assert connection.data_to_send() == b""


@ROLES
@pytest.mark.parametrize("event", MESSAGES, ids=lambda event: type(event).__name__)
def test_nothing_is_sent_after_the_peers_close(role: Role, event: Event | Prepared) -> None:
    connection = opened(role)
    list(connection.receive_data(frames(role, (FIN | CLOSE, b""))))
    connection.data_to_send()
    with pytest.raises(LocalProtocolError):
        connection.send(event)
    assert connection.data_to_send() == b""


@ROLES
def test_what_comes_before_the_peers_close_is_still_told_but_no_ping_answered(role: Role) -> None:
    data = frames(role, (FIN | TEXT, b"late"), (FIN | PING, b"p"), (FIN | CLOSE, b"\x03\xe9"))

    def closing() -> object:
        connection = opened(role)
        connection.send(Close(1000, "mine"))
        connection.data_to_send()
        return connection

    result = outcome(closing, data)  # type: ignore[arg-type]
    assert result.events == [TextMessage("late"), Ping(b"p"), Close(1001, "", True)]
    assert result.sent == b""


@ROLES
def test_a_mistake_of_the_peer_after_our_close_is_told_and_nothing_sent(role: Role) -> None:
    connection = opened(role)
    connection.send(Close())
    connection.data_to_send()
    (close,) = connection.receive_data(frames(role, (0, b"")))
    assert isinstance(close, Close)
    assert (close.code, close.clean) == (1002, False)
    assert connection.state is State.CLOSED
    assert connection.data_to_send() == b""


def test_the_server_ends_the_stream_and_the_client_waits_for_it() -> None:
    for ours_first in (True, False):
        server, client = opened(Role.SERVER), opened(Role.CLIENT)
        for connection in (server, client):
            if ours_first:
                connection.send(Close())
            list(connection.receive_data(frames(connection.role, (FIN | CLOSE, b"\x03\xe8"))))
        assert server.state is State.CLOSED
        assert client.state is State.CLOSING
        assert list(client.receive_data(b"")) == []
        assert client.state is State.CLOSED


@ROLES
def test_a_bare_end_of_the_stream_is_1006_and_not_clean(role: Role) -> None:
    for before in ((), ((FIN | TEXT, b"a"),), ((TEXT, b"a"),)):
        result = outcome(lambda: opened(role), frames(role, *before), end=True)
        messages = [TextMessage("a")] if before and before[0][0] & FIN else []
        *events, close = result.events
        assert events == messages
        assert isinstance(close, Close)
        assert (close.code, close.clean) == (1006, False)
        assert result.state is State.CLOSED
        assert result.sent == b""


@ROLES
def test_the_end_of_the_stream_inside_a_frame_is_1006(role: Role) -> None:
    data = frames(role, (FIN | TEXT, b"abcdef"))
    for cut in range(len(data)):
        connection = opened(role)
        events = [*connection.receive_data(data[:cut] or b""), *connection.receive_data(b"")]
        (close,) = events
        assert isinstance(close, Close)
        assert (close.code, close.clean) == (1006, False)


@ROLES
def test_an_end_of_the_stream_instead_of_the_peers_close_is_1006(role: Role) -> None:
    connection = opened(role)
    connection.send(Close(1001))
    (close,) = connection.receive_data(b"")
    assert isinstance(close, Close)
    assert (close.code, close.clean) == (1006, False)
    assert connection.state is State.CLOSED


@ROLES
@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize(
    "data",
    [
        ((FIN | CLOSE, b""),),
        ((FIN | CLOSE, b"\x03\xe8"), (FIN | CLOSE, b"\x03\xe8")),
        ((FIN | CLOSE, b"x"), (FIN | CLOSE, b"")),
        ((0, b""), (FIN | CLOSE, b"")),
        ((FIN | PONG, b""),),
        (),
    ],
)
def test_close_is_the_last_event_exactly_once(
    role: Role, ours_first: bool, data: tuple[tuple[int, bytes], ...]
) -> None:
    connection = opened(role)
    if ours_first:
        connection.send(Close())
    events = list(connection.receive_data(frames(role, *data) + frames(role, (FIN | PING, b""))))
    for more in (frames(role, (FIN | TEXT, b"x")), b"", b"", frames(role, (FIN | CLOSE, b""))):
        events += connection.receive_data(more)
    assert [isinstance(event, Close) for event in events].count(True) == 1
    assert isinstance(events[-1], Close)
    assert connection.state is State.CLOSED
