"""A page whose name leads to this server by its owner's will is foreign: DNS rebinding."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from sono_server import Sono, serve
from tests.certificates import client_side, server_side
from tests.server.stream_server import streaming
from tests.servers import dial, read_all, running, status

KEY = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"


def upgrade(sock: Any, host: str, origin: str | None = None, more: str = "") -> tuple[int, bytes]:
    """The status and the body of the answer to an upgrade."""
    if origin:
        more += f"Origin: {origin}\r\n"
    head = f"GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    sock.sendall(f"{head}{KEY}{more}\r\n".encode())
    answer = sock.recv(4096)
    while b"\r\n\r\n" not in answer:
        answer += sock.recv(4096)
    code = status(answer)
    if code != 101:
        answer += read_all(sock)
    return code, answer.partition(b"\r\n\r\n")[2]


PAGES = [
    ("evil.example", "http://evil.example", "", 403),
    ("evil.example:8080", "http://evil.example:8080", "", 403),
    ("evil.example", None, "", 101),  # no browser
    ("localhost:8080", "http://localhost:8080", "", 101),
    ("app.localhost", "https://app.localhost", "", 101),
    ("127.0.0.1:8080", "http://127.0.0.1:8080", "", 101),
    ("[::1]:8080", "http://[::1]:8080", "", 101),
    ("chat.example", "https://chat.example", "X-Forwarded-For: 192.0.2.7\r\n", 101),
    ("chat.example", "https://chat.example", "Cookie: a=b\r\n", 403),
]


@pytest.mark.usefixtures("each_server")
@pytest.mark.parametrize(("host", "origin", "more", "wanted"), PAGES)
def test_on_loopback_a_page_is_the_servers_own_under_its_own_names(
    host: str, origin: str | None, more: str, wanted: int
) -> None:
    with running(Sono()._answer) as server, dial(server.address) as sock:
        code, body = upgrade(sock, host, origin, more)
    assert code == wanted
    if code == 403:
        assert body == b"this host is not allowed; the server's option `hosts` names it\n"


@pytest.mark.parametrize(("host", "origin", "more", "wanted"), PAGES)
def test_the_same_on_streams(host: str, origin: str | None, more: str, wanted: int) -> None:
    with streaming(Sono().handle_stream) as address, dial(address) as sock:
        assert upgrade(sock, host, origin, more)[0] == wanted


@pytest.mark.usefixtures("each_server")
@pytest.mark.parametrize(("name", "wanted"), [("chat.example", 101), ("evil.example", 403)])
def test_names_that_are_given_are_the_servers(name: str, wanted: int) -> None:
    through = "X-Forwarded-For: 192.0.2.7\r\n"  # makes no difference, once they are given
    with (
        running(Sono()._answer, hosts=["chat.example"]) as server,
        dial(server.address) as sock,
    ):
        assert upgrade(sock, name, f"https://{name}", through)[0] == wanted


@pytest.mark.usefixtures("each_server")
def test_the_host_that_a_trusted_proxy_names_counts() -> None:
    options: Any = {"hosts": ["chat.example"], "trusted_proxies": ["127.0.0.1"]}
    with running(Sono()._answer, **options) as server:
        for name, wanted in (("chat.example", 101), ("evil.example", 403)):
            with dial(server.address) as sock:
                more = f"X-Forwarded-Host: {name}\r\n"
                assert upgrade(sock, "inside", f"https://{name}", more)[0] == wanted


@pytest.mark.usefixtures("each_server")
def test_an_origin_that_is_named_needs_no_host() -> None:
    with (
        running(Sono()._answer, origins=["https://chat.example"]) as server,
        dial(server.address) as sock,
    ):
        assert upgrade(sock, "evil.example", "https://chat.example")[0] == 101


def test_elsewhere_than_on_loopback_every_name_is_allowed_by_default() -> None:
    with serve("0.0.0.0", 0) as server:
        assert server._hosts is None
    with serve("127.0.0.1", 0, hosts=["*"]) as server:
        assert server._hosts is not None


@pytest.mark.usefixtures("each_server")
def test_the_name_that_a_server_was_told_to_listen_at_is_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        name = "127.0.0.1" if host == "dev.example" else host
        return original(name, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with running(Sono()._answer, host="dev.example") as server:
        for name, wanted in (("dev.example", 101), ("evil.example", 403)):
            with dial(server.address) as sock:
                assert upgrade(sock, name, f"http://{name}")[0] == wanted


@pytest.mark.parametrize(("hosts", "error"), [("localhost", TypeError), (["a:80"], ValueError)])
def test_wrong_names_raise_at_once(hosts: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="hosts"):
        serve("127.0.0.1", 0, hosts=hosts)


# -- the scheme of the origin -----------------------------------------------------------------


@pytest.mark.usefixtures("each_server")
@pytest.mark.parametrize(("scheme", "wanted"), [("https", 101), ("http", 403), ("wss", 403)])
def test_a_page_without_tls_is_foreign_to_a_server_with_it(scheme: str, wanted: int) -> None:
    with running(Sono()._answer, ssl=server_side()) as server:
        raw = dial(server.address)
        with client_side().wrap_socket(raw, server_hostname="localhost") as sock:
            assert upgrade(sock, "localhost", f"{scheme}://localhost")[0] == wanted


@pytest.mark.usefixtures("each_server")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_page_with_tls_is_not_foreign_to_a_server_without(scheme: str) -> None:
    """A proxy that nobody named may end TLS before it."""
    with running(Sono()._answer) as server, dial(server.address) as sock:
        assert upgrade(sock, "localhost", f"{scheme}://localhost")[0] == 101


@pytest.mark.usefixtures("each_server")
@pytest.mark.parametrize(("proto", "wanted"), [("https", 403), ("WSS", 403), ("http", 101)])
def test_the_scheme_that_a_trusted_proxy_tells_counts(proto: str, wanted: int) -> None:
    with (
        running(Sono()._answer, trusted_proxies=["127.0.0.1"]) as server,
        dial(server.address) as sock,
    ):
        more = f"X-Forwarded-Proto: {proto}\r\nX-Forwarded-Host: chat.example\r\n"
        assert upgrade(sock, "a", "http://chat.example", more)[0] == wanted
