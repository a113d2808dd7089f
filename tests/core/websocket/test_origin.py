"""origin.py: whose pages may connect, and under which names they reach the server."""

from collections.abc import Collection
from typing import Any

import pytest

from sono_core import Headers, Request
from sono_core.errors import HandshakeFailure
from sono_core.websocket import AllowedHosts
from sono_core.websocket.origin import check_origin, origin_allowed


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "a", True),
        ("http://a", "a", True),
        ("https://a:444", "a:444", True),
        ("null", "a", False),
        ("http://[a", "a", False),
        ("http://a:x", "a", False),
        ("http://a", "a:81", False),
        ("http://a:80", "a", True),
        ("http://a", "a:80", True),
        ("http://A", "a", True),
        ("http://a.", "a", False),
        ("http://u@a", "a", False),
        ("ws://a", "a", False),  # no page has such an origin
        ("wss://a", "a", False),
        ("HTTP://a", "a", False),
        ("ftp://a", "a", False),
    ],
)
def test_origins(origin: str | None, host: str, allowed: bool) -> None:
    assert origin_allowed(origin, host, ()) is allowed
    assert origin_allowed(origin, host, ["*"])


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "a", True),
        ("https://a", "a", True),
        ("https://a:443", "a", True),
        ("http://a", "a", False),
        ("http://a:80", "a", False),
        ("http://a:443", "a:443", False),
    ],
)
def test_a_page_of_http_is_foreign_to_a_server_of_https(
    origin: str | None, host: str, allowed: bool
) -> None:
    assert origin_allowed(origin, host, (), "https") is allowed
    assert origin_allowed("http://a", host, ["http://a"], "https")


OWN = ["localhost", "LOCALHOST:80", "localhost.", "app.localhost:3000", "127.0.0.1", "10.1.2.3:80"]
OWN += ["[::1]", "[2001:db8::1]:8080"]
FOREIGN = ["evil.example", "localhost.evil.example", "notlocalhost", "127.0.0.1.evil.example"]
FOREIGN += ["", "[::1", "[evil]", "1.2.3.4.nip.io", "a" * 300, "." * 8000, "a." * 4000]


def of(host: str, **headers: str) -> Request:
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Request("/", Headers(fields), host=host)


@pytest.mark.parametrize("host", OWN)
def test_names_that_nobody_can_own_are_allowed(host: str) -> None:
    assert AllowedHosts().allow(of(host))


@pytest.mark.parametrize("host", FOREIGN)
def test_names_that_somebody_may_own_are_not(host: str) -> None:
    assert not AllowedHosts().allow(of(host))


@pytest.mark.parametrize(
    ("names", "host", "allowed"),
    [
        (["Chat.example"], "chat.EXAMPLE:8080", True),
        (["chat.example."], "chat.example", True),
        (["chat.example"], "chat.example.", True),
        (["chat.example"], "a.chat.example", False),
        (["chat.example"], "xchat.example", False),
        ([".example.com"], "example.com", True),
        ([".example.com"], "a.b.example.com", True),
        ([".example.com"], "badexample.com", False),
        ([".example.com"], "com", False),
        (["*"], "anything.example", True),
        (["::1"], "elsewhere.example", False),
    ],
)
def test_names_that_are_given(names: list[str], host: str, allowed: bool) -> None:
    assert AllowedHosts(names).allow(of(host)) is allowed


@pytest.mark.parametrize(
    "header", ["forwarded", "via", "x_forwarded_for", "x_forwarded_proto", "x_real_ip"]
)
def test_what_a_proxy_passed_on_may_be_allowed(header: str) -> None:
    """No page can send these."""
    assert AllowedHosts(proxied=True).allow(of("chat.example", **{header: "x"}))
    assert not AllowedHosts().allow(of("chat.example", **{header: "x"}))
    assert not AllowedHosts(proxied=True).allow(of("chat.example", cookie="x"))


@pytest.mark.parametrize("name", ["http://a", "a:80", "a/b", "", "a b", "[::1]:80"])
def test_what_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="hosts"):
        AllowedHosts([name])


def test_a_str_is_no_collection_of_names() -> None:
    with pytest.raises(TypeError, match="hosts"):
        AllowedHosts("localhost")


@pytest.mark.parametrize(
    ("origin", "origins", "words"),
    [
        (None, (), ""),
        ("http://evil.example", (), "this host is not allowed"),
        ("http://other.example", (), "this origin is not allowed"),
        ("http://evil.example", ["http://evil.example"], ""),  # named, so it is no stranger
        ("http://other.example", ["*"], ""),
    ],
)
def test_only_a_page_of_the_servers_own_origin_needs_an_allowed_host(
    origin: str | None, origins: Collection[str], words: str
) -> None:
    request = of("evil.example")
    check_origin(origin, of("localhost"), ["*"], AllowedHosts())
    if not words:
        check_origin(origin, request, origins, AllowedHosts())
        return
    with pytest.raises(HandshakeFailure, match=words) as failure:
        check_origin(origin, request, origins, AllowedHosts())
    assert failure.value.status == 403
