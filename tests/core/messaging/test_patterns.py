"""Patterns of channel names."""

from __future__ import annotations

from typing import Any

import pytest

from sono_core.messaging import matcher


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("room:*", ["room:", "room:1", "room:1\n"], ["room", "Room:1", "a room:1"]),
        ("room:?", ["room:1", "room:*"], ["room:", "room:12"]),
        ("[ab]*", ["a", "bc"], ["c", "[ab]", ""]),
        ("[!ab]", ["c"], ["a", "cc"]),
        ("[*]", ["*"], ["a"]),
        ("a.c", ["a.c"], ["abc"]),
        ("*", ["", "anything"], []),
        ("", [""], ["a"]),
        ("[", ["["], ["a"]),
    ],
)
def test_which_names_a_pattern_matches(
    pattern: str, matching: list[str], others: list[str]
) -> None:
    matches = matcher(pattern)
    assert all(matches(name) for name in matching)
    assert not any(matches(name) for name in others)


@pytest.mark.parametrize("pattern", [None, 7, b"room:*"])
def test_a_pattern_is_a_str(pattern: Any) -> None:
    with pytest.raises(TypeError, match="a pattern must be of type str"):
        matcher(pattern)
