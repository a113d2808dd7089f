"""SIGINT and SIGTERM while a loop runs, in the main thread alone."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Calls `stop` on SIGINT and SIGTERM, from `take` to `give_back`.

    The second signal restores the old handlers, so a third one acts as it would without Sono.

    Args:
        stop: called in the main thread, between two of its instructions.
        wakeup_fd: a non-blocking socket that Python writes to, so that a waiting loop wakes up;
            None if `stop` wakes the loop itself.
    """

    def __init__(self, stop: Callable[[], object], wakeup_fd: int | None = None) -> None:
        self._stop = stop
        self._wakeup_fd = wakeup_fd
        self._old_handlers: dict[int, Any] = {}
        self._old_wakeup_fd = -1
        self._signals = 0

    def take(self) -> None:
        """Install the handlers. Does nothing outside the main thread."""
        if threading.current_thread() is threading.main_thread():
            if self._wakeup_fd is not None:
                fd = signal.set_wakeup_fd(self._wakeup_fd, warn_on_full_buffer=False)
                self._old_wakeup_fd = fd
            for number in _NUMBERS:
                self._old_handlers[number] = signal.signal(number, self._on_signal)

    def give_back(self) -> None:
        """Restore the old handlers, if they were replaced."""
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        if self._old_handlers and self._wakeup_fd is not None:
            signal.set_wakeup_fd(self._old_wakeup_fd)
        self._old_handlers.clear()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:  # a loop that does not run any more must not hold the process
            self.give_back()
        self._stop()
