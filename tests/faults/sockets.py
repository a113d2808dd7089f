"""A listening socket whose connections fail in one call, as the operating system may let them."""

from __future__ import annotations

import os
import socket
from collections import Counter
from typing import Any

from tests.servers import listener


class Fault:
    """Makes the n-th call of a kind fail, once, on the next connection that is accepted.

    Args:
        call: name of the method; empty for none.
        nth: which of its calls, from 1.
        error: the errno.
    """

    def __init__(self, call: str = "", nth: int = 0, error: int = 0) -> None:
        self._call = call
        self._nth = nth
        self._error = error
        self.calls: Counter[str] = Counter()
        """The number of calls of each method."""
        self.hit = False
        """Whether it has failed."""

    def check(self, call: str) -> None:
        """Called first by each method; raises where it is to fail."""
        self.calls[call] += 1
        if call == self._call and self.calls[call] == self._nth:
            self.hit = True
            raise OSError(self._error, os.strerror(self._error))


class FaultyListener(socket.socket):
    """Listens; hands its `fault` to the next connection."""

    fault: Fault | None = None

    def accept(self) -> tuple[socket.socket, Any]:
        fault = self.fault
        if fault:
            fault.check("accept")
        sock, address = super().accept()
        self.fault = None
        faulty = FaultySocket(fileno=sock.detach())
        faulty.fault = fault or Fault()
        return faulty, address


class FaultySocket(socket.socket):
    """A connection with a call that may fail."""

    fault: Fault = Fault()

    def send(self, data: Any, flags: int = 0) -> int:
        self.fault.check("send")
        return super().send(data, flags)

    def sendmsg(self, buffers: Any, *rest: Any) -> int:
        self.fault.check("send")
        return super().sendmsg(buffers, *rest)

    def recv_into(self, buffer: Any, *rest: Any) -> int:
        self.fault.check("recv_into")
        return super().recv_into(buffer, *rest)

    def shutdown(self, how: int) -> None:
        self.fault.check("shutdown")
        super().shutdown(how)

    def getpeername(self) -> Any:
        self.fault.check("getpeername")
        return super().getpeername()


def faulty_listener(send_buffer: int | None = None) -> FaultyListener:
    """A listener on a free port of 127.0.0.1."""
    sock: FaultyListener = listener(send_buffer, FaultyListener)
    return sock
