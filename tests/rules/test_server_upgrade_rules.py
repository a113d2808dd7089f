"""What a server requires of an upgrade: RFC 6455, sections 4.2, 9.1, 10.2 and 10.3."""

from collections.abc import Callable

import pytest

from sono_core import Accept, Connection, Limits, LocalProtocolError, Request, Role, State
from tests.proportion import assert_linear
from tests.rules.peers import KEY, accepted, connecting, refuses, request


def test_the_example_of_section_1_3() -> None:
    assert dict(accepted(request())) == {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    }


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
        "dGhlIHNhbXBsZSBub25jZR==",  # decodes to the same bytes, but no encoder ends so
        "dGhlIHNhbXBsZSBub25jZf==",
        "dGhlIHNhbXBsZSBub25j",  # 15 bytes
        "dGhlIHNhbXBsZSBub25jZTE=",  # 17 bytes
        "dGhlIHNhbXBsZSBub25j_-==",  # the URL-safe alphabet
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
    limits = Limits(max_head=1 << 20, max_head_line=1 << 20)

    def work(count: int) -> Callable[[], None]:
        data = request((name, prefix + unit * count + "@ x"), without=(name,))

        def receive() -> None:
            server = connecting(Role.SERVER, limits=limits)
            for event in server.receive_data(data):
                assert isinstance(event, Request)
                server.send(Accept())
            assert b" 400 " in server.data_to_send()

        return receive

    assert_linear(work, 4_000)
