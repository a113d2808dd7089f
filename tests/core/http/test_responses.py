"""responses.py: a response's head and body, as a client reads them."""

from sono_core import Limits
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
