"""A client's way to its open connection: in memory, with real bytes and a clock that stands."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from sono_core import Accept, Headers, Limits, LocalProtocolError, Reject, Request, Role, Timeouts
from sono_core.connect.connector import Connector, Endpoint
from sono_core.connect.proxy import proxy_for
from sono_core.connect.uri import WebSocketURI
from sono_core.errors import ConnectError
from tests.certificates import client_side, expired, self_signed, server_side, wrong_name
from tests.fakes import FakeTransport, RecordingHandler
from tests.helpers import new_connection, repeatable

URL = "ws://example.com/ws"


def opening(url: str = URL, **options: Any) -> Connector:
    return Connector(url, random=repeatable(), **options)


class Attempt:
    """One attempt on a transport in memory, and the server at its end."""

    def __init__(self, procedure: Connector, now: float = 0.0) -> None:
        self.procedure = procedure
        self.transport = FakeTransport()
        self.handler = RecordingHandler()
        self.driven, self.session = procedure.begin(self.transport, self.handler, now)
        self.transport.session = self.driven  # type: ignore[assignment]
        self.transport.write()
        self.server = new_connection(Role.SERVER, deflate=None)

    def raw(self) -> bytes:
        """The bytes that were written since the last call."""
        data = bytes(self.transport.wire)
        self.transport.wire.clear()
        return data

    def receives(self, data: bytes) -> None:
        self.driven.receive(data, 0)
        self.transport.write()

    def request(self) -> Request:
        """What the server is asked for."""
        (request,) = self.server.receive_data(self.raw())
        assert isinstance(request, Request)
        return request

    def answer(self, answer: Accept | Reject) -> Accept | None:
        """The server answers; what the procedure makes of it."""
        self.request()
        self.server.send(answer)
        self.receives(self.server.data_to_send())
        return self.decide()

    def decide(self) -> Accept | None:
        (response,) = self.handler.log
        assert isinstance(response, (Accept, Reject))
        return self.procedure.answered(response)

    def failure(self) -> ConnectError:
        """The error that the attempt ended with."""
        with pytest.raises(ConnectError) as caught:
            self.decide()
        assert self.driven.over
        return caught.value


def redirect(location: str, status: int = 302) -> Reject:
    return Reject(status, Headers({"location": location}))


def follow(procedure: Connector, location: str, status: int = 302) -> None:
    """The server answers with a redirect, which is followed."""
    assert procedure.answered(redirect(location, status)) is None


def refusal_of(procedure: Connector, response: Reject | None) -> ConnectError:
    with pytest.raises(ConnectError) as caught:
        procedure.answered(response)
    return caught.value


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
        ({"proxy": "socks5://p"}, ValueError),
        ({"proxy": "ftp://p"}, ValueError),
        ({"proxy": lambda target: "socks5://p"}, ValueError),
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
        opening(**options)


def test_an_attempt_is_begun_once() -> None:
    procedure = opening()
    Attempt(procedure)
    with pytest.raises(LocalProtocolError):
        Attempt(procedure)


# -- where to dial ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "options", "place"),
    [
        ("ws://h/", {}, Endpoint("h", 80)),
        ("wss://h/", {}, Endpoint("h", 443)),
        ("ws://h:81/", {}, Endpoint("h", 81)),
        ("ws://[::1]:81/", {}, Endpoint("::1", 81)),
        ("ws://h/", {"proxy": "http://p:3128"}, Endpoint("p", 3128)),
        ("wss://h/", {"proxy": "p"}, Endpoint("p", 80)),
        ("ws://h/", {"unix": "/run/s"}, Endpoint("h", 80, "/run/s")),
        ("ws://h/", {"unix": "/run/s", "proxy": lambda target: "p"}, Endpoint("h", 80, "/run/s")),
        ("ws://h/", {"proxy": lambda target: f"{target.host}.proxy"}, Endpoint("h.proxy", 80)),
        ("ws://h/", {"proxy": lambda target: None}, Endpoint("h", 80)),
    ],
)
def test_the_transport_connects_to_the_proxy_or_to_the_server(
    url: str, options: dict[str, Any], place: Endpoint
) -> None:
    assert opening(url, **options).endpoint == place


def test_the_environment_may_choose_the_proxy_anew_for_each_redirect() -> None:
    environ = {"ws_proxy": "p:1", "wss_proxy": "q:2", "no_proxy": "direct"}
    procedure = opening("ws://h/", proxy=functools.partial(proxy_for, environ=environ))
    assert procedure.endpoint == Endpoint("p", 1)
    follow(procedure, "ws://direct/")
    assert procedure.endpoint == Endpoint("direct", 80)
    follow(procedure, "wss://h/")
    assert procedure.endpoint == Endpoint("q", 2)


def test_a_failure_to_connect_names_the_server_and_the_proxy() -> None:
    error = opening("ws://h:81/").failed("Connection refused")
    assert str(error) == "h:81: Connection refused"
    assert error.status is None
    error = opening("ws://h:81/", proxy="http://u:secret@p").failed("timed out")
    assert str(error) == "h:81: proxy p:80: timed out"


# -- an attempt -------------------------------------------------------------------------------


def test_the_request_is_sent_and_the_answer_opens_the_connection() -> None:
    procedure = opening(
        "ws://example.com:81/ws?a=b", subprotocols=["x", "y"], headers={"X-Token": "t"}
    )
    attempt = Attempt(procedure)
    assert "write_soon" in attempt.transport.asked
    assert attempt.driven is attempt.session
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
    procedure = opening(limits=Limits(max_head=100), timeouts=Timeouts(handshake=3.0), deflate=None)
    attempt = Attempt(procedure, now=10.0)
    assert attempt.driven.deadlines.next == 13.0
    assert "sec-websocket-extensions" not in attempt.request().headers
    attempt.receives(b"HTTP/1.1 101 " + b"x" * 100)
    assert "too long" in str(attempt.failure())


def test_by_default_deflate_is_offered() -> None:
    assert "permessage-deflate" in Attempt(opening()).request().headers["sec-websocket-extensions"]


def test_a_deadline_ends_the_attempt() -> None:
    attempt = Attempt(opening())
    attempt.driven.tick(5.0)
    error = attempt.failure()
    assert str(error) == "example.com: the handshake took too long"
    assert error.status is None


def test_an_end_without_an_answer_is_told() -> None:
    attempt = Attempt(opening())
    attempt.receives(b"")
    assert str(attempt.failure()) == "example.com: the connection ended before the response"


def test_no_response_at_all_is_a_lost_connection() -> None:
    assert str(refusal_of(opening(), None)) == "example.com: the connection was lost"


# -- refusals ---------------------------------------------------------------------------------


def test_a_refusal_has_its_status_and_reason_and_ends_the_attempt() -> None:
    attempt = Attempt(opening("ws://example.com:81/"))
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
    error = refusal_of(opening(), Reject(500, body=body))
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
    assert refusal_of(opening(), Reject(503, headers)).retry_after == seconds


# -- redirects --------------------------------------------------------------------------------


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


# -- proxies ----------------------------------------------------------------------------------

AGREED = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    ("url", "server"), [("ws://h/", b"h:80"), ("ws://h:81/", b"h:81"), ("ws://[::1]/", b"[::1]:80")]
)
def test_a_tunnel_is_opened_before_the_request_leaves(url: str, server: bytes) -> None:
    attempt = Attempt(opening(url, proxy="http://p"))
    assert attempt.driven is not attempt.session
    assert attempt.raw() == b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (server, server)
    attempt.receives(AGREED)
    assert isinstance(attempt.answer(Accept()), Accept)


def test_a_proxys_refusal_has_its_status_and_is_no_redirect() -> None:
    attempt = Attempt(opening(proxy="http://u:secret@p:3128"))
    attempt.receives(b"HTTP/1.1 302 Found\r\nLocation: ws://evil/\r\n\r\n")
    error = attempt.failure()
    assert str(error) == "example.com: proxy p:3128: refused with status 302: Found"
    assert error.status == 302


def test_garbage_of_a_proxy_has_no_status() -> None:
    attempt = Attempt(opening(proxy="http://p:3128"))
    attempt.receives(b"garbage\r\n\r\n")
    error = attempt.failure()
    assert str(error) == "example.com: proxy p:3128: malformed response"
    assert error.status is None


def test_a_proxys_words_are_short_and_printable() -> None:
    attempt = Attempt(opening(proxy="http://p:3128"))
    attempt.receives(b"HTTP/1.1 500 \x9b31m" + b"x" * 5000 + b"\r\n\r\n")
    text = str(attempt.failure())
    assert "\x9b" not in text
    assert len(text) <= len("example.com: ") + 200


def test_the_servers_refusal_behind_a_proxy_is_the_servers() -> None:
    attempt = Attempt(opening(proxy="http://p"))
    attempt.raw()
    attempt.receives(AGREED)
    with pytest.raises(ConnectError, match=r"^example.com: refused with status 404$"):
        attempt.answer(Reject(404))


def test_limits_bound_a_proxys_response() -> None:
    attempt = Attempt(opening(proxy="http://p", limits=Limits(max_head=100)))
    attempt.receives(b"HTTP/1.1 200 " + b"x" * 100)
    assert str(attempt.failure()) == "example.com: proxy p:80: the head or a line of it is too long"


# -- TLS --------------------------------------------------------------------------------------


class Sealed:
    """A server's end of TLS: what it says and sees, without the records around it."""

    def __init__(self, certificate: Any = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = server_side(certificate).wrap_bio(self._incoming, self._outgoing, True)
        self._established = False

    def take(self, data: bytes) -> bytes:
        """Bytes of the client arrive; what they say."""
        self._incoming.write(data)
        said = b""
        try:
            if not self._established:
                self._tls.do_handshake()
                self._established = True
            while piece := self._tls.read(65536):
                said += piece
        except ssl.SSLError:  # more is needed, or the client is not content
            pass
        return said

    def say(self, data: bytes = b"") -> bytes:
        """The bytes that say this, and whatever TLS itself says."""
        if data:
            self._tls.write(data)
        return self._outgoing.read()


def shake(attempt: Attempt, *ends: Sealed) -> bytes:
    """Carry bytes, through one TLS in another, until the innermost server is told something."""
    for _ in range(8):
        said = attempt.raw()
        for end in ends:
            said = end.take(said)
        answer = b""
        for end in reversed(ends):
            answer = end.say(answer)
        if answer:
            attempt.receives(answer)
        if said or attempt.handler.log:
            return said
        attempt.driven.tick(0)
    raise AssertionError("nothing was said")


def answered_by(attempt: Attempt, request: bytes, *ends: Sealed) -> Accept | None:
    """The server accepts the request that has come through these; what is made of it."""
    (event,) = attempt.server.receive_data(request)
    assert isinstance(event, Request)
    attempt.server.send(Accept())
    data = attempt.server.data_to_send()
    for end in reversed(ends):
        data = end.say(data)
    attempt.receives(data)
    return attempt.decide()


@pytest.mark.parametrize("url", ["wss://localhost/", "wss://127.0.0.1:81/", "wss://[::1]/"])
def test_wss_is_opened_through_tls(url: str) -> None:
    attempt = Attempt(opening(url, tls=client_side()))
    end = Sealed()
    request = shake(attempt, end)
    assert request.startswith(b"GET / HTTP/1.1")
    assert isinstance(answered_by(attempt, request, end), Accept)


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [(wrong_name, "localhost"), (expired, "expired"), (self_signed, "self")],
)
def test_a_certificate_that_does_not_fit_is_told_apart(
    certificate: Callable[[], Any], reason: str
) -> None:
    attempt = Attempt(opening("wss://localhost/", tls=client_side()))
    shake(attempt, Sealed(certificate()))
    error = attempt.failure()
    assert error.untrusted
    assert str(error).startswith("localhost: certificate verify failed: ")
    assert reason in str(error)


def test_by_default_a_context_verifies() -> None:
    attempt = Attempt(opening("wss://localhost/"))
    shake(attempt, Sealed())
    assert attempt.failure().untrusted, "the authority of these tests is nobody's"


def test_tls_begins_when_the_tunnel_is_open() -> None:
    attempt = Attempt(opening("wss://localhost/", proxy="http://p", tls=client_side()))
    assert attempt.raw() == b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n"
    attempt.receives(AGREED)
    end = Sealed()
    assert isinstance(answered_by(attempt, shake(attempt, end), end), Accept)


def test_tls_may_be_spoken_with_the_proxy_alone() -> None:
    attempt = Attempt(opening("ws://h/", proxy="https://localhost", proxy_tls=client_side()))
    proxy = Sealed()
    assert shake(attempt, proxy) == b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n"
    attempt.receives(proxy.say(AGREED))
    request = proxy.take(attempt.raw())
    assert isinstance(answered_by(attempt, request, proxy), Accept)


def test_tls_goes_through_tls() -> None:
    attempt = Attempt(
        opening(
            "wss://localhost/",
            tls=client_side(),
            proxy="https://127.0.0.1",
            proxy_tls=client_side(),
        )
    )
    proxy, server = Sealed(), Sealed()
    assert shake(attempt, proxy).startswith(b"CONNECT localhost:443 ")
    attempt.receives(proxy.say(AGREED))
    request = shake(attempt, proxy, server)
    assert isinstance(answered_by(attempt, request, proxy, server), Accept)


def test_a_proxys_certificate_is_verified_too() -> None:
    attempt = Attempt(opening("ws://h/", proxy="https://localhost", proxy_tls=client_side()))
    shake(attempt, Sealed(expired()))
    error = attempt.failure()
    assert error.untrusted
    assert str(error).startswith("h: proxy localhost:443: certificate verify failed: ")


def test_the_callers_context_is_used_wherever_redirects_lead() -> None:
    procedure = opening("wss://elsewhere.example/", tls=client_side())
    follow(procedure, "https://localhost/")
    attempt = Attempt(procedure)
    assert shake(attempt, Sealed()).startswith(b"GET / ")


def test_a_redirect_may_lead_from_ws_to_wss() -> None:
    procedure = opening("ws://localhost/")
    follow(procedure, "wss://localhost/")
    attempt = Attempt(procedure)
    shake(attempt, Sealed())
    assert attempt.failure().untrusted


@pytest.mark.parametrize(
    ("reason", "untrusted"),
    [
        ("certificate verify failed: certificate has expired", True),
        ("certificate verify failed: Hostname mismatch", True),
        ("the handshake took too long", False),
        ("proxy p:80: certificate verify failed", False),  # there is no proxy
    ],
)
def test_a_certificate_that_was_refused_is_told_apart(reason: str, untrusted: bool) -> None:
    attempt = Attempt(opening())
    attempt.driven.lost(reason=reason)
    error = attempt.failure()
    assert str(error) == f"example.com: {reason}"
    assert error.untrusted is untrusted


def test_a_servers_words_do_not_make_it_untrusted() -> None:
    error = refusal_of(opening(), Reject(503, body=b"certificate verify failed"))
    assert not error.untrusted


def test_a_proxys_words_do_not_make_it_untrusted() -> None:
    attempt = Attempt(opening(proxy="http://p"))
    attempt.receives(b"HTTP/1.1 502 certificate verify failed\r\n\r\n")
    assert not attempt.failure().untrusted
