"""A real server for the tests of `sono.v2` clients, whose connections can be cut."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from sono_core.messaging.lossless import History
from sono_server import Client, HTTPRequest, Sono
from tests import servers
from tests.servers import Running

KINDS = ("asyncio", "selector")


class House:
    """An application, and the server that runs it."""

    def __init__(self) -> None:
        self.known = {None: "nobody", "good": "good"}
        """Identities, by tokens."""
        self.tokens: list[str | None] = []
        """Those that were presented."""
        self.sono = Sono(open_channels=True, history={"small": History(count=3)})
        self.connections = 0
        self.refused = 0
        """How many requests are still refused with 503."""
        self.server: Running
        self.url = ""
        sono = self.sono

        @sono.authenticate
        def identify(request: HTTPRequest) -> Any:
            self.tokens.append(request.token)
            return self.known.get(request.token)

        @sono.on_join
        def may_join(client: Client, channel: str) -> bool:
            return channel != "forbidden"

        @sono.on("declined")
        def decline(client: Client, message: Any) -> bool:
            return False

        @sono.on_request("echo")
        def echo(client: Client, data: Any) -> Any:
            return data

    def handle(self, request: HTTPRequest) -> None:
        if self.refused:
            self.refused -= 1
            request.respond(503)
            return
        self.connections += 1
        self.sono.connect(request)

    def call(self, function: Callable[[], Any]) -> Any:
        """In the server's thread."""
        return self.server.call(function)

    def each(self, function: Callable[[Client], Any]) -> None:
        """Call it for each client, in the server's thread."""
        self.call(lambda: [function(client) for client in list(self.sono.clients.values())])

    def cut(self) -> None:
        """End all connections without a word."""
        self.each(lambda client: client._socket.open and client._socket._session.abort())

    def close(self, code: int, reason: str = "") -> None:
        """Close all connections, and leave their sessions alone."""
        self.each(lambda client: client._socket.close(code, reason))

    def say(self, channel: str, event: str, *messages: Any) -> None:
        """Publish in a channel."""
        for message in messages:
            self.call(lambda message=message: self.sono.channel(channel).publish(event, message))


@contextlib.contextmanager
def served(kind: str, **options: Any) -> Iterator[House]:
    """An application that is served."""
    house = House()
    before, servers.kind = servers.kind, kind
    try:
        server = Running(house.handle, **options)
    finally:
        servers.kind = before
    house.server = server
    house.url = f"ws://127.0.0.1:{server.address[1]}/ws"
    try:
        yield house
    finally:
        server.end()
    if server.error:
        raise server.error


class Once:
    """Something that happens in another thread."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self, *_: object) -> None:
        self._event.set()

    def wait(self) -> None:
        assert self._event.wait(servers.PATIENCE)
