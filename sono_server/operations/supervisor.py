"""Runs workers: carries out what `supervision` decides, and tells it what happens.

The parent of all workers listens and never accepts, and it never imports the application. Signals
and pipes wake it up; between them it sleeps.
"""

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType

from sono_server.serving import WorkerListeners, logger, notify

from . import children
from .supervision import (
    BOOT,
    Action,
    Close,
    Drain,
    Kill,
    Log,
    Mute,
    Opened,
    Start,
    Supervision,
)

_HANGUP = getattr(signal, "SIGHUP", None)
_CHILD = getattr(signal, "SIGCHLD", None)  # heard, so that a pipe wakes us; processes say the rest
_KEPT = ("NOTIFY_SOCKET",)  # variables that are meant for the parent alone


def supervise(
    arguments: Sequence[str],
    listeners: WorkerListeners,
    *,
    workers: int,
    drain: float,
    boot: float = BOOT,
    opened: Callable[[], object] = lambda: None,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run workers until a signal; the exit status. Closes the listeners.

    Args:
        arguments: of the command `sono`, for each worker.
        workers: how many.
        drain: seconds that connections get to close.
        boot: seconds that a worker gets until it is ready.
        opened: called when all workers are ready, or have failed once.
        environment: variables of the workers beside those of this process.

    Raises:
        ValueError: this is not the main thread, which alone gets signals.
    """
    supervision = Supervision(workers, drain=drain, boot=boot)
    theirs = {name: value for name, value in os.environ.items() if name not in _KEPT}
    theirs.update(environment or {})
    supervisor = _Supervisor(supervision, listeners, arguments, opened, theirs)
    try:
        with _signals(supervisor.on_signal) as woken:
            return supervisor.run(woken)
    finally:
        listeners.close()


@contextlib.contextmanager
def _signals(handler: Callable[[int, FrameType | None], object]) -> Iterator[int]:
    """Have a function called on each signal; a descriptor that can be read then."""
    woken, wake = os.pipe()
    try:
        for descriptor in (woken, wake):
            os.set_blocking(descriptor, False)
        wake_before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        before = {}
        try:
            for number in (signal.SIGINT, signal.SIGTERM, _HANGUP, _CHILD):
                if number is not None:
                    before[number] = signal.signal(number, handler)
            yield woken
        finally:
            for number, former in before.items():
                signal.signal(number, former)
            signal.set_wakeup_fd(wake_before)
    finally:
        os.close(woken)
        os.close(wake)


class _Worker:
    """A process, and the pipe in which it says that it is ready."""

    def __init__(self, child: children.Child, ready: int) -> None:
        self.child = child
        self.ready: int | None = ready

    def said(self) -> bool:
        """Whether it says so now, in the pipe that can be read."""
        assert self.ready is not None
        word = os.read(self.ready, 1)
        if not word:
            self.hang_up()
        return bool(word)

    def hang_up(self) -> None:
        if self.ready is not None:
            os.close(self.ready)
            self.ready = None


class _Supervisor:
    def __init__(
        self,
        supervision: Supervision,
        listeners: WorkerListeners,
        arguments: Sequence[str],
        opened: Callable[[], object],
        environment: Mapping[str, str],
    ) -> None:
        self._supervision = supervision
        self._listeners = listeners
        self._arguments = arguments
        self._opened = opened
        self._environment = environment
        self._workers: dict[int, _Worker] = {}
        self._signals: list[int] = []
        self._failed: list[tuple[int, str]] = []  # workers that could not even be started

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Keep it for the loop: nothing is done in the middle of something else."""
        self._signals.append(number)

    def run(self, woken: int) -> int:
        """Until everything is over; the exit status."""
        machine = self._supervision
        try:
            self._do(machine.begin(time.monotonic()))
            while machine.status is None:
                self._wait(woken)
                self._take_signals()
                self._look_at_workers()
                self._do(machine.tick(time.monotonic()))
            return machine.status
        finally:
            for worker in list(self._workers):  # only if something failed here
                self._kill(worker)
                self._bury(worker)

    def _wait(self, woken: int) -> None:
        """Until a signal, a word of a worker, or the time at which something is due."""
        poll = select.poll()
        poll.register(woken, select.POLLIN)
        pipes = {one.ready: id for id, one in self._workers.items() if one.ready is not None}
        for pipe in pipes:
            poll.register(pipe, select.POLLIN)
        left = self._supervision.due - time.monotonic()
        if self._failed:
            left = 0.0
        timeout = None if left == float("inf") else max(0, min(int(left * 1000) + 1, 1 << 30))
        for descriptor, _ in poll.poll(timeout):
            if descriptor == woken:
                with contextlib.suppress(BlockingIOError):
                    os.read(woken, 4096)
            elif self._workers[pipes[descriptor]].said():
                self._do(self._supervision.ready(pipes[descriptor], time.monotonic()))

    def _take_signals(self) -> None:
        signals, self._signals = self._signals, []
        for number in signals:
            if number in (signal.SIGINT, signal.SIGTERM):
                logger.info("the workers are told to end")
                self._do(self._supervision.stop(time.monotonic()))
            elif number == _HANGUP:
                logger.info("all workers are to be replaced")
                self._do(self._supervision.hangup(time.monotonic()))

    def _look_at_workers(self) -> None:
        failed, self._failed = self._failed, []
        for id, why in failed:
            self._do(self._supervision.died(id, 1, why, time.monotonic()))
        for id, worker in list(self._workers.items()):
            process = worker.child.process
            if (status := process.poll()) is not None:
                self._bury(id)
                what = described(process.pid, status)
                self._do(self._supervision.died(id, status, what, time.monotonic()))

    # -- what is decided --------------------------------------------------------------------------

    def _do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Start():
                    self._start(action)
                case Drain():
                    self._drain(action)
                case Kill():
                    self._kill(action.worker)
                case Mute():
                    self._listeners.mute(action.slot)
                case Opened():
                    self._opened()
                    notify("READY=1")
                case Close():
                    notify("STOPPING=1")
                    self._listeners.close()
                case Log():
                    logger.log(action.level, "%s", action.text)

    def _start(self, action: Start) -> None:
        ready, say = os.pipe()
        try:
            child = children.start(
                self._arguments, self._listeners.of(action.slot), say, self._environment
            )
        except OSError as error:  # too many processes, for one
            os.close(ready)
            logger.error("no process can be started: %s", error)
            self._failed.append((action.worker, f"could not be started: {error}"))
        else:
            self._workers[action.worker] = _Worker(child, ready)
        finally:
            os.close(say)

    def _drain(self, action: Drain) -> None:
        if worker := self._workers.get(action.worker):
            if action.replaced:
                worker.child.replaced()
            else:
                worker.child.process.terminate()

    def _kill(self, worker: int) -> None:
        if one := self._workers.get(worker):
            one.child.process.kill()

    def _bury(self, worker: int) -> None:
        one = self._workers.pop(worker)
        with contextlib.suppress(subprocess.TimeoutExpired):
            one.child.process.wait(children.PATIENCE)
        os.close(one.child.lifeline)
        one.hang_up()


def described(process: int, status: int) -> str:
    """How a worker has ended, in words."""
    if status >= 0:
        return f"(process {process}) has ended with exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"(process {process}) was ended by {name}"
