"""The head of an ordinary request, natively and in Python: what is one, and what it says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.heads import REQUESTS
from sono_core.native import ordinary_head, pure_ordinary_head

Found = tuple[str, tuple[tuple[str, str], ...]] | None
Read = Callable[[bytes], Found]


@pytest.fixture(params=[pure_ordinary_head, ordinary_head], ids=["pure", "chosen"])
def read(request: pytest.FixtureRequest) -> Read:
    return request.param  # type: ignore[no-any-return]


def test_target_and_fields_in_order(read: Read) -> None:
    head = b"GET /a?b=%20 HTTP/1.1\r\nHost: h:1\r\nX-A:1\r\nx-a: 2  3\r\nCookie: a=b; c=d\r\n\r\n"
    fields = (("host", "h:1"), ("x-a", "1"), ("x-a", "2  3"), ("cookie", "a=b; c=d"))
    assert read(head) == ("/a?b=%20", fields)


LONGEST = "N" * 64


@pytest.mark.parametrize(
    ("line", "ordinary"),
    [
        ("X: v", True),
        ("X:v", True),
        ("X: v w", True),
        ("X: ~!", True),
        ("X: a:b", True),
        (f"{LONGEST}: v", True),
        (f"{LONGEST}N: v", False),
        ("X:  v", False),
        ("X: v ", False),
        ("X: ", False),
        ("X:", False),
        ("X", False),
        (": v", False),
        ("X : v", False),
        (" X: v", False),
        ("X_Y: v", False),
        ("X: v\tw", False),
        ("X: \x7f", False),
        ("X: é", False),
        ("X: v\r", False),
        ("X: v\nY: w", False),
        ("X: \0", False),
        ("Host: other", False),
        ("content-length: 0", False),
        ("TRANSFER-ENCODING: chunked", False),
        ("content-lengths: 0", True),
        ("content-lengt: 0", True),
    ],
)
def test_a_field_is_ordinary_or_not(read: Read, line: str, ordinary: bool) -> None:
    head = f"GET / HTTP/1.1\r\nHost: h\r\n{line}\r\n\r\n".encode("latin-1")
    assert (read(head) is not None) == ordinary


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET",
        b"GET ",
        b"GET /",
        b"GET / HTTP/1.1",
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h",
        b"GET / HTTP/1.1\r\nHost: h\r",
        b"GET / HTTP/1.1\r\nHost: h\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r",
        b"GET / HTTP/1.1\r\nHost: h\r\n\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\nx",
        b"GET / HTTP/1.1\r\nX: h\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: h\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /#a HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: h\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\nHost: h\r\n\r\n",
    ],
)
def test_any_other_head_is_left_to_h11(read: Read, head: bytes) -> None:
    assert read(head) is None


def test_every_head_that_is_cut_is_left_to_h11(read: Read) -> None:
    head = REQUESTS["upgrade"]
    assert read(head) is not None
    assert not any(read(head[:size]) for size in range(len(head)))


PIECES = st.sampled_from(
    [
        *(b"GET /", b"x", b" HTTP/1.1\r\n", b"Host: h\r\n", b"host:h", b"\r\n", b"\r", b"\n"),
        *(b"A: b\r\n", b"A:", b" ", b"content-length: 1\r\n", b"Transfer-Encoding: x\r\n", b"#"),
        *(b"\0", b"\x7f", b"\x80", b"\xff", b"-", b"_", b"z" * 64, b"Z: ~\r\n"),
    ]
)


@given(st.lists(PIECES, max_size=12).map(b"".join) | st.binary(max_size=80))
@example(b"GET / HTTP/1.1\r\nHost: h\r\n")
def test_both_say_the_same_of_any_bytes(head: bytes) -> None:
    assert ordinary_head(head) == pure_ordinary_head(head)
    whole = b"GET / HTTP/1.1\r\nHost: h\r\n" + head + b"\r\n\r\n"
    assert ordinary_head(whole) == pure_ordinary_head(whole)


@given(st.sampled_from(sorted(REQUESTS)), st.data())
def test_both_say_the_same_of_heads_with_changes(name: str, data: st.DataObject) -> None:
    head = bytearray(REQUESTS[name])
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, max(0, len(head) - 1)))
        head[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2) | PIECES)
    assert ordinary_head(bytes(head)) == pure_ordinary_head(bytes(head))
