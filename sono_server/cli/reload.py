"""`sono serve APP --reload`: a parent that watches files, and a child that serves.

For development only. The parent listens and never accepts: the port stays the same, and whoever
connects while a child is replaced waits for the next one. It never imports the application.
"""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path
from types import FrameType

from sono_client.cli import tell
from sono_server.operations import children
from sono_server.serving import remove_file

from . import application, serve
from .mistakes import Mistake

DRAIN = 1.0
"""Seconds that connections may take to close, unless `--drain` says something else."""
_GRACE = 2.0  # seconds beyond the drain time after which a child is killed
_LOOK = 100  # milliseconds from one look at the child to the next
_MISTAKE = 2  # the exit status for wrong arguments


def run(arguments: argparse.Namespace) -> int:
    """Serve in one child after the other, until a signal; the exit status.

    Raises:
        Mistake: an argument is wrong, or watchfiles is not installed.
    """
    if arguments.drain is None:
        arguments.drain = DRAIN
    if os.name == "nt":
        raise Mistake("--reload does not work on Windows")
    try:
        import watchfiles
    except ImportError:
        raise Mistake("--reload needs watchfiles: pip install watchfiles") from None
    folder = application.parse(arguments.app).folder
    listeners = serve.listening(arguments)
    parent = _Parent(arguments, folder, listeners)
    changes = watchfiles.watch(
        folder,
        watch_filter=watchfiles.PythonFilter(),
        stop_event=parent.stopped,
        rust_timeout=_LOOK,
        yield_on_timeout=True,
        raise_interrupt=False,
    )
    handlers = {number: signal.signal(number, parent.on_signal) for number in _signals(arguments)}
    try:
        next(changes, None)  # it watches from here on, before the first child imports anything
        parent.start()
        for changed in changes:
            status = parent.look({Path(path).name for _, path in changed})
            if status is not None:
                return status
        return 0
    finally:
        parent.end()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for listener in listeners:
            remove_file(listener)
            listener.close()


def _signals(arguments: argparse.Namespace) -> list[signal.Signals]:
    """What ends the parent; and with TLS SIGHUP, as the next child loads the certificates."""
    hangup = [signal.SIGHUP] if arguments.tls_cert else []
    return [signal.SIGINT, signal.SIGTERM, *hangup]


class _Parent:
    """The process that the user started; it has one child at most."""

    def __init__(
        self, arguments: argparse.Namespace, folder: Path, listeners: list[socket.socket]
    ) -> None:
        self.stopped = threading.Event()
        """Whether a signal has ended the parent."""
        self._arguments = arguments
        self._folder = folder
        self._listeners = [listener.fileno() for listener in listeners]
        self._child: subprocess.Popen[bytes] | None = None
        self._lifeline = -1  # closed when the parent ends, however that happens
        self._is_first = True
        self._interrupted = False
        self._restart_asked = False

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """End on the first SIGINT or SIGTERM, and kill the child on the second."""
        if number not in (signal.SIGINT, signal.SIGTERM):
            self._restart_asked = True
        elif not self.stopped.is_set():
            self._interrupted = number == signal.SIGINT
            self.stopped.set()
        elif self._child:
            self._child.kill()

    def start(self) -> None:
        """Start a child, unless a signal has ended the parent."""
        if self.stopped.is_set():
            return
        self._child, self._lifeline = children.start(self._arguments.argv, self._listeners)

    def look(self, changed: set[str]) -> int | None:
        """Replace the child if files have changed, and see whether it has ended.

        Returns:
            The parent's exit status, if waiting for changes is of no use.
        """
        if changed or self._restart_asked:
            self._restart_asked = self._is_first = False
            if changed:
                tell(f"Changed: {', '.join(sorted(changed))}")
            self.end()
            self.start()
        elif self._child and (status := self._child.poll()) is not None:
            self.end()
            if self._is_first and status == _MISTAKE:
                return status
            self._is_first = False
            tell(f"No server runs. Waiting for a change in {self._folder}")
        return None

    def end(self) -> None:
        """End the child, if there is one."""
        child, drain = self._child, self._arguments.drain
        if child is None:
            return
        if self._interrupted:  # by Ctrl-C, of which the terminal has told the child as well
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(drain)
        child.terminate()
        try:
            child.wait(drain + _GRACE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        self._child = None
        os.close(self._lifeline)
