"""How much is kept of a stream, and which channel keeps how much."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sono_core.messaging.lossless.history import Histories, History


def test_the_defaults_are_documented() -> None:
    history = History()
    assert (history.count, history.size, history.age) == (100, 262_144, 300.0)
    assert History(count=0).count == 0


@pytest.mark.parametrize("value", [-1, 1.5, True, math.inf, math.nan, None, "7"])
def test_a_count_is_an_int_from_0_on(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^count must be an int, 0 or above, not "):
        History(count=value)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, math.inf, math.nan, None])
def test_a_size_is_an_int_above_0(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^size must be a finite int above 0"):
        History(size=value)


@pytest.mark.parametrize("value", [0, -0.5, True, math.inf, math.nan, None])
def test_an_age_is_finite_and_above_0(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^age must be a finite float above 0"):
        History(age=value)


def test_a_history_is_immutable_and_by_keyword() -> None:
    with pytest.raises(TypeError):
        History(1)  # type: ignore[misc]
    with pytest.raises(AttributeError):
        History().count = 1  # type: ignore[misc]


def test_the_first_pattern_that_matches_counts() -> None:
    one, room, rest, default = (History(count=count) for count in range(4))
    histories = Histories({"room:1": one, "room:*": room, "?[ab]*": rest}, default)
    assert histories.of("room:1") is one
    assert histories.of("room:12") is room
    assert histories.of("xa") is rest
    assert histories.of("xc") is default
    assert histories.of("Room:1") is default
    assert Histories().of("room:1") == History()


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ([("room:*", History())], "history must be of type Mapping"),
        ({1: History()}, "a pattern of history must be of type str"),
        ({"room:*": 100}, r"history\['room:\*'\] must be of type History"),
    ],
)
def test_wrong_patterns_are_refused(patterns: Any, message: str) -> None:
    with pytest.raises(TypeError, match=rf"^{message}"):
        Histories(patterns)
    with pytest.raises(TypeError, match=r"^default must be of type History"):
        Histories(default=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a" * 128, "a" * 127 + "\n"])
def test_no_name_makes_matching_slow(name: str) -> None:
    histories = Histories({"*a" * 40 + "b": History(count=1)})
    assert histories.of(name) == History()
