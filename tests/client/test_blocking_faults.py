"""The blocking client, and servers that drop it, stall, flood it or never end."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable

import pytest

from sono_client import ConnectionClosed, connect
from sono_core import Limits, Timeouts
from tests.client.blocking_peers import (
    MIB,
    QUICK,
    Accepted,
    Faulty,
    faulty,
    reset,
    unmasked,
    unresponsive,
)
from tests.servers import PATIENCE

pytestmark = pytest.mark.usefixtures("nothing_stays_open")


@pytest.mark.parametrize(
    "end", [lambda sock: sock.shutdown(socket.SHUT_WR), reset, lambda sock: sock.close()]
)
def test_a_server_that_drops_the_connection_within_a_frame(
    end: Callable[[socket.socket], object],
) -> None:
    def script(server: Faulty, sock: socket.socket) -> None:
        sock.sendall(server.accept() + b"\x81\x05whole\x81\x05hal")
        sock.recv(1)  # the client has read it
        end(sock)

    with faulty(script) as server, connect(server.url) as ws:
        assert ws.recv(PATIENCE) == "whole"
        ws.send("")
        with pytest.raises(ConnectionClosed) as caught:
            ws.recv(PATIENCE)
        assert caught.value.code == 1006
        with pytest.raises(ConnectionClosed):
            ws.send("x")


def test_a_close_is_seen_although_the_server_was_gone_right_after_it() -> None:
    """The client is still writing when the connection is reset; the reason is not lost."""

    def script(server: Faulty, sock: socket.socket) -> None:
        sock.sendall(server.accept())
        sock.recv(1)
        sock.sendall(b"\x88\x05\x03\xf1big")
        sock.close()  # much is unread: this resets the connection

    with faulty(script) as server, connect(server.url, deflate=None) as ws:
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                ws.send(bytes(MIB))
        assert (caught.value.code, caught.value.reason) == (1009, "big")


def test_a_server_that_refuses_a_large_message_is_heard(echo_url: str) -> None:
    with connect(echo_url, deflate=None) as ws, pytest.raises(ConnectionClosed) as caught:
        ws.send(bytes(64 * MIB))  # the server may discard the rest faster than it is written
        ws.recv(10)
    assert caught.value.code == 1009


def test_a_close_that_is_not_answered_ends_in_time() -> None:
    with faulty(unresponsive) as server:
        ws = connect(server.url, timeouts=QUICK)
        start = time.monotonic()
        ws.close()
        assert QUICK.close <= time.monotonic() - start < 3
        assert ws.closed is not None
        assert (ws.closed.code, ws.closed.clean) == (1006, False)
        server.released.set()


def test_a_close_in_a_flood_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sono_io.blocking.RECEIVE_SIZE", 4096)

    def flood(server: Faulty, sock: socket.socket) -> None:
        sock.sendall(server.accept())
        while True:
            sock.sendall(b"\x81\x01x\x89\x00" * 1000)

    with faulty(flood) as server:
        ws = connect(server.url, timeouts=QUICK)
        start = time.monotonic()
        ws.close()
        assert time.monotonic() - start < 5


def test_an_answered_close_whose_stream_stays_open_ends_in_time() -> None:
    def script(server: Faulty, sock: socket.socket) -> None:
        Accepted()(server, sock)
        sock.sendall(b"\x88\x02\x03\xe8")
        server.released.wait(PATIENCE)

    with faulty(script) as server:
        ws = connect(server.url, timeouts=QUICK)
        ws.close()
        assert ws.closed is not None
        assert ws.closed.clean
        server.released.set()


def test_a_server_that_reads_nothing_is_given_up() -> None:
    with faulty(unresponsive) as server:
        with connect(server.url, timeouts=QUICK, deflate=None) as ws:
            with pytest.raises(ConnectionClosed) as caught:
                ws.send(bytes(64 * MIB))
            assert caught.value.code in (1006, 4008)
        server.released.set()


def test_a_silent_server_is_pinged_and_given_up() -> None:
    with faulty(unresponsive) as server:
        ws = connect(server.url, timeouts=QUICK)
        with pytest.raises(ConnectionClosed, match="no answer to a ping"):
            ws.recv()
        server.released.set()
    assert unmasked(server.received)[0] == b"\x89"


@pytest.mark.parametrize("frame", [b"\x89\x00", b"\x8a\x00", b"\x01\x01x\x80\x01y"])
def test_a_flood_does_not_hold_a_timeout_up(frame: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sono_io.blocking.RECEIVE_SIZE", 4096)

    def flood(server: Faulty, sock: socket.socket) -> None:
        sock.sendall(server.accept())
        sock.settimeout(0.01)
        while not server.released.is_set():
            with contextlib.suppress(TimeoutError):
                sock.sendall(frame * 500)
            with contextlib.suppress(TimeoutError):
                sock.recv(65536)

    with faulty(flood) as server:
        ws = connect(server.url, timeouts=Timeouts(close=0.2))
        for timeout in (0.1, 0):
            start = time.monotonic()
            with contextlib.suppress(TimeoutError, BufferError):
                ws.ping(timeout)
            assert time.monotonic() - start < 5
        server.released.set()
        ws.close()


def test_pongs_to_a_server_that_does_not_read_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sono_io.blocking.RECEIVE_SIZE", 4096)

    def flood(server: Faulty, sock: socket.socket) -> None:
        sock.sendall(server.accept())
        ping = b"\x89\x7d" + bytes(125)
        while True:
            sock.sendall(ping * 1000)

    limits = Limits(pause_reading_at=10_000, control_rate=1 << 30)
    with faulty(flood) as server:
        ws = connect(server.url, timeouts=QUICK, limits=limits)
        sizes = set()
        poll_once = ws._transport._poll_once

        def measured(now: float, deadline: float) -> None:
            sizes.add(ws._transport.layer.outbox.size)
            poll_once(now, deadline)

        ws._transport._poll_once = measured  # type: ignore[method-assign]
        with pytest.raises(ConnectionClosed):
            ws.recv()
        assert 0 < max(sizes) <= 10_000 + 131 + 8


def test_a_server_that_does_not_finish_a_message_is_given_up() -> None:
    def half(server: Faulty, sock: socket.socket) -> None:
        sock.sendall(server.accept() + b"\x81\x05only")
        server.released.wait(PATIENCE)

    with faulty(half) as server, connect(server.url, timeouts=Timeouts(message=0.05)) as ws:
        with pytest.raises(ConnectionClosed, match="4009: the message took too long"):
            ws.recv(PATIENCE)
        server.released.set()
