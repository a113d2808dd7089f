"""The blocking clients while a program only sends: they look at what has come."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sono_client import ConnectionClosed, SonoClient, WebSocket, connect
from sono_core import Limits
from sono_server import Sono
from tests import certificates
from tests.client.blocking_peers import Accepted, Faulty, faulty, serving, unmasked, url_of
from tests.servers import PATIENCE

pytestmark = pytest.mark.usefixtures("nothing_stays_open")

BYE = b"\x88\x05\x0f\xa1bye"  # a Close with 4001
MANY = 100_000  # sends; the clients look after a thousandth of a second


def sends_until_closed(send: Callable[[], object]) -> tuple[int, ConnectionClosed]:
    for sent in range(MANY):
        try:
            send()
        except ConnectionClosed as error:
            return sent, error
    raise AssertionError("nothing was noticed")


def test_a_close_that_has_come_is_noticed_by_the_second_send() -> None:
    with faulty(Accepted(BYE)) as server, connect(server.url, proxy=None) as ws:
        sent, error = sends_until_closed(lambda: ws.send("x"))
        assert (error.code, error.reason) == (4001, "bye")
        assert sent <= 1
        assert ws.closed
    assert b"\x88\x0f\xa1" in unmasked(server.received), "it is answered"


@contextlib.contextmanager
def plain(handle: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    with serving(handle) as server:
        yield url_of(server), {}


@contextlib.contextmanager
def secure(handle: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    with serving(handle, ssl=certificates.server_side()) as server:
        yield url_of(server).replace("ws:", "wss:"), {"ssl": certificates.client_side()}


@pytest.mark.parametrize("way", [plain, secure])
def test_a_websocket_that_only_sends_learns_of_the_close(way: Any) -> None:
    with (
        way(lambda request: request.accept().close(4001, "bye")) as (url, options),
        connect(url, proxy=None, **options) as ws,
    ):
        _, error = sends_until_closed(lambda: ws.send("x"))
        assert (error.code, error.reason) == (4001, "bye")


@pytest.mark.parametrize("way", [plain, secure])
def test_a_client_that_only_sends_learns_of_the_close_and_keeps_what_came_before(
    way: Any,
) -> None:
    sono = Sono()
    got: list[Any] = []

    @sono.on_connect
    def say(client: Any) -> None:
        client.send("news", "hello")
        client.close(4001, "bye")

    with way(sono.connect) as (url, options):
        client = SonoClient(url, reconnect=False, proxy=None, **options)
        client.on("news", got.append)
        _, error = sends_until_closed(lambda: client.message("x"))
        assert (error.code, error.reason) == (4001, "bye")
        with pytest.raises(ConnectionClosed, match="4001: bye"):
            client.run(PATIENCE)
        client.close()
    assert [payload["message"] for payload in got] == ["hello"]


def test_pings_are_answered_while_a_program_only_sends() -> None:
    answered = threading.Event()

    def script(server: Faulty, sock: socket.socket) -> None:
        sock.sendall(server.accept() + b"\x89\x01p")
        while b"\x8ap" not in unmasked(server.received):
            server.received += sock.recv(65536)
        answered.set()

    with faulty(script) as server, connect(server.url, proxy=None) as ws:
        deadline = time.monotonic() + PATIENCE
        while not answered.is_set() and time.monotonic() < deadline:
            ws.send("x")
            answered.wait(0.0001)
        assert answered.is_set()
        ws.cut_off()


def test_messages_that_came_while_a_program_only_sent_are_kept_in_order() -> None:
    told = [b"%03d" % number for number in range(300)]
    frames = b"".join(b"\x81\x03" + text for text in told)
    with faulty(Accepted(frames + BYE)) as server, connect(server.url, proxy=None) as ws:
        sends_until_closed(lambda: ws.send("x"))
        assert [ws.recv(PATIENCE) for _ in told] == [text.decode() for text in told]
        with pytest.raises(ConnectionClosed, match="4001: bye"):
            ws.recv(PATIENCE)


def test_a_close_behind_more_than_is_kept_is_noticed_up_to_the_limit() -> None:
    """1,024 messages are kept; beyond them `max_held` is read ahead."""
    frames = b"\x81\x01x" * 1100 + BYE
    with faulty(Accepted(frames)) as server, connect(server.url, proxy=None) as ws:
        sends_until_closed(lambda: ws.send("x"))
        assert [ws.recv(PATIENCE) for _ in range(1100)] == ["x"] * 1100
    little = Limits(max_held=100)
    with (
        faulty(Accepted(frames)) as server,
        connect(server.url, proxy=None, limits=little) as ws,
    ):
        _fill(ws)
        for _ in range(100):
            ws.send("x")
        assert [ws.recv(PATIENCE) for _ in range(1100)] == ["x"] * 1100
        with pytest.raises(ConnectionClosed, match="4001: bye"):
            ws.recv(PATIENCE)


def _fill(ws: WebSocket) -> None:
    """Send until as much has been received as is kept."""
    deadline = time.monotonic() + PATIENCE
    while not ws._transport._held and time.monotonic() < deadline:
        ws.send("x")
    assert ws._transport._held


def test_a_program_that_answers_each_message_is_not_looked_ahead_of() -> None:
    frames = b"".join(b"\x81\x01" + bytes([text]) for text in b"abcdef") + BYE
    with faulty(Accepted(frames)) as server, connect(server.url, proxy=None) as ws:
        for message in ws_until_closed(ws):
            ws.send(message * 2)
    answers = [frame for frame in unmasked(server.received) if frame[0] == 0x81]
    assert answers == [b"\x81" + bytes([text] * 2) for text in b"abcdef"]


def ws_until_closed(ws: WebSocket) -> Iterator[Any]:
    with contextlib.suppress(ConnectionClosed):
        while True:
            yield ws.recv(PATIENCE)
