"""outbox.py: bytes in order, removed from the front at any byte. On both paths."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from sono_core.native.path import accelerator
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.outbox import ITEM, Outbox
from tests.conftest import require
from tests.memory import traced

KIB = 1024
Filled = Callable[..., Outbox]


@pytest.fixture(params=["pure", pytest.param("native", marks=pytest.mark.native)])
def kind(request: pytest.FixtureRequest) -> Any:
    if request.param == "pure":
        return Outbox
    require(
        "native", accelerator is not None, "build it with a C compiler, and do not set SONO_PURE"
    )
    return accelerator.Outbox


@pytest.fixture
def filled(kind: Any) -> Filled:
    def fill(*chunks: bytes) -> Outbox:
        outbox: Outbox = kind()
        for chunk in chunks:
            outbox.append(chunk)
        return outbox

    return fill


def test_an_empty_outbox_has_nothing_to_write(filled: Filled) -> None:
    outbox = filled()
    assert outbox.peek() == b""
    assert outbox.take() == b""
    assert outbox.size == 0


def test_take_gives_everything_in_order_and_leaves_nothing(filled: Filled) -> None:
    outbox = filled(b"ab", b"c", b"def")
    assert outbox.size == 6
    assert outbox.take() == b"abcdef"
    assert outbox.size == 0
    assert outbox.peek() == b""


def test_small_chunks_are_joined_for_one_write(filled: Filled) -> None:
    outbox = filled(*[b"x" * KIB] * 100)
    assert len(outbox.peek()) == 64 * KIB
    assert outbox.peek() == b"x" * 64 * KIB
    outbox.advance(64 * KIB)
    assert len(outbox.peek()) == 36 * KIB


def test_a_large_chunk_is_given_by_reference(filled: Filled) -> None:
    large = bytes(100 * KIB)
    outbox = filled(large, b"a", b"b")
    assert outbox.peek() is large
    assert outbox.peek() is large
    outbox.advance(len(large))
    assert outbox.peek() == b"ab"
    alone = filled(b"one")
    assert alone.peek() is alone.peek()


def test_a_partial_write_goes_on_where_it_stopped(filled: Filled) -> None:
    outbox = filled(b"abcdef", b"gh")
    assert outbox.peek() == b"abcdefgh"
    outbox.advance(2)
    assert (outbox.peek(), outbox.size) == (b"cdefgh", 6)
    outbox.append(b"ij")
    outbox.advance(1)
    assert (bytes(outbox.peek()[:5]), outbox.size) == (b"defgh", 7)
    outbox.advance(5)
    assert (outbox.peek(), outbox.size) == (b"ij", 2)


def test_take_and_clear_behind_a_partial_write(filled: Filled) -> None:
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
def test_whatever_is_written_at_once_the_bytes_come_in_order(kind: Any, seed: int) -> None:
    source = random.Random(seed)
    outbox = kind()
    expected, written = bytearray(), bytearray()
    for _ in range(300):
        chunk = source.randbytes(source.choice((0, 1, 5, 1000, 40_000, 70_000)))
        choice = source.random()
        if choice < 0.3:
            outbox.append(chunk)
            expected += chunk
        elif choice < 0.6:
            mask = source.choice((b"", b"abcd"))
            outbox.append_frame(2, chunk, False, mask)
            expected += encode_frame(2, chunk, mask=mask)
        elif waiting := bytes(outbox.peek()):
            size = source.choice((len(waiting), source.randint(1, len(waiting))))
            assert waiting[:size] == expected[len(written) : len(written) + size]
            written += waiting[:size]
            outbox.advance(size)
        assert outbox.size == len(expected) - len(written)
    assert written + outbox.take() == expected


@pytest.mark.parametrize("size", [0, 1, 125, 126, 4096, 4097, 65535, 65536, 100_000])
@pytest.mark.parametrize("rsv1", [False, True])
@pytest.mark.parametrize("mask", [b"", b"abcd"])
def test_a_frame_is_what_encode_frame_makes(kind: Any, size: int, rsv1: bool, mask: bytes) -> None:
    outbox = kind()
    payload = random.Random(size).randbytes(size)
    outbox.append_frame(1, payload, rsv1, mask)
    outbox.append_frame(9, b"behind it", False, mask)
    ping = encode_frame(9, b"behind it", mask=mask)
    assert outbox.take() == encode_frame(1, payload, rsv1=rsv1, mask=mask) + ping


def test_a_slow_reader_costs_references(kind: Any) -> None:
    """A frame for many is not copied for a member that does not read."""
    frame = bytes(1000)

    def fill(outboxes: list[Outbox]) -> None:
        for outbox in outboxes:
            for _ in range(100):
                outbox.append(frame)

    assert traced(fill, lambda: [kind() for _ in range(100)]).kept < 100 * 100 * 20  # bytes


# -- memory -------------------------------------------------------------------------------------


def own_between_shared(outbox: Outbox, number: int) -> None:
    for _ in range(number):
        outbox.append_frame(1, bytes(50), False, b"")
        outbox.append(SHARED)


def own(outbox: Outbox, number: int) -> None:
    for _ in range(number):
        outbox.append_frame(1, bytes(50), False, b"")


def large(outbox: Outbox, number: int) -> None:
    for size in range(number):
        outbox.append_frame(1, bytes(5000 + size), False, b"")


def masked(outbox: Outbox, number: int) -> None:
    for size in range(number):
        outbox.append_frame(1, bytes(size % 3000), False, b"abcd")


SHARED = bytes(60)


@pytest.mark.parametrize("fill", [own_between_shared, own, large, masked])
@pytest.mark.parametrize("number", [1, 10, 1000])
def test_an_outbox_holds_what_it_counts(
    kind: Any, fill: Callable[[Outbox, int], None], number: int
) -> None:
    used = traced(lambda outbox: fill(outbox, number), kind).kept
    outbox = kind()
    fill(outbox, number)
    assert used <= outbox.held * 9 / 8 + 1024  # of the outbox itself
    assert outbox.size < outbox.held < 2.5 * outbox.size + 34 * KIB
    assert outbox.kept == outbox.held == outbox.distinct(set())


def test_every_object_counts_64_bytes_beside_its_own(kind: Any) -> None:
    outbox = kind()
    for number in (1, 2, 3):
        outbox.append(SHARED)
        assert outbox.held == number * (60 + ITEM)
    outbox.advance(60)
    assert outbox.held == 2 * (60 + ITEM)
    outbox.clear()
    assert outbox.held == 0


def test_what_is_written_no_longer_counts_but_is_kept_until_its_object_is_free(kind: Any) -> None:
    outbox = kind()
    outbox.append(bytes(10_000))
    assert outbox.peek()
    outbox.advance(4000)
    assert (outbox.held, outbox.kept) == (6000 + ITEM, 10_000 + ITEM)
    outbox.peek()
    outbox.advance(1000)
    assert (outbox.held, outbox.kept) == (5000 + ITEM, 10_000 + ITEM)
    assert outbox.distinct(set()) == 10_000 + ITEM
    outbox.advance(5000)
    assert (outbox.held, outbox.kept, outbox.distinct(set())) == (0, 0, 0)


def test_a_large_object_in_many_outboxes_counts_once(kind: Any) -> None:
    frame, seen = bytes(5000), set[int]()
    outboxes = [kind() for _ in range(10)]
    for outbox in outboxes:
        outbox.append(frame)
        outbox.append(SHARED)
    sizes = [outbox.distinct(seen) for outbox in outboxes]
    assert sizes == [5060 + 2 * ITEM] + [60 + 2 * ITEM] * 9
    assert seen == {id(frame)}


def test_room_is_kept(kind: Any) -> None:
    outbox = kind()
    assert outbox.room == 0
    outbox.room = 100
    outbox.append(b"x")
    outbox.clear()
    assert outbox.room == 100


@pytest.mark.native
def test_the_native_outbox_refuses_what_would_harm_it() -> None:
    require(
        "native", accelerator is not None, "build it with a C compiler, and do not set SONO_PURE"
    )
    outbox = accelerator.Outbox()
    outbox.append(b"abc")
    with pytest.raises(ValueError, match="less than that was waiting"):
        outbox.advance(4)
    for wrong in (bytearray(b"x"), "x", None):
        with pytest.raises(TypeError):
            outbox.append(wrong)
    with pytest.raises(ValueError, match="mask must be 0 or 4 bytes"):
        outbox.append_frame(1, b"", False, b"abc")
    with pytest.raises(TypeError):
        accelerator.Outbox(1)
    with pytest.raises(TypeError, match="seen must be a set"):
        outbox.distinct([])
    with pytest.raises((OverflowError, TypeError)):
        outbox.room = -1
    assert outbox.take() == b"abc"
