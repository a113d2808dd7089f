"""Functions of the application that are called for channels, by a pattern of their names."""

from collections.abc import Callable
from typing import Any

from sono_core.messaging import matcher

ALL: Any = object()
"""Stands for all channels, where nobody has written a pattern."""


class ByPattern:
    """Functions in the order in which they were registered, each for the channels of a pattern."""

    __slots__ = ("_written", "functions")

    def __init__(self) -> None:
        self.functions: list[tuple[Callable[[str], object], Callable[..., Any]]] = []
        self._written: list[Callable[[str], object]] = []

    def add(self, pattern: str, function: Callable[..., object]) -> None:
        """Call the function for the channels whose names match; see `matcher`. `ALL` is a pattern.

        Raises:
            TypeError: the pattern is not a str.
        """
        if pattern is ALL:
            self.functions.append((bool, function))  # no name is empty
        else:
            matches = matcher(pattern)
            self.functions.append((matches, function))
            self._written.append(matches)

    def of(self, channel: str) -> list[Callable[..., Any]]:
        """The functions for a channel."""
        return [function for matches, function in self.functions if matches(channel)]

    def named(self, channel: str) -> bool:
        """Whether a pattern that somebody has written matches the name."""
        return any(matches(channel) for matches in self._written)
