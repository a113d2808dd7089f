"""The proxy of the browser's tests does what it is told."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.browser.proxy import Proxy
from tests.servers import PATIENCE, dial


@contextlib.contextmanager
def echo() -> Iterator[Proxy]:
    """A proxy in front of a server that sends everything back."""
    listening = socket.create_server(("127.0.0.1", 0))

    def answer(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            while data := sock.recv(1 << 16):
                sock.sendall(data)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listening.accept()[0],)).start()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with Proxy(listening.getsockname()) as proxy:
            yield proxy
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(PATIENCE)


def said(sock: socket.socket, data: bytes) -> bytes:
    """What comes back for some bytes."""
    sock.sendall(data)
    return sock.recv(1 << 16)


def is_ended(sock: socket.socket) -> bool:
    with contextlib.suppress(ConnectionResetError):
        return sock.recv(1) == b""
    return True


def test_cut_and_mended() -> None:
    with echo() as proxy, dial(("127.0.0.1", proxy.port)) as first:
        assert said(first, b"one") == b"one"
        proxy.cut()
        assert is_ended(first)
        with dial(("127.0.0.1", proxy.port)) as second:
            assert is_ended(second)
        proxy.mend()
        with dial(("127.0.0.1", proxy.port)) as third:
            assert said(third, b"two") == b"two"
        assert proxy.connections == 2


def test_a_stalled_connection_loses_nothing_and_others_go_on() -> None:
    with echo() as proxy, dial(("127.0.0.1", proxy.port)) as first:
        assert said(first, b"one") == b"one"
        proxy.stall()
        first.sendall(b"two")
        with dial(("127.0.0.1", proxy.port)) as second:
            assert said(second, b"other") == b"other"
        first.settimeout(0)
        with pytest.raises(BlockingIOError):
            first.recv(1)
        first.settimeout(PATIENCE)
        proxy.mend()
        assert first.recv(1 << 16) == b"two"


@pytest.mark.parametrize("direction", ["up", "down"])
def test_what_is_swallowed_never_comes(direction: str) -> None:
    with echo() as proxy, dial(("127.0.0.1", proxy.port)) as sock:
        assert said(sock, b"one") == b"one"
        proxy.swallow(direction)
        sock.sendall(b"two")
        proxy.wait_swallowed()
        proxy.mend()
        assert said(sock, b"three") == b"three"
