"""Every limit and time-out by its name: for `sono limits`, `sono serve --set` and the docs."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, get_args

import msgspec

from sono_core import Limits, Timeouts
from sono_core.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS

_KINDS: tuple[tuple[type[msgspec.Struct], type], ...] = ((Limits, int), (Timeouts, float))


class Setting(NamedTuple):
    """One number."""

    name: str
    default: str
    what: str
    """Unit, reason and what happens beyond it."""


def settings() -> Iterator[Setting]:
    """All of them, in their order."""
    for kind, _ in _KINDS:
        for field in msgspec.structs.fields(kind):
            _, meta = get_args(field.type)
            default = field.default
            shown = "-" if default is None else f"{default:g}" if default < 1e4 else f"{default:,}"
            yield Setting(field.name, shown, meta.description)


def changed(
    assignments: Iterable[str],
    limits: Limits = DEFAULT_LIMITS,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> tuple[Limits, Timeouts]:
    """These limits and time-outs, but for what `NAME=VALUE` says.

    Raises:
        ValueError: there is no such name, or it cannot have that value.
    """
    values: dict[str, dict[str, float]] = {kind.__name__: {} for kind, _ in _KINDS}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        for kind, number in _KINDS:
            if equals and name in kind.__struct_fields__:
                try:
                    values[kind.__name__][name] = number(text)
                except ValueError:
                    raise ValueError(f"{text!r} is not a value of {name}") from None
                break
        else:
            raise ValueError(f"{assignment!r} is not NAME=VALUE; `sono limits` has the names")
    return (
        msgspec.structs.replace(limits, **values["Limits"]),
        msgspec.structs.replace(timeouts, **values["Timeouts"]),
    )
