"""Patterns of transcripts: what fits, what they bind, what they stand for. docs/transcripts.md."""

from __future__ import annotations

from typing import Any

import pytest

from sono_server.conformance import Mismatch
from sono_server.conformance.matching import fill, flaw, match, names_in

FITS: list[tuple[Any, Any]] = [
    (1, 1),
    (1, 1.0),
    ("text", "text"),
    (None, None),
    ([1, [2]], [1, [2]]),
    ({"a": {"b": []}}, {"a": {"b": []}}),
    ("$_", {"any": "thing"}),
    ({"a": "$_", "$more": True}, {"a": None, "b": 1}),
    ({"$is": "boolean"}, False),
    ({"$is": "integer"}, 3),
    ({"$is": "list"}, []),
    ({"$is": "number"}, 0.5),
    ({"$is": "object"}, {}),
    ({"$is": "position"}, ["e", 0]),
    ({"$is": "string"}, ""),
    ({"$has": "field"}, "the field is wrong"),
    ({"$between": [1, 3]}, 3),
    ({"$between": [None, 3]}, -5),
    ({"$between": [1, None]}, 1e9),
    ({"$plus": ["$seven", 1]}, 8),
    ({"$set": [1, 2]}, [2, 1]),
    ({"$set": []}, []),
    ({"$set": [{"$is": "integer"}, 5]}, [5, 6]),
    ({"$either": [1, {"$has": "x"}]}, "xyz"),
    ({"$bytes": "AA=="}, {"$bytes": "AA=="}),
    ("$seven", 7),
]
DIFFERS: list[tuple[Any, Any]] = [
    (1, True),
    (1, 2),
    (1, "1"),
    (0, None),
    ("text", "texts"),
    ([1], [1, 2]),
    ([1], 1),
    ([1, 2], [2, 1]),
    ({}, []),
    ({"a": 1}, {}),
    ({"a": 1}, {"a": 1, "b": 2}),
    ({"a": 1, "$more": True}, {"b": 2}),
    ({"$is": "boolean"}, 0),
    ({"$is": "integer"}, True),
    ({"$is": "integer"}, 1.5),
    ({"$is": "number"}, True),
    ({"$is": "position"}, ["e"]),
    ({"$is": "position"}, ["", 1]),
    ({"$is": "position"}, ["e", -1]),
    ({"$is": "position"}, ["e", True]),
    ({"$has": "field"}, "nothing"),
    ({"$has": "field"}, None),
    ({"$between": [1, 3]}, 4),
    ({"$between": [1, 3]}, "2"),
    ({"$between": [0, 3]}, True),
    ({"$plus": ["$seven", 1]}, 7),
    ({"$set": [1, 2]}, [1, 1]),
    ({"$set": [1]}, [1, 1]),
    ({"$set": [1]}, 1),
    ({"$either": [1, 2]}, 3),
    ({"$new": "other"}, "taken"),
    ({"$new": "other"}, 5),
    ("$seven", 8),
]
BOUND = {"seven": 7, "word": "taken"}


@pytest.mark.parametrize(("pattern", "value"), FITS)
def test_a_value_that_fits(pattern: Any, value: Any) -> None:
    assert flaw(pattern) is None
    assert match(pattern, value, BOUND) == BOUND


@pytest.mark.parametrize(("pattern", "value"), DIFFERS)
def test_a_value_that_differs(pattern: Any, value: Any) -> None:
    assert flaw(pattern) is None
    with pytest.raises(Mismatch):
        match(pattern, value, BOUND)
    assert BOUND == {"seven": 7, "word": "taken"}


def test_a_name_is_bound_once_and_then_compared() -> None:
    assert match(["$a", "$a"], [1, 1], {}) == {"a": 1}
    with pytest.raises(Mismatch, match=r"\[1\] is 2, and should be 1"):
        match(["$a", "$a"], [1, 2], {})


def test_a_new_name_is_bound_and_then_compared() -> None:
    bound = match({"$new": "key"}, "k2", {"former": "k1"})
    assert bound == {"former": "k1", "key": "k2"}
    assert match({"$new": "key"}, "k2", bound) == bound
    with pytest.raises(Mismatch):
        match({"$new": "key"}, "k3", bound)


def test_a_set_tries_every_order() -> None:
    pattern = {"$set": [["$a", "$_"], ["$b", 1], ["$a", 2]]}
    assert match(pattern, [["x", 1], ["y", 2], ["y", 3]], {}) == {"a": "y", "b": "x"}


def test_what_did_not_fit_binds_nothing() -> None:
    assert match({"$either": [["$a", 1], ["$b", 2]]}, ["x", 2], {}) == {"b": "x"}


def test_where_it_differs_is_in_the_text() -> None:
    with pytest.raises(Mismatch, match=r"^\.a\[1\]\.b is missing$"):
        match({"a": [1, {"b": 2}]}, {"a": [1, {}]}, {})
    with pytest.raises(Mismatch, match=r"^\.c should not be there$"):
        match({}, {"c": 1}, {})
    with pytest.raises(Mismatch, match=r"^it is 2, and should be 1$"):
        match(1, 2, {})


def test_a_pattern_is_filled_with_what_is_bound() -> None:
    pattern = {"a": ["$seven", {"$plus": ["$seven", 1]}], "b": {"$set": ["$word"]}, "$more": True}
    assert fill(pattern, BOUND) == {"a": [7, 8], "b": ["taken"]}
    assert fill({"$new": "word"}, BOUND) == "taken"
    assert fill({"$bytes": "AA=="}, {}) == {"$bytes": "AA=="}


@pytest.mark.parametrize("pattern", ["$unbound", "$_", {"$is": "string"}, {"a": {"$has": "b"}}])
def test_what_may_be_several_values_cannot_be_said(pattern: Any) -> None:
    with pytest.raises(Mismatch):
        fill(pattern, BOUND)


@pytest.mark.parametrize(
    "pattern",
    [
        "$",
        "$Upper",
        "$two words",
        {"$unknown": 1},
        {"$is": "string", "beside": 1},
        {"$is": "integers"},
        {"$new": 5},
        {"$new": "Upper"},
        {"$has": 5},
        {"$between": [1]},
        {"$between": [1, "2"]},
        {"$between": 1},
        {"$plus": 1},
        {"$plus": ["$"]},
        {"$set": {}},
        {"$either": ["$"]},
        [{"a": "$"}],
    ],
)
def test_a_pattern_that_means_nothing(pattern: Any) -> None:
    assert flaw(pattern)


def test_the_names_in_a_pattern() -> None:
    pattern = {"a": ["$b", "$_", "text"], "c": {"$new": "d"}, "e": {"$plus": ["$f", 1]}}
    assert list(names_in(pattern)) == ["b", "d", "f"]
