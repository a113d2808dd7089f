"""Processes that serve for a parent, which listens and never accepts.

The parent never imports the application. A child ends in good order when the parent is gone,
however that happened: it waits for the end of a pipe, its lifeline. A byte that comes through it
says that a successor serves already.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sono_core import CloseCode
from sono_server.serving import BACKLOG, BaseServer

from .supervision import GRACE

INHERITED = "--inherited"
"""The option that makes a process a child: descriptors of its lifeline, of a pipe in which it says
that it is ready (-1: it need not), and of the listeners."""
PATIENCE = 5.0
"""Seconds that a child waits for its backplane before it says that it is ready all the same: while
the broker is away, servers can be started and replaced, and `/readyz` says how it is."""
_LOOK = 0.02  # seconds from one look at the backplane to the next


class Child(NamedTuple):
    """One of them, for its parent."""

    process: "subprocess.Popen[bytes]"
    lifeline: int
    """Closed when the parent ends."""

    def replaced(self) -> None:
        """Tell it to close its connections with 1012 and to end."""
        with contextlib.suppress(BrokenPipeError):  # it has ended
            os.write(self.lifeline, b"r")


class Inherited:
    """What a child has of its parent.

    Args:
        descriptors: the value of `INHERITED`.
    """

    def __init__(self, descriptors: str) -> None:
        self._lifeline, self._ready, *listeners = map(int, descriptors.split(","))
        for descriptor in (self._lifeline, self._ready, *listeners):
            if descriptor >= 0:
                os.set_inheritable(descriptor, False)
        self._server: BaseServer | None = None
        self._drain = 0.0
        self._listeners = [socket.socket(fileno=descriptor) for descriptor in listeners]
        for listener in self._listeners:
            listener.setblocking(False)
        threading.Thread(target=self._end_with_parent, daemon=True).start()

    @property
    def is_worker(self) -> bool:
        """Whether the parent waits until it is ready."""
        return self._ready >= 0

    def listen(self) -> list[socket.socket]:
        """The sockets, which listen from now on: call it when you are about to accept."""
        for listener in self._listeners:
            listener.listen(BACKLOG)
        return self._listeners

    def serve(self, server: BaseServer, ready: Callable[[], bool], drain: float) -> None:
        """Say that this child is ready, once the server runs, and stop it when it is replaced.

        Args:
            ready: whether the backplane is; it is waited for, for `PATIENCE` at most.
            drain: seconds that connections get to close.
        """
        self._drain = drain
        self._server = server
        if self.is_worker:
            threading.Thread(target=self._wait, args=(server, ready), daemon=True).start()

    def _wait(self, server: BaseServer, ready: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE
        while not ready() and time.monotonic() < until:
            time.sleep(_LOOK)
        server.call_soon(self._say_ready)

    def _say_ready(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # the parent has just ended
            os.write(self._ready, b"r")

    def _end_with_parent(self) -> None:
        """End in good order when told, or when the parent is gone, even if that was killed."""
        word = os.read(self._lifeline, 1)
        if word and self._server:
            self._server.stop(CloseCode.SERVICE_RESTART)
            os.read(self._lifeline, 1)
        else:
            os.kill(os.getpid(), signal.SIGTERM)
        # There is nobody left to kill a process that a handler blocks.
        time.sleep(self._drain + GRACE)
        os.kill(os.getpid(), signal.SIGKILL)


def start(
    arguments: Sequence[str],
    listeners: Sequence[int],
    ready: int = -1,
    environment: Mapping[str, str] | None = None,
) -> Child:
    """Start a child that serves on these descriptors.

    Args:
        arguments: of the command `sono`.
        ready: the descriptor in which it says that it is ready; this process may close it then.
            Such a child is in a session of its own, as Ctrl-C is for the parent alone.
        environment: its environment, if not this process's.
    """
    read_end, lifeline = os.pipe()
    inherited = [read_end, ready, *listeners]
    # With the parent's path: a module in the current directory must not take the place of one that
    # Sono needs.
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; from sono_server.cli import main;"
        " sys.exit(main())"
    )
    command, *options = arguments
    descriptors = ",".join(map(str, inherited))
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", program, command, f"{INHERITED}={descriptors}", *options],
            pass_fds=[descriptor for descriptor in inherited if descriptor >= 0],
            start_new_session=ready >= 0,
            env=environment,
        )
    except BaseException:
        os.close(lifeline)
        raise
    finally:
        os.close(read_end)
    return Child(process, lifeline)
