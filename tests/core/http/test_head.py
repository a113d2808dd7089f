"""head.py: reads one head, strictly and within bounds."""

import pytest

from sono_core import Limits
from sono_core.errors import HandshakeFailure
from sono_core.http.head import HeadReader, parse_request

HEAD = b"GET /a HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"


def read(data: bytes, step: int, limits: Limits) -> tuple[bytes, bytes] | tuple[int, str] | None:
    """The head that a reader makes of the data, or its failure."""
    reader = HeadReader(limits)
    try:
        for i in range(0, len(data), step):
            if found := reader.feed(data[i : i + step]):
                return found[0], found[1] + data[i + step :]
    except HandshakeFailure as failure:
        return failure.status, failure.reason
    return None


@pytest.mark.parametrize("step", [1, 2, 3, 10, 1000])
def test_a_head_ends_with_its_empty_line_and_what_follows_is_given_back(step: int) -> None:
    assert read(HEAD + b"more\r\n\r\n", step, Limits()) == (HEAD, b"more\r\n\r\n")
    assert read(HEAD, step, Limits()) == (HEAD, b"")
    assert read(HEAD[:-1], step, Limits()) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\n",
        b"G\r\nA: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n",
        b"G\r\n" + b"A: b\r\n" * 10,
        b"G\r\n" + b"A: bbbbbbbb\r\n" * 10,
        b"G\r\nA: \x00bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n",
        b"G\r\nA: \x00\r\n" + b"A: bbbbbbbb\r\n" * 10,
        b"\r\nG\r\n",
        b"\x16\x03\x01",
        b"G\r\n b\r\n",
        b"G\nA: b\r\n",
    ],
)
def test_the_first_byte_that_breaks_a_rule_decides_however_the_bytes_were_cut(data: bytes) -> None:
    for limits in (
        Limits(max_head=40, max_head_line=30, max_headers=3),
        Limits(max_head=30, max_head_line=40, max_headers=3),
        Limits(max_head=20, max_head_line=10, max_headers=1),
        Limits(max_headers=2),
    ):
        outcomes = {read(data, step, limits) for step in (1, 2, 7, len(data))}
        assert len(outcomes) == 1


def test_parse_request_gives_what_the_head_says() -> None:
    request = parse_request(
        b"PUT /a?b HTTP/1.1\r\nhost: h:1\r\nX: 1\r\nx: 2\r\nSec-WebSocket-Protocol: p, q\r\n\r\n"
    )
    assert (request.method, request.target, request.host) == ("PUT", "/a?b", "h:1")
    assert request.headers["x"] == "1, 2"
    assert request.subprotocols == ("p", "q")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: \xff\r\n\r\n", 400),
    ],
)
def test_parse_request_refuses_with_a_status(head: bytes, status: int) -> None:
    with pytest.raises(HandshakeFailure) as failure:
        parse_request(head)
    assert failure.value.status == status
