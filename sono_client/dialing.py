"""Connects to the first of a host's addresses that answers, for clients of every kind."""

import contextlib
import math
import os
import select
import socket
import time
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from sono_core.connect import AddressInfo, HappyEyeballs
from sono_io import MAX_WAIT


class Dialing:
    """The attempts to connect to one of a host's addresses, on sockets that do not block.

    `run` does it all. To wait in another way, call `turn` until it returns a socket; in between
    wait until one of `sockets` can be written, which `writable` is to be told, or for `wait`
    seconds. Call `close` in any case.

    Args:
        found: the host's addresses, as `socket.getaddrinfo` returns them.
        timeout: seconds for all attempts together.
    """

    def __init__(self, found: Iterable[AddressInfo], timeout: float) -> None:
        self._race = HappyEyeballs(found, time.monotonic(), timeout)
        self._attempts: dict[socket.socket, AddressInfo] = {}
        self._connected: socket.socket | None = None
        self._error: OSError | None = None  # of the attempt that failed last

    @property
    def sockets(self) -> AbstractSet[socket.socket]:
        """Those of the attempts under way."""
        return self._attempts.keys()

    @property
    def wait(self) -> float:
        """Seconds after which to call `turn` again."""
        return max(0.0, self._race.wake - time.monotonic())

    def turn(self) -> socket.socket | None:
        """Begin what is due.

        Returns:
            The socket that is connected; None while there is none.

        Raises:
            OSError: there will be none; the text says why.
        """
        while self._connected is None:
            now = time.monotonic()
            if self._race.over(now):
                raise OSError(self._race.reason) from self._error
            info = self._race.begin(now)
            if info is None:
                return None
            self._begin(info)
        return self._connected

    def _begin(self, info: AddressInfo) -> None:
        family, kind, protocol, _, address = info
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            self._failed(info, error)
            return
        self._attempts[sock] = info
        try:
            sock.setblocking(False)
            sock.connect(address)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._end(sock, error)
        else:
            self._succeed(sock)

    def writable(self, sock: socket.socket) -> None:
        """Whether it is connected has been decided."""
        if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._end(sock, OSError(code, os.strerror(code)))
        else:
            self._succeed(sock)

    def _succeed(self, sock: socket.socket) -> None:
        if self._connected is None:
            del self._attempts[sock]
            self._connected = sock
            with contextlib.suppress(OSError):  # of one that has ended again, on some systems
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _end(self, sock: socket.socket, error: OSError) -> None:
        info = self._attempts.pop(sock)
        sock.close()
        self._failed(info, error)

    def _failed(self, info: AddressInfo, error: OSError) -> None:
        self._error = error
        self._race.failed(info, described(error), time.monotonic())

    def run(self) -> socket.socket:
        """Wait for a socket that is connected.

        Raises:
            OSError: there is none; the text says why.
        """
        try:
            while (sock := self.turn()) is None:
                for attempt in _writable(self.sockets, min(self.wait, MAX_WAIT)):
                    self.writable(attempt)
            return sock
        finally:
            self.close()

    def close(self) -> None:
        """End the attempts that are still under way, but not the one that succeeded."""
        while self._attempts:
            self._attempts.popitem()[0].close()


def described(error: OSError) -> str:
    """What failed, for people."""
    if error.errno is None or isinstance(error, socket.gaierror):
        return error.strerror or str(error)
    return os.strerror(error.errno)  # asyncio says only that something failed


def _writable(sockets: AbstractSet[socket.socket], seconds: float) -> list[socket.socket]:
    """Wait until an attempt to connect has ended."""
    if not hasattr(select, "poll"):  # Windows, where a failure is an exceptional condition
        _, writable, failed = select.select([], sockets, sockets, seconds)
        return [*{*writable, *failed}]
    poll = select.poll()
    numbers = {sock.fileno(): sock for sock in sockets}
    for number in numbers:
        poll.register(number, select.POLLOUT)
    return [numbers[number] for number, _ in poll.poll(math.ceil(seconds * 1000))]
