"""Refusals whose body does not end, on both clients: the head decides. RFC 9110, section 15."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from sono_client import ConnectError
from sono_core import Timeouts
from sono_core.connect import retryable
from tests import certificates
from tests.client.blocking_peers import PATIENCE
from tests.client.each_client import Client

PATIENT = Timeouts(handshake=60.0)

Script = Callable[[socket.socket], object]


@contextlib.contextmanager
def serving(*scripts: Script, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that reads a request and follows a script, for one connection after the other.

    Connections stay open until the end. Yields host and port.
    """
    done = threading.Event()

    def talk(sock: socket.socket, script: Script) -> None:
        sock.settimeout(PATIENCE)
        if context:
            sock = context.wrap_socket(sock, server_side=True)
        with sock, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += sock.recv(4096)
            script(sock)
            done.wait(PATIENCE)

    def run() -> None:
        threads = []
        with listener:
            listener.settimeout(PATIENCE)
            for script in scripts:
                sock, _ = listener.accept()
                threads.append(threading.Thread(target=talk, args=(sock, script)))
                threads[-1].start()
        for thread in threads:
            thread.join(PATIENCE)

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        done.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def sending(data: bytes, after: Script = lambda sock: None) -> Script:
    """Sends this, then does something else, or holds the connection open."""

    def script(sock: socket.socket) -> None:
        sock.sendall(data)
        after(sock)

    return script


def cut(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_RDWR)


HEAD = b"HTTP/1.1 503 Busy\r\nRetry-After: 60\r\nX-Where: here\r\n"
BODIES = {
    "no length": (b"\r\nno", None),
    "too short": (b"Content-Length: 9\r\n\r\nno", None),
    "endless chunks": (b"Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\n", None),
    "too short and cut": (b"Content-Length: 9\r\n\r\nno", cut),
    "chunks, cut": (b"Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\n5\r\n", cut),
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_a_refusal_is_told_though_its_body_does_not_end(
    each_client: Client, body: str, secure: bool
) -> None:
    rest, after = BODIES[body]
    script = sending(HEAD + rest, after or (lambda sock: None))
    context = certificates.server_side() if secure else None
    options = {"ssl": certificates.client_side()} if secure else {}
    begun = time.monotonic()
    with serving(script, context=context) as place, pytest.raises(ConnectError) as caught:
        each_client(
            f"{'wss' if secure else 'ws'}://{place}/", proxy=None, timeouts=PATIENT, **options
        )
    assert time.monotonic() - begun < 30, "a second, and not all of the handshake's time"
    error = caught.value
    assert (error.status, error.retry_after, error.headers["x-where"]) == (503, 60.0, "here")
    assert str(error) == f"{place}: refused with status 503: no"
    assert retryable(error)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_for_good_is_not_retried_for_its_body(each_client: Client, status: int) -> None:
    script = sending(b"HTTP/1.1 %d No\r\nContent-Length: 9\r\n\r\n" % status, cut)
    with serving(script) as place, pytest.raises(ConnectError) as caught:
        each_client(f"ws://{place}/", proxy=None, timeouts=PATIENT)
    assert caught.value.status == status
    assert not retryable(caught.value)


def test_a_redirect_is_followed_without_its_body(each_client: Client) -> None:
    redirect = sending(b"HTTP/1.1 302 X\r\nLocation: /new\r\nContent-Length: 9\r\n\r\n")
    refuse = sending(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")
    begun = time.monotonic()
    with serving(redirect, refuse) as place, pytest.raises(ConnectError) as caught:
        each_client(f"ws://{place}/", proxy=None, timeouts=PATIENT)
    assert caught.value.status == 410
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("status", [407, 502])
def test_a_proxys_refusal_is_told_with_its_head(each_client: Client, status: int) -> None:
    head = b"HTTP/1.1 %d No\r\nRetry-After: 60\r\nX-Where: here\r\nContent-Length: 9\r\n\r\n"
    with serving(sending(head % status)) as place, pytest.raises(ConnectError) as caught:
        each_client("ws://far.test/", proxy=f"http://{place}", timeouts=PATIENT)
    error = caught.value
    assert str(error) == f"far.test: proxy {place}: refused with status {status}: No"
    assert (error.status, error.retry_after, error.headers["x-where"]) == (status, 60.0, "here")
    assert retryable(error) is (status == 502)


def test_a_folded_field_keeps_the_status(each_client: Client) -> None:
    head = b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\n realm=x\r\nContent-Length: 0\r\n\r\n"
    with serving(sending(head)) as place, pytest.raises(ConnectError) as caught:
        each_client(f"ws://{place}/", proxy=None, timeouts=PATIENT)
    assert caught.value.status == 401
    assert caught.value.headers["www-authenticate"] == "Basic realm=x"


def test_ws_to_a_port_of_tls_says_so(each_client: Client) -> None:
    with (
        serving(sending(b"\x15\x03\x01\x00\x02\x02\x46", cut)) as place,
        pytest.raises(ConnectError) as caught,
    ):
        each_client(f"ws://{place}/", proxy=None, timeouts=PATIENT)
    assert str(caught.value) == f"{place}: the peer speaks TLS: use wss://"


def test_an_http_proxy_on_a_port_of_tls_says_so(each_client: Client) -> None:
    with (
        serving(sending(b"\x15\x03\x01\x00\x02\x02\x46", cut)) as place,
        pytest.raises(ConnectError) as caught,
    ):
        each_client("ws://far.test/", proxy=f"http://{place}", timeouts=PATIENT)
    assert str(caught.value) == f"far.test: proxy {place}: the peer speaks TLS: use https://"
