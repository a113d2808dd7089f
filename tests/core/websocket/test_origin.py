"""upgrade.py: responses as bytes. What is refused and when is in rules/."""

import base64
import string
from typing import Any

import pytest

from sono_core import Accept, Deflate, Headers, LocalProtocolError, Reject, Request
from sono_core.errors import HandshakeFailure
from sono_core.http.encode import refusal, reject_response
from sono_core.websocket.origin import origin_allowed
from sono_core.websocket.upgrade import Upgrade, accept_key, accept_response, check_upgrade

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


def test_the_example_of_section_1_3() -> None:
    assert accept_key(KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_a_101_with_everything() -> None:
    response = accept_response(
        Upgrade(KEY, ["a", "b"], None), Accept("b", Headers({"Set-Cookie": "a=b"}))
    )
    assert response == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: b\r\n"
        b"Set-Cookie: a=b\r\n\r\n"
    )


def upgrade_request(*more: tuple[str, str], key: str = KEY) -> Request:
    fields = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key),
    ]
    return Request("/", Headers([*fields, *more]), host="a")


def is_canonical(key: str) -> bool:
    try:
        nonce = base64.b64decode(key, validate=True)
    except ValueError:
        return False
    return len(nonce) == 16 and base64.b64encode(nonce).decode() == key


def test_a_key_is_what_an_encoder_writes_for_16_bytes() -> None:
    endings = [f"{last}==" for last in string.printable]
    for ending in (*endings, "A=", "AA=", "AAA", "==="):
        key = KEY[:21] + ending
        request = upgrade_request(key=key)
        if is_canonical(key):
            assert check_upgrade(request, (), None).key == key
        else:
            with pytest.raises(HandshakeFailure, match="exactly one Sec-WebSocket-Key"):
                check_upgrade(request, (), None)


def test_the_same_offer_gets_each_time_what_these_options_allow() -> None:
    request = upgrade_request(("Sec-WebSocket-Extensions", "permessage-deflate"))
    for _ in range(2):
        assert check_upgrade(request, (), None).agreement is None
        for takeover in (False, True):
            agreement = check_upgrade(request, (), Deflate(context_takeover=takeover)).agreement
            assert agreement is not None
            assert agreement.server_no_context_takeover is not takeover


@pytest.mark.parametrize("headers", BAD_HEADERS, ids=repr)
def test_an_illegal_header_of_a_response_is_the_callers_mistake(headers: dict[str, str]) -> None:
    for make in (
        lambda: accept_response(Upgrade(KEY, [], None), Accept(None, Headers(headers))),
        lambda: reject_response(Reject(400, Headers(headers))),
    ):
        with pytest.raises(LocalProtocolError, match="header"):
            make()


def test_a_refusal_may_name_the_version_and_a_101_may_not() -> None:
    headers = Headers({"Sec-WebSocket-Version": "13"})
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in reject_response(Reject(426, headers))
    with pytest.raises(LocalProtocolError):
        accept_response(Upgrade(KEY, [], None), Accept(None, headers))


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


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "a", True),
        ("http://a", "a", True),
        ("https://a:444", "a:444", True),
        ("null", "a", False),
        ("http://[a", "a", False),
        ("http://a:x", "a", False),
        ("http://a", "a:81", False),
    ],
)
def test_origins(origin: str | None, host: str, allowed: bool) -> None:
    assert origin_allowed(origin, host, ()) is allowed
    assert origin_allowed(origin, host, ["*"])
