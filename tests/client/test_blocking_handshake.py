"""The blocking client's handshake: refused, reset, late, or answered with garbage."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest

from sono_client import ConnectError, connect
from sono_client.blocking.poll import Poll
from sono_server.serving.requests import HTTPRequest
from tests.client.blocking_peers import (
    QUICK,
    Accepted,
    Faulty,
    faulty,
    refused_port,
    reset,
    serving,
    silent,
    unmasked,
    url_of,
)
from tests.servers import PATIENCE

pytestmark = pytest.mark.usefixtures("nothing_stays_open")


def test_nobody_listens() -> None:
    port = refused_port()
    with pytest.raises(ConnectError, match=rf"^127\.0\.0\.1:{port}: Connection refused$") as caught:
        connect(f"ws://127.0.0.1:{port}/")
    assert caught.value.status is None


def test_a_host_that_cannot_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ConnectError, match=r"^h\.invalid: Name or service not known$"):
        connect("ws://h.invalid/")


def test_a_connection_that_takes_too_long() -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listener.getsockname()[1]
        for _ in range(2):  # the queue is full then, and nobody gets an answer
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        start = time.monotonic()
        with pytest.raises(ConnectError, match=rf"^127\.0\.0\.1:{port}: connecting took too long$"):
            connect(f"ws://127.0.0.1:{port}/", timeout=0.2)
        assert 0.2 <= time.monotonic() - start < 3


def test_each_address_of_a_host_is_tried_and_has_its_share_of_the_time(
    echo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(echo_url.rpartition(":")[2].partition("/")[0])
    dead = refused_port()
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", p)) for p in (dead, port)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with connect("ws://two.example/") as ws:
        ws.send("x")
        assert ws.recv(PATIENCE) == "x"
    found.clear()
    with pytest.raises(ConnectError, match=r"^two\.example: the host has no address$"):
        connect("ws://two.example/")


def test_the_real_servers_refusal_has_its_status_and_reason() -> None:
    def handle(request: HTTPRequest) -> None:
        if request.path == "/empty":
            request.respond(404)
        else:
            request.respond(403, "not you\nand not today\n")

    with serving(handle) as server:
        where = f"localhost:{server.address[1]}"
        with pytest.raises(ConnectError) as caught:
            connect(url_of(server))
        assert str(caught.value) == f"{where}: refused with status 403: not you"
        assert caught.value.status == 403
        with pytest.raises(ConnectError) as caught:
            connect(url_of(server, "/empty"))
        assert str(caught.value) == f"{where}: refused with status 404"


def test_a_foreign_origin_is_refused_with_the_reason(echo_url: str) -> None:
    with pytest.raises(ConnectError, match="status 403: this origin is not allowed"):
        connect(echo_url, headers={"origin": "http://elsewhere.example"})


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"one\r\ntwo", "one"),
        (b"\n\n  first\n", "first"),
        (b"\xff\x1b[31mred\x00", "\ufffd[31mred"),
        (b"x" * 60_000, "x" * 200),
        (b"a\xe2\x80\xa8b", "a"),  # U+2028 ends a line too
    ],
)
def test_a_refusal_is_quoted_in_one_printable_line(body: bytes, shown: str) -> None:
    head = f"HTTP/1.1 500 Oops\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with (
        faulty(lambda _, sock: sock.sendall(head + body)) as server,
        pytest.raises(ConnectError) as caught,
    ):
        connect(server.url)
    assert str(caught.value) == f"{server.authority}: refused with status 500: {shown}"


WRONG_ACCEPT = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (WRONG_ACCEPT, "Sec-WebSocket-Accept does not fit the key"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "Upgrade is not websocket"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "malformed response"),
        (b"SSH-2.0-OpenSSH_9.2\n", "CRLF"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "the peer speaks TLS"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 20_000, "too long"),
        (b"", "the connection ended before the response"),
        (b"HTTP/1.1 101 Swi", "the connection ended before the response"),
    ],
)
def test_what_is_no_answer_is_named_and_has_no_status(answer: bytes, reason: str) -> None:
    with (
        faulty(lambda _, sock: sock.sendall(answer)) as server,
        pytest.raises(ConnectError, match=reason) as caught,
    ):
        connect(server.url)
    text = str(caught.value)
    assert text.startswith(f"{server.authority}: ")
    assert text.isprintable()
    assert caught.value.status is None


def test_a_reset_during_the_handshake() -> None:
    with (
        faulty(lambda _, sock: reset(sock)) as server,
        pytest.raises(ConnectError, match=r"the connection (was lost|ended)"),
    ):
        connect(server.url)


def test_a_server_that_never_answers_meets_the_handshakes_deadline() -> None:
    with faulty(silent) as server:
        start = time.monotonic()
        with pytest.raises(ConnectError, match="the handshake took too long") as caught:
            connect(server.url, timeouts=QUICK)
        assert QUICK.handshake <= time.monotonic() - start < 3
        server.released.set()
    assert caught.value.status is None


@pytest.mark.parametrize(
    ("beginning", "reason"),
    [
        (b"HTTP/1.1 101 ", "the handshake took too long"),
        (b"HTTP/1.1 500 Oops\r\n\r\n", "refused with status 500: xxx"),
    ],
)
def test_a_trickling_answer_does_not_move_the_handshakes_deadline(
    beginning: bytes, reason: str
) -> None:
    def trickle(server: Faulty, sock: socket.socket) -> None:
        sock.sendall(beginning)
        while not server.released.wait(0.01):
            sock.sendall(b"x")

    with faulty(trickle) as server:
        start = time.monotonic()
        with pytest.raises(ConnectError, match=reason):
            connect(server.url, timeouts=QUICK)
        assert time.monotonic() - start < 3


def test_interim_answers_do_not_move_the_handshakes_deadline() -> None:
    def flood(server: Faulty, sock: socket.socket) -> None:
        while not server.released.is_set():
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)

    with faulty(flood) as server, pytest.raises(ConnectError, match="took too long"):
        connect(server.url, timeouts=QUICK)


def test_an_interrupted_handshake_leaves_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with faulty(silent) as server:
        monkeypatch.setattr(Poll, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            connect(server.url)
        server.released.set()


def test_frames_in_the_segment_of_the_101_are_not_lost() -> None:
    frames = b"\x81\x01a\x82\x01b\x89\x01p\x81\x01c\x88\x02\x03\xe8"
    with faulty(Accepted(frames)) as server, connect(server.url) as ws:
        assert list(ws) == ["a", b"b", "c"]
    assert unmasked(server.received) == [b"\x8ap", b"\x88\x03\xe8"]
