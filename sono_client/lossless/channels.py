"""A channel as its members see it, without what has to be sent."""

from collections.abc import Callable
from typing import Any, TypeVar

from .hooks import Hooks

GAP = "gap"
"""What a channel calls back with the entries that cannot be had; no event of the application."""
_PRESENCE = "presence"
_LEAVE = "leave"

Function = TypeVar("Function", bound=Callable[..., object])


class ChannelView:
    """What is the same for a channel in both clients: whom it calls back.

    Args:
        name: of the channel.
        hooks: for what is no event.
        events: for events.
        members: gives those that are known.
    """

    def __init__(
        self,
        name: str,
        hooks: Hooks,
        events: Hooks,
        members: Callable[[str], dict[str, Any]],
    ) -> None:
        self.name: str = name
        """Of the channel."""
        self._hooks = hooks
        self._events = events
        self._members = members

    def on(self, event: str, callback: Callable[..., object]) -> None:
        """Call back as `f(data, about)` for each event of that name in this channel.

        At `"gap"`, call back as `f(gap)` with the entries of this channel that cannot be had.

        Raises:
            TypeError: the callback cannot be called.
        """
        (self._hooks if event == GAP else self._events).add(event, callback, "callback")

    def off(self, event: str, callback: Callable[..., object] | None = None) -> None:
        """Take one callback back, or all of an event."""
        (self._hooks if event == GAP else self._events).remove(event, callback)

    @property
    def presence(self) -> dict[str, Any]:
        """The members that are known, by id, with their public data.

        Those of a channel that was joined with `presence`; otherwise none.
        """
        return self._members(self.name)

    def on_presence(self, function: Function) -> Function:
        """Decorator: call the function as `f(change)` when `presence` has changed."""
        self._hooks.add(_PRESENCE, function)
        return function

    def on_leave(self, function: Function) -> Function:
        """Decorator: call the function as `f(code)` when the server has ended the membership."""
        self._hooks.add(_LEAVE, function)
        return function

    # -- for those who tell ---------------------------------------------------------------------

    def hearers(self, event: str) -> list[Callable[..., object]]:
        """The callbacks of an event."""
        return self._events.of(event)

    def told_of_gaps(self) -> list[Callable[..., object]]:
        """Whom to tell of a gap."""
        return self._hooks.of(GAP)

    def told_of_presence(self) -> list[Callable[..., object]]:
        """Whom to tell that members have changed."""
        return self._hooks.of(_PRESENCE)

    def told_of_the_end(self) -> list[Callable[..., object]]:
        """Whom to tell that the server has ended the membership."""
        return self._hooks.of(_LEAVE)
