"""What a transcript says of a value: placeholders that bind and compare. docs/transcripts.md.

A pattern is a JSON value. Where it has no placeholder, the value must be the same.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sono_core.errors import SonoError

Bindings = dict[str, Any]
ANYTHING = "$_"
MORE = "$more"
"""As a key of an object: it may have other keys too."""

_name = re.compile(r"\$([a-z][a-z0-9_]*)").fullmatch


class Mismatch(SonoError):  # noqa: N818 - it is compared, and not raised to users
    """A value is not what a pattern says; the text says where."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_position(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and 1 <= len(value[0]) <= 64
        and _is_integer(value[1])
        and value[1] >= 0
    )


KINDS: Mapping[str, Callable[[Any], bool]] = {
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_integer,
    "list": lambda value: isinstance(value, list),
    "number": _is_number,
    "object": lambda value: isinstance(value, dict),
    "position": _is_position,
    "string": lambda value: isinstance(value, str),
}
"""What `{"$is": …}` may name."""


def match(pattern: Any, value: Any, bound: Mapping[str, Any], where: str = "") -> Bindings:
    """The bindings after a comparison; `bound` stays as it is.

    Raises:
        Mismatch: the value is not as the pattern says.
    """
    if isinstance(pattern, str) and pattern.startswith("$"):
        return _placeholder(pattern, value, bound, where)
    if isinstance(pattern, dict):
        special = special_of(pattern)
        if special:
            return _SPECIAL[special](pattern[special], value, bound, where)
        return _object(pattern, value, bound, where)
    if isinstance(pattern, list):
        if not isinstance(value, list) or len(value) != len(pattern):
            raise _differs(pattern, value, where)
        after = dict(bound)
        for index, (inner, found) in enumerate(zip(pattern, value, strict=True)):
            after = match(inner, found, after, f"{where}[{index}]")
        return after
    if not same(pattern, value):
        raise _differs(pattern, value, where)
    return dict(bound)


def fill(pattern: Any, bound: Mapping[str, Any]) -> Any:
    """The value that a pattern stands for.

    Raises:
        Mismatch: a placeholder is not bound, or may be several values.
    """
    if isinstance(pattern, str) and pattern.startswith("$"):
        found = _name(pattern)
        if not found or found[1] not in bound:
            raise Mismatch(f"{pattern} is not bound")
        return bound[found[1]]
    if isinstance(pattern, dict):
        special = special_of(pattern)
        if special == "$plus":
            return _sum(pattern[special], bound)
        if special in ("$new", "$set"):
            inner = pattern[special]
            return fill(f"${inner}" if special == "$new" else inner, bound)
        if special:
            raise Mismatch(f"{special} may be several values")
        return {key: fill(inner, bound) for key, inner in pattern.items() if key != MORE}
    if isinstance(pattern, list):
        return [fill(inner, bound) for inner in pattern]
    return pattern


def names_in(pattern: Any) -> Iterable[str]:
    """The placeholders of a pattern that bind or compare, in order."""
    if isinstance(pattern, str):
        if (found := _name(pattern)) and pattern != ANYTHING:
            yield found[1]
    elif isinstance(pattern, dict):
        if special_of(pattern) == "$new":
            yield pattern["$new"]
        else:
            for inner in pattern.values():
                yield from names_in(inner)
    elif isinstance(pattern, list):
        for inner in pattern:
            yield from names_in(inner)


def special_of(pattern: Mapping[str, Any]) -> str | None:
    """The comparison that an object stands for, if it does."""
    if len(pattern) == 1:
        (key,) = pattern
        if key in _SPECIAL:
            return key
    return None


def flaw(pattern: Any) -> str | None:
    """Why a pattern means nothing; None if it is well formed."""
    if isinstance(pattern, str):
        if pattern.startswith("$") and pattern != ANYTHING and not _name(pattern):
            return f"{pattern!r} is no placeholder"
    elif isinstance(pattern, list):
        return next(filter(None, map(flaw, pattern)), None)
    elif isinstance(pattern, dict):
        special = special_of(pattern)
        if special:
            return None if _well_formed(special, pattern[special]) else f"{special} is misused"
        for key, inner in pattern.items():
            if key.startswith("$") and key not in (MORE, "$bytes"):
                return f"{key!r} is no comparison, or stands beside other keys"
            if found := flaw(inner):
                return found
    return None


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: 1 is 1.0, and not true."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if _is_number(one) and _is_number(other):
        return bool(one == other)
    return type(one) is type(other) and bool(one == other)


# -- the comparisons ------------------------------------------------------------------------------


def _placeholder(pattern: str, value: Any, bound: Mapping[str, Any], where: str) -> Bindings:
    if pattern == ANYTHING:
        return dict(bound)
    found = _name(pattern)
    assert found, pattern  # `flaw` saw to it
    if found[1] in bound:
        if not same(bound[found[1]], value):
            raise _differs(bound[found[1]], value, where)
        return dict(bound)
    return {**bound, found[1]: value}


def _object(
    pattern: Mapping[str, Any], value: Any, bound: Mapping[str, Any], where: str
) -> Bindings:
    if not isinstance(value, dict):
        raise _differs(pattern, value, where)
    after = dict(bound)
    for key, inner in pattern.items():
        if key == MORE:
            continue
        if key not in value:
            raise Mismatch(f"{where}.{key} is missing")
        after = match(inner, value[key], after, f"{where}.{key}")
    if MORE not in pattern and (others := value.keys() - pattern.keys()):
        raise Mismatch(f"{where}.{min(others)} should not be there")
    return after


def _is(kind: str, value: Any, bound: Mapping[str, Any], where: str) -> Bindings:
    if not KINDS[kind](value):
        raise Mismatch(f"{where} is {value!r}, and no {kind}")
    return dict(bound)


def _new(name: str, value: Any, bound: Mapping[str, Any], where: str) -> Bindings:
    if name in bound:
        return _placeholder(f"${name}", value, bound, where)
    if not isinstance(value, str) or value in bound.values():
        raise Mismatch(f"{where} is {value!r}, and should be a string that was not there before")
    return {**bound, name: value}


def _has(text: str, value: Any, bound: Mapping[str, Any], where: str) -> Bindings:
    if not isinstance(value, str) or text not in value:
        raise Mismatch(f"{where} is {value!r}, without {text!r}")
    return dict(bound)


def _between(ends: Sequence[Any], value: Any, bound: Mapping[str, Any], where: str) -> Bindings:
    low, high = ends
    low = -math.inf if low is None else low
    high = math.inf if high is None else high
    if not _is_number(value) or not low <= value <= high:
        raise Mismatch(f"{where} is {value!r}, and not from {low} to {high}")
    return dict(bound)


def _plus(terms: Sequence[Any], value: Any, bound: Mapping[str, Any], where: str) -> Bindings:
    total = _sum(terms, bound)
    if not same(total, value):
        raise _differs(total, value, where)
    return dict(bound)


def _set(patterns: Sequence[Any], value: Any, bound: Mapping[str, Any], where: str) -> Bindings:
    if not isinstance(value, list) or len(value) != len(patterns):
        raise _differs(patterns, value, where)
    if not patterns:
        return dict(bound)
    first, *others = patterns
    mismatches = []
    for index, found in enumerate(value):
        try:
            after = match(first, found, bound, f"{where}[{index}]")
            return _set(others, value[:index] + value[index + 1 :], after, where)
        except Mismatch as mismatch:
            mismatches.append(mismatch)
    raise Mismatch(f"{where} has nothing that is {first!r}: {mismatches[0]}")


def _either(patterns: Sequence[Any], value: Any, bound: Mapping[str, Any], where: str) -> Bindings:
    mismatches = []
    for pattern in patterns:
        try:
            return match(pattern, value, bound, where)
        except Mismatch as mismatch:
            mismatches.append(str(mismatch))
    raise Mismatch("; ".join(mismatches))


_SPECIAL: Mapping[str, Callable[[Any, Any, Mapping[str, Any], str], Bindings]] = {
    "$between": _between,
    "$either": _either,
    "$has": _has,
    "$is": _is,
    "$new": _new,
    "$plus": _plus,
    "$set": _set,
}


def _sum(terms: Sequence[Any], bound: Mapping[str, Any]) -> Any:
    return sum(fill(term, bound) for term in terms)


def _well_formed(special: str, argument: Any) -> bool:
    if special in ("$set", "$either"):
        return isinstance(argument, list) and not any(map(flaw, argument))
    if special == "$between":
        return (
            isinstance(argument, list)
            and len(argument) == 2
            and all(_is_number(end) or end is None for end in argument)
        )
    if special == "$plus":
        return isinstance(argument, list) and not any(map(flaw, argument))
    if special == "$is":
        return argument in KINDS
    if special == "$new":
        return isinstance(argument, str) and bool(_name(f"${argument}"))
    return isinstance(argument, str)


def _differs(wanted: Any, value: Any, where: str) -> Mismatch:
    return Mismatch(f"{where or 'it'} is {value!r}, and should be {wanted!r}")
