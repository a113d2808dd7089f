"""limits.py: every setting has a bound, and none can be taken away."""

import math
from typing import Any

import msgspec
import pytest

from sono_core import Limits, Timeouts
from sono_core.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS, MIB

SETTINGS: list[type[Limits] | type[Timeouts]] = [Limits, Timeouts]
STANDS_FOR = {"max_queue": "queue_limit", "max_memory": "memory_limit"}
FIELDS = [(kind, name) for kind in SETTINGS for name in kind.__struct_fields__]


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_no_default_is_unlimited(kind: type[Any], name: str) -> None:
    value = getattr(kind(), STANDS_FOR.get(name, name))
    assert isinstance(value, (int, float))
    assert not isinstance(value, bool)
    assert 0 < value < math.inf


@pytest.mark.parametrize(("kind", "name"), FIELDS)
@pytest.mark.parametrize("value", [0, -1, -0.5, True, False, math.nan])
def test_a_setting_that_is_not_above_0_is_refused_by_name(
    kind: type[Any], name: str, value: float
) -> None:
    with pytest.raises(ValueError, match=name):
        kind(**{name: value})


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_none_does_not_mean_unlimited(kind: type[Any], name: str) -> None:
    if name in STANDS_FOR:
        default = {"max_queue": 4 * MIB, "max_memory": 1024 * MIB}[name]
        assert getattr(Limits(**{name: None}), STANDS_FOR[name]) == default
    else:
        with pytest.raises(ValueError, match=name):
            kind(**{name: None})


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_every_setting_can_be_set(kind: type[Any], name: str) -> None:
    assert getattr(kind(**{name: 7}), name) == 7


def test_the_queue_holds_4_mib_or_two_whole_messages() -> None:
    assert Limits().queue_limit == 4 * MIB
    assert Limits(max_message=2 * MIB + 1).queue_limit == 4 * MIB + 2
    assert Limits(max_queue=5, max_message=MIB).queue_limit == 5


def test_settings_are_immutable_and_by_keyword() -> None:
    assert Limits() == DEFAULT_LIMITS
    assert Timeouts() == DEFAULT_TIMEOUTS
    for kind in SETTINGS:
        with pytest.raises(TypeError):
            kind(1)  # type: ignore[misc]
        with pytest.raises(AttributeError):
            setattr(kind(), kind.__struct_fields__[0], 1)
        assert isinstance(kind(), msgspec.Struct)


def test_the_defaults_are_those_of_the_documented_table() -> None:
    limits = Limits()
    assert (limits.max_message, limits.max_frame) == (MIB, MIB)
    assert limits.max_fragments == 1024
    assert (limits.max_head_line, limits.max_head, limits.max_headers) == (8192, 16384, 64)
    assert (limits.pause_reading_at, limits.max_turn_messages) == (65536, 1024)
    times = Timeouts()
    assert (times.handshake, times.ping_interval, times.pong) == (5.0, 20.0, 20.0)
    assert (times.close, times.write_stall, times.message) == (5.0, 20.0, 60.0)


def test_no_setting_can_be_made_unlimited() -> None:
    for name in Limits.__struct_fields__:
        for value in (math.inf, 1.5, math.nan):
            with pytest.raises(ValueError, match=f"^{name} must be a finite int above 0"):
                Limits(**{name: value})
    for name in Timeouts.__struct_fields__:
        for value in (math.inf, math.nan):
            with pytest.raises(ValueError, match=f"^{name} must be a finite float above 0"):
                Timeouts(**{name: value})
