"""Names of channels and events, which all dialects check by the same rules."""

from __future__ import annotations

from typing import Any

import pytest

from sono_core import Limits
from sono_core.limits import DEFAULT_LIMITS
from sono_core.messaging import RESERVED_EVENTS, check_event, check_name
from sono_core.messaging.classic import packets

BAD = {
    "": "1 to 128 characters",
    "x" * 129: "1 to 128 characters",
    "a\nb": "control characters are not allowed",
    "\x9f": "control characters are not allowed",
}


@pytest.mark.parametrize("name", ["x" * 128, "😀" * 128, " ", "\xa0", "__proto__", "Grab"])
def test_a_name_is_short_and_of_any_script(name: str) -> None:
    check_name(name, "channel", DEFAULT_LIMITS)
    check_event(name, DEFAULT_LIMITS)


@pytest.mark.parametrize(("name", "why"), BAD.items())
def test_a_bad_name_is_refused_with_the_reason(name: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_name(name, "channel", DEFAULT_LIMITS)
    assert str(caught.value) == f"channel: {why}"
    with pytest.raises(ValueError) as caught:
        check_event(name, DEFAULT_LIMITS)
    assert str(caught.value) == f"event {name!r}: event: {why}"


def test_the_length_is_a_limit() -> None:
    check_name("xx", "event", Limits(max_name=2))
    with pytest.raises(ValueError, match="1 to 2 characters"):
        check_name("xxx", "event", Limits(max_name=2))


@pytest.mark.parametrize("event", [None, 1, b"x"])
def test_an_event_is_a_str(event: Any) -> None:
    with pytest.raises(TypeError, match=f"must be of type str, not {type(event).__name__}"):
        check_event(event, DEFAULT_LIMITS)


@pytest.mark.parametrize("event", ["error", "grab"])
def test_the_servers_own_events_are_nobody_elses(event: str) -> None:
    with pytest.raises(ValueError, match=f"the event name '{event}' is reserved"):
        check_event(event, DEFAULT_LIMITS)
    check_name(event, "channel", DEFAULT_LIMITS)


def test_what_the_classic_server_says_is_reserved() -> None:
    assert {packets.ERROR, packets.GRAB} == RESERVED_EVENTS
