"""Redirects: which ones are followed, how many, and what another origin does not see."""

from __future__ import annotations

import functools

import pytest

from sono_core import Accept, Headers, Reject
from sono_core.connect.connector import Endpoint
from sono_core.connect.proxy import proxy_for
from sono_core.connect.uri import WebSocketURI
from tests.core.connect.attempts import Attempt, follow, new_connector, redirect, refusal_of


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(status: int) -> None:
    connector = new_connector()
    attempt = Attempt(connector)
    assert attempt.answer(redirect("ws://other.example:81/new?q", status)) is None
    assert attempt.transport.asked[-1] == "abort", "the old attempt is over"
    assert connector.endpoint == Endpoint("other.example", 81)
    attempt = Attempt(connector)
    request = attempt.request()
    assert (request.host, request.target) == ("other.example:81", "/new?q")
    attempt.server.send(Accept())
    attempt.receives(attempt.server.data_to_send())
    assert isinstance(attempt.decide(), Accept)


@pytest.mark.parametrize("status", [300, 304, 305, 306, 399])
def test_other_answers_of_that_class_are_refusals(status: int) -> None:
    error = refusal_of(new_connector(), redirect("ws://other/", status))
    assert error.status == status
    assert str(error) == f"example.com: refused with status {status}"


@pytest.mark.parametrize(
    ("location", "server", "target"),
    [
        ("/x", "example.com:81", "/x"),
        ("x", "example.com:81", "/a/x"),
        ("../x", "example.com:81", "/x"),
        ("?n", "example.com:81", "/a/b?n"),
        ("", "example.com:81", "/a/b?q"),
        ("#f", "example.com:81", "/a/b?q"),
        ("/x#f", "example.com:81", "/x"),
        ("//o/x", "o", "/x"),
        ("http://o/x", "o", "/x"),
        ("HTTP://O/x", "o", "/x"),
        ("ws://o:81", "o:81", "/"),
        ("http://o:443/", "o:443", "/"),
        ("http://[::1]:9/", "[::1]:9", "/"),
        ("//faß.example/", "xn--fa-hia.example", "/"),
        ("//o./", "o.", "/"),
        ("//0x7f.1/", "127.0.0.1", "/"),
        ("/a x", "example.com:81", "/a%20x"),
    ],
)
def test_a_location_is_relative_to_where_it_came_from(
    location: str, server: str, target: str
) -> None:
    connector = new_connector("ws://example.com:81/a/b?q")
    follow(connector, location)
    request = Attempt(connector).request()
    assert (request.host, request.target) == (server, target)


@pytest.mark.parametrize("location", ["https://o/", "wss://o/", "wss://o:443/"])
def test_a_redirect_may_lead_to_tls(location: str) -> None:
    connector = new_connector()
    follow(connector, location)
    assert connector.target == WebSocketURI(True, "o", 443, "/", "o")


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("ftp://h/", "ftp://h/"),
        ("javascript:alert(1)", "javascript:alert(1)"),
        ("mailto:a@b", "b"),
        ("ws://u:p@h/", "ws://h/"),
        ("ws://h:x/?token=secret#secret", "ws://h:x/"),
        ("ws://[::1", "ws://[::1"),
        ("ws://faß..example/", r"ws://fa\xdf..example/"),
        ("ws://[fe80::1%25eth0]/", "ws://[fe80::1%25eth0]/"),
    ],
)
def test_what_is_no_websocket_url_is_not_followed(location: str, shown: str) -> None:
    error = refusal_of(new_connector(), redirect(location))
    assert str(error) == f"example.com: redirected to what is not a WebSocket URL: {shown}"
    assert error.status == 302


def test_a_location_is_quoted_short_and_printable() -> None:
    error = refusal_of(new_connector(), redirect("ftp://\x9b31m/" + "x" * 5000))
    assert str(error).endswith(f": ftp://\\x9b31m/{'x' * 189}...")


@pytest.mark.parametrize("locations", [[], ["/a", "/b"], ["/a", "/a"]])
def test_exactly_one_location_is_needed(locations: list[str]) -> None:
    headers = Headers([("location", location) for location in locations])
    error = refusal_of(new_connector(), Reject(302, headers))
    assert str(error) == "example.com: redirected without exactly one Location"


@pytest.mark.parametrize("location", ["ws://example.com/", "http://example.com/", "ws://o:443/"])
def test_nobody_is_led_from_wss_to_ws(location: str) -> None:
    error = refusal_of(new_connector("wss://example.com/"), redirect(location))
    assert str(error) == f"example.com: redirected from wss to ws: {location}"
    assert error.status == 302


def test_not_even_by_a_detour() -> None:
    connector = new_connector("ws://a/")
    follow(connector, "wss://b/")
    assert "from wss to ws" in str(refusal_of(connector, redirect("ws://a/")))


def test_ten_redirects_are_followed_and_no_more() -> None:
    connector = new_connector()
    for n in range(10):
        follow(connector, f"/{n}")
    error = refusal_of(connector, redirect("/10"))
    assert str(error) == "example.com: redirected once too often: /10"
    assert error.status == 302


@pytest.mark.parametrize("most", [0, -1])
def test_the_caller_may_want_none_to_be_followed(most: int) -> None:
    assert "too often" in str(refusal_of(new_connector(max_redirects=most), redirect("/x")))


SECRETS = {
    "Authorization": "Bearer a",
    "Cookie": "b=c",
    "Proxy-Authorization": "Basic d",
    "X-Token": "e",
}


HARMLESS = {"Origin": "http://o", "X-Other": "f"}


def sent_after(*locations: str) -> set[str]:
    """The names of the caller's header fields that the last of several servers receives."""
    connector = new_connector(
        "ws://example.com:81/", headers=SECRETS | HARMLESS, credentials=["x-TOKEN"]
    )
    for location in locations:
        follow(connector, location)
    headers = Attempt(connector).request().headers
    return {name for name in SECRETS | HARMLESS if name in headers}


@pytest.mark.parametrize(
    "location",
    ["/x", "ws://example.com:81/", "http://EXAMPLE.com:81/x", "//ex%61mple。com:81/"],
)
def test_the_same_origin_sees_the_credentials_again(location: str) -> None:
    assert sent_after(location) == {*SECRETS, *HARMLESS}


@pytest.mark.parametrize(
    "location",
    [
        "ws://example.com/",
        "ws://other:81/",
        "ws://a.example.com:81/",
        "//evil:81/",
        "//example.com.:81/",
    ],
)
def test_another_origin_does_not_see_them(location: str) -> None:
    assert sent_after(location) == set(HARMLESS)


def test_what_is_dropped_stays_dropped_on_the_way_back() -> None:
    assert sent_after("ws://other/", "ws://example.com:81/") == set(HARMLESS)


def test_another_scheme_is_another_origin() -> None:
    connector = new_connector("ws://example.com:443/", headers=SECRETS, credentials=[])
    follow(connector, "wss://example.com/")
    assert connector._headers == Headers({"X-Token": "e"})  # what is sent is encrypted


def test_by_default_another_origin_sees_nothing_that_the_caller_set() -> None:
    connector = new_connector(headers=SECRETS | HARMLESS, subprotocols=["chat"])
    follow(connector, "/x")
    assert connector._headers == Headers(SECRETS | HARMLESS)
    follow(connector, "ws://other/")
    request = Attempt(connector).request()
    assert not {name.lower() for name in SECRETS | HARMLESS} & set(request.headers)
    assert request.subprotocols == ("chat",)


def test_a_header_that_is_not_named_a_credential_may_go_everywhere() -> None:
    connector = new_connector(headers={"X-Token": "e"}, credentials=())
    follow(connector, "ws://other/")
    assert Attempt(connector).request().headers["x-token"] == "e"


def test_a_redirect_for_which_there_is_no_proxy_fails_as_the_servers() -> None:
    environ = {"https_proxy": "socks5://u:secret@p:1"}
    connector = new_connector(proxy=functools.partial(proxy_for, environ=environ))
    error = refusal_of(connector, redirect("wss://other/"))
    assert str(error).startswith("example.com: redirected to other: https_proxy in the environment")
    assert "secret" not in str(error)
    assert error.status == 302


def test_a_unix_socket_is_left_by_no_redirect() -> None:
    connector = new_connector(unix="/run/s")
    follow(connector, "/x")
    assert connector.endpoint == Endpoint("example.com", 80, "/run/s")
    error = refusal_of(connector, redirect("ws://other/"))
    assert str(error) == "example.com: redirected away from a Unix socket"
