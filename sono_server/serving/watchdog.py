"""Detects a handler that blocks the event loop, and logs its stack."""

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Protocol

from .log import logger


class Watched(Protocol):
    """The methods of a loop that the watchdog uses."""

    @property
    def ended(self) -> bool:
        """Whether it will never run again."""

    def call_soon(self, function: Callable[..., object], *arguments: object) -> bool:
        """Call the function in the loop's thread; False if the loop has ended."""


class Watchdog:
    """A thread that asks the loop for an answer at intervals, and logs its stack if none comes.

    Args:
        loop: the loop to watch.
        thread: the id of its thread.
        patience: seconds without an answer before it logs.
    """

    def __init__(self, loop: Watched, thread: int, patience: float) -> None:
        self._loop = loop
        self._watched = thread
        self._patience = patience
        self._ended = threading.Event()
        self._answered = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sono-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the watchdog's thread. Call it in the loop's thread."""
        self._ended.set()
        self._answered.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(self._patience / 2):
            self._answered.clear()
            asked = time.monotonic()
            try:
                if not self._loop.call_soon(self._answered.set):
                    return
            except BufferError:  # very busy, with calls of other threads
                continue
            if not self._answered.wait(self._patience):
                self._report()
                while not self._answered.wait(self._patience):
                    if self._loop.ended:
                        return
                if not self._ended.is_set():
                    logger.warning("the event loop goes on after %.1f s", time.monotonic() - asked)

    def _report(self) -> None:
        if not logger.isEnabledFor(logging.WARNING):
            return
        frame = sys._current_frames().get(self._watched)
        stack = "".join(traceback.format_stack(frame)) if frame else ""
        record = logger.logger.makeRecord(
            logger.logger.name,
            logging.WARNING,
            __file__,
            0,
            "a handler blocks the event loop, for %.1f s by now",
            (self._patience,),
            None,
            sinfo=stack.rstrip(),
        )
        logger.handle(record)
