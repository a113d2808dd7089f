"""A process that is forked while servers run, by a handler perhaps, leaves them to its parent.

It has a copy of every descriptor. What it did with them would reach the parent's peers, and the
parent's epoll is even the same object; and while it kept them open, no peer would be told that the
parent had ended its connection. So they are released, and to the child the servers have ended.
"""

import contextlib
import os
from collections.abc import Iterable
from typing import Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """A server that runs."""

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""

    def forked(self) -> None:
        """Called in a process that was forked from the one in which the server runs."""


_running: WeakSet[Forkable] = WeakSet()


def begin(server: Forkable) -> None:
    """The server runs from now on."""
    _running.add(server)


def release(descriptors: Iterable[int]) -> None:
    """Let descriptors stand for nothing; their numbers stay taken until their owners close them."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_RDWR)
        try:
            for descriptor in descriptors:
                if descriptor >= 0:
                    os.dup2(null, descriptor, inheritable=False)
        finally:
            os.close(null)


def _forked() -> None:
    for server in list(_running):
        if not server.ended:  # nobody may have taken it out yet
            server.forked()
    _running.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
