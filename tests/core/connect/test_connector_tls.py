"""Connecting through TLS: to the server, to a proxy, and one inside the other."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import pytest

from sono_core import Accept, Reject, Request
from tests.certificates import client_side, expired, self_signed, server_side, wrong_name
from tests.core.connect.attempts import AGREED, Attempt, follow, new_connector, refusal_of


class Sealed:
    """A server's end of TLS: the plaintext that it sends and receives, and the names asked for."""

    def __init__(self, certificate: Any = None, names: list[str | None] | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = server_side(certificate)
        if names is not None:
            context.sni_callback = lambda _socket, name, _context: names.append(name)
        self._tls = context.wrap_bio(self._incoming, self._outgoing, True)
        self._established = False

    def take(self, data: bytes) -> bytes:
        """Take bytes of the client; returns their plaintext."""
        self._incoming.write(data)
        said = b""
        try:
            if not self._established:
                self._tls.do_handshake()
                self._established = True
            while piece := self._tls.read(65536):
                said += piece
        except ssl.SSLError:  # needs more bytes, or the client refuses the certificate
            pass
        return said

    def say(self, data: bytes = b"") -> bytes:
        """The bytes that carry this plaintext, and whatever TLS itself has to send."""
        if data:
            self._tls.write(data)
        return self._outgoing.read()


def shake(attempt: Attempt, *ends: Sealed) -> bytes:
    """Move bytes, through one TLS inside another, until the innermost server receives something."""
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
        attempt.layer.tick(0)
    raise AssertionError("nothing was said")


def answered_by(attempt: Attempt, request: bytes, *ends: Sealed) -> Accept | None:
    """Let the server accept the request that came through these ends; the client's result."""
    (event,) = attempt.server.receive_data(request)
    assert isinstance(event, Request)
    attempt.server.send(Accept())
    data = attempt.server.data_to_send()
    for end in reversed(ends):
        data = end.say(data)
    attempt.receives(data)
    return attempt.decide()


@pytest.mark.parametrize(
    "url", ["wss://localhost/", "wss://127.0.0.1:81/", "wss://[::1]/", "wss://0x7f.1/"]
)
def test_wss_is_opened_through_tls(url: str) -> None:
    attempt = Attempt(new_connector(url, tls=client_side()))
    end = Sealed()
    request = shake(attempt, end)
    assert request.startswith(b"GET / HTTP/1.1")
    assert isinstance(answered_by(attempt, request, end), Accept)


def test_a_final_dot_belongs_to_the_look_up_alone() -> None:
    names: list[str | None] = []
    connector = new_connector("wss://localhost.:81/", tls=client_side())
    assert connector.endpoint.host == "localhost."
    attempt = Attempt(connector)
    end = Sealed(names=names)
    request = shake(attempt, end)
    assert b"\r\nHost: localhost.:81\r\n" in request, "as browsers send it"
    assert isinstance(answered_by(attempt, request, end), Accept)
    assert names == ["localhost"]


def test_nor_does_a_proxys_name_have_it_in_tls() -> None:
    options = {"proxy": "https://localhost.", "proxy_tls": client_side()}
    connector = new_connector("ws://h./", **options)
    assert connector.endpoint.host == "localhost."
    names: list[str | None] = []
    proxy = Sealed(names=names)
    assert shake(Attempt(connector), proxy) == b"CONNECT h.:80 HTTP/1.1\r\nHost: h.:80\r\n\r\n"
    assert names == ["localhost"]


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [(wrong_name, "localhost"), (expired, "expired"), (self_signed, "self")],
)
def test_a_certificate_that_does_not_fit_is_told_apart(
    certificate: Callable[[], Any], reason: str
) -> None:
    attempt = Attempt(new_connector("wss://localhost/", tls=client_side()))
    shake(attempt, Sealed(certificate()))
    error = attempt.failure()
    assert error.untrusted
    assert str(error).startswith("localhost: certificate verify failed: ")
    assert reason in str(error)


def test_by_default_a_context_verifies() -> None:
    attempt = Attempt(new_connector("wss://localhost/"))
    shake(attempt, Sealed())
    assert attempt.failure().untrusted, "the authority of these tests is nobody's"


def test_tls_begins_when_the_tunnel_is_open() -> None:
    attempt = Attempt(new_connector("wss://localhost/", proxy="http://p", tls=client_side()))
    assert attempt.raw() == b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n"
    attempt.receives(AGREED)
    end = Sealed()
    assert isinstance(answered_by(attempt, shake(attempt, end), end), Accept)


def test_tls_may_be_spoken_with_the_proxy_alone() -> None:
    attempt = Attempt(new_connector("ws://h/", proxy="https://localhost", proxy_tls=client_side()))
    proxy = Sealed()
    assert shake(attempt, proxy) == b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n"
    attempt.receives(proxy.say(AGREED))
    request = proxy.take(attempt.raw())
    assert isinstance(answered_by(attempt, request, proxy), Accept)


def test_tls_goes_through_tls() -> None:
    attempt = Attempt(
        new_connector(
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
    attempt = Attempt(new_connector("ws://h/", proxy="https://localhost", proxy_tls=client_side()))
    shake(attempt, Sealed(expired()))
    error = attempt.failure()
    assert error.untrusted
    assert str(error).startswith("h: proxy localhost:443: certificate verify failed: ")


def test_the_callers_context_is_used_wherever_redirects_lead() -> None:
    connector = new_connector("wss://elsewhere.example/", tls=client_side())
    follow(connector, "https://localhost/")
    attempt = Attempt(connector)
    assert shake(attempt, Sealed()).startswith(b"GET / ")


def test_a_redirect_may_lead_from_ws_to_wss() -> None:
    connector = new_connector("ws://localhost/")
    follow(connector, "wss://localhost/")
    attempt = Attempt(connector)
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
    attempt = Attempt(new_connector())
    attempt.layer.lost(reason=reason)
    error = attempt.failure()
    assert str(error) == f"example.com: {reason}"
    assert error.untrusted is untrusted


@pytest.mark.parametrize(
    ("url", "options", "text"),
    [
        ("wss://h/", {}, "h: the peer does not speak TLS: use ws:// if that is meant"),
        (
            "ws://h/",
            {"proxy": "https://p"},
            "h: proxy p:443: the peer does not speak TLS: use http:// if that is meant",
        ),
    ],
)
def test_a_port_without_tls_is_told_with_its_likely_scheme(
    url: str, options: dict[str, Any], text: str
) -> None:
    attempt = Attempt(new_connector(url, **options))
    attempt.receives(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    attempt.layer.tick(5.0)
    assert str(attempt.failure()) == text


def test_a_servers_words_do_not_make_it_untrusted() -> None:
    error = refusal_of(new_connector(), Reject(503, body=b"certificate verify failed"))
    assert not error.untrusted


def test_a_proxys_words_do_not_make_it_untrusted() -> None:
    attempt = Attempt(new_connector(proxy="http://p"))
    attempt.receives(b"HTTP/1.1 502 certificate verify failed\r\n\r\n")
    assert not attempt.failure().untrusted
