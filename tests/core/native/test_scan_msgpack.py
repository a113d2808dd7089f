"""The scan of MessagePack, natively and in Python: cost, bounds, and what it refuses."""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sono_core.native import (
    DEEPEST,
    EXTENSION,
    HAS_BINARY,
    MALFORMED,
    NOT_A_KEY,
    NOT_FINITE,
    PART,
    TOO_BIG,
    TOO_DEEP,
    TOO_MANY,
    pure_scan_msgpack,
    scan_json,
    scan_msgpack,
)
from sono_core.native.scan import CONTAINER

ANY = sys.maxsize
Scan = Callable[[bytes, int, int, bool], int]
pack = msgspec.msgpack.encode


@pytest.fixture(params=[pure_scan_msgpack, scan_msgpack], ids=["pure", "chosen"])
def scan(request: pytest.FixtureRequest) -> Scan:
    return request.param  # type: ignore[no-any-return]


# -- cost -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "parts", "containers"),
    [
        (None, 0, 0),
        (True, 0, 0),
        ("x" * 300, 0, 0),
        (b"x" * 300, 0, 0),
        ([], 0, 1),
        ({}, 0, 1),
        ([1], 0, 1),
        ([1, 2.5], 1, 1),
        ({"a": 1}, 1, 1),
        ({"a": 1, "b": []}, 3, 2),
        ([[[]]], 0, 3),
        ([0] * 20, 19, 1),
        ([0] * 70_000, 69_999, 1),
        ({str(n): n for n in range(20)}, 39, 1),
        ({str(n): n for n in range(70_000)}, 139_999, 1),
    ],
)
def test_a_value_costs_its_bytes_and_what_is_made_of_it(
    scan: Scan, value: object, parts: int, containers: int
) -> None:
    data = pack(value)
    expected = len(data) + PART * parts + CONTAINER * containers
    assert scan(data, ANY, ANY, True) == expected


# -- what every first byte begins -------------------------------------------------------------

FORMS = {
    **dict.fromkeys((*range(0x80), 0xC0, 0xC2, 0xC3, *range(0xE0, 0x100)), b""),
    **{0x80 + n: b"\xa0\xc0" * n for n in range(16)},
    **{0x90 + n: b"\xc0" * n for n in range(16)},
    **{0xA0 + n: b"s" * n for n in range(32)},
    0xC4: b"\x02bb",
    0xC5: b"\x00\x02bb",
    0xC6: b"\x00\x00\x00\x02bb",
    0xCA: bytes(4),
    0xCB: bytes(8),
    **{0xCC + n: bytes(1 << n) for n in range(4)},
    **{0xD0 + n: bytes(1 << n) for n in range(4)},
    0xD9: b"\x02ss",
    0xDA: b"\x00\x02ss",
    0xDB: b"\x00\x00\x00\x02ss",
    0xDC: b"\x00\x02\xc0\xc0",
    0xDD: b"\x00\x00\x00\x02\xc0\xc0",
    0xDE: b"\x00\x01\xa0\xc0",
    0xDF: b"\x00\x00\x00\x01\xa0\xc0",
}
EXTENSIONS = (0xC7, 0xC8, 0xC9, *range(0xD4, 0xD9))


@pytest.mark.parametrize("kind", range(256))
def test_what_each_byte_begins(scan: Scan, kind: int) -> None:
    if kind not in FORMS:
        expected = MALFORMED if kind == 0xC1 else EXTENSION
        assert (kind == 0xC1) is (kind not in EXTENSIONS)
        for data in (bytes((kind,)), bytes((kind, 1, 1, 1)), bytes((0x92, kind, 0xC1))):
            assert scan(data, ANY, ANY, True) == expected
        return
    data = bytes((kind,)) + FORMS[kind]
    assert msgspec.msgpack.decode(data) is not ...  # the parser takes it too
    assert scan(data, ANY, ANY, True) >= len(data)
    for end in range(len(data)):
        assert scan(data[:end], ANY, ANY, True) == MALFORMED
    assert scan(data + b"\xc0", ANY, ANY, True) == MALFORMED
    assert scan(b"\x92" + data + b"\xc1", ANY, ANY, True) == MALFORMED
    assert scan(b"\x92" + data * 2, ANY, ANY, True) > 0


def test_nothing_is_no_value(scan: Scan) -> None:
    assert scan(b"", ANY, ANY, True) == MALFORMED


def test_binary_values_are_refused_where_there_may_be_none(scan: Scan) -> None:
    for value in (b"", b"x" * 300, [b"x"], {"a": b"x" * 70_000}):
        assert scan(pack(value), ANY, ANY, True) > 0
        assert scan(pack(value), ANY, ANY, False) == HAS_BINARY


def test_keys_are_strings(scan: Scan) -> None:
    for key in ("", "x" * 20, "x" * 40, "x" * 300, "x" * 70_000):
        assert scan(pack({key: 1, "a": [key]}), ANY, ANY, True) > 0
    for key in (1, None, True, 1.5, b"x", (1,), -1, 300):
        assert scan(pack({key: 1}), ANY, ANY, True) == NOT_A_KEY
        assert scan(pack([{"a": {"b": key, key: 1}}]), ANY, ANY, True) == NOT_A_KEY
    assert scan(b"\x81\x80\xc0", ANY, ANY, True) == NOT_A_KEY


@pytest.mark.parametrize("kind", range(256))
def test_which_bytes_begin_a_key(scan: Scan, kind: int) -> None:
    data = b"\x82\xa0\xc0" + bytes((kind,)) + FORMS.get(kind, bytes(32)) + b"\xc0"
    if 0xA0 <= kind <= 0xBF or 0xD9 <= kind <= 0xDB:
        assert scan(data, ANY, ANY, True) > 0
    else:
        assert scan(data, ANY, ANY, True) == NOT_A_KEY


def test_a_length_that_is_cut_is_said_first(scan: Scan) -> None:
    """Before what it would be the length of: a binary value, or one container too many."""
    for data in (b"\xc5\x01", b"\xdc\x00", b"\xdf\x00\x00\x00", b"\xcf" + b"\xff" * 7):
        assert scan(data, 0, 0, False) == MALFORMED


@pytest.mark.parametrize("number", [0, 1 << 63, (1 << 64) - 1, (1 << 63) - 1, -(1 << 63), 1 << 32])
def test_integers_have_64_bits_with_their_sign(scan: Scan, number: int) -> None:
    found = scan(pack([number]), ANY, ANY, True)
    assert found == TOO_BIG if number >= 1 << 63 else found > 0


@pytest.mark.parametrize("form", ["f", "d"])
def test_floats_are_finite(scan: Scan, form: str) -> None:
    first = b"\xca" if form == "f" else b"\xcb"
    for number in (0.0, -0.0, 1.5, -3e38, 1e-40, 1e-45):
        assert scan(first + struct.pack(f">{form}", number), ANY, ANY, True) > 0
    for text in ("nan", "-nan", "inf", "-inf"):
        assert scan(first + struct.pack(f">{form}", float(text)), ANY, ANY, True) == NOT_FINITE
    largest = (b"\x7f\x7f\xff\xff", b"\x7f\xef" + b"\xff" * 6)[form == "d"]
    assert scan(first + largest, ANY, ANY, True) > 0


# -- bombs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa0", b"\xdc\x00\x01"])
def test_depth(scan: Scan, opening: bytes) -> None:
    for depth in (1, 5, DEEPEST):
        data = opening * depth + b"\xc0"
        assert scan(data, depth, ANY, True) > 0
        assert scan(data, depth - 1, ANY, True) == TOO_DEEP
    assert scan(opening * (DEEPEST + 1) + b"\xc0", ANY, ANY, True) == TOO_DEEP
    assert scan(opening * 10_000, ANY, ANY, True) == TOO_DEEP
    assert scan(b"\x90", 0, ANY, True) == TOO_DEEP


def test_containers(scan: Scan) -> None:
    data = pack([[]] * 9)
    assert scan(data, ANY, 10, True) > 0
    assert scan(data, ANY, 9, True) == TOO_MANY
    assert scan(pack([{}] * 9), ANY, 9, True) == TOO_MANY
    assert scan(data, 1, 1, True) == TOO_MANY  # of two, as `scan_json`
    assert scan(data, 1, 2, True) == TOO_DEEP


@pytest.mark.parametrize("kind", [b"\xdc", b"\xdd", b"\xde", b"\xdf", b"\xda", b"\xdb", b"\xc6"])
def test_a_length_that_exceeds_what_is_there_is_refused(scan: Scan, kind: bytes) -> None:
    length = b"\xff" * (2 if kind in b"\xdc\xde\xda" else 4)
    for rest in (b"", b"\xa0" * 100):
        assert scan(kind + length + rest, ANY, ANY, True) == MALFORMED
        assert scan(b"\x91" + kind + length + rest, ANY, ANY, True) == MALFORMED


def test_lengths_are_refused_that_exceed_what_is_there_together(scan: Scan) -> None:
    """A parser may make room for what each container announces before it reads the next."""
    for number in (10, 1000):
        fitting = b"\xdd" + struct.pack(">I", number)
        data = fitting * 2 + bytes(2 * number - 1)
        assert scan(data, ANY, ANY, True) > 0
        # the second is announced, and already too much: nothing behind it is looked at
        assert scan(fitting * 2 + bytes(2 * number - 2), ANY, ANY, True) == MALFORMED
        assert scan(fitting * 2 + b"\xc7" + bytes(2 * number - 3), ANY, ANY, True) == MALFORMED
    maps = b"\xdf\x00\x00\x00\x02\xa0\xdf\x00\x00\x00\x02"
    assert scan(maps + b"\xa0\xc0" * 3, ANY, ANY, True) > 0
    assert scan(maps + b"\xa0\xc0" * 2 + b"\xa0", ANY, ANY, True) == MALFORMED


BOMBS = {
    "arrays": b"\x91" * (1 << 20),
    "empty arrays": b"\xdd" + struct.pack(">I", 1 << 20) + b"\x90" * (1 << 20),
    "nils": b"\xdd" + struct.pack(">I", 1 << 20) + b"\xc0" * (1 << 20),
    "huge map": b"\xdf\xff\xff\xff\xff" + b"\xa0\xc0" * (1 << 19),
    "map": b"\xdf" + struct.pack(">I", 1 << 19) + b"\xa0\xc0" * (1 << 19),
    "announced": (b"\xdd" + struct.pack(">I", 1 << 19)) * 200 + b"\xc0" * (1 << 19),
    "extensions": b"\xc9" + b"\xff" * (1 << 20),
    "string": b"\xdb" + struct.pack(">I", 1 << 20) + b"x" * (1 << 20),
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=list(BOMBS))
def test_no_megabyte_takes_longer_than_its_cost_allows(scan: Scan, data: bytes) -> None:
    """A client's rate buys 4 MiB of cost a second; here the scan may use a second for each."""
    started = time.thread_time()
    found = scan(data, 64, 65_536, True)
    took = time.thread_time() - started
    cost = found if found > 0 else len(data)
    assert took < cost / (1 << 20)


# -- properties -------------------------------------------------------------------------------

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text(max_size=40)
    | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=20)
        | st.dictionaries(st.text(max_size=9) | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=30,
)
bounds = st.sampled_from([0, 1, 2, 5, ANY])


@given(values.map(pack) | st.binary(max_size=60), bounds, bounds, st.booleans())
@example(b"\x81\xc1", 1, 1, True)
def test_both_find_the_same_in_any_bytes(
    data: bytes, depth: int, containers: int, binary: bool
) -> None:
    found = scan_msgpack(data, depth, containers, binary)
    assert found == pure_scan_msgpack(data, depth, containers, binary)


@given(values.map(pack), st.data())
def test_both_find_the_same_in_what_is_spoiled(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data) - 1))
    spoiled = data[:at] + draw.draw(st.binary(max_size=6)) + data[at + 1 :]
    assert scan_msgpack(spoiled, 5, 20, True) == pure_scan_msgpack(spoiled, 5, 20, True)


def is_legal(value: Any) -> bool:
    match value:
        case dict():
            return all(isinstance(key, str) and is_legal(item) for key, item in value.items())
        case list():
            return all(map(is_legal, value))
        case float():
            return abs(value) < float("inf")
        case int():
            return value < 1 << 63
    return True


@given(values)
def test_what_is_accepted_is_what_json_can_say_and_binary_values(value: object) -> None:
    assert (scan_msgpack(pack(value), ANY, ANY, True) > 0) is is_legal(value)


@given(values.filter(is_legal))
def test_a_value_costs_in_both_forms_the_same_beside_its_bytes(value: object) -> None:
    """Binary values are strings in this JSON: they have the same number of parts."""
    data, text = pack(value), msgspec.json.encode(value).decode()
    beside = scan_msgpack(data, ANY, ANY, True) - len(data)
    assert beside == scan_json(text, ANY, ANY) - len(text.encode())
    assert json.loads(text) is not ...


@given(st.binary(max_size=60))
@example(b"\xa3\x00\x00\x80")
def test_what_is_accepted_can_be_parsed_or_holds_no_text(data: bytes) -> None:
    if scan_msgpack(data, ANY, ANY, True) < 0:
        return
    try:
        msgspec.msgpack.decode(data)
    except UnicodeDecodeError:
        pass
    except msgspec.DecodeError as error:  # it depends on where in the text the mistake is
        if "UTF-8" not in str(error):
            raise
