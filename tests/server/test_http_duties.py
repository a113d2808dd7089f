"""What HTTP asks of a server beside the handshake: RFC 9110."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from sono_core import Accept, Headers
from sono_server import Sono
from sono_server.cli import demo
from sono_server.serving.date import HTTPDate
from sono_server.serving.static import static_answer
from tests.server.stream_server import streaming
from tests.servers import Address, Wire, ask, dial, get, read_all, running, status


@pytest.fixture(params=["selector", "asyncio", "uvloop", "stream", "stream on uvloop"])
def address(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Address]:
    """Where a `Sono` is served, in each of the ways."""
    sono = Sono()
    kind: str = request.param
    if "uvloop" in kind:
        pytest.importorskip("uvloop")
    if kind.startswith("stream"):
        with streaming(sono.handle_stream, kind=kind.rpartition(" ")[2]) as found:
            yield found
        return
    monkeypatch.setattr("tests.servers.kind", kind)
    with running(sono._answer) as server:
        yield server.address


def fields(response: bytes) -> dict[str, str]:
    """The header fields of a response, by names in lower case."""
    lines = response.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    pairs = [line.split(": ", 1) for line in lines]
    assert len({name.lower() for name, _ in pairs}) == len(pairs)
    return {name.lower(): value for name, value in pairs}


@pytest.mark.parametrize("target", ["/healthz", "/sono.js", "/nothing", "/ws"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST"])
def test_every_answer_has_a_date(address: Address, target: str, method: str) -> None:
    """Section 6.6.1."""
    found = fields(get(address, target, method))
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", found["date"])
    assert abs(parsedate_to_datetime(found["date"]).timestamp() - now()) < 60


def now() -> float:
    import time

    return time.time()


@pytest.mark.parametrize("head", [b"nonsense\r\n\r\n", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"])
def test_a_refused_head_has_one_too(address: Address, head: bytes) -> None:
    assert "date" in fields(ask(address, head))


def test_a_101_needs_none(address: Address) -> None:
    with Wire(address, "/ws") as wire:
        assert isinstance(wire.answer, Accept)
        assert "date" not in wire.answer.headers


@pytest.mark.usefixtures("each_server")
def test_a_date_that_the_application_gives_stays() -> None:
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    with running(lambda request: request.respond(200, headers={"Date": date})) as server:
        assert fields(get(server.address))["date"] == date


def test_the_date_is_written_once_a_second() -> None:
    time = 784111777.9
    date = HTTPDate(lambda: time)
    first = date()
    assert first == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert date() is first
    time += 0.2
    assert date() == "Sun, 06 Nov 1994 08:49:38 GMT"
    time -= 1  # clocks are set
    assert date() == first


# -- HTTP/1.0, HEAD, OPTIONS, 405 -------------------------------------------------------------


@pytest.mark.parametrize("more", ["", "Host: a\r\n", "Host: a\r\nConnection: keep-alive\r\n"])
@pytest.mark.parametrize(("target", "wanted"), [("/healthz", 200), ("/sono.js", 200), ("/", 404)])
def test_a_request_of_http_1_0_is_answered(
    address: Address, target: str, wanted: int, more: str
) -> None:
    response = ask(address, f"GET {target} HTTP/1.0\r\n{more}\r\n".encode())
    assert status(response) == wanted
    assert fields(response)["connection"] == "close"
    body = response.partition(b"\r\n\r\n")[2]
    assert len(body) == int(fields(response)["content-length"])


def test_the_default_check_of_haproxy_finds_the_server(address: Address) -> None:
    response = ask(address, b"OPTIONS / HTTP/1.0\r\n\r\n")
    assert status(response) == 204
    assert fields(response)["allow"] == "GET, HEAD, OPTIONS"
    assert status(ask(address, b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")) == 204


def test_an_upgrade_of_http_1_0_is_refused(address: Address) -> None:
    response = ask(address, b"GET /ws HTTP/1.0\r\nUpgrade: websocket\r\n\r\n")
    assert status(response) == 426
    assert fields(response)["upgrade"] == "websocket"


@pytest.mark.parametrize("target", ["/healthz", "/sono.js", "/nothing"])
def test_head_gets_what_get_gets_without_the_body(address: Address, target: str) -> None:
    whole, head = get(address, target), get(address, target, "HEAD")
    assert head.endswith(b"\r\n\r\n")
    without_date = [{**fields(response), "date": ""} for response in (whole, head)]
    assert without_date[0] == without_date[1]


@pytest.mark.parametrize(("target", "allow"), [("/sono.js", "GET, HEAD, OPTIONS"), ("/ws", "GET")])
def test_405_says_what_is_allowed(address: Address, target: str, allow: str) -> None:
    response = get(address, target, "POST")
    assert status(response) == 405
    assert fields(response)["allow"] == allow


# -- sono.js, which seldom changes ------------------------------------------------------------


def test_who_has_the_browser_client_is_not_sent_it_again(address: Address) -> None:
    first = get(address, "/sono.js")
    tag = fields(first)["etag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', tag)
    assert fields(first)["cache-control"] == "no-cache"
    assert fields(first)["x-content-type-options"] == "nosniff"
    again = get(address, "/sono.js", headers=f"If-None-Match: {tag}\r\n")
    assert status(again) == 304
    assert again.endswith(b"\r\n\r\n")
    assert fields(again)["etag"] == tag
    assert "content-length" not in fields(again)
    other = get(address, "/sono.js", headers='If-None-Match: "other"\r\n')
    assert (status(other), fields(other)["etag"]) == (200, tag)


@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        ("{tag}", 304),
        ("W/{tag}", 304),  # compared weakly: section 13.1.2
        ('"a, b", {tag}', 304),
        ("*", 304),
        ("{tag}x", 304),
        ("", 200),
        ('"', 200),
        ("x" * 8000, 200),
        ('"' * 8000, 200),
    ],
)
def test_if_none_match(known: str, wanted: int) -> None:
    tag = static_answer("GET", Headers(), b"body", {}).headers["etag"]
    headers = Headers({"if-none-match": known.format(tag=tag)})
    assert static_answer("GET", headers, b"body", {}).status == wanted
    assert static_answer("GET", headers, b"another", {}).status == (304 if known == "*" else 200)


@pytest.mark.usefixtures("each_server")
def test_the_pages_of_the_demo_are_kept_too() -> None:
    sono = Sono()
    with running(lambda request: demo.handle(sono, request)) as server:
        tag = fields(get(server.address, "/demo.css"))["etag"]
        again = get(server.address, "/demo.css", headers=f"If-None-Match: {tag}\r\n")
        assert status(again) == 304
        assert "content-security-policy" in fields(again)
        assert status(get(server.address, "/", "OPTIONS")) == 204


# -- 503 --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("each_server")
def test_who_is_one_too_many_is_told_when_to_come_again() -> None:
    """Section 10.2.3."""
    with running(max_connections=1) as server, Wire(server.address), dial(server.address) as sock:
        response = read_all(sock)
    assert status(response) == 503
    assert fields(response)["retry-after"] == "1"


@pytest.mark.usefixtures("each_server")
def test_who_comes_while_the_server_stops_is_told_too() -> None:
    held: list[Any] = []
    with running(held.append) as server, dial(server.address) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        while not held:
            pass
        server.server.stop()
        response = read_all(sock)
    assert status(response) == 503
    assert response.endswith(b"the server is stopping\n")
    assert fields(response)["retry-after"] == "1"
