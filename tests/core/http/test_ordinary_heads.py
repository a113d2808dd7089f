"""Requests that are read without h11: exactly as h11 reads them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.heads import REQUESTS
from sono_core import Limits
from sono_core.errors import HandshakeFailure
from sono_core.http.head import HeadReader, _Head, _ordinary, _parsed, parse_request

CHROME = (
    b"GET /chat?room=a%20b&x= HTTP/1.1\r\nHost: localhost:8080\r\nConnection: Upgrade\r\n"
    b"Pragma: no-cache\r\nCache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) "
    b"AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36\r\n"
    b"Upgrade: websocket\r\n"
    b"Origin: http://localhost:8080\r\nSec-WebSocket-Version: 13\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\n"
    b"Cookie: a=b; c=d\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
)
PIECES = st.sampled_from(
    [
        *(
            b"GET ",
            b"HEAD ",
            b"get ",
            b"/",
            b"/a?b",
            b"*",
            b"//h",
            b"http://h/",
            b"#",
            b"%",
            b"\xff",
        ),
        *(b" HTTP/1.1", b" HTTP/1.0", b" HTTP/1.2", b" HTTP/2.0", b" http/1.1", b" ", b"\t", b"\r"),
        *(b"\r\n", b"\r\n", b"\n", b"\0", b":", b": ", b":  ", b" :", b"a", b"A-b", b"_", b"b c"),
        *(
            b"Host",
            b"Host: h",
            b"host:h",
            b"HOST: [::1]:1",
            b"Host: a b",
            b"Host:",
            b"X: y z ",
            b"X:",
        ),
        *(b"Content-Length: 0", b"content-length: 5", b"Transfer-Encoding: chunked", b"Expect: x"),
        *(b"Connection: close", b"Sec-WebSocket-Protocol: a, b", b"Sec-WebSocket-Protocol: a,,"),
    ]
)


def head_in(data: bytes) -> bytes | None:
    """The head that would be parsed, if it got so far."""
    try:
        found = HeadReader(Limits()).feed(data)
    except HandshakeFailure:
        return None
    return found[0] if found else None


def outcome(head: bytes) -> _Head | tuple[int, str]:
    try:
        return _parsed(head)
    except HandshakeFailure as failure:
        return failure.status, failure.reason


def agree(data: bytes) -> None:
    if (head := head_in(data)) and (ordinary := _ordinary(head)):
        assert ordinary == outcome(head)


@pytest.mark.parametrize("name", REQUESTS)
def test_h11_reads_the_same_of_seeds(name: str) -> None:
    agree(REQUESTS[name])


@given(st.lists(PIECES, max_size=12), st.lists(PIECES, max_size=12), st.booleans())
@example([], [], True)
def test_h11_reads_the_same_of_whatever_is_ordinary(
    start: list[bytes], lines: list[bytes], well: bool
) -> None:
    """With `well` there is a request line, so that fields get so far."""
    first = b"GET /" + (b"" if not well else b"x HTTP/1.1\r\nHost: h\r\n") + b"".join(start)
    agree(first + (b"\r\n" if start else b"") + b"\r\n".join(lines) + b"\r\n\r\n")


@given(st.data())
def test_h11_reads_the_same_of_a_browsers_head_with_changes(data: st.DataObject) -> None:
    head = bytearray(CHROME)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(head) - 1))
        head[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2) | PIECES)
    agree(bytes(head))


NAMES = st.sampled_from(["a", "X-1", "Connection", "EXPECT", "Sec-WebSocket-Key", "Upgrade"])
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1).filter(
    lambda text: text == text.strip()
)


@given(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#")),
    st.lists(st.tuples(NAMES, st.sampled_from([":", ": "]), VALUES)),
    st.integers(0, 10),
)
def test_h11_reads_the_same_of_heads_that_are_all_ordinary(
    target: str, fields: list[tuple[str, str, str]], at: int
) -> None:
    lines = ["".join(field) for field in fields]
    lines.insert(at, "Host: h")
    head = "\r\n".join([f"GET /{target} HTTP/1.1", *lines, "", ""]).encode()
    assert _ordinary(head) == _parsed(head)


def test_most_heads_are_ordinary() -> None:
    """Or nothing above says anything."""
    assert _ordinary(CHROME) == _parsed(CHROME)
    assert parse_request(CHROME).headers["cookie"] == "a=b; c=d"
    assert _ordinary(REQUESTS["upgrade"]) is not None


@pytest.mark.parametrize(
    "head",
    [
        b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: h\r\n\r\n",
        b"GET /#a HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nTRANSFER-ENCODING: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: \xff\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX:\r\n\r\n",
    ],
)
def test_others_are_left_to_h11(head: bytes) -> None:
    assert _ordinary(head) is None
