"""What is the same in both clients: whom they call back, and what they know."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from sono_core.errors import RequestFailed
from sono_core.messaging.classic import Callback, ClientState
from sono_core.messaging.lossless import Position

from .channels import ChannelView
from .hooks import Handlers, Hooks
from .options import Dialect
from .talk import Talk
from .values import ClientSession, ClientStatus, Gap

Function = TypeVar("Function", bound=Callable[..., object])
View = TypeVar("View", bound=ChannelView)


class Listening(Generic[View]):
    """Callbacks, and what is known without asking."""

    _state: ClientState
    _hooks: Hooks
    _handlers: Handlers
    _talk: Talk[View] | None
    """None in the classic dialect."""

    def on(self, event: str, callback: Callback) -> None:
        """Call back with the payload of each event of that name; callbacks add up.

        The payload is `{"message": ..., "from": ...}`, without `from` if the server says it. The
        event `error` is for what the server refuses of the calls that do not wait, with
        `{"code", "message"}`.

        Raises:
            TypeError: the callback cannot be called; or it is a coroutine function, in the blocking
                client.
        """
        self._hooks.check("callback", callback)
        self._state.on(event, callback)

    def off(self, event: str, callback: Callback | None = None) -> None:
        """Take one callback back, or all of an event."""
        self._state.off(event, callback)

    def on_connect(self, function: Function) -> Function:
        """Decorator: call the function as `f()` after each connection but the first."""
        self._hooks.add("connect", function)
        return function

    def on_disconnect(self, function: Function) -> Function:
        """Decorator: call the function as `f(close)` when a connection has ended."""
        self._hooks.add("disconnect", function)
        return function

    def on_status(
        self, function: Callable[[ClientStatus], object]
    ) -> Callable[[ClientStatus], object]:
        """Decorator: call the function as `f(status)` when `status` has changed, in v2."""
        self._hooks.add("status", function)
        return function

    def on_session(
        self, function: Callable[[ClientSession], object]
    ) -> Callable[[ClientSession], object]:
        """Decorator: call the function as `f(session)` when one has begun or goes on, in v2."""
        self._hooks.add("session", function)
        return function

    def on_gap(self, function: Callable[[Gap], object]) -> Callable[[Gap], object]:
        """Decorator: call the function as `f(gap)` when entries of any stream cannot be had."""
        self._hooks.add("gap", function)
        return function

    def on_join(self, function: Callable[[View], object]) -> Callable[[View], object]:
        """Decorator: call the function as `f(channel)` when the server has made it a member."""
        self._hooks.add("join", function)
        return function

    def on_request(self, name: str) -> Callable[[Function], Function]:
        """Decorator: answer the server's requests of that name with what the function returns.

        It is called as `f(data)`; on asyncio it waits for no callback. If it raises RequestFailed,
        that is the answer. Any other exception is answered with `failed`, and logged or raised as
        that of a callback.

        Raises:
            TypeError, ValueError: it cannot be called, or the name is illegal.
        """
        handlers = self._handlers
        handlers.check_name(name)

        def register(function: Function) -> Function:
            handlers.add(name, function)
            return function

        return register

    # -- what is known --------------------------------------------------------------------------

    @property
    def dialect(self) -> Dialect:
        """What is spoken: before a connection, what is hoped for."""
        return "v2" if self._talk else "classic"

    @property
    def id(self) -> str | None:
        """The client's public id, in v2."""
        return self._talk.id if self._talk else None

    @property
    def channel(self) -> str | None:
        """The current channel, in v2."""
        return self._talk.channel if self._talk else None

    @property
    def channels(self) -> list[str]:
        """The channels that it is a member of, in v2."""
        return self._talk.channels if self._talk else []

    @property
    def positions(self) -> dict[str, Position]:
        """Its position in each stream, in v2."""
        return self._talk.positions if self._talk else {}

    def presence(self, channel: str) -> dict[str, Any]:
        """The members of a channel that was joined with `presence`, with their public data."""
        return self._talk.members(channel) if self._talk else {}

    def _lossless(self) -> Talk[View]:
        if self._talk is None:
            raise RequestFailed("unsupported", "the server speaks the classic dialect only")
        return self._talk
