"""What the application asks of a `Sono`, its clients and channels: from any thread, done in the
loop's."""

import sys
from collections.abc import Callable
from functools import partial
from threading import RLock
from typing import Any, TypeVar

import msgspec

from sono_core import Limits
from sono_core.errors import LocalProtocolError, RequestFailed
from sono_core.events import Close
from sono_core.limits import require_positive
from sono_core.messaging import Deliver, Dialect, Hub, MessagingError, Publish, check_event
from sono_core.messaging.lossless import Data, Page, Position, Receipt, packets
from sono_core.messaging.lossless.packets import Failure
from sono_core.messaging.lossless.server import TooManyRequests, same, unknown_client, written
from sono_core.websocket import close_payload
from sono_server.serving import Loop, WebSocket

from . import pages
from .clients import Channel, Client
from .hooks import Hooks
from .lossless import Lossless
from .receipts import Promise
from .trampoline import Steps

Result = TypeVar("Result")


class Calls(Hooks):
    """See `Broadcaster`.

    Args:
        hub: of the clients.
        limits: of packets.
        dialects: those of clients without sessions.
    """

    lossless: Lossless

    def __init__(self, hub: Hub, limits: Limits, dialects: tuple[Dialect, ...]) -> None:
        super().__init__(hub)
        self.loop: Loop | None = None
        """Of the server that has the clients, once the first has come."""
        self._limits = limits
        self._dialects = dialects
        self._starting = RLock()
        """Held while something is done without a loop."""

    def send(self, client: Client, event: str, message: object) -> bool:
        """See `Client.send`."""
        check_event(event, self._limits)
        delivery = Deliver(client.id, event, message, None)
        if isinstance(client._dialect, Dialect):
            return client._socket.send(client._dialect.written(delivery))
        delivery = msgspec.structs.replace(delivery, payload=Data.of(message))
        direct = self.lossless.node.direct
        return self.soon(lambda: direct(delivery)) and client.id in self.clients

    def emit(self, channel: str | None, event: str, message: object) -> Promise[Position]:
        """See `Channel.publish`; None stands for every client."""
        check_event(event, self._limits)
        publication = Publish(channel, event, message, None)
        for dialect in self._dialects:  # in the caller's thread, which may change the message later
            dialect.written(publication)
        kept = dict(publication.__dict__)
        data = Data.of(message)
        publication = msgspec.structs.replace(publication, payload=data)
        if not data.binary:
            publication.__dict__.update(kept)
        promise: Promise[Position] = Promise(self.loop)
        publish = self.lossless.node.publish
        return self._begun(promise, lambda: publish(publication).then(promise.settle))

    def request(self, client: Client, name: str, data: object, timeout: float) -> Promise[Any]:
        """See `Client.request`."""
        check_event(name, self._limits)
        require_positive("timeout", timeout, float)
        if isinstance(client._dialect, Dialect):
            raise LocalProtocolError("a client of the classic dialect cannot be asked")
        promise: Promise[Any] = Promise(self.loop)
        written = Data.of(data)

        answered = partial(_settle, promise)

        def ask() -> None:
            lossless = self.lossless
            if client.id not in lossless.node.sessions:
                promise.fail(RequestFailed("unknown", "the client's session has ended", False))
                return
            session = lossless.node.sessions[client.id]
            try:
                lossless.node.ask(session, name, written, timeout, answered)
            except TooManyRequests as error:
                promise.fail(RequestFailed("too-many-requests", str(error), True))
            lossless.schedule()

        return self._begun(promise, ask)

    def close(self, client: Client, code: int, reason: str) -> bool:
        """See `Client.close`."""
        if isinstance(client._dialect, Dialect):
            return client._socket.close(code, reason)
        close_payload(Close(code, reason))  # so that mistakes raise in this thread
        node = self.lossless.node

        def end() -> None:
            if client.id in node.sessions:
                node.end(node.sessions[client.id], code, reason)

        there = client.id in self.clients
        return self.soon(end) and there

    def disconnect(self, identity: object, code: int, reason: str) -> int:
        """See `Sono.disconnect`."""
        close_payload(Close(code, reason))
        if self.hub.elsewhere:
            named = written(identity)
            self.soon(lambda: self.lossless.disconnect_elsewhere(named, code, reason))
        clients = [each for each in list(self.clients.values()) if same(each.identity, identity)]
        for client in clients:
            self.close(client, code, reason)
        self.soon(lambda: self.lossless.disconnect(identity, code, reason))
        return len(clients)

    def erase(self, identity: object) -> Promise[int]:
        """See `Sono.erase`."""
        author = written(identity)
        promise: Promise[int] = Promise(self.loop)
        erase = self.lossless.node.erase
        return self._begun(promise, lambda: erase(author).then(promise.settle))

    # -- clients by their ids, wherever they are --------------------------------------------------

    def send_to(self, id: str, event: str, message: object) -> Promise[bool]:
        """See `RemoteClient.send`."""
        check_event(event, self._limits)
        delivery = Deliver(id, event, Data.of(message), None)
        promise: Promise[bool] = Promise(self.loop)

        def direct() -> None:
            if self.hub.may_have(id):
                self.lossless.node.direct(delivery).then(promise.settle)
            else:
                promise.complete(False)

        return self._begun(promise, direct)

    def request_of(self, id: str, name: str, data: object, timeout: float) -> Promise[Any]:
        """See `RemoteClient.request`."""
        check_event(name, self._limits)
        require_positive("timeout", timeout, float)
        promise: Promise[Any] = Promise(self.loop)
        written_data = Data.of(data)

        answered = partial(_settle, promise)

        def ask() -> None:
            node = self.lossless.node
            if id in node.sessions or id in self.hub.clients:
                node.ask_client(id, name, written_data, timeout, answered)
            elif self.hub.elsewhere and self.hub.may_have(id):
                node.elsewhere.ask(id, name, written_data, timeout, answered)
            else:
                answered(None, unknown_client(id))
            if self.loop:
                self.lossless.schedule()

        return self._begun(promise, ask)

    def close_anywhere(self, id: str, code: int, reason: str) -> Promise[bool]:
        """See `RemoteClient.close`."""
        close_payload(Close(code, reason))
        promise: Promise[bool] = Promise(self.loop)

        def answered(_: Any, error: Failure | None) -> None:
            if error is not None and error.code == "unknown-client":
                promise.complete(False)
            else:
                _settle(promise, True, error)

        def close() -> None:
            node = self.lossless.node
            if node.end_client(id, code, reason):
                promise.complete(True)
            elif self.hub.may_have(id):
                node.elsewhere.end(id, code, reason, answered)
                if self.loop:
                    self.lossless.schedule()
            else:
                promise.complete(False)

        return self._begun(promise, close)

    def admit(self, client: Client, channel: str) -> None:
        """See `Client.join`."""
        self.hub.check(channel)
        self.soon(lambda: self._admit(client, channel))

    def _admit(self, client: Client, channel: str) -> None:
        if client.id not in self.clients:
            return
        try:
            if isinstance(client._dialect, Dialect):
                self.hub.join(client.id, channel)
            elif client.id in (node := self.lossless.node).sessions:
                node.admit(node.sessions[client.id], channel)
        except MessagingError as error:
            raise LocalProtocolError(error.text) from None

    def expel(self, client: Client, channel: str) -> None:
        """See `Client.leave`."""
        self.soon(lambda: self._expel(client, channel, "left"))

    def _expel(self, client: Client, channel: str, code: str) -> None:
        hub = self.hub
        if client.id not in self.clients or channel not in hub.channels_of(client.id):
            return
        current = channel == hub.channel_of(client.id)
        if current and channel == hub.home:
            return
        if not isinstance(client._dialect, Dialect):
            node = self.lossless.node
            if client.id in node.sessions:
                node.expel(node.sessions[client.id], channel, code)
        elif current:
            hub.move(client.id, hub.home)
        else:
            hub.leave(client.id, channel)

    def reauthorise(self, client: Client) -> Promise[list[str]]:
        """See `Client.reauthorise`."""
        promise: Promise[list[str]] = Promise(self.loop)

        def ask() -> None:
            ways = client._ways
            if client.id in self.clients and ways is None:
                self.lossless.review(client, promise)
            elif ways is not None and client._socket.open:
                client._socket.call(ways.review, promise)
            else:
                promise.complete([])

        return self._begun(promise, ask)

    def review(self, socket: WebSocket, promise: Promise[list[str]]) -> Steps:
        """Ask the application about the channels where a client is."""
        yield from self.reviewed(socket.data, promise)

    def reviewed(self, client: Client, promise: Promise[list[str]]) -> Steps:
        """The same; the channels where it may not be become the promise's value."""
        lost = []
        try:
            channels = self.hub.channels_of(client.id) if client.id in self.clients else ()
            for channel in channels:
                if channel == self.hub.home:
                    continue
                if not (yield from self.may_enter(client, channel, again=True)):
                    self._expel(client, channel, "forbidden")
                    lost.append(channel)
        except Exception as error:
            promise.fail(error)
            raise
        promise.complete(lost)

    def history(
        self, channel: str, before: Position | None, limit: int
    ) -> Promise[pages.HistoryPage]:
        """See `Channel.history`."""
        promise: Promise[pages.HistoryPage] = Promise(self.loop)

        def answered(receipt: Receipt[Page]) -> None:
            if receipt.error is not None:
                promise.fail(receipt.error)
            else:
                promise.complete(pages.history(receipt.value))

        page = self.lossless.node.page
        return self._begun(promise, lambda: page(channel, before, limit).then(answered))

    def presence(self, channel: str) -> Promise[pages.Presence]:
        """See `Channel.presence`."""
        promise: Promise[pages.Presence] = Promise(self.loop)
        ask = self.lossless.node.presence.ask

        def answered(receipt: Receipt[packets.Members]) -> None:
            if receipt.error is not None:
                promise.fail(receipt.error)
            else:
                promise.complete(pages.presence(receipt.value))

        return self._begun(promise, lambda: ask(channel, sys.maxsize).then(answered))

    def _begun(self, promise: Promise[Result], begin: Callable[[], object]) -> Promise[Result]:
        """A promise of something that begins in the loop's thread."""
        if not self.soon(begin):
            promise.fail(ConnectionError("the server has ended"))
        return promise

    def soon(self, function: Callable[[], object]) -> bool:
        """Call the function in the loop's thread, now or soon; False if the loop has ended."""
        loop = self.loop
        if loop is None:
            with self._starting:  # the first client may be about to come, in another thread
                if (loop := self.loop) is None:
                    function()
                    return True
        if loop.in_loop():
            function()
            return True
        return loop.call_soon(function)

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


def _settle(promise: Promise[Any], reply: Any, error: Failure | None) -> None:
    """A client has replied, or will not."""
    if error is None:
        promise.complete(reply)
    else:
        promise.fail(RequestFailed(error.code, error.message, error.temporary))
