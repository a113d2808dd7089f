"""HTTP requests as applications see them, over real sockets."""

from __future__ import annotations

import queue
import re
import socket

import pytest

from sono_core import LocalProtocolError, Timeouts
from sono_server import HTTPRequest
from tests.servers import (
    PATIENCE,
    Wire,
    ask,
    dial,
    get,
    read_all,
    running,
    status,
)

pytestmark = pytest.mark.usefixtures("each_server")


def body(response: bytes) -> bytes:
    return response.partition(b"\r\n\r\n")[2]


def header(response: bytes, name: bytes) -> bytes | None:
    found = re.search(rb"\r\n" + name + rb": (.*?)\r\n", response, re.IGNORECASE)
    return found and found[1]


def test_what_a_request_shows() -> None:
    seen: queue.Queue[HTTPRequest] = queue.Queue()

    def handle(request: HTTPRequest) -> None:
        seen.put(request)
        request.respond(204)

    with running(handle) as server:
        response = get(
            server.address,
            "/a%20b?c=d&e",
            "PUT",
            "X-Name: one\r\nSec-WebSocket-Protocol: p, q\r\nContent-Length: 0\r\n",
        )
        request = seen.get(timeout=PATIENCE)
    assert status(response) == 204
    assert request.method == "PUT"
    assert request.target == "/a%20b?c=d&e"
    assert request.path == "/a%20b"
    assert request.query == "c=d&e"
    assert request.headers["x-name"] == "one"
    assert request.headers["X-NAME"] == "one"
    assert request.subprotocols == ("p", "q")
    assert request.client[0] == "127.0.0.1"
    assert request.event.host == f"127.0.0.1:{server.address[1]}"
    assert repr(request) == "<HTTPRequest PUT /a%20b>"


def test_a_text_answer_is_utf_8_and_bytes_are_as_they_are() -> None:
    def handle(request: HTTPRequest) -> None:
        if request.path == "/text":
            request.respond(200, "grüß")
        elif request.path == "/html":
            request.respond(200, "<p>", {"Content-Type": "text/html"})
        else:
            request.respond(200, b"\x00\xff", [("x-a", "1"), ("x-a", "2")])

    with running(handle) as server:
        text = get(server.address, "/text")
        html = get(server.address, "/html")
        data = get(server.address, "/data")
    assert body(text) == "grüß".encode()
    assert header(text, b"content-type") == b"text/plain; charset=utf-8"
    assert header(text, b"content-length") == b"6"
    assert header(text, b"connection") == b"close"
    assert header(html, b"content-type") == b"text/html"
    assert html.lower().count(b"content-type") == 1
    assert body(data) == b"\x00\xff"
    assert header(data, b"content-type") is None
    assert data.lower().count(b"x-a: ") == 2


def test_head_gets_the_length_and_no_body() -> None:
    with running(lambda request: request.respond(200, "12345")) as server:
        response = get(server.address, method="HEAD")
    assert header(response, b"content-length") == b"5"
    assert body(response) == b""


def test_post_with_a_body_is_yielded_and_answered() -> None:
    """The body is not for this server, and does no harm."""
    with running(lambda request: request.respond(200, request.method)) as server:
        response = ask(
            server.address,
            b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        )
    assert status(response) == 200
    assert body(response) == b"POST"


@pytest.mark.parametrize("code", [200, 404, 405, 426, 500])
def test_any_status_can_be_answered(code: int) -> None:
    with running(lambda request: request.respond(code, "why\n")) as server:
        response = get(server.address)
    assert status(response) == code
    assert body(response) == b"why\n"


def test_one_request_a_connection() -> None:
    with running(lambda request: request.respond(200, request.path)) as server:
        request = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
        response = ask(server.address, request % 1 + request % 2)
    assert response.count(b"HTTP/1.1") == 1
    assert body(response) == b"/1"


def test_respond_says_whether_it_was_in_time() -> None:
    answers: queue.Queue[list[bool]] = queue.Queue()

    def handle(request: HTTPRequest) -> None:
        first = request.respond(200)
        ws = request.accept()
        answers.put([first, request.respond(200), ws.open, ws.send("x")])

    with running(handle) as server:
        assert status(get(server.address)) == 200
        assert answers.get(timeout=PATIENCE) == [True, False, False, False]


def test_a_request_can_be_answered_later() -> None:
    requests: queue.Queue[HTTPRequest] = queue.Queue()
    with running(requests.put) as server, dial(server.address) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        request = requests.get(timeout=PATIENCE)
        assert status(get_other(server.address, requests)) == 200
        server.call(lambda: request.respond(200, "late"))
        assert body(read_all(sock)) == b"late"


def get_other(address: tuple[str, int], requests: queue.Queue[HTTPRequest]) -> bytes:
    """The server serves another connection while the first one waits."""
    with dial(address) as sock:
        sock.sendall(b"GET /other HTTP/1.1\r\nHost: a\r\n\r\n")
        other = requests.get(timeout=PATIENCE)
        other.loop.call_soon(other.respond, 200)
        return read_all(sock)


def test_a_request_that_nobody_answers_gets_503_at_the_deadline() -> None:
    requests: queue.Queue[HTTPRequest] = queue.Queue()
    with running(requests.put, timeouts=Timeouts(handshake=0.05)) as server:
        assert status(get(server.address)) == 503
        request = requests.get(timeout=PATIENCE)
        assert server.call(lambda: request.respond(200)) is False


def test_a_request_that_does_not_come_gets_408_at_the_deadline() -> None:
    with running(timeouts=Timeouts(handshake=0.05)) as server:
        assert status(ask(server.address, b"GET / HTTP/1.1\r\nHo")) == 408


def test_bad_requests_are_refused_and_not_yielded() -> None:
    requests: queue.Queue[HTTPRequest] = queue.Queue()
    with running(requests.put) as server:
        assert status(ask(server.address, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n")) == 505
        assert status(ask(server.address, b"\x00\x01GET / HTTP/1.1\r\n\r\n")) == 400
        assert status(ask(server.address, b"GET / HTTP/1.1\r\n\r\n")) == 400
        long = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 20_000 + b"\r\n"
        assert status(ask(server.address, long)) == 431
    assert requests.empty()


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("GET", "", 426),
        ("POST", "Upgrade: websocket\r\nConnection: Upgrade\r\n", 405),
        ("GET", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\n", 426),
        ("GET", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n", 400),
    ],
)
def test_accepting_what_is_no_upgrade_refuses_it(method: str, headers: str, expected: int) -> None:
    opened: queue.Queue[bool] = queue.Queue()
    with running(lambda request: opened.put(request.accept().open)) as server:
        response = get(server.address, method=method, headers=headers)
        assert status(response) == expected
        assert opened.get(timeout=PATIENCE) is False


def test_illegal_answers_raise_and_the_request_stays_unanswered() -> None:
    def handle(request: HTTPRequest) -> None:
        for code, headers in ((99, {}), (200, {"x": "a\r\nb"}), (200, {"a b": "c"})):
            with pytest.raises(LocalProtocolError):
                request.respond(code, "", headers)
        request.respond(200, "still here")

    with running(handle) as server:
        assert body(get(server.address)) == b"still here"


def test_a_client_that_ends_its_half_still_gets_its_answer() -> None:
    requests: queue.Queue[HTTPRequest] = queue.Queue()
    with running(requests.put) as server, dial(server.address) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        request = requests.get(timeout=PATIENCE)
        sock.shutdown(socket.SHUT_WR)
        server.turn()
        server.turn()
        assert server.call(lambda: request.respond(200, "yes"))
        assert body(read_all(sock)) == b"yes"


def test_a_client_that_has_gone_cannot_be_answered() -> None:
    requests: queue.Queue[HTTPRequest] = queue.Queue()
    with running(requests.put) as server:
        wire = Wire(server.address, upgrade=False)
        wire.flush()
        request = requests.get(timeout=PATIENCE)
        wire.reset()
        while not server.call(lambda: request._session.over):
            pass
        assert server.call(lambda: request.respond(200)) is False
        ws = server.call(request.accept)
        assert not ws.open
        assert not server.call(ws.ping)
