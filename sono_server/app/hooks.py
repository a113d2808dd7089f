"""What an application has registered, and the steps in which it is called.

The trampoline runs the steps.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from sono_core.errors import RequestFailed
from sono_core.events import Close
from sono_core.lifecycle import ends
from sono_core.messaging import Hub, MessagingError
from sono_core.messaging.lossless.packets import Failure
from sono_server.serving import HTTPRequest, logger

from .clients import Client
from .patterns import ByPattern
from .payloads import fitted, takes_argument
from .trampoline import Steps

EventHandler = Callable[[Client, Any], object]
ClientHandler = Callable[[Client], object]


class Hooks:
    """The functions of the application; and the clients, for which they are called.

    Args:
        hub: of these clients.
    """

    def __init__(self, hub: Hub) -> None:
        self.hub: Hub = hub
        self.clients: dict[str, Client] = {}
        self.handlers: dict[str, list[tuple[EventHandler, Any]]] = {}
        """Of events, each with the type of the payload that it wants."""
        self.answers: dict[str, tuple[EventHandler, Any]] = {}
        """Handlers of requests, by their names."""
        self.identify: Callable[[HTTPRequest], Steps]
        """Who sent a request: `Known`; None if it is nobody."""
        self.on_connect: list[ClientHandler] = []
        self.on_suspend: list[ClientHandler] = []
        self.on_resume: list[ClientHandler] = []
        self.on_disconnect: list[Callable[[Client, Close], object]] = []
        self.on_join: ByPattern = ByPattern()
        self.on_leave: ByPattern = ByPattern()
        self.on_publish: ByPattern = ByPattern()
        hub.opens = self.on_join.named

    def may_enter(self, client: Client, channel: str, again: bool = False) -> Steps:
        """Whether the application lets a client into a channel.

        Args:
            again: ask also about a channel where it is.
        """
        here = client.id in self.clients and channel in self.hub.channels_of(client.id)
        if here and not again:
            return True
        for function in self.on_join.of(channel):
            if (yield function(client, channel)) is False:
                return False
        return True

    def hidden_from(self, client: Client) -> Steps:
        """Channels that a client may not enter, among those whose names a written pattern matches:
        it is not told of them."""
        hidden = set()
        for channel in list(self.hub.channels_listed):
            if self.on_join.named(channel):
                try:
                    allowed = yield from self.may_enter(client, channel)
                except RequestFailed:
                    allowed = False
                if not allowed:
                    hidden.add(channel)
        return hidden

    def may_publish(self, client: Client, channel: str, event: str, payload: Any) -> Steps:
        """Whether the application lets a client say that in a channel where it is."""
        for function in self.on_publish.of(channel):
            if (yield function(client, channel, event, payload)) is False:
                return False
        return True

    def hear(self, client: Client, event: str, payload: Any) -> Steps:
        """Call the handlers of an event; False if one wants it to go no further."""
        for handler, kind in self.handlers.get(event, ()):
            if (yield handler(client, fitted(payload, kind))) is False:
                return False
        return True

    def connected(self, client: Client) -> Steps:
        """Call the application for a client that has come."""
        try:
            for function in self.on_connect:
                yield function(client)
            callback, client._callback = client._callback, None  # it may hold what it closes over
            if callback:
                yield callback(*([client] if takes_argument(callback) else []))
        except Exception:
            logger.exception("the connect callback failed; its client is closed")
            client.close(ends.HANDLER_FAILED.code, ends.HANDLER_FAILED.reason)

    def suspended(self, client: Client) -> Steps:
        """Call the application for a client that has lost its connection."""
        yield from _each([partial(function, client) for function in self.on_suspend])

    def resumed(self, client: Client) -> Steps:
        """Call the application for one that has another connection."""
        yield from _each([partial(function, client) for function in self.on_resume])

    def departed(self, client: Client, channel: str) -> Steps:
        """Call the application for one that has left a channel."""
        yield from _each([partial(call, client, channel) for call in self.on_leave.of(channel)])

    def gone(self, client: Client, close: Close) -> Steps:
        """Call the application for a client that is gone."""
        for function in self.on_disconnect:
            yield function(client, close)


def _each(calls: list[Callable[[], object]]) -> Steps:
    """Call functions to which it makes no difference whether another one failed."""
    for call in calls:
        try:
            yield call()
        except Exception:
            logger.exception("a function of the application failed")


def failure_of(error: Exception) -> Failure:
    """What a client is told of a function that raised; what nobody foresaw is logged."""
    if isinstance(error, MessagingError):  # the packet's fault
        return Failure(error.code, error.text)
    if isinstance(error, RequestFailed):
        return Failure(error.code, error.text, error.temporary)
    logger.error("a handler failed", exc_info=error)
    return Failure("failed", "the handler failed", True)
