"""Calls the application when clients come, speak and go, and delivers what follows.

`sono_core.messaging.Hub` decides who is in which channel, and the dialect of the sender decides
what a packet means.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from sono_core import BinaryMessage, Limits, Prepared, TextMessage
from sono_core.events import Close
from sono_core.lifecycle import ends
from sono_core.messaging import (
    Content,
    Deliver,
    Dialect,
    Effect,
    Hub,
    MessagingError,
    Publish,
    Reply,
    check_event,
)
from sono_server.serving import Loop, WebSocket, logger

from .clients import Channel, Client
from .trampoline import Steps

EventHandler = Callable[[Client, Any], object]


class Dispatcher:
    """The clients of one `Sono`, and the application's functions that are called for them.

    Its generators are run by the trampoline.

    Args:
        hub: an empty one.
        limits: of packets.
        dialects: all dialects that clients may speak.
    """

    def __init__(self, hub: Hub, limits: Limits, dialects: Iterable[Dialect]) -> None:
        self.hub = hub
        self.clients: dict[str, Client] = {}
        self.loop: Loop | None = None
        """Of the server that has the clients, once the first has come."""
        self.handlers: dict[str, list[EventHandler]] = {}
        self.on_connect: list[Callable[[Client], object]] = []
        self.on_disconnect: list[Callable[[Client, Close], object]] = []
        self._limits = limits
        self._dialects = tuple(dialects)
        self._delivered = 0  # messages to members of channels, in all

    def add(self, client: Client) -> None:
        """Let a new client in, to the home channel."""
        self.clients[client.id] = client
        self.hub.add(client.id)

    # -- what happens, in steps -----------------------------------------------------------------

    def greet(self, socket: WebSocket, callback: Callable[..., object] | None) -> Steps:
        """Call the application for a client that has come; `callback` is that of `Sono.connect`."""
        client: Client = socket.data
        try:
            for function in self.on_connect:
                yield function(client)
            if callback:
                yield callback(*([client] if _takes_argument(callback) else []))
        except Exception:
            logger.exception("the connect callback failed; its client is closed")
            client.close(ends.HANDLER_FAILED.code, ends.HANDLER_FAILED.reason)

    def receive(self, socket: WebSocket, message: Content) -> Steps:
        """Show a client's message to the application, and carry it out."""
        client: Client = socket.data
        dialect = client._dialect
        self._charge(client, len(message))
        delivered = self._delivered
        try:
            packet = dialect.parse(message, self._limits)
            if self.handlers and (said := dialect.said(packet)):
                event, payload = said
                for handler in self.handlers.get(event, ()):
                    if (yield handler(client, payload)) is False:
                        return
            effects = dialect.receive(self.hub, client.id, packet, self._limits)
        except MessagingError as error:
            socket.send(dialect.error(error.code, error.text))
        else:
            for effect in effects:
                self._perform(client, effect)
        finally:
            # Others deliver while a handler is awaited, so a turn may end early, but never late.
            if client._rate_limiter.cause(self._delivered - delivered):
                socket.end_turn()

    def leave(self, socket: WebSocket, close: Close) -> Steps:
        """Let a client go, and call the application for it."""
        client: Client = socket.data
        del self.clients[client.id]
        self.hub.remove(client.id)
        for function in self.on_disconnect:
            yield function(client, close)

    def _charge(self, client: Client, size: int) -> None:
        """Count what a client sent or asked for, and pause it if it exceeds its rates."""
        assert self.loop
        if wait := client._rate_limiter.take(size, self.loop.time()):
            client._socket.pause(wait)

    # -- delivery -------------------------------------------------------------------------------

    def _perform(self, client: Client, effect: Effect | Reply) -> None:
        """Carry out an effect of a packet of that client's."""
        if isinstance(effect, Publish):
            self._deliver(effect)
        elif isinstance(effect, Deliver):
            receiver = self.clients[effect.client]
            receiver._socket.send(receiver._dialect.written(effect))
        else:
            client._socket.send(effect.content)
            self._charge(client, len(effect.content))  # it may be much larger than the question

    def _deliver(self, publication: Publish) -> None:
        """Send a publication to its recipients here; each dialect's frame is encoded once."""
        clients = self.clients
        recipients = self.hub.recipients(publication)
        self._delivered += len(recipients)
        frames: dict[Dialect, Prepared] = {}
        dialect = None
        for member in recipients:
            client = clients[member]
            if client._dialect is not dialect:
                dialect = client._dialect
                if dialect not in frames:
                    frames[dialect] = _prepared(dialect.written(publication))
                frame = frames[dialect]
            client._socket.send(frame)

    def send(self, client: Client, event: str, message: object) -> bool:
        """See `Client.send`."""
        check_event(event, self._limits)
        return client._socket.send(
            client._dialect.written(Deliver(client.id, event, message, None))
        )

    def emit(self, channel: str | None, event: str, message: object) -> None:
        """See `Channel.emit`; None stands for every client."""
        check_event(event, self._limits)
        publication = Publish(channel, event, message, None)
        for dialect in self._dialects:  # in the caller's thread, which may change the message later
            dialect.written(publication)
        loop = self.loop
        if loop is None:  # nobody has connected yet; a loop may be about to add the first
            return
        if loop.in_loop():
            self._deliver(publication)
        else:
            loop.call_soon(self._deliver, publication)

    # -- where clients are ----------------------------------------------------------------------

    def channel_of(self, client: str) -> Channel | None:
        """The current channel of a client; None once it is gone."""
        try:
            return Channel(self.hub.channel_of(client), self)
        except KeyError:
            return None

    def members(self, channel: str) -> list[Client]:
        """The members of a channel; none if there is no such channel."""
        try:
            members = list(self.hub.members(channel))
        except KeyError:
            return []
        clients = map(self.clients.get, members)
        return [client for client in clients if client]  # in other threads one may just have left


def _prepared(content: Content) -> Prepared:
    return Prepared(TextMessage(content) if isinstance(content, str) else BinaryMessage(content))


def _takes_argument(callback: Callable[..., object]) -> bool:
    """Whether a connect callback wants the client."""
    try:
        signature = inspect.signature(callback)
    except ValueError:  # some built-in functions have none
        return True
    try:
        signature.bind(None)
    except TypeError:
        return False
    return True
