"""Lets tasks wait until a condition holds."""

import asyncio
from collections.abc import Callable


class Notifier:
    """Wakes waiting tasks, in order, so that they check their conditions again."""

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []

    def changed(self) -> "asyncio.Future[None]":
        """A future that is done at the next `notify`."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    async def until(self, done: Callable[[], object]) -> None:
        """Wait until the condition is true; it still is when the next line runs."""
        while not done():
            await self.changed()

    def notify(self) -> None:
        """Wake all waiting tasks."""
        waiters = self._waiters
        if waiters:
            self._waiters = []
            for waiter in waiters:
                if not waiter.done():  # it was cancelled
                    waiter.set_result(None)
