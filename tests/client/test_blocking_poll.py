"""How the blocking client waits for its socket: it rarely wakes up, with or without poll."""

from __future__ import annotations

import select
import socket
from typing import Any

import pytest

from sono_client import ConnectionClosed, connect
from tests.client.blocking_peers import (
    MIB,
    QUICK,
    SHORT,
    Faulty,
    count_waits,
    faulty,
    unresponsive,
)
from tests.servers import PATIENCE

pytestmark = pytest.mark.usefixtures("nothing_stays_open")


def test_waiting_takes_few_turns(echo_url: str) -> None:
    with connect(echo_url) as ws:
        ws.send("x")
        waits = count_waits(ws)
        ws.recv(PATIENCE)
        assert len(waits) <= 3
        waits.clear()
        with pytest.raises(TimeoutError):
            ws.recv(SHORT)
        assert len(waits) <= 4
        waits.clear()
        ws.close()
        assert len(waits) <= 8


def test_waiting_for_a_server_that_does_not_read_takes_few_turns() -> None:
    with faulty(unresponsive) as server:
        with connect(server.url, timeouts=QUICK, deflate=None) as ws:
            waits = count_waits(ws)
            with pytest.raises(ConnectionClosed):
                ws.send(bytes(16 * MIB))
            assert len(waits) <= 20
        server.released.set()


def test_waiting_for_the_streams_end_takes_few_turns() -> None:
    """The server has ended its half and nothing more can be read: no reason to wake up."""

    def script(server: Faulty, sock: socket.socket) -> None:
        sock.sendall(server.accept() + b"\x81\x01x")
        sock.shutdown(socket.SHUT_WR)
        server.released.wait(PATIENCE)

    with faulty(script) as server, connect(server.url, timeouts=QUICK) as ws:
        waits = count_waits(ws)
        with pytest.raises(ConnectionClosed, match="1006"):
            list(ws)
        ws.close()
        assert len(waits) <= 10


def test_select_stands_in_where_there_is_no_poll(
    echo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(select, "poll")
    with connect(echo_url) as ws:
        ws.send("x" * 10_000)
        assert ws.recv(PATIENCE) == "x" * 10_000
        with pytest.raises(TimeoutError):
            ws.recv(SHORT)


@pytest.mark.parametrize("error", [BlockingIOError, InterruptedError])
def test_a_socket_that_had_nothing_after_all_is_asked_again(
    echo_url: str, error: type[OSError], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fickle:
        """A socket whose first read returns nothing."""

        def __init__(self, sock: socket.socket) -> None:
            self._sock = sock
            self.failed = False

        def recv(self, size: int) -> bytes:
            if not self.failed:
                self.failed = True
                raise error
            return self._sock.recv(size)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._sock, name)

    with connect(echo_url) as ws:
        fickle = Fickle(ws._transport._sock)
        ws._transport._sock = fickle  # type: ignore[assignment]
        ws.send("x")
        assert ws.recv(PATIENCE) == "x"
        assert fickle.failed


def test_a_mistake_of_the_link_itself_is_not_hidden(echo_url: str) -> None:
    with connect(echo_url) as ws:
        ws._transport.on_message = None  # type: ignore[method-assign,assignment]
        ws.send("x")
        with pytest.raises(TypeError):
            ws.recv(PATIENCE)
