"""Lets tasks wait until a condition holds."""

import asyncio
from collections.abc import Callable

running_loop: Callable[[], asyncio.AbstractEventLoop | None] = asyncio._get_running_loop
"""The event loop that runs in this thread, or None."""


class Notifier:
    """Wakes waiting tasks, in order, so that they check their conditions again.

    All of it belongs to one event loop, and nothing of it may be used in another.
    """

    loop: asyncio.AbstractEventLoop | None
    """The loop that it belongs to; None before it belongs to one."""

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []

    def require_loop(self) -> None:
        """Refuse a call that comes from another event loop: it would wait for ever.

        Raises:
            RuntimeError: another loop runs here.
        """
        running = running_loop()
        if running is not self.loop and None not in (running, self.loop):
            raise RuntimeError("this connection belongs to another event loop")

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
