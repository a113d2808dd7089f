"""The head of a client's request: RFC 9112; RFC 6455, section 4.2.1, items 1 and 2."""

import pytest

from sono_core import Accept, Connection, Limits, Reject, Request, Role, State
from tests.rules.peers import accepted, connecting, refuses, request

# -- the request line -------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "OPTIONS", "get", "FOO"])
def test_any_method_but_get_is_405_with_allow(method: str) -> None:
    result = refuses(request(line=f"{method} /ws HTTP/1.1"), 405)
    assert ("allow", "GET") in result.headers


def test_a_refusal_of_head_has_no_body() -> None:
    result = refuses(request(line="HEAD /ws HTTP/1.1"), 405)
    assert result.sent.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("version", ["2.0", "0.9", "3.0"])
def test_another_major_version_is_505(version: str) -> None:
    refuses(request(line=f"GET /ws HTTP/{version}"), 505)


def test_an_upgrade_in_http_1_0_is_426() -> None:
    """Upgrade is ignored there (RFC 9110, section 7.8)."""
    result = refuses(request(line="GET /ws HTTP/1.0"), 426)
    assert ("upgrade", "websocket") in result.headers


def test_a_later_minor_version_is_read_as_the_one_that_is_known() -> None:
    """RFC 9110, section 2.5."""
    assert accepted(request(line="GET /ws HTTP/1.2"))


@pytest.mark.parametrize(
    ("head", "host"),
    [
        ("OPTIONS / HTTP/1.0\r\n\r\n", ""),
        ("GET /sono.js HTTP/1.0\r\nHost: a:80\r\nConnection: keep-alive\r\n\r\n", "a:80"),
    ],
)
def test_a_request_of_http_1_0_is_read_with_a_host_or_without(head: str, host: str) -> None:
    connection = Connection(Role.SERVER)
    (event,) = connection.receive_data(head.encode())
    assert isinstance(event, Request)
    assert (event.host, event.http_version) == (host, "1.0")
    connection.send(Reject(204))
    answer = connection.data_to_send()
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert b"Connection: close\r\n" in answer


@pytest.mark.parametrize("field", ["Host: a b", "Host: a\r\nHost: a", "Transfer-Encoding: chunked"])
def test_a_request_of_http_1_0_is_read_as_strictly(field: str) -> None:
    """Transfer-Encoding: RFC 9112, section 6.1."""
    connection = Connection(Role.SERVER)
    assert not list(connection.receive_data(f"GET / HTTP/1.0\r\n{field}\r\n\r\n".encode()))
    assert connection.data_to_send().startswith(b"HTTP/1.1 400 ")


def test_options_may_ask_about_the_server_as_a_whole() -> None:
    """RFC 9112, section 3.2.4."""
    connection = Connection(Role.SERVER)
    (event,) = connection.receive_data(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
    assert isinstance(event, Request)
    assert event.path == "*"


@pytest.mark.parametrize(
    "line",
    [
        "GET /ws http/1.1",
        "GET /ws HTTP/1.1 ",
        "GET /ws HTTP/11",
        "GET /ws HTTP/1",
        "GET /ws",
        "GET  /ws HTTP/1.1",
        "GET /a b HTTP/1.1",
        " GET /ws HTTP/1.1",
        "\tGET /ws HTTP/1.1",
        "G@T /ws HTTP/1.1",
        "GET",
        "",
        "\x00\x01GET / HTTP/1.1",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "GET /\x00 HTTP/1.1",
        "GET /\x1b[2J HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "GET /\xff\xfe HTTP/1.1",
    ],
)
def test_a_malformed_request_line_is_400(line: str) -> None:
    refuses(request(line=line), 400)


@pytest.mark.parametrize(
    "target",
    ["http://example.com/ws", "ws://example.com/ws", "*", "example.com:80", "ws", "/ws#part"],
)
def test_a_target_that_is_not_in_origin_form_is_400(target: str) -> None:
    refuses(request(line=f"GET {target} HTTP/1.1"), 400)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [("/", "/", ""), ("/a?b?c", "/a", "b?c"), ("/%00%zz?", "/%00%zz", ""), ("//a/b", "//a/b", "")],
)
def test_a_target_in_origin_form_is_told_as_it_came(target: str, path: str, query: str) -> None:
    server = connecting(Role.SERVER)
    (event,) = server.receive_data(request(line=f"GET {target} HTTP/1.1"))
    assert isinstance(event, Request)
    assert (event.target, event.path, event.query) == (target, path, query)


# -- the head ---------------------------------------------------------------------------------


def test_a_bare_lf_is_400() -> None:
    refuses(request().replace(b"\r\n", b"\n"), 400)
    refuses(request().replace(b"websocket\r\n", b"websocket\n"), 400)
    refuses(request()[:-2] + b"\n", 400)


def test_a_bare_cr_is_400() -> None:
    refuses(request(("X", "a\rb")), 400)
    refuses(request(("X", "a\r")), 400)


@pytest.mark.parametrize("byte", [*range(9), *range(11, 13), *range(14, 32), 127])
def test_a_control_character_in_a_header_is_400(byte: int) -> None:
    refuses(request(("X", f"a{chr(byte)}b")), 400)


@pytest.mark.parametrize("fold", ["\r\n folded", "\r\n\tfolded", "\r\n "])
def test_obs_fold_is_400(fold: str) -> None:
    refuses(request(("X", f"a{fold}")), 400)


@pytest.mark.parametrize("line", ["X : a", ": a", "X", "X\xff: a", "X(): a", "X Y: a"])
def test_a_header_field_without_a_valid_name_is_400(line: str) -> None:
    refuses(request()[:-2] + line.encode("latin-1") + b"\r\n\r\n", 400)


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "Origin",
        "Upgrade",
        "Connection",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
        "Sec-WebSocket-Other",
    ],
)
def test_bytes_above_ascii_are_400_where_the_handshake_reads_them(name: str) -> None:
    refuses(request((name, "a\xff\xfe"), without=(name,)), 400)


def test_bytes_above_ascii_in_other_fields_are_latin_1() -> None:
    server = connecting(Role.SERVER)
    (event,) = server.receive_data(request(("X-Name", "caf\xe9 \xff\xfe"), ("User-Agent", "\x80")))
    assert isinstance(event, Request)
    assert event.headers["x-name"] == "caf\xe9 \xff\xfe"
    assert event.headers["user-agent"] == "\x80"


def test_a_request_line_above_its_limit_is_414() -> None:
    limits = Limits(max_head_line=100)
    fitting = "/" + "a" * (100 - len("GET / HTTP/1.1\r\n"))
    accepted(request(line=f"GET {fitting} HTTP/1.1"), limits=limits)
    refuses(request(line=f"GET {fitting}a HTTP/1.1"), 414, limits=limits)
    refuses(b"GET /" + b"a" * 200, 414, limits=limits)


def test_a_header_line_above_its_limit_is_431() -> None:
    limits = Limits(max_head_line=100)
    accepted(request(("X", "a" * (100 - len("X: \r\n")))), limits=limits)
    refuses(request(("X", "a" * (101 - len("X: \r\n")))), 431, limits=limits)


def test_a_head_above_its_limit_is_431_however_it_comes() -> None:
    size = len(request())
    accepted(request(), limits=Limits(max_head=size))
    refuses(request(), 431, limits=Limits(max_head=size - 1))
    refuses(request(("X", "a" * 90), ("Y", "b" * 90)), 431, limits=Limits(max_head=size + 50))
    refuses(request(line="GET /" + "a" * 50), 414, limits=Limits(max_head=20, max_head_line=30))


def test_more_header_fields_than_the_limit_are_431() -> None:
    limits = Limits(max_headers=10)
    five = [(f"X-{n}", "") for n in range(5)]
    accepted(request(*five), limits=limits)
    refuses(request(*five, ("X-5", "")), 431, limits=limits)


@pytest.mark.parametrize("count", [2_000, 20_000])
def test_thousands_of_tiny_headers_are_431_with_the_default_limits(count: int) -> None:
    data = request()[:-2] + b"a:\r\n" * count
    for pieces in ([data], [data[i : i + 100] for i in range(0, len(data), 100)]):
        server = connecting(Role.SERVER)
        for piece in pieces:
            assert list(server.receive_data(piece)) == []
        assert server.data_to_send().startswith(b"HTTP/1.1 431 ")


def test_an_endless_head_is_431_at_the_limit() -> None:
    server = connecting(Role.SERVER)
    sent = b""
    read = 0
    for piece in (b"GET / HTTP/1.1\r\n", *[b"x: " + b"a" * 1019 + b"\r\n"] * 10_000):
        list(server.receive_data(piece))
        sent += server.data_to_send()
        read += len(piece)
        if sent:
            break
    assert sent.startswith(b"HTTP/1.1 431 ")
    assert read < 20_000


# -- Host, body -------------------------------------------------------------------------------


def test_a_missing_host_is_400() -> None:
    refuses(request(without=("Host",)), 400)


def test_two_hosts_are_400() -> None:
    refuses(request(("Host", "example.com")), 400)
    refuses(request(("host", "other.example")), 400)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":80",
        "a b",
        "a/b",
        "user@a",
        "user:pw@a",
        "a:b",
        "a:80:80",
        "a:65536",
        "a:999999",
        "a:-1",
        "a:+1",
        "::1",
        "[::1",
        "[::1]x",
        "[]",
        "[g::1]",
        "a\\b",
        "a?b",
        "a#b",
        "%",
        "%zz",
        "a%4",
        "<a>",
        '"a"',
    ],
)
def test_an_invalid_host_is_400(host: str) -> None:
    refuses(request(host=host), 400)


@pytest.mark.parametrize(
    "host",
    [
        "a",
        "A.example:",
        "a:0",
        "a:65535",
        "a_b.c~d",
        "127.0.0.1:8080",
        "[::1]",
        "[::1]:80",
        "%41",
        "a;b",
    ],
)
def test_a_valid_host_is_told_as_it_came(host: str) -> None:
    server = connecting(Role.SERVER)
    (event,) = server.receive_data(request(host=host))
    assert isinstance(event, Request)
    assert event.host == host
    server.send(Accept())
    assert server.state is State.OPEN


@pytest.mark.parametrize(
    "fields",
    [
        (("Content-Length", "5"),),
        (("Content-Length", "00"),),
        (("Content-Length", "-1"),),
        (("Content-Length", "5"), ("Content-Length", "6")),
        (("Transfer-Encoding", "chunked"),),
        (("Content-Length", "0"), ("Transfer-Encoding", "chunked")),
        (("Content-Length", "5"), ("Transfer-Encoding", "chunked")),
    ],
)
def test_a_body_is_400(fields: tuple[tuple[str, str], ...]) -> None:
    refuses(request(*fields), 400)


def test_a_transfer_coding_that_nobody_knows_is_501() -> None:
    refuses(request(("Transfer-Encoding", "gzip")), 501)


def test_a_length_of_0_is_no_body() -> None:
    accepted(request(("Content-Length", "0")))


def test_content_length_with_transfer_encoding_is_400_on_any_path() -> None:
    data = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    server = connecting(Role.SERVER)
    assert list(server.receive_data(data)) == []
    assert server.data_to_send().startswith(b"HTTP/1.1 400 ")
