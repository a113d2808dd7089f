"""How much is kept of a stream, and which channel keeps how much."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

import msgspec

from sono_core.arguments import require_type
from sono_core.limits import KIB, require_positive
from sono_core.messaging import matcher


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a stream, for those who come back: whatever is reached first.

    Raises:
        ValueError: a bound is not finite, or not above 0; `count` may be 0.
    """

    count: Annotated[
        int,
        msgspec.Meta(description="Entries. 0 keeps none, and numbers them all the same."),
    ] = 100
    size: Annotated[
        int,
        msgspec.Meta(
            description="Bytes of them together. An entry that has more is delivered and not kept."
        ),
    ] = 256 * KIB
    age: Annotated[float, msgspec.Meta(description="Seconds for which an entry is kept.")] = 300.0

    def __post_init__(self) -> None:
        count: Any = self.count
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise ValueError(f"count must be an int, 0 or above, not {count!r}")
        require_positive("size", self.size, int)
        require_positive("age", self.age, float)


DEFAULT_HISTORY = History()


class Histories:
    """The history of each channel: that of the first pattern that matches its name.

    Args:
        patterns: histories by patterns; see `matcher`.
        default: the history of a channel that no pattern matches.

    Raises:
        TypeError: a pattern is no str, or what it stands for no `History`.
    """

    __slots__ = ("_patterns", "default")

    def __init__(
        self,
        patterns: Mapping[str, History] = MappingProxyType({}),
        default: History = DEFAULT_HISTORY,
    ) -> None:
        require_type("history", patterns, Mapping)
        require_type("default", default, History)
        for pattern, history in patterns.items():
            require_type("a pattern of history", pattern, str)
            require_type(f"history[{pattern!r}]", history, History)
        self._patterns = [(matcher(pattern), history) for pattern, history in patterns.items()]
        self.default: History = default

    def of(self, channel: str) -> History:
        """The history of a channel, by its name."""
        for matches, history in self._patterns:
            if matches(channel):
                return history
        return self.default
