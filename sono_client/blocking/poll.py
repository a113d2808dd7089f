"""Waits for one socket; another thread can end the wait."""

import math
import select
import socket

from sono_io import MAX_WAIT

_WOKEN = 4096  # bytes: wake-ups forgotten at once


class Poll:
    """Polls one socket, and a pair of sockets through which another thread ends the wait."""

    __slots__ = ("_far", "_mask", "_near", "_near_number", "_poll", "_sock")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)
        self._near_number = self._near.fileno()
        self._mask = 0
        self._poll = select.poll() if hasattr(select, "poll") else None  # Windows has none
        if self._poll:
            self._poll.register(self._near, select.POLLIN)
            self._poll.register(sock, 0)

    def wait(self, read: bool, write: bool, timeout: float) -> bool:
        """Wait until the socket is ready or `wake` is called; for one thread at a time.

        Args:
            read: whether to wait until it can be read.
            write: whether to wait until it can be written.
            timeout: seconds to wait at most.

        Returns:
            Whether it was wanted for reading and can be read.
        """
        timeout = max(0.0, min(timeout, MAX_WAIT))
        if self._poll is None:
            return self._select(read, write, timeout)
        mask = select.POLLIN * read | select.POLLOUT * write
        if mask != self._mask:
            self._poll.modify(self._sock, mask)
            self._mask = mask
        found = False
        for number, events in self._poll.poll(math.ceil(timeout * 1000)):
            if number == self._near_number:
                self._near.recv(_WOKEN)
            else:
                found = read and bool(events & ~select.POLLOUT)
        return found

    def _select(self, read: bool, write: bool, timeout: float) -> bool:
        sock, near = self._sock, self._near
        readable, _, _ = select.select([near] + [sock] * read, [sock] * write, [], timeout)
        if near in readable:
            near.recv(_WOKEN)
        return sock in readable

    def wake(self) -> None:
        """End the wait of another thread, or its next one."""
        try:
            self._far.send(b"\0")
        except OSError:  # full: it is awake already
            pass

    def close(self) -> None:
        """Close the pair."""
        self._near.close()
        self._far.close()
