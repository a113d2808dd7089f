"""A server's opening handshake: RFC 6455, sections 4.2, 9.1, 10.2 and 10.3; RFC 9112."""

import time

import pytest

from sono_core import (
    Accept,
    BinaryMessage,
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
    BINARY,
    CLOSE,
    FIN,
    KEY,
    RSV2,
    TEXT,
    arrivals,
    connecting,
    frames,
    outcome,
    raw,
    refuses,
    request,
)


def accepted(data: bytes, **options: object) -> list[tuple[str, str]]:
    """The server opens the connection; the headers of its 101."""
    result = outcome(lambda: connecting(Role.SERVER, **options), data)
    assert result.status == 101
    assert result.state is State.OPEN
    (event,) = result.events
    assert isinstance(event, Request)
    return result.headers


def test_the_example_of_section_1_3() -> None:
    assert dict(accepted(request())) == {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    }


# -- the request line -------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "OPTIONS", "get", "FOO"])
def test_any_method_but_get_is_405_with_allow(method: str) -> None:
    result = refuses(request(line=f"{method} /ws HTTP/1.1"), 405)
    assert ("allow", "GET") in result.headers


def test_a_refusal_of_head_has_no_body() -> None:
    result = refuses(request(line="HEAD /ws HTTP/1.1"), 405)
    assert result.sent.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("version", ["1.0", "1.2", "2.0", "0.9", "3.0"])
def test_any_version_but_http_1_1_is_505(version: str) -> None:
    refuses(request(line=f"GET /ws HTTP/{version}"), 505)


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


# -- Upgrade, Connection, version, key --------------------------------------------------------


@pytest.mark.parametrize(
    "upgrade", ["", "h2c", "websockets", "web socket", "HTTP/2.0", "websocket/13"]
)
def test_no_upgrade_to_websocket_is_426_with_upgrade(upgrade: str) -> None:
    result = refuses(request(upgrade=upgrade), 426)
    assert ("upgrade", "websocket") in result.headers
    assert ("connection", "Upgrade, close") in result.headers


def test_a_missing_upgrade_is_426() -> None:
    refuses(request(without=("Upgrade",)), 426)
    refuses(request(without=("Upgrade", "Connection")), 426)
    refuses(request(without=("Upgrade", "Connection", "Sec-WebSocket-Key")), 426)


@pytest.mark.parametrize(
    "upgrade", ["WebSocket", "WEBSOCKET", "h2c, websocket", "HTTP/2.0, websocket"]
)
def test_upgrade_is_a_list_without_regard_to_case(upgrade: str) -> None:
    accepted(request(upgrade=upgrade))


@pytest.mark.parametrize(
    "connection",
    [
        "Upgrade",
        "upgrade",
        "UPGRADE",
        "keep-alive, Upgrade",
        "a,upgrade ,b",
        ",,Upgrade,",
        "\tUpgrade\t",
    ],
)
def test_connection_is_a_list_of_tokens_without_regard_to_case(connection: str) -> None:
    accepted(request(connection=connection))


def test_connection_may_stand_in_several_lines() -> None:
    accepted(request(("Connection", "Upgrade"), connection="keep-alive"))
    accepted(request(("Connection", "x"), ("CONNECTION", "y, upgrade"), connection=""))


@pytest.mark.parametrize(
    "connection", ["", "close", "upgrades", "keep-alive", "Up grade", "Upgrade; x"]
)
def test_a_connection_without_upgrade_is_400(connection: str) -> None:
    refuses(request(connection=connection), 400)
    refuses(request(without=("Connection",)), 400)


@pytest.mark.parametrize(
    "version",
    ["", "12", "14", "8", "0", "013", "13, 13", "13.0", "+13", "13 8", "8, 13", "thirteen"],
)
def test_any_version_but_13_is_426_with_the_version(version: str) -> None:
    result = refuses(request(sec_websocket_version=version), 426)
    assert ("sec-websocket-version", "13") in result.headers
    assert ("upgrade", "websocket") in result.headers


def test_a_missing_or_repeated_version_is_426() -> None:
    refuses(request(without=("Sec-WebSocket-Version",)), 426)
    refuses(request(("Sec-WebSocket-Version", "13")), 426)
    refuses(request(("Sec-WebSocket-Version", "8")), 426)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "x",
        KEY[:-1],
        KEY[:-2],
        KEY + "=",
        KEY + "A",
        "dGhlIHNhbXBsZSBub25jZR==",  # decodes to the same, but no encoder ends so
        "dGhlIHNhbXBsZSBub25jZf==",
        "dGhlIHNhbXBsZSBub25j",  # 15 bytes
        "dGhlIHNhbXBsZSBub25jZTE=",  # 17 bytes
        "dGhlIHNhbXBsZSBub25j_-==",  # the alphabet of URLs
        "dGhl IHNhbXBsZSBub25jZQ==",
        f"{KEY}, {KEY}",
        f'"{KEY}"',
        "=" * 24,
    ],
)
def test_a_key_that_is_not_the_canonical_base64_of_16_bytes_is_400(key: str) -> None:
    refuses(request(sec_websocket_key=key), 400)


def test_a_missing_or_repeated_key_is_400() -> None:
    refuses(request(without=("Sec-WebSocket-Key",)), 400)
    refuses(request(("Sec-WebSocket-Key", KEY)), 400)


# -- Origin -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://example.com", "example.com"),
        ("http://example.com", "example.com:80"),
        ("http://example.com:80", "example.com"),
        ("https://example.com", "example.com"),
        ("https://example.com", "example.com:443"),
        ("http://example.com:8080", "example.com:8080"),
        ("http://Example.COM", "eXample.com"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("http://localhost", "localhost:"),
    ],
)
def test_an_origin_of_the_same_host_and_port_is_allowed(origin: str, host: str) -> None:
    accepted(request(("Origin", origin), host=host))


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("null", "example.com"),
        ("null", "null"),
        ("", "example.com"),
        ("example.com", "example.com"),
        ("//example.com", "example.com"),
        ("http://", "example.com"),
        ("http://example.com.evil", "example.com"),
        ("http://evil.example.com", "example.com"),
        ("http://example.co", "example.com"),
        ("http://example.com.", "example.com"),
        ("http://example.com:81", "example.com"),
        ("http://example.com", "example.com:8080"),
        ("http://example.com:443", "example.com"),
        ("https://example.com:80", "example.com"),
        ("https://example.com", "example.com:80"),
        ("http://example.com", "example.com:443"),
        ("http://example.com:0", "example.com"),
        ("http://example.com", "example.com:0"),
        ("http://example.com:99999", "example.com"),
        ("http://example.com:8x", "example.com"),
        ("http://user@example.com", "example.com"),
        ("http://example.com@evil", "example.com"),
        ("http://evil@example.com", "example.com"),
        ("http://example.com/", "example.com"),
        ("http://example.com/path", "example.com"),
        ("http://example.com?x", "example.com"),
        ("http://example.com#x", "example.com"),
        ("http://example.com\\.evil", "example.com"),
        ("http://exam\tple.com", "example.com"),
        ("http://example.com http://evil", "example.com"),
        ("http://[::1", "[::1]"),
        ("http://evil.example[::1]", "[::1]"),
        ("http://[::1].evil.example", "[::1]"),
        ("https://[::1]>443", "[::1]:443"),
        ("ftp://example.com", "example.com"),
        ("chrome-extension://example.com", "example.com"),
        ("file://", "example.com"),
    ],
)
def test_a_foreign_origin_is_403(origin: str, host: str) -> None:
    refuses(request(("Origin", origin), host=host), 403)


def test_two_origins_are_403() -> None:
    refuses(request(("Origin", "http://example.com"), ("Origin", "http://example.com")), 403)


def test_a_missing_origin_is_no_browsers_and_is_allowed() -> None:
    accepted(request())


def test_origins_name_more_that_are_allowed_character_for_character() -> None:
    origins = ("https://good.com", "null")
    accepted(request(("Origin", "https://good.com")), origins=origins)
    accepted(request(("Origin", "null")), origins=origins)
    accepted(request(("Origin", "http://example.com")), origins=origins)
    for other in (
        "http://good.com",
        "https://good.com.evil",
        "https://good.com:443",
        "https://good",
    ):
        refuses(request(("Origin", other)), 403, origins=origins)
    for anything in ("null", "http://evil", "garbage"):
        accepted(request(("Origin", anything)), origins=("*",))


def test_one_str_for_the_origins_is_the_callers_mistake() -> None:
    with pytest.raises(TypeError, match="origins"):
        Connection(Role.SERVER, origins="https://good.com")


# -- subprotocols and extensions --------------------------------------------------------------


def test_a_subprotocol_is_one_that_was_offered_or_the_header_is_left_out() -> None:
    data = request(("Sec-WebSocket-Protocol", "chat, super"), ("sec-websocket-protocol", ",third"))
    for subprotocol in ("chat", "super", "third", None):
        server = connecting(Role.SERVER)
        (event,) = server.receive_data(data)
        assert isinstance(event, Request)
        assert event.subprotocols == ("chat", "super", "third")
        server.send(Accept(subprotocol))
        assert server.subprotocol == subprotocol
        head = server.data_to_send().lower()
        line = f"\r\nsec-websocket-protocol: {subprotocol}\r\n".encode()
        assert (line in head) == (subprotocol is not None)
        assert head.count(b"sec-websocket-protocol") == (subprotocol is not None)


@pytest.mark.parametrize(
    "subprotocol", ["other", "CHAT", "", "chat, super", "chat\r\nx: y", "a\x00"]
)
def test_a_subprotocol_that_was_not_offered_raises_and_changes_nothing(subprotocol: str) -> None:
    server = connecting(Role.SERVER)
    list(server.receive_data(request(("Sec-WebSocket-Protocol", "chat, super"))))
    with pytest.raises(LocalProtocolError, match="was not offered"):
        server.send(Accept(subprotocol))
    assert server.state is State.REQUESTED
    assert server.subprotocol is None
    assert server.data_to_send() == b""
    server.send(Accept("chat"))
    assert server.state is State.OPEN


@pytest.mark.parametrize("offer", ["a b", "a;b", '"a"', "a, b@c", "[]", "b" + " " * 7000 + "x"])
def test_malformed_subprotocols_are_400_when_the_upgrade_is_wanted(offer: str) -> None:
    data = request(("Sec-WebSocket-Protocol", offer))
    server = connecting(Role.SERVER)
    (event,) = server.receive_data(data)
    assert isinstance(event, Request)
    assert event.subprotocols == ()
    server.send(Accept())
    assert server.data_to_send().startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "value",
    [
        "a b",
        "a; ",
        "a;;b",
        "a; b=",
        "a; b=c d",
        "a; b==c",
        "a=b",
        ";a",
        '"a"',
        'a; b="',
        'a; b="c',
        'a; b=""',
        'a; b="c d"',
        'a; b="c\\"',
        "a; b=" + '"' + "\\c" * 3000,
        "a; b=" + '"' + ";" * 6000,
        "a@b",
        "a; b, c; d=;",
    ],
)
def test_malformed_extensions_are_400(value: str) -> None:
    data = request(("Sec-WebSocket-Extensions", value))
    server = connecting(Role.SERVER)
    list(server.receive_data(data))
    server.send(Accept())
    assert server.data_to_send().startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a",
        "constructor; __proto__=1; toString",
        "__proto__, constructor",
        'a; b="c"; d="\\e"',
        ", ,a;b=c,,",
        "x-webkit-deflate-frame; no_context_takeover",
    ],
)
def test_unknown_extensions_are_ignored(value: str) -> None:
    headers = accepted(request(("Sec-WebSocket-Extensions", value)))
    assert "sec-websocket-extensions" not in dict(headers)


def test_extensions_may_stand_in_several_lines_of_a_request() -> None:
    offers = [("Sec-WebSocket-Extensions", value) for value in ("a", "permessage-deflate", "b;c=d")]
    headers = accepted(request(*offers))
    assert [name for name, _ in headers].count("sec-websocket-extensions") == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a; b=", "c"),
        ('a; b="', '"'),
        ('a; b="c', 'd"'),
        ('a; b="c\\', 'd"'),
        ("a;", "b"),
        ("a", ";b"),
    ],
)
def test_what_is_malformed_in_one_line_is_not_mended_by_the_next(first: str, second: str) -> None:
    name = "Sec-WebSocket-Extensions"
    refuses(request((name, first), (name, second)), 400)
    refuses(request((name, second), (name, first)), 400)


@pytest.mark.parametrize(
    ("name", "status"), [("Host", 400), ("Sec-WebSocket-Key", 400), ("Sec-WebSocket-Version", 426)]
)
def test_a_second_field_counts_even_if_it_is_empty(name: str, status: int) -> None:
    refuses(request((name, "")), status)
    refuses(request((name, ","), (name, "")), status)


@pytest.mark.parametrize(
    ("name", "prefix", "unit"),
    [
        ("Sec-WebSocket-Protocol", "b", " "),
        ("Sec-WebSocket-Extensions", "b", " "),
        ("Sec-WebSocket-Extensions", 'a; b="', "\\c"),
        ("Sec-WebSocket-Extensions", 'a; b="', ";"),
        ("Sec-WebSocket-Extensions", "a; b=", "c"),
        ("Sec-WebSocket-Extensions", "a", ";b "),
        ("Connection", "a", " "),
        ("Host", "a", "%41"),
    ],
)
def test_a_hostile_value_takes_time_in_proportion_to_its_length(
    name: str, prefix: str, unit: str
) -> None:
    def seconds(count: int) -> float:
        data = request((name, prefix + unit * count + "@ x"), without=(name,))
        limits = Limits(max_head=1 << 20, max_head_line=1 << 20)
        best = float("inf")
        for _ in range(5):
            server = connecting(Role.SERVER, limits=limits)
            start = time.perf_counter()
            for event in server.receive_data(data):
                assert isinstance(event, Request)
                server.send(Accept())
            best = min(best, time.perf_counter() - start)
            assert b" 400 " in server.data_to_send()
        return best

    # eight times the input: about 8 times the time, and 64 times if it were squared
    assert seconds(32_000) < 25 * seconds(4_000) + 0.01


# -- what follows the request -----------------------------------------------------------------


def test_frames_behind_the_request_are_told_after_accept() -> None:
    data = request() + frames(Role.SERVER, (FIN | TEXT, b"a"), (FIN | BINARY, b"b"))
    result = outcome(lambda: connecting(Role.SERVER), data)
    first, *events = result.events
    assert isinstance(first, Request)
    assert events == [TextMessage("a"), BinaryMessage(b"b")]


def test_frames_behind_the_request_are_never_processed_before_the_101() -> None:
    data = request() + frames(Role.SERVER, (FIN | TEXT, b"a"))
    for pieces in arrivals(data):
        server = connecting(Role.SERVER)
        events = [event for piece in pieces for event in server.receive_data(piece)]
        (event,) = events
        assert isinstance(event, Request)
        assert server.data_to_send() == b""
        server.send(Accept())
        assert list(server.receive_data(frames(Role.SERVER, (FIN | TEXT, b"b")))) == [
            TextMessage("a"),
            TextMessage("b"),
        ]


def test_frames_that_nobody_asked_for_before_accept_are_not_lost() -> None:
    server = connecting(Role.SERVER)
    events = server.receive_data(request())
    next(events)
    server.receive_data(frames(Role.SERVER, (FIN | TEXT, b"a")))
    server.receive_data(frames(Role.SERVER, (FIN | TEXT, b"b")))
    server.send(Accept())
    assert list(events) == [TextMessage("a"), TextMessage("b")]


def test_a_bad_frame_in_the_segment_of_the_request_is_1002_after_the_101() -> None:
    data = request() + raw(FIN | RSV2 | TEXT)
    result = outcome(lambda: connecting(Role.SERVER), data)
    first, close = result.events
    assert isinstance(first, Request)
    assert isinstance(close, Close)
    assert close.code == 1002
    assert result.sent.startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("pulled", [True, False])
def test_more_than_max_early_data_before_the_answer_is_400(extra: int, pulled: bool) -> None:
    early = frames(Role.SERVER, (FIN | BINARY, b"x" * 1000))
    limits = Limits(max_early_data=len(early))
    data = early + b"\x81" * extra
    for cut in (0, 1, 500, len(data)):
        server = connecting(Role.SERVER, limits=limits)
        list(server.receive_data(request() + data[:cut]))
        if data[cut:]:
            events = server.receive_data(data[cut:])
            if pulled:
                assert list(events) == []
        if extra:
            list(server.receive_data(early))  # behind the limit nothing counts any more
        server.send(Accept())
        status = server.data_to_send()[9:12]
        assert status == (b"400" if extra else b"101")
        if not extra:
            assert list(server.receive_data(b"\x81")) == [BinaryMessage(b"x" * 1000)]


def test_by_default_64_kib_may_follow_the_request() -> None:
    assert Limits().max_early_data == 64 * 1024
    server = connecting(Role.SERVER)
    (event,) = server.receive_data(request() + bytes(64 * 1024 + 1))
    assert isinstance(event, Request)
    server.send(Accept())
    assert server.data_to_send().startswith(b"HTTP/1.1 400 ")


# -- answers ----------------------------------------------------------------------------------


def test_a_request_that_is_no_upgrade_is_told_and_may_be_answered() -> None:
    for data in (
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    ):
        server = connecting(Role.SERVER)
        (event,) = server.receive_data(data)
        assert isinstance(event, Request)
        server.send(Reject(200, Headers({"X-Name": "v"}), b"hello"))
        assert server.data_to_send() == (
            b"HTTP/1.1 200 OK\r\nX-Name: v\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
        )
        assert server.state is State.CLOSED
        assert list(server.receive_data(data)) == []


def test_the_end_of_the_stream_before_a_request_gives_no_event() -> None:
    for cut in range(len(request()) - 1):
        server = connecting(Role.SERVER)
        assert list(server.receive_data(request()[:cut] or b"G")) == []
        assert list(server.receive_data(b"")) == []
        assert server.state is State.CLOSED
        assert server.data_to_send() == b""


def test_the_end_of_the_stream_behind_a_request_does_not_forbid_its_answer() -> None:
    for answer in (Accept(), Reject(404)):
        server = connecting(Role.SERVER)
        (event,) = [*server.receive_data(request()), *server.receive_data(b"")]
        assert isinstance(event, Request)
        server.send(answer)
        assert server.data_to_send().startswith(b"HTTP/1.1 ")
        closes = list(server.receive_data(b""))
        assert [type(close) for close in closes] == ([Close] if answer == Accept() else [])
        assert server.state is State.CLOSED


def test_a_close_in_the_segment_of_the_request_is_echoed_after_the_101() -> None:
    result = outcome(
        lambda: connecting(Role.SERVER), request() + frames(Role.SERVER, (FIN | CLOSE, b""))
    )
    assert result.events[1:] == [Close(1005, "", True)]
    assert result.sent.endswith(b"\r\n\r\n\x88\x00")
