"""ASGI's events as a connection, without a server."""

from __future__ import annotations

from typing import Any

import pytest

from sono_core import (
    Accept,
    BinaryMessage,
    Close,
    Headers,
    Limits,
    LocalProtocolError,
    Ping,
    Pong,
    Prepared,
    Reject,
    Request,
    State,
    TextMessage,
)
from sono_core.websocket import AllowedHosts
from sono_core.websocket.asgi import ASGIConnection, request_of

SCOPE = {
    "type": "websocket",
    "path": "/a b/ws",
    "raw_path": b"/a%20b/ws",
    "query_string": b"x=1",
    "headers": [(b"host", b"example.com"), (b"x-name", b"\xe9")],
    "subprotocols": ["chat", "json"],
    "extensions": {},
}
RESPONSES = {"websocket.http.response": {}}


def connection(opened: bool = True, headers: Any = (), **options: Any) -> ASGIConnection:
    """A connection that is open, or whose request waits for an answer."""
    extensions = options.pop("extensions", {})
    scope = {**SCOPE, "headers": [*SCOPE["headers"], *headers], "extensions": extensions}  # type: ignore[misc]
    result = ASGIConnection(scope, **options)
    result.take_event({"type": "websocket.connect"})
    assert result.next_event() == request_of(scope)
    if opened:
        result.send(Accept())
        sent(result)
    return result


def sent(connection: ASGIConnection) -> list[Any]:
    """Take what waits, as a server does."""
    events = []
    while connection.outbox.size:
        event, size = connection.outbox.first()
        connection.outbox.advance(size)
        events.append(event)
    return events


def receive(connection: ASGIConnection, **event: Any) -> object:
    """The event for a message."""
    connection.take_event({"type": "websocket.receive", **event})
    return connection.next_event()


def disconnect(connection: ASGIConnection, **event: Any) -> object:
    connection.take_event({"type": "websocket.disconnect", **event})
    return connection.next_event()


# -- the handshake ------------------------------------------------------------------------------


def test_a_scope_is_a_request() -> None:
    request = request_of(SCOPE)
    assert request == Request(
        "/a%20b/ws?x=1",
        Headers([("host", "example.com"), ("x-name", "é")]),
        host="example.com",
        subprotocols=("chat", "json"),
    )


def test_what_a_scope_may_leave_out() -> None:
    scope = {"type": "http", "path": "/a b", "method": "POST", "headers": []}
    assert request_of(scope) == Request("/a%20b", method="POST")


def test_the_request_is_told_once() -> None:
    server = connection(opened=False)
    assert server.state is State.REQUESTED
    server.take_event({"type": "websocket.connect"})
    server.take_event({"type": "websocket.unheard-of"})
    assert server.next_event() is None


def test_accept() -> None:
    server = connection(opened=False)
    server.send(Accept("json", Headers({"x-a": "b"})))
    assert server.state is State.OPEN
    assert server.subprotocol == "json"
    assert sent(server) == [
        {"type": "websocket.accept", "subprotocol": "json", "headers": [(b"x-a", b"b")]}
    ]


@pytest.mark.parametrize("accept", [Accept("other"), Accept(headers=Headers({"upgrade": "x"}))])
def test_an_illegal_accept_raises_and_changes_nothing(accept: Accept) -> None:
    server = connection(opened=False)
    with pytest.raises(LocalProtocolError):
        server.send(accept)
    assert server.state is State.REQUESTED
    assert not sent(server)


@pytest.mark.parametrize(
    ("origin", "origins", "opened"),
    [
        (b"https://example.com", (), True),
        (b"https://evil.example", (), False),
        (b"https://evil.example", ("https://evil.example",), True),
    ],
)
def test_the_origin_is_checked(origin: bytes, origins: tuple[str, ...], opened: bool) -> None:
    server = connection(opened=False, headers=[(b"origin", origin)], origins=origins)
    server.send(Accept())
    assert (server.state is State.OPEN) is opened
    assert [event["type"] for event in sent(server)] == [
        "websocket.accept" if opened else "websocket.close"
    ]


def test_a_refusal_has_its_status_where_the_server_can_send_one() -> None:
    server = connection(opened=False, extensions=RESPONSES)
    server.send(Reject(401, Headers({"www-authenticate": "x"}), b"who are you?"))
    assert server.state is State.CLOSED
    assert sent(server) == [
        {
            "type": "websocket.http.response.start",
            "status": 401,
            "headers": [(b"www-authenticate", b"x")],
        },
        {"type": "websocket.http.response.body", "body": b"who are you?"},
    ]


def test_an_illegal_refusal_raises_and_changes_nothing() -> None:
    server = connection(opened=False)
    with pytest.raises(LocalProtocolError):
        server.send(Reject(101))
    assert server.state is State.REQUESTED


# -- messages -----------------------------------------------------------------------------------


def test_messages_that_come() -> None:
    server = connection()
    assert receive(server, text="é") == TextMessage("é")
    assert receive(server, text=None, bytes=b"x") == BinaryMessage(b"x")
    assert receive(server, text="") == TextMessage("")
    assert receive(server, bytes=b"") == BinaryMessage(b"")


@pytest.mark.parametrize(
    ("event", "fits"),
    [
        ({"text": "1234"}, True),
        ({"text": "12345"}, False),
        ({"text": "éé"}, True),
        ({"text": "ééx"}, False),
        ({"bytes": b"1234"}, True),
        ({"bytes": b"12345"}, False),
    ],
)
def test_a_message_that_is_too_big_ends_the_connection(event: Any, fits: bool) -> None:
    server = connection(limits=Limits(max_message=4))
    told = receive(server, **event)
    if fits:
        assert isinstance(told, (TextMessage, BinaryMessage))
        return
    assert told == Close(1009, "message too big", clean=False)
    assert sent(server) == [{"type": "websocket.close", "code": 1009, "reason": "message too big"}]
    assert server.state is State.CLOSED
    assert receive(server, text="x") is None


def test_messages_that_go() -> None:
    server = connection()
    data = bytearray(b"x")
    server.send(TextMessage("é"))
    server.send(BinaryMessage(data))  # type: ignore[arg-type]
    server.send(Prepared(TextMessage("many")))
    server.send(Prepared(BinaryMessage(b"bytes")))
    assert server.outbox.size == 2 + 1 + 4 + 5 + 4  # what they carry, and one for each
    data[:] = b"y"
    assert sent(server) == [
        {"type": "websocket.send", "text": "é"},
        {"type": "websocket.send", "bytes": b"x"},
        {"type": "websocket.send", "text": "many"},
        {"type": "websocket.send", "bytes": b"bytes"},
    ]


def test_a_text_that_is_none_raises() -> None:
    server = connection()
    with pytest.raises(LocalProtocolError):
        server.send(TextMessage("\ud800"))
    assert not server.outbox.size


@pytest.mark.parametrize("event", [Ping(), Pong()])
def test_pings_are_the_asgi_servers(event: Ping | Pong) -> None:
    with pytest.raises(LocalProtocolError, match="ASGI server"):
        connection().send(event)


# -- the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("close", "code", "reason"),
    [
        (Close(4000, "why"), 4000, "why"),
        (Close(1005), 1000, ""),
        (Close(1000, "é" * 100), 1000, "é" * 61),
    ],
)
def test_a_close_of_this_side(close: Close, code: int, reason: str) -> None:
    server = connection()
    server.send(close)
    assert server.state is State.CLOSING
    assert sent(server) == [{"type": "websocket.close", "code": code, "reason": reason}]
    assert disconnect(server, code=1005) == Close(code, reason)
    assert server.state is State.CLOSED
    assert disconnect(server, code=1005) is None


def test_an_illegal_close_raises_and_changes_nothing() -> None:
    server = connection()
    with pytest.raises(LocalProtocolError):
        server.send(Close(1006))
    assert server.state is State.OPEN
    assert not sent(server)


@pytest.mark.parametrize(
    ("event", "close"),
    [
        ({"code": 4001, "reason": "done"}, Close(4001, "done")),
        ({"code": None, "reason": None}, Close(1005)),
        ({}, Close(1005)),
        ({"code": 1006}, Close(1006, clean=False)),
    ],
)
def test_a_close_of_the_peer(event: Any, close: Close) -> None:
    server = connection()
    server.send(TextMessage("too late"))
    assert disconnect(server, **event) == close
    assert not sent(server)


def test_a_peer_that_is_cut_off_while_this_side_closes() -> None:
    server = connection()
    server.send(Close(4000))
    assert disconnect(server, code=1006) == Close(1006, clean=False)


def test_a_peer_that_goes_before_it_is_answered() -> None:
    server = connection(opened=False)
    assert disconnect(server, code=1006) is None
    assert server.state is State.CLOSED


def test_a_server_that_says_nothing_more() -> None:
    server = connection()
    server.take_in(b"ignored: a server of ASGI has no bytes")
    assert server.next_event() is None
    server.take_in(b"")
    assert server.next_event() == Close(1006, "the connection ended", clean=False)
    assert server.next_event() is None


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({}, ("1.1", "http")),
        ({"scheme": "ws", "http_version": "2"}, ("2", "http")),
        ({"scheme": "wss"}, ("1.1", "https")),
        ({"scheme": "https"}, ("1.1", "https")),
    ],
)
def test_a_request_has_the_version_and_the_scheme_of_its_scope(
    scope: dict[str, str], expected: tuple[str, str]
) -> None:
    request = request_of({**SCOPE, **scope})
    assert (request.http_version, request.scheme) == expected


@pytest.mark.parametrize(("names", "refused"), [([], True), (["example.com"], False)])
def test_a_page_of_the_same_origin_needs_an_allowed_host(names: list[str], refused: bool) -> None:
    headers = [(b"origin", b"http://example.com")]
    asked = connection(False, headers, hosts=AllowedHosts(names), extensions=RESPONSES)
    refusal = asked.verify()
    assert (refusal is not None and refusal.status == 403) is refused


def test_the_outbox_counts_what_objects_take() -> None:
    server = connection()
    outbox = server.outbox
    assert outbox.held == 0
    server.send(TextMessage("\N{GRINNING FACE}" + "x" * 9999))
    assert 40_000 < outbox.held < 41_000, "four bytes for each character"
    assert outbox.size == 10_004
    assert server.held == outbox.held == outbox.kept == outbox.distinct(set())
    server.send(BinaryMessage(bytes(500)))
    server.send(Close(1000))
    seen: set[int] = set()
    assert outbox.distinct(seen) > 41_000
    assert outbox.distinct(seen) < 2_000
    sent(server)
    assert outbox.held == 0
