"""The signals of this process while servers run: one handler for all, in the main thread alone.

A process that a handler forks inherits neither the handler nor the wake-up descriptor.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


class _Taken:
    """The signals that were taken: what each calls, and what it did before."""

    def __init__(self) -> None:
        self._process = 0  # that all of this belongs to
        self._functions: dict[int, list[Callable[[], object]]] = {}
        self._before: dict[int, Any] = {}
        self._wakeup_fds: list[int] = []  # Python writes to the last one
        self._wakeup_fd_before = -1
        self._handler = self._on_signal  # one object, to be recognized
        self._forking = threading.local()

    def add(self, number: int, function: Callable[[], object]) -> bool:
        """Call the function on a signal, in the main thread, between two of its instructions.

        Returns:
            False if not: outside the main thread, and if C code has set the handler, because
            Python could not restore that.
        """
        if threading.current_thread() is not threading.main_thread():
            return False
        if number not in self._functions:
            if signal.getsignal(number) is None:
                return False
            self._process = os.getpid()
            self._functions[number] = []
            self._before[number] = signal.signal(number, self._handler)
        self._functions[number].append(function)
        return True

    def remove(self, number: int, function: Callable[[], object]) -> None:
        """Undo `add`; after the last one of a signal, it does again what it did before."""
        functions = self._functions.get(number, [])
        if function in functions:  # it is not in a process that was forked
            functions.remove(function)
            if not functions:
                self._restore(number)

    def _restore(self, number: int) -> None:
        del self._functions[number]
        before = self._before.pop(number)
        if signal.getsignal(number) is self._handler:  # else the application has set its own
            signal.signal(number, before)

    def add_wakeup_fd(self, fd: int) -> None:
        """Let Python write to a descriptor on each signal."""
        before = signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
        if not self._wakeup_fds:
            self._wakeup_fd_before = before
        self._wakeup_fds.append(fd)

    def remove_wakeup_fd(self, fd: int) -> None:
        """Undo `add_wakeup_fd`."""
        fds = self._wakeup_fds
        if fd in fds:  # it is not in a process that was forked
            last = fds[-1]
            fds.remove(fd)
            found = signal.set_wakeup_fd(fds[-1] if fds else self._wakeup_fd_before)
            if found != last:  # the application has set its own
                signal.set_wakeup_fd(found)

    def hold(self) -> None:
        """Before a fork: let signals wait that have our handler.

        One that reached the child while it still has it would be lost, because Python drops what
        came before it has set up a forked process. (It drops what its own handlers are for, too.)
        """
        masks = self._forking.__dict__.setdefault("masks", [])  # one fork may be within another
        held = [n for n in self._functions if signal.getsignal(n) is self._handler]
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()) if held else None)
        if held:
            signal.pthread_sigmask(signal.SIG_BLOCK, held)

    def let_go(self) -> None:
        """After a fork: undo `hold`."""
        masks = self._forking.__dict__.get("masks")
        if masks and (mask := masks.pop()) is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def begin_anew(self) -> None:
        """In a process that was forked: `forget`, then undo `hold`."""
        try:
            self.forget()
        finally:
            self.let_go()

    def forget(self) -> None:
        """In a process that was forked: let signals do what they did before."""
        if self._functions:
            # Also if it is an event loop's: a signal of this process would be taken for one of its.
            signal.set_wakeup_fd(-1)
            self._wakeup_fds.clear()
        for number in list(self._functions):
            self._restore(number)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # forked by C code, which does not call Python's hooks
            self.forget()
            os.kill(os.getpid(), number)
            return
        for function in list(self._functions.get(number, ())):
            function()


_taken = _Taken()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_taken.hold, after_in_parent=_taken.let_go, after_in_child=_taken.begin_anew
    )


@contextlib.contextmanager
def taken(number: int | None, function: Callable[[], object]) -> Iterator[None]:
    """Call the function on a signal for the length of a with statement; None is no signal.

    In the main thread alone; in another one the signal does what it does anyway.
    """
    if number is not None:
        _taken.add(number, function)
    try:
        yield
    finally:
        if number is not None:
            _taken.remove(number, function)


class StopSignals:
    """Calls `stop` on SIGINT and SIGTERM, from `take` to `give_back`.

    If several servers run, a signal stops all of them. The second signal restores the old handlers,
    so a third one acts as it would without Sono.

    Args:
        stop: called in the main thread, between two of its instructions.
        wakeup_fd: a non-blocking socket that Python writes to, so that a waiting loop wakes up;
            None if `stop` wakes the loop itself.
    """

    def __init__(self, stop: Callable[[], object], wakeup_fd: int | None = None) -> None:
        self._stop = stop
        self._wakeup_fd = wakeup_fd
        self._signals = 0

    def take(self) -> None:
        """Install the handlers. Does nothing outside the main thread."""
        added = [_taken.add(number, self._on_signal) for number in _NUMBERS]
        if any(added) and self._wakeup_fd is not None:
            _taken.add_wakeup_fd(self._wakeup_fd)

    def give_back(self) -> None:
        """Restore the old handlers, if they were replaced and no other server needs them."""
        for number in _NUMBERS:
            _taken.remove(number, self._on_signal)
        if self._wakeup_fd is not None:
            _taken.remove_wakeup_fd(self._wakeup_fd)

    def _on_signal(self) -> None:
        self._signals += 1
        if self._signals > 1:  # a loop that does not run any more must not hold the process
            self.give_back()
        self._stop()
