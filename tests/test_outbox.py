"""outbox.py: bytes in order, emptied from the front at any byte."""

import random

import pytest

from sono_core.outbox import Outbox

KIB = 1024


def filled(*chunks: bytes) -> Outbox:
    outbox = Outbox()
    for chunk in chunks:
        outbox.append(chunk)
    return outbox


def test_an_empty_outbox_has_nothing_to_write() -> None:
    outbox = Outbox()
    assert outbox.peek() == b""
    assert outbox.take() == b""
    assert outbox.size == 0


def test_take_gives_everything_in_order_and_leaves_nothing() -> None:
    outbox = filled(b"ab", b"c", b"def")
    assert outbox.size == 6
    assert outbox.take() == b"abcdef"
    assert outbox.size == 0
    assert outbox.peek() == b""


def test_small_chunks_are_joined_for_one_write() -> None:
    outbox = filled(*[b"x" * KIB] * 100)
    assert len(outbox.peek()) == 64 * KIB
    assert outbox.peek() == b"x" * 64 * KIB
    outbox.advance(64 * KIB)
    assert len(outbox.peek()) == 36 * KIB


def test_a_large_chunk_is_given_by_reference() -> None:
    large = bytes(100 * KIB)
    outbox = filled(large, b"a", b"b")
    assert outbox.peek() is large
    assert outbox.peek() is large
    outbox.advance(len(large))
    assert outbox.peek() == b"ab"
    alone = filled(b"one")
    assert alone.peek() is alone.peek()


def test_a_partial_write_goes_on_where_it_stopped() -> None:
    outbox = filled(b"abcdef", b"gh")
    assert outbox.peek() == b"abcdefgh"
    outbox.advance(2)
    assert (outbox.peek(), outbox.size) == (b"cdefgh", 6)
    outbox.append(b"ij")
    outbox.advance(1)
    assert (outbox.peek(), outbox.size) == (b"defgh", 7)
    outbox.advance(5)
    assert (outbox.peek(), outbox.size) == (b"ij", 2)


def test_take_and_clear_behind_a_partial_write() -> None:
    outbox = filled(b"abc", b"d")
    outbox.peek()
    outbox.advance(1)
    outbox.append(b"e")
    assert outbox.take() == b"bcde"
    outbox = filled(b"abc")
    outbox.advance(1)
    outbox.clear()
    assert (outbox.size, outbox.peek(), outbox.take()) == (0, b"", b"")


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_written_at_once_the_bytes_come_in_order(seed: int) -> None:
    source = random.Random(seed)
    outbox = Outbox()
    expected, written = bytearray(), bytearray()
    for _ in range(300):
        chunk = source.randbytes(source.choice((1, 5, 1000, 40_000, 70_000)))
        if source.random() < 0.5:
            outbox.append(chunk)
            expected += chunk
        elif waiting := bytes(outbox.peek()):
            size = source.choice((len(waiting), source.randint(1, len(waiting))))
            written += waiting[:size]
            outbox.advance(size)
        assert outbox.size == len(expected) - len(written)
    assert written + outbox.take() == expected
