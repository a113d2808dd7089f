"""Which reverse proxies the server believes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sono_core import Accept, Headers, Reject, Request
from sono_server import HTTPRequest, serve
from sono_server.serving.forwarded import TrustedProxies
from tests.servers import Wire, running

PROXY = ("10.0.0.1", 4000)
TRUSTED = TrustedProxies(["10.0.0.0/8", "2001:db8::/32"])


def request(**headers: str) -> Request:
    fields = [(f"x-forwarded-{name}", value) for name, value in headers.items()]
    return Request("/", Headers(fields), host="inside")


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        (("10.1.2.3", 1), True),
        (("11.1.2.3", 1), False),
        (("::ffff:10.1.2.3", 1, 0, 0), True),
        (("2001:db8::1", 1, 0, 0), True),
        (("fe80::1%eth0", 1, 0, 2), False),
        ("", False),
    ],
)
def test_who_is_trusted(address: Any, trusted: bool) -> None:
    assert TRUSTED.trusts(address) is trusted


def test_who_comes_through_a_unix_socket_is_trusted_by_name() -> None:
    assert TrustedProxies(["unix"]).trusts("")
    assert not TrustedProxies(["unix"]).trusts(("127.0.0.1", 1))


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("192.0.2.7", ("192.0.2.7", 0)),
        ("192.0.2.7:1234", ("192.0.2.7", 0)),
        ("[2001:4860::8]:80", ("2001:4860::8", 0)),
        ("2001:4860::8", ("2001:4860::8", 0)),
        ("2001:4860::8%eth0", ("2001:4860::8", 0)),
        ("[2001:4860::8]", ("2001:4860::8", 0)),
        ('"[2001:4860::8]:80"', ("2001:4860::8", 0)),
        ("::ffff:192.0.2.7", ("192.0.2.7", 0)),
        ("192.0.2.7:", ("192.0.2.7", 0)),
        ("for=192.0.2.7", PROXY),
        ("1.1.1.1, 192.0.2.7, 10.0.0.9", ("192.0.2.7", 0)),  # anything before it may be made up
        ("10.0.0.8, 10.0.0.9", ("10.0.0.8", 0)),
        ("unknown", PROXY),
        ("192.0.2.7, _hidden, 10.0.0.9", ("10.0.0.9", 0)),
        ("", PROXY),
    ],
)
def test_the_client_is_the_last_that_no_trusted_proxy_is(forwarded: str, client: Any) -> None:
    assert TRUSTED.client(request(**{"for": forwarded}), PROXY) == client


@pytest.mark.parametrize(
    ("forwarded", "scheme"),
    [
        ("https", "https"),
        ("HTTPS", "https"),  # schemes have no case
        ("wss", "https"),  # as Traefik says
        ("Wss", "https"),
        ("ws", "http"),
        ("http, https ", "https"),
        ("https, http", "http"),
        ("wss, ws", "http"),
        ("gopher", "?"),
        ("https,", "?"),
        ("", "?"),
    ],
)
def test_the_scheme(forwarded: str, scheme: str) -> None:
    for otherwise in ("http", "https"):  # what is not known changes nothing
        found = TRUSTED.scheme(request(proto=forwarded), otherwise)
        assert found == (otherwise if scheme == "?" else scheme)
        assert (
            TRUSTED.seen(msgspec.structs.replace(request(proto=forwarded), scheme=otherwise)).scheme
            == found
        )


@pytest.mark.parametrize(
    ("forwarded", "host"),
    [
        ("example.com", "example.com"),
        ("evil.example, example.com:8443", "example.com:8443"),
        ("not a host", "inside"),
        ("[2001:db8::1]:8443", "[2001:db8::1]:8443"),
        ("example.com:99999", "inside"),
        ("http://example.com", "inside"),
        ("", "inside"),
    ],
)
def test_the_host(forwarded: str, host: str) -> None:
    assert TRUSTED.seen(request(host=forwarded)).host == host


@pytest.mark.parametrize("trusted", [["10.0.0.0/99"], ["nginx"]])
def test_what_is_no_network_is_refused(trusted: list[str]) -> None:
    with pytest.raises(ValueError, match="trusted_proxies"):
        serve(port=0, trusted_proxies=trusted)


def test_a_str_is_refused() -> None:
    with pytest.raises(TypeError, match="trusted_proxies"):
        TrustedProxies("10.0.0.1")


HEADERS = Headers(
    {
        "x-forwarded-for": "192.0.2.7",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "example.com",
        "origin": "https://example.com",
    }
)


@pytest.mark.usefixtures("each_server")
@pytest.mark.parametrize("trusted", [True, False])
def test_only_a_trusted_proxy_is_believed(trusted: bool) -> None:
    seen: list[HTTPRequest] = []

    def accept(request: HTTPRequest) -> None:
        seen.append(request)
        request.accept()

    proxies = ["127.0.0.0/8"] if trusted else ["192.0.2.0/24"]
    with (
        running(accept, trusted_proxies=proxies) as server,
        Wire(server.address, headers=HEADERS) as wire,
    ):
        # the origin is that of the host that the page came from
        assert isinstance(wire.answer, Accept if trusted else Reject)
    (found,) = seen
    assert found.scheme == ("https" if trusted else "http")
    assert found.client[0] == ("192.0.2.7" if trusted else "127.0.0.1")
