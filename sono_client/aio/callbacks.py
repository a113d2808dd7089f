"""Callbacks, plain functions and coroutine functions, called one after the other in their order."""

import asyncio
import contextlib
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from .notifier import Notifier

logger: logging.Logger = logging.getLogger("sono")


class Callbacks:
    """Runs callbacks in a task of its own, so that one may wait for events that others cause.

    Args:
        changes: notified whenever there is room for another call.
    """

    def __init__(self, changes: Notifier) -> None:
        self._changes = changes
        self._calls: deque[Callable[[], object]] = deque()
        self._awaited: asyncio.Future[object] | None = None

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def inside(self) -> bool:
        """Whether the caller is a coroutine of a callback."""
        return self._awaited is not None and asyncio.current_task() is self._awaited

    def add(self, function: Callable[[], object]) -> None:
        """Queue a function behind all others."""
        self._calls.append(function)
        self._changes.notify()

    def clear(self) -> None:
        """Drop all queued calls."""
        self._calls.clear()

    async def run(self, ended: Callable[[], bool]) -> None:
        """Run queued calls until no more will come. Exceptions of callbacks are logged."""
        while True:
            await self._changes.until(lambda: self._calls or ended())
            if not self._calls:
                return
            function = self._calls.popleft()
            self._changes.notify()
            try:
                result = function()
                if inspect.isawaitable(result):
                    await self._finish(result)
            except Exception:
                with contextlib.suppress(Exception):  # of a handler of the log
                    logger.exception("a callback failed")

    async def _finish(self, result: Awaitable[object]) -> None:
        # As a task, so that cancelling a callback does not end this one.
        # Not by create_task: one that begins at once would ask for `inside` before it is kept here.
        if inspect.iscoroutine(result):
            callback: asyncio.Future[object] = asyncio.Task(result)
        else:
            callback = asyncio.ensure_future(result)
        self._awaited = callback
        try:
            await asyncio.wait([callback])
        finally:
            self._awaited = None
            if callback.cancel():
                await asyncio.wait([callback])
        if not callback.cancelled():
            callback.result()
