"""Listening sockets, and how many connections fit into the process."""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Sequence
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

BACKLOG = 4096
"""Connections that the kernel holds until they are accepted."""
_RESERVED_DESCRIPTORS = 64  # for everything that is not a connection
_ATTEMPTS = 16  # to find a port that is free for IPv4 and for IPv6
_UNIX: Any = getattr(socket, "AF_UNIX", None)
_INTERNET = (socket.AF_INET, socket.AF_INET6)
_files: WeakKeyDictionary[socket.socket, tuple[int, int]] = WeakKeyDictionary()
"""Device and inode of the file of each Unix socket that `listen` made."""
_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def listen(
    host: str | None, port: int, sock: socket.socket | None = None, unix: str | None = None
) -> list[socket.socket]:
    """Non-blocking sockets that listen.

    Args:
        host: on every address of this name, all at one port. None stands for the loopback
            addresses of IPv4 and, if the system has it, IPv6.
        port: 0 for a free one.
        sock: a listening socket to take instead.
        unix: the path of a Unix socket to listen on instead.

    Raises:
        OSError: an address is taken, not allowed or unknown.
        ValueError: the port is out of range, `sock` does not listen, or there is a `unix` too.
    """
    if sock and unix is not None:
        raise ValueError("there is both a sock and a unix")
    if not 0 <= port <= 65535:
        raise ValueError(f"port must be from 0 to 65535, not {port}")
    if sock and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ValueError("sock must be a listening socket")
    if sock:
        listeners = [sock]
    else:
        listeners = _listen_on_ports(host, port) if unix is None else [_listen_on_path(unix)]
    for listener in listeners:
        prepare(listener)
    return listeners


def prepare(listener: socket.socket) -> None:
    """Make a listener what servers expect: it does not block, and its connections do not delay."""
    listener.setblocking(False)
    if listener.family in _INTERNET:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it


def remove_file(listener: socket.socket) -> None:
    """Remove the file of a listening Unix socket, before the socket is closed.

    Only if `listen` made that file: another server may be listening at the path by now.
    """
    made = _files.pop(listener, None)
    if made and listener.fileno() >= 0:
        with contextlib.suppress(OSError):
            path = listener.getsockname()
            if _identity(path) == made:
                os.unlink(path)


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _listen_on_path(path: str) -> socket.socket:
    listener = socket.socket(_UNIX or _unknown_family(), socket.SOCK_STREAM)
    try:
        _remove_dead(path)
        listener.bind(path)
        listener.listen(BACKLOG)
        if isinstance(listener.getsockname(), str):  # else it has a name, and no file
            _files[listener] = _identity(path)
    except OSError:
        listener.close()
        raise
    return listener


def _unknown_family() -> NoReturn:
    raise OSError(errno.EAFNOSUPPORT, "this system has no Unix sockets")


def _remove_dead(path: str) -> None:
    """Remove the file that a server left behind when it died."""
    with socket.socket(_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) == errno.ECONNREFUSED and stat.S_ISSOCK(os.stat(path).st_mode):
            os.unlink(path)


def _listen_on_ports(host: str | None, port: int) -> list[socket.socket]:
    with contextlib.ExitStack() as opened:
        listeners = bind(host, port)
        for listener in listeners:
            opened.enter_context(listener)
        for listener in listeners:
            listener.listen(BACKLOG)
        opened.pop_all()
        return listeners


def bind(host: str | None, port: int) -> list[socket.socket]:
    """Sockets that have the addresses for which `listen` asks, and do not listen yet.

    Raises:
        OSError: somebody listens there, or an address is not allowed or unknown.
    """
    if host is not None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        addresses = list(dict.fromkeys((info[0], info[4][0]) for info in found))
        return _bind_all([(family, str(address)) for family, address in addresses], port)
    loopback = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    try:
        return _bind_all(loopback, port)
    except OSError as error:
        if error.errno in _NO_SUCH_FAMILY:
            return _bind_all(loopback[:1], port)
        raise


def _bind_all(addresses: Sequence[tuple[int, str]], port: int) -> list[socket.socket]:
    attempt = 1
    while True:
        with contextlib.ExitStack() as opened:
            sockets: list[socket.socket] = []
            try:
                for family, address in addresses:
                    chosen = sockets[0].getsockname()[1] if sockets else port
                    sockets.append(opened.enter_context(_bind_one(family, address, chosen)))
            except OSError as error:
                # The kernel may choose a port for one family that is taken in the other.
                again = port == 0 and sockets and error.errno == errno.EADDRINUSE
                if not again or attempt == _ATTEMPTS:
                    raise
                attempt += 1
                continue
            opened.pop_all()
            return sockets


def _bind_one(family: int, address: str, port: int) -> socket.socket:
    listener = new_listener(family)
    try:
        listener.bind((address, port))
    except OSError:
        listener.close()
        raise
    return listener


def new_listener(family: int) -> socket.socket:
    """A socket for the internet that is neither bound nor listens."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    except OSError:
        listener.close()
        raise
    return listener


def default_max_connections() -> int:
    """The process's soft limit of file descriptors, minus those needed for other things."""
    try:
        import resource
    except ImportError:  # Windows
        return 512 - _RESERVED_DESCRIPTORS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 1 << 20 if soft == resource.RLIM_INFINITY else soft
    return max(1, limit - _RESERVED_DESCRIPTORS)
