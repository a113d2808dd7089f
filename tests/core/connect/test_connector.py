"""A client's way to its open connection: in memory, with real bytes and a stopped clock."""

from __future__ import annotations

import functools
import ssl
from typing import Any

import pytest

from sono_core import Accept, Headers, Limits, LocalProtocolError, Reject, Timeouts
from sono_core.connect.connector import Endpoint
from sono_core.connect.proxy import proxy_for
from sono_core.errors import ConnectError
from tests.core.connect.attempts import AGREED, Attempt, follow, new_connector, refusal_of

# -- the caller's mistakes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"url": "http://h/"}, ValueError),
        ({"url": "ws://user@h/"}, ValueError),
        ({"url": "ws:///"}, ValueError),
        ({"subprotocols": "chat"}, TypeError),
        ({"subprotocols": ["a b"]}, LocalProtocolError),
        ({"subprotocols": ["a", "a"]}, LocalProtocolError),
        ({"headers": {"x": "a\r\nb"}}, LocalProtocolError),
        ({"headers": {"host": "other"}}, LocalProtocolError),
        ({"credentials": "x-token"}, TypeError),
        ({"credentials": [1]}, TypeError),
        ({"credentials": [b"x-token"]}, TypeError),
        ({"credentials": ["x token"]}, LocalProtocolError),
        ({"proxy": "socks5://p"}, ValueError),
        ({"proxy": "ftp://p"}, ValueError),
        ({"proxy": lambda uri: "socks5://p"}, ValueError),
        ({"proxy": "http://p", "unix": "/run/s"}, ValueError),
        ({"url": "wss://h/", "tls": True}, TypeError),
        ({"proxy": "https://p", "proxy_tls": True}, TypeError),
        ({"tls": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}, ValueError),
    ],
)
def test_the_callers_mistakes_raise_at_once(
    options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        new_connector(**options)


def test_an_attempt_is_begun_once() -> None:
    connector = new_connector()
    Attempt(connector)
    with pytest.raises(LocalProtocolError):
        Attempt(connector)


# -- where to connect -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "options", "endpoint"),
    [
        ("ws://h/", {}, Endpoint("h", 80)),
        ("wss://h/", {}, Endpoint("h", 443)),
        ("ws://h:81/", {}, Endpoint("h", 81)),
        ("ws://[::1]:81/", {}, Endpoint("::1", 81)),
        ("ws://h/", {"proxy": "http://p:3128"}, Endpoint("p", 3128)),
        ("wss://h/", {"proxy": "p"}, Endpoint("p", 80)),
        ("ws://h/", {"unix": "/run/s"}, Endpoint("h", 80, "/run/s")),
        ("ws://h/", {"unix": "/run/s", "proxy": lambda uri: "p"}, Endpoint("h", 80, "/run/s")),
        ("ws://h/", {"proxy": lambda uri: f"{uri.host}.proxy"}, Endpoint("h.proxy", 80)),
        ("ws://h/", {"proxy": lambda uri: None}, Endpoint("h", 80)),
    ],
)
def test_the_transport_connects_to_the_proxy_or_to_the_server(
    url: str, options: dict[str, Any], endpoint: Endpoint
) -> None:
    assert new_connector(url, **options).endpoint == endpoint


def test_the_environment_may_choose_the_proxy_anew_for_each_redirect() -> None:
    environ = {"ws_proxy": "p:1", "wss_proxy": "q:2", "no_proxy": "direct"}
    connector = new_connector("ws://h/", proxy=functools.partial(proxy_for, environ=environ))
    assert connector.endpoint == Endpoint("p", 1)
    follow(connector, "ws://direct/")
    assert connector.endpoint == Endpoint("direct", 80)
    follow(connector, "wss://h/")
    assert connector.endpoint == Endpoint("q", 2)


def test_a_failure_to_connect_names_the_server_and_the_proxy() -> None:
    error = new_connector("ws://h:81/").failed("Connection refused")
    assert str(error) == "h:81: Connection refused"
    assert error.status is None
    error = new_connector("ws://h:81/", proxy="http://u:secret@p").failed("timed out")
    assert str(error) == "h:81: proxy p:80: timed out"


# -- an attempt -------------------------------------------------------------------------------


def test_the_request_is_sent_and_the_answer_opens_the_connection() -> None:
    connector = new_connector(
        "ws://example.com:81/ws?a=b", subprotocols=["x", "y"], headers={"X-Token": "t"}
    )
    attempt = Attempt(connector)
    assert "write_soon" in attempt.transport.asked
    assert attempt.layer is attempt.session
    request = attempt.request()
    assert request.target == "/ws?a=b"
    assert request.host == "example.com:81"
    assert request.subprotocols == ("x", "y")
    assert request.headers["x-token"] == "t"
    attempt.server.send(Accept("y"))
    attempt.receives(attempt.server.data_to_send())
    accept = attempt.decide()
    assert isinstance(accept, Accept)
    assert accept.subprotocol == "y"
    assert attempt.session.open


def test_limits_timeouts_and_deflate_are_the_connections() -> None:
    connector = new_connector(
        limits=Limits(max_head=100), timeouts=Timeouts(handshake=3.0), deflate=None
    )
    attempt = Attempt(connector, now=10.0)
    assert attempt.layer.deadlines.next == 13.0
    assert "sec-websocket-extensions" not in attempt.request().headers
    attempt.receives(b"HTTP/1.1 101 " + b"x" * 100)
    assert "too long" in str(attempt.failure())


def test_by_default_deflate_is_offered() -> None:
    assert (
        "permessage-deflate"
        in Attempt(new_connector()).request().headers["sec-websocket-extensions"]
    )


def test_a_deadline_ends_the_attempt() -> None:
    attempt = Attempt(new_connector())
    attempt.layer.tick(5.0)
    error = attempt.failure()
    assert str(error) == "example.com: the handshake took too long"
    assert error.status is None


def test_an_end_without_an_answer_is_told() -> None:
    attempt = Attempt(new_connector())
    attempt.receives(b"")
    assert str(attempt.failure()) == "example.com: the connection ended before the response"


def test_no_response_at_all_is_a_lost_connection() -> None:
    assert str(refusal_of(new_connector(), None)) == "example.com: the connection was lost"


# -- refusals ---------------------------------------------------------------------------------


def test_a_refusal_has_its_status_and_reason_and_ends_the_attempt() -> None:
    attempt = Attempt(new_connector("ws://example.com:81/"))
    attempt.request()
    attempt.server.send(Reject(403, body=b"not you\nand not today"))
    attempt.receives(attempt.server.data_to_send())
    error = attempt.failure()
    assert str(error) == "example.com:81: refused with status 403: not you"
    assert error.status == 403
    assert error.retry_after is None
    assert attempt.transport.asked[-1] == "abort"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"", ""),
        (b"one\r\ntwo", ": one"),
        (b"\n\n  first\n", ": first"),
        (b"\xff\x1b[31mred\x00", ": \ufffd[31mred"),
        (b"x" * 60_000, ": " + "x" * 200),
        ("a\u2028b".encode(), ": a"),  # which ends a line too
        ("a\u202eb".encode(), ": ab"),  # and this turns what follows round
    ],
)
def test_a_peer_is_quoted_in_one_short_printable_line(body: bytes, shown: str) -> None:
    error = refusal_of(new_connector(), Reject(500, body=body))
    assert str(error) == f"example.com: refused with status 500{shown}"


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ([], None),
        (["0"], 0),
        (["120"], 120),
        (["9" * 400], float("inf")),
        (["-1"], None),
        (["1.5"], None),
        (["²"], None),
        ([""], None),
        (["1", "2"], None),
        (["Fri, 31 Dec 1999 23:59:59 GMT"], None),
    ],
)
def test_retry_after_is_told_in_seconds(values: list[str], seconds: float | None) -> None:
    headers = Headers([("retry-after", value) for value in values])
    assert refusal_of(new_connector(), Reject(503, headers)).retry_after == seconds


# -- proxies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "server"), [("ws://h/", b"h:80"), ("ws://h:81/", b"h:81"), ("ws://[::1]/", b"[::1]:80")]
)
def test_a_tunnel_is_opened_before_the_request_leaves(url: str, server: bytes) -> None:
    attempt = Attempt(new_connector(url, proxy="http://p"))
    assert attempt.layer is not attempt.session
    assert attempt.raw() == b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (server, server)
    attempt.receives(AGREED)
    assert isinstance(attempt.answer(Accept()), Accept)


def test_a_proxys_refusal_has_its_status_and_is_no_redirect() -> None:
    attempt = Attempt(new_connector(proxy="http://u:secret@p:3128"))
    attempt.receives(b"HTTP/1.1 302 Found\r\nLocation: ws://evil/\r\n\r\n")
    error = attempt.failure()
    assert str(error) == "example.com: proxy p:3128: refused with status 302: Found"
    assert error.status == 302


def test_garbage_of_a_proxy_has_no_status() -> None:
    attempt = Attempt(new_connector(proxy="http://p:3128"))
    attempt.receives(b"garbage\r\n\r\n")
    error = attempt.failure()
    assert str(error) == "example.com: proxy p:3128: malformed response"
    assert error.status is None


def test_a_proxys_words_are_short_and_printable() -> None:
    attempt = Attempt(new_connector(proxy="http://p:3128"))
    attempt.receives(b"HTTP/1.1 500 \x9b31m" + b"x" * 5000 + b"\r\n\r\n")
    text = str(attempt.failure())
    assert "\x9b" not in text
    assert len(text) <= len("example.com: ") + 200


def test_the_servers_refusal_behind_a_proxy_is_the_servers() -> None:
    attempt = Attempt(new_connector(proxy="http://p"))
    attempt.raw()
    attempt.receives(AGREED)
    with pytest.raises(ConnectError, match=r"^example.com: refused with status 404$"):
        attempt.answer(Reject(404))


def test_limits_bound_a_proxys_response() -> None:
    attempt = Attempt(new_connector(proxy="http://p", limits=Limits(max_head=100)))
    attempt.receives(b"HTTP/1.1 200 " + b"x" * 100)
    assert str(attempt.failure()) == "example.com: proxy p:80: the head or a line of it is too long"
