"""Processes that serve for a parent, which listens and never accepts.

The parent never imports the application. A child ends in good order when the parent is gone,
however that happened: it waits for the end of a pipe, its lifeline.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import NamedTuple

INHERITED = "--inherited"
"""The option that makes a process a child: descriptors of its lifeline, of a pipe in which it says
that it is ready (-1: it need not), and of the listeners."""


class Child(NamedTuple):
    """One of them, for its parent."""

    process: "subprocess.Popen[bytes]"
    lifeline: int
    """Closed when the parent ends."""


class Inherited(NamedTuple):
    """What a child has of its parent."""

    listeners: list[socket.socket]
    ready: int
    """Where to say that it is ready; -1: nowhere."""


def start(arguments: argparse.Namespace, listeners: Sequence[int], ready: int = -1) -> Child:
    """Start a child that serves on these descriptors.

    Args:
        ready: the descriptor in which it says that it is ready; this process may close it then.
    """
    read_end, lifeline = os.pipe()
    inherited = [read_end, ready, *listeners]
    # With the parent's path: a module in the current directory must not take the place of one that
    # Sono needs.
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; from sono_server.cli import main;"
        " sys.exit(main())"
    )
    command, *options = arguments.argv
    descriptors = ",".join(map(str, inherited))
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", program, command, f"{INHERITED}={descriptors}", *options],
            pass_fds=[descriptor for descriptor in inherited if descriptor >= 0],
        )
    except BaseException:
        os.close(lifeline)
        raise
    finally:
        os.close(read_end)
    return Child(process, lifeline)


def inherit(arguments: argparse.Namespace) -> Inherited:
    """In a child: take what it has of its parent."""
    lifeline, ready, *descriptors = map(int, arguments.inherited.split(","))
    for descriptor in (lifeline, ready, *descriptors):
        if descriptor >= 0:
            os.set_inheritable(descriptor, False)
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
    listeners = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    for listener in listeners:
        listener.setblocking(False)
    return Inherited(listeners, ready)


def _end_with_parent(lifeline: int) -> None:
    """End this process in good order when the parent is gone, even if that was killed."""
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)
