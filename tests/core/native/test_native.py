"""The extension's own promises: types, limits of memory, no leaks. What it decodes is compared
with Python in properties/test_native_agrees.py.
"""

from __future__ import annotations

import contextlib
import gc
import random
import sys
import zlib

import pytest

from sono_core import BinaryMessage, Limits, Role, TextMessage, native_available
from sono_core.errors import ProtocolFailure
from sono_core.native import HAS_BINARY
from sono_core.native.kernels import pure_apply_mask
from sono_core.native.path import accelerator
from sono_core.websocket.deflate import Inflater
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.outbox import Outbox
from sono_core.websocket.reader import Reader, _native_rules, message_reader
from tests.conftest import require
from tests.memory import traced

MASK = b"\x01\x02\x03\x04"


pytestmark = pytest.mark.native


@pytest.fixture(autouse=True)
def built() -> None:
    require("native", native_available, "build it with a C compiler, and do not set SONO_PURE")


def reader(limits: Limits = Limits()) -> Reader:  # noqa: B008 - immutable
    return message_reader(Role.SERVER, limits, None)


@pytest.mark.parametrize("size", [0, 1, 3, 7, 8, 31, 32, 63, 64, 65, 127, 128, 129, 1000, 65537])
def test_masking_at_every_boundary_of_its_loops(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    assert accelerator.apply_mask(data[:size], MASK) == pure_apply_mask(data[:size], MASK)


def test_masking_takes_any_buffer() -> None:
    for buffer in (bytearray(b"abcdef"), memoryview(b"abcdef")):
        assert accelerator.apply_mask(buffer, MASK) == pure_apply_mask(b"abcdef", MASK)
        assert accelerator.apply_mask(b"abcdef", memoryview(MASK)) == pure_apply_mask(
            b"abcdef", MASK
        )


@pytest.mark.parametrize(
    "arguments", [(), ("",), ("", 1), (b"", 1, 1), ("", "1", 1), ("", 1, None), ("", 1, 1, 1)]
)
def test_scanning_refuses_other_arguments(arguments: tuple[object, ...]) -> None:
    with pytest.raises(TypeError):
        accelerator.scan_json(*arguments)


@pytest.mark.parametrize("arguments", [(1 << 64, 1), (1, 1 << 64), (-(1 << 64), 1)])
def test_scanning_refuses_limits_that_are_no_size(arguments: tuple[int, int]) -> None:
    with pytest.raises(OverflowError):
        accelerator.scan_json("", *arguments)


@pytest.mark.parametrize(
    "arguments",
    [(), (b"",), (b"", 1, 1), ("", 1, 1, True), (b"", "1", 1, True), (b"", 1, None, True)],
)
def test_scanning_msgpack_refuses_other_arguments(arguments: tuple[object, ...]) -> None:
    with pytest.raises(TypeError):
        accelerator.scan_msgpack(*arguments)


@pytest.mark.parametrize("arguments", [(1 << 64, 1), (1, 1 << 64), (-(1 << 64), 1)])
def test_scanning_msgpack_refuses_limits_that_are_no_size(arguments: tuple[int, int]) -> None:
    with pytest.raises(OverflowError):
        accelerator.scan_msgpack(b"", *arguments, True)


def test_scanning_msgpack_takes_whatever_is_true_or_false() -> None:
    class Undecided:
        def __bool__(self) -> bool:
            raise ValueError("undecided")

    assert accelerator.scan_msgpack(b"\xc4\x00", 1, 1, 1) == 2
    assert accelerator.scan_msgpack(b"\xc4\x00", 1, 1, None) == HAS_BINARY
    with pytest.raises(ValueError, match="undecided"):
        accelerator.scan_msgpack(b"\xc4\x00", 1, 1, Undecided())


@pytest.mark.parametrize("arguments", [(), (b"",), (b"", MASK, 1), ("a", MASK), (b"", "abcd")])
def test_masking_refuses_other_arguments(arguments: tuple[object, ...]) -> None:
    with pytest.raises(TypeError):
        accelerator.apply_mask(*arguments)


def test_masking_wants_a_key_of_4_bytes() -> None:
    with pytest.raises(ValueError, match="mask must be 4 bytes, not 3"):
        accelerator.apply_mask(b"", b"abc")


def test_only_bytes_are_fed() -> None:
    with pytest.raises(TypeError, match="data must be bytes"):
        reader().feed(bytearray(b"\x81"))  # type: ignore[arg-type]


def test_events_cannot_be_made_by_hand() -> None:
    with pytest.raises(TypeError):
        type(reader().events(lambda: None))()


def test_nothing_comes_after_stop() -> None:
    stopped = reader()
    stopped.feed(encode_frame(1, b"a", mask=MASK) * 3)
    assert stopped.next() == TextMessage("a")
    events = stopped.events(lambda: None)
    stopped.stop()
    assert stopped.next() is None
    assert list(events) == []


def test_a_failure_stays() -> None:
    failed = reader()
    failed.feed(encode_frame(1, b"\xff", mask=MASK) + encode_frame(1, b"a", mask=MASK))
    for _ in range(3):
        with pytest.raises(ProtocolFailure, match="not UTF-8"):
            failed.next()


def test_a_declared_length_reserves_little() -> None:
    large = Limits(max_message=1 << 30, max_frame=1 << 30)
    head = encode_frame(2, b"", mask=MASK)[:1] + b"\xff" + (1 << 30).to_bytes(8, "big") + MASK

    def begin(readers: list[Reader]) -> None:
        for one in readers:
            one.feed(head + b"x")
            assert one.next() is None

    assert traced(begin, lambda: [reader(large) for _ in range(100)]).peak < 100 * 66 * 1024


def test_a_large_message_byte_by_byte_takes_less_than_twice_its_size() -> None:
    size = 300_000
    data = encode_frame(2, bytes(size), mask=MASK)
    expected = BinaryMessage(bytes(size))

    def trickle(one: Reader) -> None:
        for at in range(len(data)):
            one.feed(data[at : at + 1])
            message = one.next()
        assert message == expected

    assert traced(trickle, reader).peak < 2 * size + 64 * 1024


def test_what_waits_unread_is_joined_in_linear_time() -> None:
    one = reader()
    data = encode_frame(1, b"a", mask=MASK) * 20_000
    for at in range(0, len(data), 3):
        one.feed(data[at : at + 3])
    count = 0
    while one.next() is not None:
        count += 1
    assert count == 20_000


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("size", [127 * 1024, 300_000, 3 * 1024 * 1024])
def test_a_message_that_is_kept_is_never_written_again(size: int, text: bool) -> None:
    """The extension reuses the memory of large messages only after the last reference is gone."""
    source = random.Random(size)
    one = reader(Limits(max_message=1 << 23, max_frame=1 << 23))
    kept: list[tuple[str | bytes, str | bytes]] = []
    for number in range(40):
        payload = f"{number:04}".encode() * source.randint(size // 8, size // 4)
        data = encode_frame(1 if text else 2, payload, mask=MASK)
        item = None
        for at in range(0, len(data), 100_000):
            one.feed(data[at : at + 100_000])
            item = one.next()
        assert isinstance(item, TextMessage if text else BinaryMessage)
        found = item.text if isinstance(item, TextMessage) else item.data
        expected = payload.decode() if text else bytes(bytearray(payload))
        assert found == expected
        assert hash(found) == hash(expected)  # not that of an earlier one
        if isinstance(found, str) and number % 5 == 0:
            sys.intern(found)
        if source.random() < 0.5:
            kept.append((found, expected))
    assert kept
    assert all(found == expected for found, expected in kept)


@pytest.mark.slow
def test_the_memory_that_is_kept_is_bounded() -> None:
    def fill(one: Reader) -> None:
        for size in (200_000, 1_000_000, 5_000_000, 17_000_000, 2_500_000) * 8:
            data = encode_frame(2, bytes(min(size, 1 << 24)), mask=MASK)
            for at in range(0, len(data), 1 << 17):
                one.feed(data[at : at + (1 << 17)])
                one.next()

    large = Limits(max_message=1 << 24, max_frame=1 << 24)
    assert traced(fill, lambda: reader(large)).kept < (32 << 20) + (1 << 18)


def test_rules_must_be_whole() -> None:
    with pytest.raises(TypeError):
        accelerator.MessageRules(masked=True)
    with pytest.raises(ValueError, match="not initialised"):
        accelerator.MessageReader(accelerator.MessageRules.__new__(accelerator.MessageRules), None)
    with pytest.raises(TypeError):
        accelerator.MessageReader(None, None)


def test_delivery_wants_a_native_outbox() -> None:
    with pytest.raises(TypeError):
        reader().deliver(print, Outbox(), 1, 1, 1)


def test_references_are_given_back() -> None:
    """Including those to objects that existed before, whose leak no count of memory would show."""

    def raising(message: object) -> None:
        raise ValueError

    def use(role: Role, agreed: Inflater | None, data: bytes) -> None:
        one = message_reader(role, limits, agreed)
        outbox = accelerator.Outbox()
        outbox.room = 1
        try:
            one.feed(data)
            for on_message in (seen.append, raising):
                with contextlib.suppress(ValueError):
                    one.deliver(on_message, outbox, 0, 1, 1 << 20)
            list(one.events(one.next))
            for _ in range(2):
                one.next()
        except ProtocolFailure:
            with contextlib.suppress(ProtocolFailure):
                one.next()
        one.stop()
        seen.clear()

    def everything() -> None:
        text = encode_frame(1, b"text" * 100, mask=MASK)
        packed = zlib.compressobj(wbits=-15)
        small = packed.compress(b"text" * 100) + packed.flush(zlib.Z_SYNC_FLUSH)
        use(Role.SERVER, None, text * 5)
        use(Role.CLIENT, None, encode_frame(2, b"data") * 5)
        use(Role.SERVER, Inflater(15, True), encode_frame(1, small[:-4], rsv1=True, mask=MASK) * 2)
        use(Role.SERVER, Inflater(15, True), encode_frame(1, b"\xff", rsv1=True, mask=MASK))
        use(Role.SERVER, None, encode_frame(1, b"\xff", mask=MASK))
        use(Role.SERVER, None, encode_frame(2, bytes(300_000), mask=MASK)[:200_000])
        for wrong in (b"abc", "no buffer"):
            with contextlib.suppress(TypeError, ValueError):
                accelerator.apply_mask(b"", wrong)

    seen: list[object] = []
    limits = Limits()
    watched: list[object] = [
        limits,
        TextMessage,
        BinaryMessage,
        _native_rules(Role.SERVER, limits, False),
    ]
    everything()
    before = [sys.getrefcount(thing) for thing in watched]
    for _ in range(500):
        everything()
    gc.collect()
    after = [sys.getrefcount(thing) for thing in watched]
    assert all(abs(b - a) < 250 for a, b in zip(before, after, strict=True)), (before, after)


def test_memory_is_flat() -> None:
    """Run every path a few thousand times, including those that fail; nothing may pile up."""

    def everything() -> None:
        for data in (
            encode_frame(1, b"text", mask=MASK),
            encode_frame(1, "é".encode(), mask=MASK),
            encode_frame(1, b"\xff", mask=MASK),
            encode_frame(2, bytes(1000), mask=MASK),
            encode_frame(2, bytes(1000), mask=MASK)[:500],
            encode_frame(1, b"a", fin=False, mask=MASK) + encode_frame(0, b"b", mask=MASK),
            encode_frame(9, b"ping", mask=MASK),
            encode_frame(3, b"", mask=MASK),
        ):
            for half in (len(data), len(data) // 2):
                one = reader()
                try:
                    one.feed(data[:half])
                    one.next()
                    one.feed(data[half:])
                    list(one.events(one.next))
                except ProtocolFailure:
                    pass

    def often(_: object) -> None:
        for _ in range(60):
            everything()
        gc.collect()

    for _ in range(50):
        everything()
    assert traced(often, gc.collect).kept < 800
