"""encode.py: responses as bytes."""

from typing import Any

import pytest

from sono_core import Accept, Headers, LocalProtocolError, Reject
from sono_core.errors import HandshakeFailure
from sono_core.http.encode import refusal, reject_response
from sono_core.websocket.upgrade import Upgrade, accept_response

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
BAD_HEADERS = [
    {"X Y": "a"},
    {"": "a"},
    {"X\r\n": "a"},
    {"X": "a\r\nb: c"},
    {"X": "a\n"},
    {"X": "\x00"},
    {"X": "\x1b[2J"},
    {"X": "\x7f"},
    {"X": "\u20ac"},
    {"Connection": "close"},
    {"Content-Length": "1"},
    {"Host": "a"},
    {"Sec-WebSocket-Accept": "a"},
    {"Sec-WebSocket-Extensions": "a"},
    {"Sec-WebSocket-Key": "a"},
    {"Sec-WebSocket-Protocol": "a"},
    {"Transfer-Encoding": "chunked"},
    {"UPGRADE": "a"},
]


@pytest.mark.parametrize("headers", BAD_HEADERS, ids=repr)
def test_an_illegal_header_of_a_response_is_the_callers_mistake(headers: dict[str, str]) -> None:
    for make in (
        lambda: accept_response(Upgrade(KEY, [], None), Accept(None, Headers(headers))),
        lambda: reject_response(Reject(400, Headers(headers))),
    ):
        with pytest.raises(LocalProtocolError, match="header"):
            make()


@pytest.mark.parametrize("status", [-1, 0, 99, 100, 101, 103, 199, 600, 1000])
def test_a_status_that_is_not_final_is_the_callers_mistake(status: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"status {status}"):
        reject_response(Reject(status))


@pytest.mark.parametrize(
    "reject",
    [
        Reject("404"),  # type: ignore[arg-type]
        Reject(404.0),  # type: ignore[arg-type]
        Reject(404, body="text"),  # type: ignore[arg-type]
        Reject(404, body=5),  # type: ignore[arg-type]
        Reject(404, {"X": "a"}),  # type: ignore[arg-type]
        Reject(404, Headers([("X", 5)])),  # type: ignore[list-item]
    ],
    ids=lambda reject: repr(reject.body),
)
def test_a_value_of_the_wrong_type_is_a_type_error(reject: Any) -> None:
    with pytest.raises(TypeError):
        reject_response(reject)


@pytest.mark.parametrize(
    ("reject", "method", "response"),
    [
        (
            Reject(404),
            "GET",
            b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            Reject(299, body=b"ab"),
            "POST",
            b"HTTP/1.1 299 \r\nConnection: close\r\nContent-Length: 2\r\n\r\nab",
        ),
        (
            Reject(200, body=b"ab"),
            "HEAD",
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n",
        ),
        (Reject(204, body=b"ab"), "GET", b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"),
        (Reject(304), "GET", b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n"),
        (
            Reject(426),
            "GET",
            (
                b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade, close\r\nContent-Length: 0\r\n\r\n"
            ),
        ),
    ],
    ids=lambda value: str(getattr(value, "status", "")),
)
def test_responses(reject: Reject, method: str, response: bytes) -> None:
    assert reject_response(reject, method) == response


def test_a_refusal_says_its_reason_in_one_line_of_text() -> None:
    reject = refusal(HandshakeFailure(405, "use GET", (("allow", "GET"),)))
    assert reject.status == 405
    assert reject.headers["allow"] == "GET"
    assert reject.headers["content-type"].startswith("text/plain")
    assert reject.body == b"use GET\n"


def test_a_response_has_the_date_that_is_given() -> None:
    """RFC 9110, section 6.6.1."""
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    line = f"\r\nDate: {date}\r\n".encode()
    assert line in reject_response(Reject(404), date=date)
    assert b"Date" not in reject_response(Reject(404))
    own = Reject(404, Headers({"date": "then"}))
    assert b"\r\nDate: then\r\n" in reject_response(own, date=date)
    assert line not in reject_response(own, date=date)


@pytest.mark.parametrize(("status", "expected"), [(503, "1"), (500, None), (403, None)])
def test_a_refusal_for_now_says_when_to_come_again(status: int, expected: str | None) -> None:
    assert refusal(HandshakeFailure(status, "x")).headers.get("retry-after") == expected
