"""Listening sockets."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from sono_server import serve
from sono_server.serving import listeners
from sono_server.serving.listeners import default_max_connections, listen
from tests.servers import dial, get, has_ipv6, read_all, running, status

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="the machine has no IPv6 loopback")


@contextlib.contextmanager
def listening(host: str | None, port: int = 0) -> Iterator[list[socket.socket]]:
    sockets = listen(host, port)
    try:
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def test_an_ipv4_address() -> None:
    with listening("127.0.0.1") as (sock,):
        host, port = sock.getsockname()
        assert (host, port > 0) == ("127.0.0.1", True)
        dial((host, port)).close()


@needs_ipv6
def test_an_ipv6_address() -> None:
    with listening("::1") as (sock,):
        host, port = sock.getsockname()[:2]
        assert host == "::1"
        dial((host, port)).close()


@needs_ipv6
def test_the_default_is_loopback_of_both_kinds_at_one_port() -> None:
    with running(lambda request: request.respond(200), host=None) as server:
        host, port = server.address
        assert host == "127.0.0.1"
        assert status(get(("127.0.0.1", port))) == 200
        with dial(("::1", port)) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert status(read_all(sock)) == 200


@needs_ipv6
def test_the_ipv6_wildcard_leaves_ipv4_alone() -> None:
    with listening("::") as (sock,):
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


def test_a_name_stands_for_all_its_addresses_once(monkeypatch: pytest.MonkeyPatch) -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: [info, info])
    with listening("name") as sockets:
        assert len(sockets) == 1


def test_without_ipv6_the_default_is_ipv4_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    original = listeners._bind_one

    def ipv4_only(family: int, address: str, port: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no such family")
        return original(family, address, port)

    monkeypatch.setattr(listeners, "_bind_one", ipv4_only)
    with listening(None) as (sock,):
        assert sock.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken_raises_and_leaves_nothing_open() -> None:
    with listening("127.0.0.1") as (sock,):
        with pytest.raises(OSError, match="in use") as raised:
            listen("127.0.0.1", sock.getsockname()[1])
        assert raised.value.errno == errno.EADDRINUSE
        with pytest.raises(OSError, match="in use"):
            listen(None, sock.getsockname()[1])


def test_an_unknown_name_and_an_address_of_another_machine_raise() -> None:
    with pytest.raises(OSError):
        listen("no-such-host.invalid", 0)
    with pytest.raises(OSError):
        listen("192.0.2.1", 0)


class TakenInTheOtherFamily:
    """Binding the second family fails that many times."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.original = listeners._bind_one
        self.opened: list[socket.socket] = []

    def __call__(self, family: int, address: str, port: int) -> socket.socket:
        if family == socket.AF_INET6:
            if self.times:
                self.times -= 1
                raise OSError(errno.EADDRINUSE, "Address already in use")
            family, address = socket.AF_INET, "127.0.0.2"
        sock = self.original(family, address, port)
        self.opened.append(sock)
        return sock


def test_a_free_port_that_is_taken_in_the_other_family_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = TakenInTheOtherFamily(3)
    monkeypatch.setattr(listeners, "_bind_one", taken)
    try:
        with listening(None) as (first, second):
            assert first.getsockname()[1] == second.getsockname()[1]
    except OSError as error:  # only Linux has 127.0.0.2
        if sys.platform == "linux" or error.errno != errno.EADDRNOTAVAIL:
            raise
    assert [sock.fileno() for sock in taken.opened] == [-1] * len(taken.opened)


def test_it_is_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = TakenInTheOtherFamily(10**6)
    monkeypatch.setattr(listeners, "_bind_one", taken)
    with pytest.raises(OSError, match="in use"):
        listen(None, 0)
    assert len(taken.opened) == 16
    assert [sock.fileno() for sock in taken.opened] == [-1] * 16


def test_a_chosen_port_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening("127.0.0.1") as (free,):
        port = free.getsockname()[1]
    taken = TakenInTheOtherFamily(1)
    monkeypatch.setattr(listeners, "_bind_one", taken)
    with pytest.raises(OSError, match="in use"):
        listen(None, port)


def test_an_own_socket_is_served() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    with running(lambda request: request.respond(204), sock=sock) as server:
        assert server.address == sock.getsockname()
        assert status(get(server.address)) == 204
    assert sock.fileno() == -1


def test_serve_raises_what_listening_raises() -> None:
    with pytest.raises(OSError):
        serve("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("soft", "expected"), [(1024, 960), (65, 1), (10, 1), (None, (1 << 20) - 64)]
)
def test_connections_leave_64_descriptors(
    soft: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource", reason="the platform has no resource limits")
    limit = resource.RLIM_INFINITY if soft is None else soft
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limit, limit))
    assert default_max_connections() == expected


def test_without_resource_limits_there_is_a_small_maximum(monkeypatch: pytest.MonkeyPatch) -> None:
    modules: dict[str, Any] = {"resource": None}
    monkeypatch.setitem(sys.modules, "resource", modules["resource"])
    assert default_max_connections() == 448
