"""uri.py: where a client connects, RFC 6455, section 3."""

from __future__ import annotations

from typing import Any

import pytest

from sono_core import Headers
from sono_core.connect.uri import WebSocketURI, parse_uri


@pytest.mark.parametrize(
    ("url", "uri"),
    [
        ("ws://example.com/ws", WebSocketURI(False, "example.com", 80, "/ws", "example.com")),
        ("wss://example.com/ws", WebSocketURI(True, "example.com", 443, "/ws", "example.com")),
        ("ws://example.com", WebSocketURI(False, "example.com", 80, "/", "example.com")),
        ("ws://example.com:/", WebSocketURI(False, "example.com", 80, "/", "example.com")),
        ("WS://EXAMPLE.com/A", WebSocketURI(False, "example.com", 80, "/A", "example.com")),
        ("ws://h:8080/ws", WebSocketURI(False, "h", 8080, "/ws", "h:8080")),
        ("ws://h:80/", WebSocketURI(False, "h", 80, "/", "h")),
        ("wss://h:443/", WebSocketURI(True, "h", 443, "/", "h")),
        ("ws://h:443/", WebSocketURI(False, "h", 443, "/", "h:443")),
        ("wss://h:80/", WebSocketURI(True, "h", 80, "/", "h:80")),
        ("ws://h:65535/", WebSocketURI(False, "h", 65535, "/", "h:65535")),
        ("ws://127.0.0.1:1/", WebSocketURI(False, "127.0.0.1", 1, "/", "127.0.0.1:1")),
        ("ws://[::1]/", WebSocketURI(False, "::1", 80, "/", "[::1]")),
        ("ws://[::1]:8080/ws", WebSocketURI(False, "::1", 8080, "/ws", "[::1]:8080")),
    ],
)
def test_a_url_names_a_host_a_port_and_a_target(url: str, uri: WebSocketURI) -> None:
    assert parse_uri(url) == uri


@pytest.mark.parametrize(
    ("url", "host", "authority"),
    [
        ("ws://bücher.example:81/", "xn--bcher-kva.example", "xn--bcher-kva.example:81"),
        ("ws://h.:81/", "h.", "h.:81"),
        ("ws://0x7f.1/", "127.0.0.1", "127.0.0.1"),
        ("ws://[0:0::1]:81/", "::1", "[::1]:81"),
        ("ws://h:0080/", "h", "h"),
    ],
)
def test_a_host_has_one_spelling(url: str, host: str, authority: str) -> None:
    uri = parse_uri(url)
    assert (uri.host, uri.authority) == (host, authority)


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("ws://h/a?b=c&d=%20", "/a?b=c&d=%20"),
        ("ws://h?a=1", "/?a=1"),
        ("ws://h/?", "/"),
        ("ws://h//a//b", "//a//b"),
        ("ws://h/a b?c d", "/a%20b?c%20d"),
        ("ws://h/ä?ö=🎈", "/%C3%A4?%C3%B6=%F0%9F%8E%88"),
        ("ws://h/%2F?%3F", "/%2F?%3F"),
        ("ws://h/a?b?c/d", "/a?b?c/d"),
        ('ws://h/"<>^`{|}', "/%22%3C%3E%5E%60%7B%7C%7D"),
        ("ws://h/~!$&'()*+,;=:@-._", "/~!$&'()*+,;=:@-._"),
    ],
)
def test_what_a_target_may_not_hold_is_percent_encoded(url: str, sent: str) -> None:
    assert parse_uri(url).request_target == sent


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h",
        "/ws",
        "h:80/ws",
        "http://h/",
        "https://h/",
        "ws:h",
        "ws:///ws",
        "ws://",
        "ws://:80/",
        "ws://h:0/",
        "ws://h:65536/",
        "ws://h:-1/",
        "ws://h:eighty/",
        "ws://[::1/",
        "ws://[fe80::1%25eth0]/",
        "ws://h/#part",
        "ws://user@h/",
        "ws://user:secret@h/",
        "ws://a b/",
        "ws://a\\b/",
        "ws://a..b/",
        f"ws://{'a' * 64}/",
        "ws://\udc80/",
        "ws://h/\udc80",
        "ws://h/?\udc80",
        "ws://a..b",
        "ws://.",
        "ws://256.1.1.1/",
        "ws://[::1]x/",
        "ws://x[::1]/",
        "ws://[v1.x]/",
        "ws://h:8 0/",
        "ws://h:８０/",
    ],
)
def test_what_is_no_websocket_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_uri(url)
    assert type(caught.value) is ValueError
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ws://u:secret@h/", "'ws://h/'"),
        ("ws://secret@h/", "'ws://h/'"),
        ("ws://u:sec/ret@h/", "'ws://...'"),
        ("ws://u:secret?x@h/", "'ws://...'"),
        ("ws://u:secret#x@h/", "'ws://...'"),
        ("ws://u:secret@[::1/", "'ws://[::1/'"),
        ("ws://u:secret@h:80x/", "'ws://h:80x/'"),
        ("ws://u:secret@℀/", "'ws://\\u2100/'"),
        ("u:secret@h", "'h'"),
        ("u:secret://@h", "'...'"),
        ("http://h/p?token=secret", "'http://h/p'"),
        ("ws://h:80x/p?token=secret", "'ws://h:80x/p'"),
        ("ws://h:0/p?token=secret", "'ws://h:0/p'"),
        ("ws://h/p#secret", "'ws://h/p'"),
        ("ws://a..b/p?secret", "'ws://a..b/p'"),
        ("ws://[::1%25e]/?secret", "'ws://[::1%25e]/'"),
        ("ws://h/\udc80?secret", r"'ws://h/\udc80'"),
        ("ws://?secret", "'ws://'"),
    ],
)
def test_neither_users_nor_queries_are_quoted(url: str, shown: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_uri(url)
    assert str(caught.value).startswith(shown)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", [None, b"ws://u:secret@h/", 7])
def test_a_url_is_a_str(url: Any) -> None:
    with pytest.raises(TypeError, match=r"^url must be a str, not (NoneType|bytes|int)$"):
        parse_uri(url)


def test_a_target_gives_the_request_that_opens_a_connection_there() -> None:
    headers = Headers({"origin": "http://h"})
    request = parse_uri("ws://h:81/a?b").request(("x", "y"), headers)
    assert (request.method, request.target, request.host) == ("GET", "/a?b", "h:81")
    assert request.subprotocols == ("x", "y")
    assert request.headers == headers
    assert parse_uri("ws://h").request().subprotocols == ()
