"""Who is told what: the application's callbacks, by the kinds of what they hear."""

from collections.abc import Callable
from typing import Any

from sono_core.arguments import require_type
from sono_core.limits import Limits
from sono_core.messaging import check_name

Check = Callable[[str, Callable[..., object]], None]
"""Raises TypeError if an argument of that name cannot be called by this client."""


class Hooks:
    """Callbacks of one client, or of one of its channels.

    Args:
        check: of functions.
    """

    __slots__ = ("_by_kind", "check")

    def __init__(self, check: Check) -> None:
        self.check: Check = check
        self._by_kind: dict[str, list[Callable[..., object]]] = {}

    def add(self, kind: str, function: Callable[..., object], argument: str = "function") -> None:
        """Call a function for each of that kind; functions add up.

        Raises:
            TypeError: it cannot be called; the text names the argument.
        """
        require_type("event", kind, str)
        self.check(argument, function)
        self._by_kind.setdefault(kind, []).append(function)

    def remove(self, kind: str, function: Callable[..., object] | None = None) -> None:
        """Take one function back, or all of that kind; nothing happens if there is none."""
        if function is None:
            self._by_kind.pop(kind, None)
        elif function in self._by_kind.get(kind, ()):
            self._by_kind[kind].remove(function)

    def of(self, kind: str) -> list[Callable[..., object]]:
        """The functions of a kind, in the order of their registration."""
        return list(self._by_kind.get(kind, ()))


class Handlers:
    """What answers the server's requests, by their names.

    Args:
        check: of functions.
        limits: `max_name`.
    """

    __slots__ = ("_by_name", "_check", "_limits")

    def __init__(self, check: Check, limits: Limits) -> None:
        self._check = check
        self._limits = limits
        self._by_name: dict[str, Callable[[Any], object]] = {}

    def check_name(self, name: str) -> None:
        """Whether requests may have that name.

        Raises:
            TypeError, ValueError: they may not.
        """
        require_type("name", name, str)
        check_name(name, "name", self._limits)

    def add(self, name: str, function: Callable[[Any], object]) -> None:
        """Answer requests of that name by a function; the latest counts.

        Raises:
            TypeError: it cannot be called.
        """
        self._check("function", function)
        self._by_name[name] = function

    def of(self, name: str) -> Callable[[Any], object] | None:
        """The function; None if there is none."""
        return self._by_name.get(name)
