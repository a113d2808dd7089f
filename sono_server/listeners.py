"""Listening sockets, and how many connections fit into the process."""

import contextlib
import errno
import socket
from collections.abc import Sequence

_BACKLOG = 1024  # connections that the kernel holds until they are accepted
_RESERVED_DESCRIPTORS = 64  # for everything that is not a connection
_ATTEMPTS = 16  # to find a port that is free for IPv4 and for IPv6
_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def listen(host: str | None, port: int) -> list[socket.socket]:
    """Sockets that listen on every address of `host`, all at one port.

    None stands for the loopback addresses of IPv4 and, where there is such a thing, IPv6.

    Raises:
        OSError: an address is taken, not allowed or unknown.
    """
    if host is not None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        addresses = list(dict.fromkeys((info[0], info[4][0]) for info in found))
        return _listen_all([(family, str(address)) for family, address in addresses], port)
    loopback = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    try:
        return _listen_all(loopback, port)
    except OSError as error:
        if error.errno in _NO_SUCH_FAMILY:
            return _listen_all(loopback[:1], port)
        raise


def _listen_all(addresses: Sequence[tuple[int, str]], port: int) -> list[socket.socket]:
    attempt = 1
    while True:
        with contextlib.ExitStack() as opened:
            sockets: list[socket.socket] = []
            try:
                for family, address in addresses:
                    chosen = sockets[0].getsockname()[1] if sockets else port
                    sockets.append(opened.enter_context(_listen_one(family, address, chosen)))
            except OSError as error:
                # A port that the kernel chose for one family may be taken in the other.
                again = port == 0 and sockets and error.errno == errno.EADDRINUSE
                if not again or attempt == _ATTEMPTS:
                    raise
                attempt += 1
                continue
            opened.pop_all()
            return sockets


def _listen_one(family: int, address: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def default_max_connections() -> int:
    """The process's soft limit of file descriptors less what else it needs."""
    try:
        import resource
    except ImportError:  # Windows
        return 512 - _RESERVED_DESCRIPTORS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 1 << 20 if soft == resource.RLIM_INFINITY else soft
    return max(1, limit - _RESERVED_DESCRIPTORS)
