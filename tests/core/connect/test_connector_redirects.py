"""Redirects: which are followed, how many, and what another origin does not see."""

from __future__ import annotations

import pytest

from sono_core import Accept, Headers, Reject
from sono_core.connect.connector import Endpoint
from sono_core.connect.uri import WebSocketURI
from tests.core.connect.attempts import Attempt, follow, opening, redirect, refusal_of


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(status: int) -> None:
    procedure = opening()
    attempt = Attempt(procedure)
    assert attempt.answer(redirect("ws://other.example:81/new?q", status)) is None
    assert attempt.transport.asked[-1] == "abort", "the old attempt is over"
    assert procedure.endpoint == Endpoint("other.example", 81)
    attempt = Attempt(procedure)
    request = attempt.request()
    assert (request.host, request.target) == ("other.example:81", "/new?q")
    attempt.server.send(Accept())
    attempt.receives(attempt.server.data_to_send())
    assert isinstance(attempt.decide(), Accept)


@pytest.mark.parametrize("status", [300, 304, 305, 306, 399])
def test_other_answers_of_that_class_are_refusals(status: int) -> None:
    error = refusal_of(opening(), redirect("ws://other/", status))
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
        ("/a x", "example.com:81", "/a%20x"),
    ],
)
def test_a_location_is_relative_to_where_it_came_from(
    location: str, server: str, target: str
) -> None:
    procedure = opening("ws://example.com:81/a/b?q")
    follow(procedure, location)
    request = Attempt(procedure).request()
    assert (request.host, request.target) == (server, target)


@pytest.mark.parametrize("location", ["https://o/", "wss://o/", "wss://o:443/"])
def test_a_redirect_may_lead_to_tls(location: str) -> None:
    procedure = opening()
    follow(procedure, location)
    assert procedure.target == WebSocketURI(True, "o", 443, "/", "o")


@pytest.mark.parametrize(
    "location",
    ["ftp://h/", "javascript:alert(1)", "mailto:a@b", "ws://u:p@h/", "ws://h:x/", "ws://[::1"],
)
def test_what_is_no_websocket_url_is_not_followed(location: str) -> None:
    error = refusal_of(opening(), redirect(location))
    assert str(error) == f"example.com: redirected to what is no WebSocket URL: {location}"
    assert error.status == 302


def test_a_location_is_quoted_short_and_printable() -> None:
    error = refusal_of(opening(), redirect("ftp://\x9b31m/" + "x" * 5000))
    assert str(error).endswith(f": ftp://31m/{'x' * 189}")  # 200 with what is not printable


@pytest.mark.parametrize("locations", [[], ["/a", "/b"], ["/a", "/a"]])
def test_exactly_one_location_is_needed(locations: list[str]) -> None:
    headers = Headers([("location", location) for location in locations])
    error = refusal_of(opening(), Reject(302, headers))
    assert str(error) == "example.com: redirected without exactly one Location"


@pytest.mark.parametrize("location", ["ws://example.com/", "http://example.com/", "ws://o:443/"])
def test_nobody_is_led_from_wss_to_ws(location: str) -> None:
    error = refusal_of(opening("wss://example.com/"), redirect(location))
    assert str(error) == f"example.com: redirected from wss to ws: {location}"
    assert error.status == 302


def test_not_even_by_a_detour() -> None:
    procedure = opening("ws://a/")
    follow(procedure, "wss://b/")
    assert "from wss to ws" in str(refusal_of(procedure, redirect("ws://a/")))


def test_ten_redirects_are_followed_and_no_more() -> None:
    procedure = opening()
    for n in range(10):
        follow(procedure, f"/{n}")
    error = refusal_of(procedure, redirect("/10"))
    assert str(error) == "example.com: redirected once too often: /10"
    assert error.status == 302


@pytest.mark.parametrize("most", [0, -1])
def test_the_caller_may_want_none_to_be_followed(most: int) -> None:
    assert "too often" in str(refusal_of(opening(max_redirects=most), redirect("/x")))


SECRETS = {
    "Authorization": "Bearer a",
    "Cookie": "b=c",
    "Proxy-Authorization": "Basic d",
    "X-Token": "e",
}


HARMLESS = {"Origin": "http://o", "X-Other": "f"}


def sent_after(*locations: str) -> set[str]:
    """The names of the caller's header fields that the last of several servers sees."""
    procedure = opening("ws://example.com:81/", headers=SECRETS | HARMLESS, credentials=["x-TOKEN"])
    for location in locations:
        follow(procedure, location)
    headers = Attempt(procedure).request().headers
    return {name for name in SECRETS | HARMLESS if name in headers}


@pytest.mark.parametrize("location", ["/x", "ws://example.com:81/", "http://EXAMPLE.com:81/x"])
def test_the_same_origin_sees_the_credentials_again(location: str) -> None:
    assert sent_after(location) == {*SECRETS, *HARMLESS}


@pytest.mark.parametrize(
    "location", ["ws://example.com/", "ws://other:81/", "ws://a.example.com:81/", "//evil:81/"]
)
def test_another_origin_does_not_see_them(location: str) -> None:
    assert sent_after(location) == set(HARMLESS)


def test_what_is_dropped_stays_dropped_on_the_way_back() -> None:
    assert sent_after("ws://other/", "ws://example.com:81/") == set(HARMLESS)


def test_another_scheme_is_another_origin() -> None:
    procedure = opening("ws://example.com:443/", headers=SECRETS)
    follow(procedure, "wss://example.com/")
    assert procedure._headers == Headers({"X-Token": "e"})  # what is sent is encrypted


def test_a_header_that_is_not_named_a_credential_goes_everywhere() -> None:
    procedure = opening(headers={"X-Token": "e"})
    follow(procedure, "ws://other/")
    assert Attempt(procedure).request().headers["x-token"] == "e"


def test_a_unix_socket_is_left_by_no_redirect() -> None:
    procedure = opening(unix="/run/s")
    follow(procedure, "/x")
    assert procedure.endpoint == Endpoint("example.com", 80, "/run/s")
    error = refusal_of(procedure, redirect("ws://other/"))
    assert str(error) == "example.com: redirected away from a Unix socket"
