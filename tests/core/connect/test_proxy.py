"""Proxies: their URLs, and the environment variables that name them."""

from __future__ import annotations

import base64

import pytest

from sono_core.connect.proxy import Proxy, parse_proxy, proxy_for
from sono_core.connect.uri import parse_uri

P, Q = "http://p:1", "http://q:2"


def chosen(url: str, **environ: str) -> str | None:
    return proxy_for(parse_uri(url), environ)


# -- URLs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://p:3128", Proxy(False, "p", 3128, "p:3128", None)),
        ("http://p:3128/", Proxy(False, "p", 3128, "p:3128", None)),
        ("HTTP://P:3128", Proxy(False, "p", 3128, "p:3128", None)),
        ("p:3128", Proxy(False, "p", 3128, "p:3128", None)),
        ("p", Proxy(False, "p", 80, "p:80", None)),
        ("https://p", Proxy(True, "p", 443, "p:443", None)),
        ("HTTPS://p:3129", Proxy(True, "p", 3129, "p:3129", None)),
        ("http://[::1]:8080", Proxy(False, "::1", 8080, "[::1]:8080", None)),
        (
            "http://bücher.example",
            Proxy(False, "xn--bcher-kva.example", 80, "xn--bcher-kva.example:80", None),
        ),
    ],
)
def test_a_proxys_url_names_host_and_port(url: str, proxy: Proxy) -> None:
    assert parse_proxy(url) == proxy


@pytest.mark.parametrize(
    ("userinfo", "credentials"),
    [
        ("user:secret", b"user:secret"),
        ("user", b"user:"),
        ("user:", b"user:"),
        ("", b":"),
        ("user:a:b@c", b"user:a:b@c"),
        ("user:a/b?c#d", b"user:a/b?c#d"),
        ("us%20er:p%40ss%3A%2F", b"us er:p@ss:/"),
        ("us%C3%A9r:%0D%0A", "usér:\r\n".encode()),
    ],
)
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_what_stands_before_the_at_is_sent_as_basic_credentials(
    scheme: str, userinfo: str, credentials: bytes
) -> None:
    authorization = parse_proxy(f"{scheme}{userinfo}@p:1").authorization
    assert authorization == f"Basic {base64.b64encode(credentials).decode()}"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://",
        "http://p:x",
        "http://p:0",
        "http://p:99999",
        "http://p/path",
        "http://p?q",
        "http://p#f",
        "http://p q",
        "http://[::1",
        "http://us%3Aer:secret@p:1",
        "user:secret://@p",
        "user:secret@x://p",
        "socks5://user:secret@p:1",
        "socks5h://p",
        "socks4://p",
        "ftp://user:secret@p",
        "http://user:secret@p:x",
        "http://user:secret@p/path",
        "http://p/?secret",
        "socks5://p:1?secret",
        "http://user@p:1?secret#secret",
    ],
)
def test_other_urls_are_refused_without_telling_the_password(url: str) -> None:
    with pytest.raises(ValueError, match="proxy") as caught:
        parse_proxy(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


# -- the environment --------------------------------------------------------------------------


def test_without_variables_there_is_no_proxy() -> None:
    assert chosen("ws://h/") is None


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("wss://h/", ["wss_proxy", "https_proxy", "all_proxy"]),
        ("ws://h/", ["ws_proxy", "http_proxy", "all_proxy"]),
    ],
)
def test_the_first_of_the_schemes_variables_counts(url: str, names: list[str]) -> None:
    every = ["ws_proxy", "wss_proxy", "http_proxy", "https_proxy", "all_proxy"]
    environ = {name: f"http://{name}" for name in every}
    for name in names:
        assert chosen(url, **environ) == f"http://{name}"
        del environ[name]
    assert chosen(url, **environ) is None


def test_lower_case_comes_before_upper_case() -> None:
    assert chosen("ws://h/", HTTP_PROXY=Q) == Q
    assert chosen("ws://h/", HTTP_PROXY=Q, http_proxy=P) == P


def test_an_empty_variable_in_lower_case_hides_the_one_in_upper_case() -> None:
    assert chosen("ws://h/", HTTP_PROXY=Q, http_proxy="") is None
    assert chosen("ws://h/", HTTP_PROXY=Q, http_proxy=" ", all_proxy=P) == P


def test_in_a_cgi_script_a_header_names_no_proxy() -> None:
    assert chosen("ws://h/", HTTP_PROXY=Q, REQUEST_METHOD="GET") is None
    assert chosen("ws://h/", http_proxy=P, REQUEST_METHOD="GET") == P
    assert chosen("wss://h/", HTTPS_PROXY=Q, REQUEST_METHOD="GET") == Q


@pytest.mark.parametrize(
    ("host", "rules"),
    [
        ("h", "*"),
        ("h", "x, * ,y"),
        ("example.com", "example.com"),
        ("example.com", "EXAMPLE.com"),
        ("example.com", " a.org , example.com "),
        ("example.com", ".example.com"),
        ("a.example.com", "example.com"),
        ("a.example.com", ".example.com"),
        ("a.b.example.com", "b.example.com"),
        ("example.com:8080", "example.com"),
        ("example.com:8080", "example.com:8080"),
        ("a.example.com:8080", "example.com:8080"),
        ("example.com", "example.com:80"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1:5", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[::1]", "[::1]"),
        ("[::1]:5", "[::1]:5"),
        ("localhost", "localhost,127.0.0.1"),
        ("example.com.", "example.com"),
        ("example.com", "example.com."),
        ("a.example.com.:81", ".example.com:81"),
        ("0x7f.1", "127.0.0.1"),
        ("[0::1]", "::1"),
    ],
)
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_who_is_listed_in_no_proxy_is_reached_without(host: str, rules: str, name: str) -> None:
    assert chosen(f"ws://{host}/", http_proxy=P, **{name: rules}) is None


@pytest.mark.parametrize(
    ("host", "rules"),
    [
        ("h", ""),
        ("h", ",, ,"),
        ("h", "."),
        ("h", "*.h"),
        ("badexample.com", "example.com"),
        ("example.com", "a.example.com"),
        ("example.com.evil", "example.com"),
        ("example.com", "example.com:8080"),
        ("example.com:8080", "example.com:80"),
        ("127.0.0.1", "localhost"),
        ("localhost", "example.com"),
        ("127.0.0.10", "127.0.0.1"),
        ("[::1]", "1"),
    ],
)
def test_others_are_reached_through_the_proxy(host: str, rules: str) -> None:
    assert chosen(f"ws://{host}/", http_proxy=P, no_proxy=rules) == P
