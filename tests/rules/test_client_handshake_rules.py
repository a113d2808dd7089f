"""A client's opening handshake: RFC 6455, sections 4.1 and 4.2.2; RFC 9110, section 15."""

from collections.abc import Iterator

import pytest

from sono_core import (
    Accept,
    Close,
    Connection,
    Headers,
    Limits,
    LocalProtocolError,
    Reject,
    Request,
    Role,
    State,
    TextMessage,
)
from tests.rules.peers import (
    FIN,
    KEY,
    RSV2,
    TEXT,
    arrivals,
    client_refuses,
    connecting,
    frames,
    raw,
    requesting,
    response,
)


def accepts(*more: tuple[str, str], subprotocols: tuple[str, ...] = (), **instead: str) -> Accept:
    """A client accepts the 101, however it arrives."""
    found: set[Accept] = set()
    data = response(requesting(subprotocols=subprotocols), *more, **instead)  # type: ignore[arg-type]
    for pieces in arrivals(data):
        client = requesting(subprotocols=subprotocols)
        (event,) = (event for piece in pieces for event in client.receive_data(piece))
        assert isinstance(event, Accept)
        assert client.state is State.OPEN
        assert client.subprotocol == event.subprotocol
        found.add(event)
    (accept,) = found
    return accept


def fails(*more: tuple[str, str], **options: object) -> None:
    """A 101 with these headers is invalid; the `Reject` has no status then."""
    reject = client_refuses(lambda client: response(client, *more, **options))  # type: ignore[arg-type]
    assert reject.status == 0
    assert reject.body


def refusal(data: bytes, *, end: bool = False, **options: object) -> Reject:
    return client_refuses(lambda client: data, end=end, **options)  # type: ignore[arg-type]


# -- the request ------------------------------------------------------------------------------


def test_the_request_is_a_valid_upgrade_with_a_fresh_key() -> None:
    keys = set()
    for n in range(100):
        client = Connection(Role.CLIENT, random=lambda size, n=n: bytes([n]) * size, deflate=None)
        client.send(Request("/chat?x=1", host="example.com:8080", subprotocols=("a", "b")))
        server = connecting(Role.SERVER)
        (request,) = server.receive_data(client.data_to_send())
        assert isinstance(request, Request)
        assert request.target == "/chat?x=1"
        assert request.host == "example.com:8080"
        assert request.subprotocols == ("a", "b")
        assert "sec-websocket-extensions" not in request.headers
        keys.add(request.headers["sec-websocket-key"])
        server.send(Accept("b"))
        (accept,) = client.receive_data(server.data_to_send())
        assert isinstance(accept, Accept)
        assert accept.subprotocol == "b"
    assert len(keys) == 100


@pytest.mark.parametrize(
    "request_",
    [
        Request("/", host="a", method="POST"),
        Request("/", host="a", http_version="1.0"),
        Request("/", host="a", method="get"),
        Request("/", host=""),
        Request("/"),
        Request("/", host="a b"),
        Request("/", host="a\r\nx: y"),
        Request("/", host="user@a"),
        Request("/", host="a:65536"),
        Request("", host="a"),
        Request("ws", host="a"),
        Request("http://a/", host="a"),
        Request("/a b", host="a"),
        Request("/a\r\nx: y", host="a"),
        Request("/a\x00", host="a"),
        Request("/a\x7f", host="a"),
        Request("/é", host="a"),
        Request("/a#b", host="a"),
        Request("/", host="a", subprotocols=("a", "a")),
        Request("/", host="a", subprotocols=("a b",)),
        Request("/", host="a", subprotocols=("",)),
        Request("/", host="a", subprotocols=("a,b",)),
        Request("/", host="a", subprotocols=("a\r\nx: y",)),
        Request("/", Headers({"X": "a\r\nY: b"}), host="a"),
        Request("/", Headers({"X": "a\x00"}), host="a"),
        Request("/", Headers({"X": "a\x1b[2J"}), host="a"),
        Request("/", Headers({"X": "\u20ac"}), host="a"),
        Request("/", Headers({"X Y": "a"}), host="a"),
        Request("/", Headers({"": "a"}), host="a"),
        Request("/", Headers({"X\r\nY": "a"}), host="a"),
        Request("/", Headers({"Host": "a"}), host="a"),
        Request("/", Headers({"Connection": "close"}), host="a"),
        Request("/", Headers({"Content-Length": "5"}), host="a"),
        Request("/", Headers({"Transfer-Encoding": "chunked"}), host="a"),
        Request("/", Headers({"Sec-WebSocket-Key": KEY}), host="a"),
        Request("/", Headers({"Sec-WebSocket-Version": "13"}), host="a"),
    ],
    ids=repr,
)
def test_an_illegal_request_raises_and_changes_nothing(request_: Request) -> None:
    client = connecting(Role.CLIENT)
    with pytest.raises(LocalProtocolError):
        client.send(request_)
    assert client.state is State.CONNECTING
    assert client.data_to_send() == b""
    client.send(Request("/", host="a", subprotocols=("mine",)))
    assert client.state is State.REQUESTED


@pytest.mark.parametrize(
    "request_",
    [
        Request("/", host="a", subprotocols="chat"),  # type: ignore[arg-type]
        Request("/", {"X": "a"}, host="a"),  # type: ignore[arg-type]
        Request("/", Headers([("X", 1)]), host="a"),  # type: ignore[list-item]
    ],
    ids=["one str for the subprotocols", "a dict for the headers", "a value that is no str"],
)
def test_a_value_of_the_wrong_type_raises_and_changes_nothing(request_: Request) -> None:
    client = connecting(Role.CLIENT)
    with pytest.raises(TypeError):
        client.send(request_)
    assert client.state is State.CONNECTING
    assert client.data_to_send() == b""


def test_further_headers_are_sent() -> None:
    client = connecting(Role.CLIENT)
    fields = (("origin", "http://a"), ("x", ""), ("x", "caf\xe9\t;"), ("cookie", "a=b"))
    client.send(Request("/", Headers(fields), host="a"))
    server = connecting(Role.SERVER)
    (request,) = server.receive_data(client.data_to_send())
    assert isinstance(request, Request)
    assert request.headers.fields()[-4:] == fields


# -- the 101 ----------------------------------------------------------------------------------


def test_a_valid_101_opens_the_connection() -> None:
    accept = accepts(("X-Name", "caf\xe9"))
    assert accept.subprotocol is None
    assert accept.headers["x-name"] == "caf\xe9"


@pytest.mark.parametrize("status", [200, 204, 301, 302, 400, 401, 403, 404, 426, 500, 503, 999])
def test_any_other_final_status_is_a_refusal(status: int) -> None:
    fields = (("Content-Length", "0"), ("Location", "http://a/"))
    reject = client_refuses(lambda client: response(client, *fields, status=f"HTTP/1.1 {status} X"))
    assert reject.status == status
    assert reject.headers["location"] == "http://a/"
    assert reject.body == b""


@pytest.mark.parametrize(
    "line",
    [
        "HTTP/1.0 101 Switching Protocols",
        "HTTP/2.0 101 Switching Protocols",
        "HTTP/1.1 099 X",
        "HTTP/1.1 1010 X",
        "HTTP/1.1 1O1 X",
        "HTTP/1.1 X",
        "HTTP/1.1",
        "http/1.1 101 X",
        "ICY 200 OK",
        "101 Switching Protocols",
        "",
        "\x16\x03\x01",
        "HTTP/1.1 101 \x00",
        "GET / HTTP/1.1",
    ],
)
def test_a_malformed_status_line_fails_the_handshake(line: str) -> None:
    fails(status=line)


def test_101_may_be_followed_by_any_phrase_or_none() -> None:
    for line in ("HTTP/1.1 101", "HTTP/1.1 101 ", "HTTP/1.1 101 caf\xe9"):
        accepts(status=line)


@pytest.mark.parametrize(
    "upgrade", ["", "h2c", "websocket, websocket", "websocket, h2c", "websockets"]
)
def test_upgrade_must_be_exactly_websocket(upgrade: str) -> None:
    fails(upgrade=upgrade)


def test_upgrade_must_be_there_once() -> None:
    fails(without=("Upgrade",))
    fails(("Upgrade", "websocket"))
    accepts(upgrade="WebSocket")


@pytest.mark.parametrize("connection", ["", "close", "keep-alive", "upgrades", "Up grade", "@"])
def test_connection_must_name_upgrade(connection: str) -> None:
    fails(connection=connection)
    fails(without=("Connection",))


def test_connection_may_name_more() -> None:
    accepts(connection="keep-alive, UPGRADE")
    accepts(("Connection", "upgrade"), connection="x")


@pytest.mark.parametrize("accept", ["", "x", KEY, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "caf\xe9"])
def test_accept_must_fit_the_key(accept: str) -> None:
    fails(sec_websocket_accept=accept)


def test_accept_must_be_there_once_and_character_for_character() -> None:
    fails(without=("Sec-WebSocket-Accept",))
    client = requesting()
    head = response(client).decode()
    accept = head.partition("Accept: ")[2].split("\r\n")[0]
    fails(("Sec-WebSocket-Accept", accept))
    fails(sec_websocket_accept=accept.swapcase())
    fails(sec_websocket_accept=accept.rstrip("="))
    fails(sec_websocket_accept=f"{accept}, {accept}")


@pytest.mark.parametrize("subprotocol", ["", "other", "A", "a, b", "a,"])
def test_a_subprotocol_that_was_not_offered_fails_the_handshake(subprotocol: str) -> None:
    fails(("Sec-WebSocket-Protocol", subprotocol))
    reject = client_refuses(
        lambda client: response(client, ("Sec-WebSocket-Protocol", subprotocol)),
        subprotocols=("a", "b"),
    )
    assert reject.status == 0


def test_a_subprotocol_may_stand_there_once() -> None:
    reject = client_refuses(
        lambda client: response(
            client, ("Sec-WebSocket-Protocol", "a"), ("Sec-WebSocket-Protocol", "a")
        ),
        subprotocols=("a", "b"),
    )
    assert reject.status == 0
    assert accepts(("Sec-WebSocket-Protocol", "b"), subprotocols=("a", "b")).subprotocol == "b"
    assert accepts(subprotocols=("a", "b")).subprotocol is None


@pytest.mark.parametrize(
    "extensions",
    [
        "x-webkit-deflate-frame",
        "permessage-bzip2",
        "permessage-deflate; server_no_context_takeover, x",
        "x, permessage-deflate; server_no_context_takeover",
        "permessage-deflate; server_no_context_takeover, permessage-deflate",
        "a b",
        '"',
    ],
)
def test_an_extension_that_was_not_offered_fails_the_handshake(extensions: str) -> None:
    fails(("Sec-WebSocket-Extensions", extensions))


def test_an_extension_fails_the_handshake_where_none_was_offered() -> None:
    header = ("Sec-WebSocket-Extensions", "permessage-deflate; server_no_context_takeover")
    reject = client_refuses(lambda client: response(client, header), deflate=None)
    assert reject.status == 0


def test_the_header_of_the_extensions_may_stand_there_once() -> None:
    header = ("Sec-WebSocket-Extensions", "permessage-deflate; server_no_context_takeover")
    accepts(header)
    fails(header, header)
    accepts(("Sec-WebSocket-Extensions", ""))


# -- the head ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", ["X: a\x00", "X: a\rb", "X : a", ": a", "X", " folded", "Content-Length: x"]
)
def test_a_malformed_head_fails_the_handshake(line: str) -> None:
    def make(client: Connection) -> bytes:
        return response(client)[:-2] + line.encode("latin-1") + b"\r\n\r\n"

    assert client_refuses(make).status == 0


def test_a_bare_lf_fails_the_handshake() -> None:
    assert client_refuses(lambda client: response(client).replace(b"\r\n", b"\n")).status == 0


def test_a_head_above_a_limit_fails_the_handshake_and_no_status_is_made_up() -> None:
    many = [("X", "")] * 65
    fails(*many)
    fails(("X", "a" * 8192))
    fails(("X", "a" * 8000), ("X", "a" * 8000), ("X", "a" * 1000))
    assert client_refuses(lambda client: b"HTTP/1.1 101 " + b"a" * 9000).status == 0


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 X\r\nLink: x\r\n\r\n"]
)
def test_interim_responses_are_passed_over(interim: bytes) -> None:
    data = response(requesting())
    for pieces in arrivals(interim * 2 + data):
        client = requesting()
        (event,) = (event for piece in pieces for event in client.receive_data(piece))
        assert isinstance(event, Accept)
    assert refusal(interim + b"HTTP/1.1 404 X\r\nContent-Length: 1\r\n\r\nx").status == 404
    assert refusal(interim, end=True).status == 0


# -- frames behind the 101 --------------------------------------------------------------------


def test_frames_in_the_segment_of_the_101_are_not_lost() -> None:
    behind = frames(Role.CLIENT, (FIN | TEXT, b"a"), (TEXT, b"b"), (FIN, b"c"))
    for pieces in arrivals(response(requesting()) + behind):
        client = requesting()
        accept, *messages = [event for piece in pieces for event in client.receive_data(piece)]
        assert isinstance(accept, Accept)
        assert messages == [TextMessage("a"), TextMessage("bc")]


def test_a_bad_frame_in_the_segment_of_the_101_is_1002() -> None:
    client = requesting()
    data = response(client) + raw(FIN | RSV2 | TEXT, masked=False)
    accept, close = client.receive_data(data)
    assert isinstance(accept, Accept)
    assert isinstance(close, Close)
    assert close.code == 1002


# -- refusals ---------------------------------------------------------------------------------


def test_the_body_of_a_refusal_is_told_however_its_length_is_given() -> None:
    head = b"HTTP/1.1 403 Forbidden\r\n"
    for data, end in (
        (head + b"Content-Length: 11\r\n\r\nhello world", False),
        (head + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", False),
        (head + b"\r\nhello world", True),
        (head + b"Connection: close\r\n\r\nhello world", True),
        (b"HTTP/1.0 403 Forbidden\r\n\r\nhello world", True),
    ):
        reject = refusal(data, end=end)
        assert (reject.status, reject.body) == (403, b"hello world")


def test_a_refusal_without_a_body_needs_no_end() -> None:
    for data in (
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ):
        assert refusal(data).body == b""


def sized(size: int) -> Iterator[tuple[bytes, bool]]:
    """A refusal with a body of that size, for each way to give its length."""
    head = b"HTTP/1.1 403 Forbidden\r\n"
    body = b"x" * size
    yield head + b"Content-Length: %d\r\n\r\n" % size + body, False
    yield head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size + body + b"\r\n0\r\n\r\n", False
    yield head + b"\r\n" + body, True


@pytest.mark.parametrize(("size", "kept"), [(49, 49), (50, 50), (51, 50), (500, 50)])
def test_the_body_of_a_refusal_is_cut_off_at_max_refusal_body(size: int, kept: int) -> None:
    for data, end in sized(size):
        reject = refusal(data, end=end, limits=Limits(max_refusal_body=50))
        assert (reject.status, reject.body) == (403, b"x" * kept)


def test_an_endless_body_ends_at_the_limit() -> None:
    client = requesting()
    list(client.receive_data(b"HTTP/1.1 403 Forbidden\r\n\r\n"))
    read = 0
    events: list[object] = []
    while not events:
        events = list(client.receive_data(b"x" * 1000))
        read += 1000
    assert read <= Limits().max_refusal_body + 1000
    (reject,) = events
    assert isinstance(reject, Reject)
    assert len(reject.body) == Limits().max_refusal_body


def test_a_broken_or_cut_off_body_is_told_as_far_as_it_came() -> None:
    head = b"HTTP/1.1 403 Forbidden\r\n"
    reject = refusal(head + b"Content-Length: 10\r\n\r\nhello", end=True)
    assert (reject.status, reject.body) == (403, b"hello")
    reject = refusal(head + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n\r\n")
    assert (reject.status, reject.body) == (403, b"hello")


def test_the_end_of_the_stream_before_the_whole_head_fails_the_handshake() -> None:
    data = response(requesting())
    for cut in range(len(data)):
        client = requesting()
        pieces = [data[:cut], b""] if cut else [b""]
        (reject,) = [event for piece in pieces for event in client.receive_data(piece)]
        assert isinstance(reject, Reject)
        assert reject.status == 0
        assert client.state is State.CLOSED


@pytest.mark.parametrize("line", [b"HTTP/0.1 103 Early", b"HTTP/9.9 403 No"], ids=bytes.decode)
def test_what_is_no_response_of_http_1_is_no_refusal(line: bytes) -> None:
    reject = refusal(line + b"\r\nContent-Length: 0\r\n\r\n", end=True)
    assert reject.status == 0
    assert reject.body
