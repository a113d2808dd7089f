"""The listeners of several workers: one set for each of them, or one that all share.

With SO_REUSEPORT the kernel spreads connections evenly, by a hash; on one listener the worker that
wakes up first takes most of them (docs/scaling.md has the figures). The parent holds all of these
sockets: what waits in the backlog of a worker that dies waits for its successor. A socket that is
bound keeps the port and gets no connections until it listens, which a worker lets it do when it is
about to accept.
"""

import contextlib
import socket
import sys
from collections.abc import Sequence

from .listeners import bind, new_listener, prepare, remove_file

_REUSE_PORT = getattr(socket, "SO_REUSEPORT", None)
SPREADS: bool = _REUSE_PORT is not None and sys.platform == "linux"
"""Whether this system spreads connections over sockets that have the same port. macOS and the BSDs
have the option too, and give all of them to one."""


class WorkerListeners:
    """What each worker listens on; the parent's sockets.

    Args:
        shared: the listeners of all workers.
        own: in place of them, those of each worker.
        reserved: bound and not listening, to keep the port while no worker listens.
    """

    def __init__(
        self,
        shared: Sequence[socket.socket] = (),
        own: Sequence[Sequence[socket.socket]] = (),
        reserved: Sequence[socket.socket] = (),
    ) -> None:
        self._shared = shared
        self._own = own
        self._reserved = reserved

    @property
    def address(self) -> object:
        """Where the first socket listens; see `BaseServer.address`."""
        return [*self._reserved, *self._shared][0].getsockname()

    def of(self, worker: int) -> list[int]:
        """Descriptors for a worker; they are counted from 0."""
        return [one.fileno() for one in (self._own[worker] if self._own else self._shared)]

    def mute(self, worker: int) -> None:
        """Let nobody wait for a worker that is away for long: others get the connections.

        Those that wait already are reset, and come back elsewhere; the kernel hands them over if
        `net.ipv4.tcp_migrate_req` is set. What all workers share is left as it is. The worker must
        listen anew.
        """
        for one in self._own[worker] if self._own else ():
            with contextlib.suppress(OSError):  # it does not listen
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Nobody may connect any more, once the workers have closed theirs. Idempotent."""
        for one in (*self._shared, *self._reserved, *(one for own in self._own for one in own)):
            remove_file(one)
            one.close()


def spread(host: str | None, port: int, workers: int) -> WorkerListeners:
    """A set of sockets for each worker, which do not listen yet.

    Only where `SPREADS`.

    Args:
        host, port: as for `listen`.

    Raises:
        OSError: an address is taken, not allowed or unknown.
    """
    assert _REUSE_PORT is not None
    with contextlib.ExitStack() as opened:
        # Bound without the option, so that somebody else's port is a mistake: with it, another
        # server of this user would get half of our connections, and we of its.
        reserved = [opened.enter_context(one) for one in bind(host, port)]
        own: list[list[socket.socket]] = []
        for one in reserved:
            one.setsockopt(socket.SOL_SOCKET, _REUSE_PORT, 1)
        for _ in range(workers):
            own.append([])
            for one in reserved:
                share = opened.enter_context(new_listener(one.family))
                share.setsockopt(socket.SOL_SOCKET, _REUSE_PORT, 1)
                share.bind(one.getsockname())
                prepare(share)
                own[-1].append(share)
        opened.pop_all()
        return WorkerListeners(own=own, reserved=reserved)
