"""How the blocking client reaches its server: TLS, proxies, Unix sockets, redirects, refusals."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sono_client import ConnectError, connect
from sono_core import Timeouts
from sono_core.connect import Connector
from sono_server.serving.requests import HTTPRequest
from tests import certificates
from tests.client.blocking_peers import (
    QUICK,
    Accepted,
    Faulty,
    Script,
    echo,
    faulty,
    refused_port,
    reset,
    serving,
    url_of,
)
from tests.descriptors import assert_none_stays_open, open_descriptors
from tests.servers import PATIENCE

pytestmark = pytest.mark.usefixtures("nothing_stays_open")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "ws_proxy", "wss_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


# -- TLS ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def relayed(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """One TLS connection, whose plaintext goes to a port of this machine and back.

    One thread moves the bytes in both directions: OpenSSL's connections are not thread-safe.
    """

    def carry(secure: ssl.SSLSocket, plain: socket.socket) -> None:
        sinks: dict[socket.socket, socket.socket] = {secure: plain, plain: secure}
        while ready := [secure] if secure.pending() else select.select(sinks, (), (), PATIENCE)[0]:
            for source in ready:
                if not (data := source.recv(65536)):
                    return
                sinks[source].sendall(data)

    def run(listener: socket.socket) -> None:
        with listener, contextlib.suppress(OSError):
            raw, _ = listener.accept()
            raw.settimeout(PATIENCE)
            with (
                raw,
                socket.create_connection(("localhost", port), PATIENCE) as plain,
                context.wrap_socket(raw, server_side=True) as secure,
            ):
                carry(secure, plain)

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=run, args=(listener,))
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_a_wss_url_is_opened_with_tls() -> None:
    message = "x" * 300_000
    with (
        serving(echo, deflate=None) as server,
        relayed(server.address[1], certificates.server_side()) as port,
        connect(
            f"wss://localhost:{port}/ws",
            ssl=certificates.client_side(),
            deflate=None,
        ) as ws,
    ):
        for text in ("short", message, "end"):
            ws.send(text)
            assert ws.recv(PATIENCE) == text
        assert ws.ping(PATIENCE) > 0


@pytest.mark.parametrize(
    ("certificate", "trusting", "reason"),
    [
        (certificates.good, False, "certificate verify failed"),
        (certificates.wrong_name, True, "certificate verify failed.*match|not valid for"),
        (certificates.expired, True, "certificate verify failed.*expired"),
        (certificates.self_signed, True, "certificate verify failed"),
    ],
)
def test_a_certificate_that_is_not_trusted_is_refused_with_the_reason(
    certificate: Callable[[], Any], trusting: bool, reason: str
) -> None:
    with (
        serving(echo) as server,
        relayed(server.address[1], certificates.server_side(certificate())) as port,
        pytest.raises(ConnectError, match=reason) as caught,
    ):
        connect(f"wss://localhost:{port}/ws", ssl=certificates.client_side(trusting=trusting))
    assert str(caught.value).startswith(f"localhost:{port}: ")
    assert caught.value.untrusted


def test_a_server_that_does_not_speak_tls_is_named() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def run() -> None:
        with listener:
            sock, _ = listener.accept()
        with sock:
            sock.settimeout(PATIENCE)
            sock.recv(65536)
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    thread = threading.Thread(target=run)
    thread.start()
    with pytest.raises(ConnectError, match=rf"^127\.0\.0\.1:{port}: \S") as caught:
        connect(f"wss://127.0.0.1:{port}/", timeouts=Timeouts(handshake=3.0))
    thread.join(PATIENCE)
    assert caught.value.status is None
    assert not caught.value.untrusted


def test_what_fails_when_the_session_is_made_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def begin(*arguments: object) -> None:
        raise ValueError("no such host")

    monkeypatch.setattr(Connector, "begin", begin)
    with faulty(lambda *_: None) as server, pytest.raises(ValueError, match="no such host"):
        connect(server.url)


# -- Unix sockets -------------------------------------------------------------------------------


def test_a_unix_socket_is_reached_in_the_hosts_place(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        server = Faulty(Accepted(b"\x81\x01x\x88\x02\x03\xe8"), listener)
        with connect("ws://example.test/", unix=path, timeout=1e300) as ws:
            assert list(ws) == ["x"]
        server.join()
    assert b"host: example.test\r\n" in server.request.lower()


def test_a_unix_socket_that_nobody_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConnectError, match=r"^h: No such file"):
        connect("ws://h/", unix=str(tmp_path / "none"))


# -- proxies ------------------------------------------------------------------------------------


def tunnelled(script: Script) -> Script:
    """The script of a proxy that agrees, and then plays the server."""

    def proxy(server: Faulty, sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        asked, server.request = server.request, b""
        while b"\r\n\r\n" not in server.request:
            server.request += sock.recv(1)
        script(server, sock)
        server.request = asked + server.request

    return proxy


def test_a_proxy_is_asked_for_a_tunnel_to_the_server() -> None:
    with (
        faulty(tunnelled(Accepted(b"\x81\x01x\x88\x02\x03\xe8"))) as proxy,
        connect("ws://far.test:81/ws", proxy=f"http://ada:secret@{proxy.authority}") as ws,
    ):
        assert list(ws) == ["x"]
    assert proxy.request.startswith(b"CONNECT far.test:81 HTTP/1.1\r\n")
    assert b"proxy-authorization: basic " in proxy.request.lower()
    assert b"GET /ws HTTP/1.1\r\n" in proxy.request


def test_the_environment_names_the_proxy_unless_none_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with faulty(tunnelled(Accepted(b"\x88\x02\x03\xe8"))) as proxy:
        monkeypatch.setenv("http_proxy", f"http://{proxy.authority}")
        with connect("ws://far.test/") as ws:
            assert list(ws) == []
    with serving(echo) as server, connect(url_of(server), proxy=None) as ws:
        ws.send("x")
        assert ws.recv(PATIENCE) == "x"


def test_a_proxy_that_refuses_is_named_with_its_reason() -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    with (
        faulty(lambda _, sock: sock.sendall(refusal)) as proxy,
        pytest.raises(ConnectError) as caught,
    ):
        connect("ws://far.test/", proxy=f"http://{proxy.authority}")
    assert str(caught.value) == (
        f"far.test: proxy {proxy.authority}: refused with status 407: Proxy Authentication Required"
    )
    assert caught.value.status == 407


def test_a_proxy_that_is_not_there_is_named() -> None:
    address = f"127.0.0.1:{refused_port()}"
    with pytest.raises(ConnectError, match=rf"^far\.test: proxy {address}: Connection refused$"):
        connect("ws://far.test/", proxy=f"http://{address}")


def test_a_proxy_that_does_not_answer_meets_the_handshakes_deadline() -> None:
    def silent(server: Faulty, sock: socket.socket) -> None:
        server.released.wait(PATIENCE)

    with faulty(silent) as proxy:
        with pytest.raises(ConnectError, match=rf"proxy {proxy.authority}: took too long"):
            connect("ws://far.test/", proxy=f"http://{proxy.authority}", timeouts=QUICK)
        proxy.released.set()


def test_a_proxy_that_drops_the_connection_is_named() -> None:
    with (
        faulty(lambda _, sock: reset(sock)) as proxy,
        pytest.raises(ConnectError, match=rf"^far\.test: proxy {proxy.authority}: ended"),
    ):
        connect("ws://far.test/", proxy=f"http://{proxy.authority}")


# -- redirects ----------------------------------------------------------------------------------


def redirecting(request: HTTPRequest) -> None:
    """/N leads to N - 1, and /0 echoes; /loop leads to itself."""
    number = request.path.strip("/")
    if number == "0":
        echo(request)
    else:
        place = number if number == "loop" else str(int(number) - 1)
        request.respond(302, headers={"location": f"/{place}"})


def test_redirects_are_followed_up_to_a_number() -> None:
    before = open_descriptors()
    with serving(redirecting) as server:
        for path, limit in (("/3", 10), ("/3", 3), ("/0", 0)):
            with connect(url_of(server, path), max_redirects=limit) as ws:
                ws.send("x")
                assert ws.recv(PATIENCE) == "x"
        where = f"localhost:{server.address[1]}"
        for path, limit, place in (("/loop", 10, "/loop"), ("/3", 2, "/0"), ("/1", 0, "/0")):
            with pytest.raises(ConnectError) as caught:
                connect(url_of(server, path), max_redirects=limit)
            assert str(caught.value) == f"{where}: redirected once too often: {place}"
            assert caught.value.status == 302
    assert_none_stays_open(before)


# -- nothing stays open -------------------------------------------------------------------------


def test_a_process_without_descriptors_gets_a_connect_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left() -> None:
        raise OSError(24, "Too many open files")

    with faulty(lambda *_: None) as server:
        monkeypatch.setattr(socket, "socketpair", none_left)
        with pytest.raises(ConnectError, match=rf"^{server.authority}: Too many open files$"):
            connect(server.url)


def test_an_interrupt_while_it_connects_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with faulty(lambda *_: None) as server:
        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "connect", interrupt)
            with pytest.raises(KeyboardInterrupt):
                connect(server.url)
        with socket.create_connection(("127.0.0.1", server.port)):
            pass  # so that it stops waiting
