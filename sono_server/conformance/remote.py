"""A server at the other end of real connections."""

import time
from typing import Any

from sono_client import ConnectionClosed, WebSocket, connect

from .codec import read, written
from .player import Closed, Message, Server, Skipped

_SHARE = 0.05  # seconds for which one connection is read while time passes


class RemoteServer(Server):
    """Args:
    url: where the conformance application is served.
    patience: seconds that an answer may take.
    quiet: seconds of silence after which nothing more is expected.
    max_wait: seconds of waiting above which a transcript is skipped, altogether.
    options: of `connect`.
    """

    def __init__(
        self,
        url: str,
        *,
        patience: float = 5.0,
        quiet: float = 0.3,
        max_wait: float = 20.0,
        **options: Any,
    ) -> None:
        self._url = url
        self._patience = patience
        self._quiet = quiet
        self._max_wait = max_wait
        self._options = options
        self._connections: dict[str, WebSocket] = {}
        self._come: dict[str, list[Message | Closed]] = {}

    def open(self, name: str, protocol: str | None) -> str | None:
        ws = connect(self._url, subprotocols=[protocol] if protocol else [], **self._options)
        self._connections[name] = ws
        self._come[name] = []
        return ws.subprotocol

    def say(self, name: str, message: Message) -> None:
        ws = self._connections[name]
        self._send(ws, written(message.content, ws.subprotocol))

    def say_raw(self, name: str, message: str | bytes) -> None:
        self._send(self._connections[name], message)

    def _send(self, ws: WebSocket, message: str | bytes) -> None:
        try:
            ws.send(message)
        except ConnectionClosed:
            pass  # `heard` says so

    def heard(self, name: str, *, patient: bool) -> Message | Closed | None:
        come = self._come[name]
        if not come:
            self._receive(name, self._patience if patient else self._quiet)
        return come.pop(0) if come else None

    def _receive(self, name: str, seconds: float) -> None:
        ws = self._connections[name]
        try:
            message = ws.recv(seconds)
        except TimeoutError:
            return
        except ConnectionClosed as error:
            if not any(isinstance(one, Closed) for one in self._come[name]):
                self._come[name].append(Closed(error.code, error.reason))
            return
        self._come[name].append(Message(read(message, ws.subprotocol)))

    def close(self, name: str, code: int, reason: str) -> None:
        self._connections.pop(name).close(code, reason)

    def lose(self, name: str) -> None:
        self._connections.pop(name).cut_off()

    def wait(self, seconds: float) -> None:
        """Connections are read meanwhile, so that pings are answered."""
        self._max_wait -= seconds
        if self._max_wait < 0:
            raise Skipped("it waits longer than --max-wait")
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            ended = True
            for name, ws in self._connections.items():
                if ws.closed is None:
                    ended = False
                    self._receive(name, min(left, _SHARE))
            if ended:
                time.sleep(left)

    def end(self) -> None:
        """Close what is open: the sessions end."""
        while self._connections:
            _, ws = self._connections.popitem()
            ws.close()
