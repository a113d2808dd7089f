"""The scan of a text of JSON, natively and in Python: cost, depth, containers, integers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sono_core.native import PART, TOO_BIG, TOO_DEEP, TOO_MANY, pure_scan_json, scan_json
from sono_core.native.scan import CONTAINER

ANY = sys.maxsize
Scan = Callable[[str, int, int], int]


@pytest.fixture(params=[pure_scan_json, scan_json], ids=["pure", "chosen"])
def scan(request: pytest.FixtureRequest) -> Scan:
    return request.param  # type: ignore[no-any-return]


# -- cost -------------------------------------------------------------------------------------


def cost(text: str, parts: int, containers: int) -> int:
    return len(text.encode()) + PART * parts + CONTAINER * containers


@pytest.mark.parametrize(
    ("text", "parts", "containers"),
    [
        ("", 0, 0),
        ("1", 0, 0),
        ("[]", 0, 1),
        ("[1,2]", 1, 1),
        ('{"a":1,"b":[]}', 3, 2),
        ('"[{,:}]"', 0, 0),
        ('"\\"[{,:"', 0, 0),
        ('["\\\\",1]', 1, 1),
        ('["\\\\\\",1]', 0, 1),  # a string that does not end
        ('"é日😀"', 0, 0),
        ('{"é":"😀"}', 1, 1),
        ("[1 , 2]", 1, 1),
        ("]],,", 2, 0),
        ('\\",[', 1, 1),  # no JSON: but C and Python agree where strings begin
        ('\\\\",[', 0, 0),
        ("\\,", 1, 0),
        ("\\", 0, 0),
    ],
)
def test_a_text_costs_its_bytes_and_what_is_made_of_it(
    scan: Scan, text: str, parts: int, containers: int
) -> None:
    assert scan(text, ANY, ANY) == cost(text, parts, containers)


@pytest.mark.parametrize("size", [*range(20), 4095, 4096, 4097])
def test_strings_of_any_length_are_passed_over(scan: Scan, size: int) -> None:
    for inside in ("x" * size, "x" * size + '\\"', '\\"' + "[" * size, "é" * size + "\\\\"):
        text = f'["{inside}",[]]'
        assert scan(text, ANY, ANY) == cost(text, 1, 2)


def test_a_lone_surrogate_is_no_text(scan: Scan) -> None:
    with pytest.raises(UnicodeEncodeError):
        scan('"\ud800"', ANY, ANY)


# -- brackets ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 64, 5000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"[":', "}"), ("[[],", "]")])
def test_depth(scan: Scan, count: int, opening: str, closing: str) -> None:
    deepest = count + (opening == "[[],")
    for text in (opening * count + closing * count, "[]," + opening * count):
        assert scan(text, deepest, ANY) > 0
        assert scan(text, deepest - 1, ANY) == TOO_DEEP


def test_depth_ends_the_scan_before_what_follows(scan: Scan) -> None:
    assert scan("[[" + "9" * 30 + "[" * 1000, 1, 1000) == TOO_DEEP


@pytest.mark.parametrize("count", [1, 2, 64, 5000])
@pytest.mark.parametrize("text", ["[]", "{}", '{"a":1}'])
def test_containers(scan: Scan, count: int, text: str) -> None:
    assert scan(text * count, 1, count) > 0
    assert scan(text * count, 1, count - 1) == TOO_MANY


def test_which_limit_is_exceeded_first(scan: Scan) -> None:
    assert scan("[][][[", 1, 3) == TOO_MANY
    assert scan("[][[", 1, 3) == TOO_DEEP
    assert scan("[[[[", 2, 3) == TOO_DEEP
    assert scan("[[[[", 3, 3) == TOO_MANY
    assert scan("[", 0, 0) == TOO_MANY


# -- integers ---------------------------------------------------------------------------------

LARGEST, SMALLEST = 2**63 - 1, -(2**63)


@pytest.mark.parametrize(
    "number", [0, 10**18, LARGEST - 1, LARGEST, SMALLEST, SMALLEST + 1, -(10**18)]
)
def test_integers_that_fit(scan: Scan, number: int) -> None:
    for text in (f"{number}", f"[{number},1]", f'{{"a":{number}}}', f" {number} "):
        assert scan(text, ANY, ANY) > 0


@pytest.mark.parametrize(
    "number",
    [
        *(LARGEST + 1, SMALLEST - 1, LARGEST + 10**9, 93 * 10**17, 10**19 - 1, 10**19, -(10**19)),
        *(10**100, -(10**4000)),
    ],
)
def test_integers_that_do_not_fit(scan: Scan, number: int) -> None:
    digits = str(number)
    for text in (digits, f"[{digits},1]", f'{{"a":{digits}}}', f" {digits} ", f'"a"{digits}"b"'):
        assert scan(text, ANY, ANY) == TOO_BIG


@pytest.mark.parametrize(
    "text", ["9{}.5", "9{}e1", "0.{}9", "1e-9{}", "-9{}E+9", '"9{}"', "1.9{}e9", "-.9{}", "+9{}"]
)
def test_other_numbers_may_have_any_number_of_digits(scan: Scan, text: str) -> None:
    assert scan(text.format("9" * 30), ANY, ANY) > 0


# -- properties -------------------------------------------------------------------------------

pieces = st.sampled_from(
    [
        *'[]{}",:\\-+.eE019é \n',
        *("[]", "{}", '\\"', "\\\\", '""', '"a"', "null", "1.5", "true", "[" * 70, "x" * 9),
        *(str(number) for number in (LARGEST, LARGEST + 1, SMALLEST, SMALLEST - 1, 10**18, 10**19)),
    ]
)
bounds = st.sampled_from([0, 1, 2, 5, ANY])


@given(st.lists(pieces, max_size=40).map("".join) | st.text(max_size=30), bounds, bounds)
@example('"\\', 0, 0)
@example('\\"[', 0, 0)
def test_both_find_the_same_in_any_text(text: str, depth: int, containers: int) -> None:
    assert scan_json(text, depth, containers) == pure_scan_json(text, depth, containers)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)


@given(values)
def test_what_is_found_is_what_the_values_are(value: object) -> None:
    depth = containers = 0
    fits = True

    def look(inner: object, level: int) -> None:
        nonlocal depth, containers, fits
        if isinstance(inner, (list, dict)):
            depth, containers = max(depth, level + 1), containers + 1
            for item in inner.values() if isinstance(inner, dict) else inner:
                look(item, level + 1)
        elif isinstance(inner, int):
            fits &= SMALLEST <= inner <= LARGEST

    look(value, 0)
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        found = scan_json(text, depth, containers)
        assert found == TOO_BIG if not fits else found >= cost(text, 0, containers)
        if containers:
            assert scan_json(text, depth - 1, containers) == TOO_DEEP
            assert scan_json(text, depth, containers - 1) in (TOO_MANY, TOO_DEEP)
