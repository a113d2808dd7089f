"""responses.py: a response's head and body, as a client reads them."""

import pytest

from sono_core import Limits
from sono_core.errors import HandshakeFailure
from sono_core.http.responses import UpgradeResponseReader


def test_a_response_reader_gives_status_headers_and_the_rest() -> None:
    found = UpgradeResponseReader(Limits()).feed(b"HTTP/1.1 101 X\r\nA: b\r\n\r\nrest")
    assert found is not None
    status, headers, rest = found
    assert (status, headers.fields(), rest) == (101, (("a", "b"),), b"rest")


def test_a_body_may_come_in_a_segment_of_its_own() -> None:
    reader = UpgradeResponseReader(Limits())
    assert reader.feed(b"HTTP/1.1 404 X\r\nContent-Length: 2\r\n\r\n") is None
    assert reader.feed(b"a") is None
    found = reader.feed(b"b")
    assert found is not None
    assert found[2] == b"ab"


@pytest.mark.parametrize(
    ("folded", "value"),
    [
        (b"Basic\r\n realm=x", "Basic  realm=x"),
        (b"Basic\r\n\trealm=x", "Basic realm=x"),
        (b"a,\r\n b,\r\n  c", "a, b, c"),
        (b"\r\n a", "a"),
        (b"a\r\n ", "a"),
    ],
)
def test_a_folded_field_of_a_response_is_one_line(folded: bytes, value: str) -> None:
    head = b"HTTP/1.1 401 X\r\nWWW-Authenticate: " + folded + b"\r\nContent-Length: 0\r\n\r\n"
    for size in (len(head), 1):
        reader = UpgradeResponseReader(Limits())
        *_, found = (reader.feed(head[i : i + size]) for i in range(0, len(head), size))
        assert found is not None
        assert found[0] == 401
        assert found[1]["www-authenticate"].split() == value.split()
        assert "\r" not in found[1]["www-authenticate"]


@pytest.mark.parametrize("head", [b"HTTP/1.1 401 X\r\n folded\r\n\r\n", b" HTTP/1.1 401 X\r\n\r\n"])
def test_only_a_field_can_be_folded(head: bytes) -> None:
    with pytest.raises(HandshakeFailure):
        UpgradeResponseReader(Limits()).feed(head)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_body_of_a_redirect_is_not_read(status: int) -> None:
    head = b"HTTP/1.1 %d X\r\nLocation: /\r\nContent-Length: 5\r\n\r\n" % status
    for after in (b"", b"some"):
        found = UpgradeResponseReader(Limits()).feed(head + after)
        assert found is not None
        assert (found[0], found[1]["location"], found[2]) == (status, "/", b"")


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: x",
        b"Content-Length: 1, 2",
        b"Content-Length: 1\r\nCONTENT-LENGTH: 2",
        b"Content-Length: 1\r\n 2",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ],
)
def test_a_refusal_whose_length_makes_no_sense_is_a_refusal_without_a_body(framing: bytes) -> None:
    head = b"HTTP/1.1 503 X\r\nRetry-After: 7\r\n" + framing + b"\r\nA: b\r\n\r\n"
    found = UpgradeResponseReader(Limits()).feed(head + b"body")
    assert found is not None
    assert (found[0], found[1]["retry-after"], found[1]["a"], found[2]) == (503, "7", "b", b"")


def test_a_refusal_may_hold_text_where_an_upgrade_may_not() -> None:
    head = b"HTTP/1.1 403 X\r\nConnection: caf\xe9\r\nContent-Length: 0\r\n\r\n"
    found = UpgradeResponseReader(Limits()).feed(head)
    assert found is not None
    assert found[0] == 403
    with pytest.raises(HandshakeFailure, match="ASCII"):
        UpgradeResponseReader(Limits()).feed(head.replace(b"403", b"101"))


def test_what_has_come_of_a_refusal_is_told_from_its_head_on() -> None:
    reader = UpgradeResponseReader(Limits(max_refusal_body=3))
    reader.feed(b"HTTP/1.1 404 X\r\nA: b\r\nContent-Length: 9\r\n")
    assert reader.refused is None
    reader.feed(b"\r\nab")
    assert reader.refused is not None
    status, headers, body = reader.refused
    assert (status, headers["a"], body) == (404, "b", b"ab")


@pytest.mark.parametrize("answer", [b"\x15\x03\x01\x00\x02\x02\x46", b"\x16", b"\x15"])
def test_an_answer_in_tls_is_told_apart(answer: bytes) -> None:
    with pytest.raises(HandshakeFailure, match=r"^the peer speaks TLS: use wss://$"):
        UpgradeResponseReader(Limits()).feed(answer)


@pytest.mark.parametrize("cut", [True, False])
def test_only_the_first_byte_of_all_tells_tls(cut: bool) -> None:
    reader = UpgradeResponseReader(Limits())
    interim, strange = b"HTTP/1.1 103 Early\r\n\r\n", b"\x16\x03\x01"
    with pytest.raises(HandshakeFailure, match=r"begins with a space or a control character$"):
        for piece in (interim, strange) if cut else (interim + strange,):
            reader.feed(piece)
