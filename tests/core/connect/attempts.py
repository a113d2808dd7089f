"""One attempt of a `Connector`, on a transport in memory, with the server at its end."""

from __future__ import annotations

from typing import Any

import pytest

from sono_core import Accept, Headers, Reject, Request, Role
from sono_core.connect.connector import Connector
from sono_core.errors import ConnectError
from tests.fakes import FakeTransport, RecordingHandler
from tests.helpers import new_connection, repeatable

URL = "ws://example.com/ws"


def new_connector(url: str = URL, **options: Any) -> Connector:
    return Connector(url, random=repeatable(), **options)


class Attempt:
    """One attempt on a transport in memory, with the server at its end."""

    def __init__(self, connector: Connector, now: float = 0.0) -> None:
        self.connector = connector
        self.transport = FakeTransport()
        self.handler = RecordingHandler()
        self.layer, self.session = connector.begin(self.transport, self.handler, now)
        self.transport.session = self.layer  # type: ignore[assignment]
        self.transport.write()
        self.server = new_connection(Role.SERVER, deflate=None)

    def raw(self) -> bytes:
        """The bytes written since the last call."""
        data = bytes(self.transport.wire)
        self.transport.wire.clear()
        return data

    def receives(self, data: bytes) -> None:
        self.layer.receive(data, 0)
        self.transport.write()

    def request(self) -> Request:
        """The request that the server receives."""
        (request,) = self.server.receive_data(self.raw())
        assert isinstance(request, Request)
        return request

    def answer(self, answer: Accept | Reject) -> Accept | None:
        """Let the server answer; returns what the connector makes of it."""
        self.request()
        self.server.send(answer)
        self.receives(self.server.data_to_send())
        return self.decide()

    def decide(self) -> Accept | None:
        (response,) = self.handler.log
        assert isinstance(response, (Accept, Reject))
        return self.connector.answered(response)

    def failure(self) -> ConnectError:
        """The error that ended the attempt."""
        with pytest.raises(ConnectError) as caught:
            self.decide()
        assert self.layer.over
        return caught.value


def redirect(location: str, status: int = 302) -> Reject:
    return Reject(status, Headers({"location": location}))


def follow(connector: Connector, location: str, status: int = 302) -> None:
    """Let the server answer with a redirect, which the attempt follows."""
    assert connector.answered(redirect(location, status)) is None


def refusal_of(connector: Connector, response: Reject | None) -> ConnectError:
    with pytest.raises(ConnectError) as caught:
        connector.answered(response)
    return caught.value


AGREED = b"HTTP/1.1 200 OK\r\n\r\n"
