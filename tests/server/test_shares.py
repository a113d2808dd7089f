"""The listeners of several workers: what is bound, what listens, and who gets connections."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sono_server.serving import SPREADS, WorkerListeners, listen, spread
from tests.servers import has_ipv6

spreading = pytest.mark.skipif(not SPREADS, reason="this system does not spread connections")
CONNECTIONS = 200


@contextlib.contextmanager
def shares(host: str | None = "127.0.0.1", port: int = 0) -> Iterator[WorkerListeners]:
    found = spread(host, port, 2)
    try:
        yield found
    finally:
        found.close()


def port_of(listeners: WorkerListeners) -> int:
    address = listeners.address
    assert isinstance(address, tuple)
    return int(address[1])


def copies(listeners: WorkerListeners, worker: int) -> list[socket.socket]:
    """As a worker has them, that is about to accept."""
    found = [socket.socket(fileno=os.dup(fd)) for fd in listeners.of(worker)]
    for one in found:
        one.listen(CONNECTIONS)
        one.setblocking(False)
    return found


def connect(port: int, times: int) -> list[socket.socket]:
    return [socket.create_connection(("127.0.0.1", port)) for _ in range(times)]


def accepted(listener: socket.socket) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            count += 1
    return count


@spreading
def test_a_port_is_taken_and_nobody_is_connected_until_a_worker_listens() -> None:
    with shares() as listeners:
        port = port_of(listeners)
        with pytest.raises(ConnectionRefusedError):
            connect(port, 1)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        (second,) = copies(listeners, 1)
        clients = connect(port, 20)
        assert accepted(second) == 20
        for one in (second, *clients):
            one.close()


@spreading
def test_connections_spread_over_those_that_listen() -> None:
    with shares() as listeners:
        both = [copies(listeners, worker)[0] for worker in (0, 1)]
        clients = connect(port_of(listeners), CONNECTIONS)
        counts = [accepted(one) for one in both]
        assert sum(counts) == CONNECTIONS
        assert min(counts) > CONNECTIONS / 4  # by a hash: 7 standard deviations
        for one in (*both, *clients):
            one.close()


@spreading
def test_what_waits_for_a_worker_that_died_waits_for_its_successor() -> None:
    with shares() as listeners:
        (first,) = copies(listeners, 0)
        clients = connect(port_of(listeners), 20)
        first.close()
        (successor,) = copies(listeners, 0)
        assert accepted(successor) == 20
        for one in (successor, *clients):
            one.close()


@spreading
def test_a_muted_worker_gets_no_connections_until_it_listens_again() -> None:
    with shares() as listeners:
        first, second = (copies(listeners, worker)[0] for worker in (0, 1))
        first.close()
        listeners.mute(0)
        clients = connect(port_of(listeners), 50)
        assert accepted(second) == 50
        (successor,) = copies(listeners, 0)
        listeners.mute(1)
        listeners.mute(1)  # which is harmless
        clients += connect(port_of(listeners), 50)
        assert accepted(successor) == 50
        for one in (successor, second, *clients):
            one.close()


@spreading
@pytest.mark.parametrize("shared", [False, True])
def test_the_port_of_another_server_is_not_shared(shared: bool) -> None:
    with socket.socket() as other:
        if shared:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OSError, match="in use") as raised:
            spread("127.0.0.1", other.getsockname()[1], 2)
        assert raised.value.errno == errno.EADDRINUSE


@spreading
def test_the_default_is_loopback_with_one_port_for_all_addresses() -> None:
    with shares(None) as listeners:
        assert len(listeners.of(0)) == len(listeners.of(1)) == 1 + has_ipv6()
        for one in copies(listeners, 0):
            with one:
                assert one.getsockname()[1] == port_of(listeners)


def test_what_all_share_is_not_muted_and_its_file_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    listeners = WorkerListeners(listen(None, 0, unix=str(path)))
    assert listeners.of(0) == listeners.of(1)
    assert listeners.address == str(path)
    listeners.mute(0)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
    listeners.close()
    listeners.close()
    assert not path.exists()
