"""Tasks that wait for something to become so."""

import asyncio
from collections.abc import Callable


class Notifier:
    """What tasks wait for: they look again whenever something has happened, in their order."""

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []

    def changed(self) -> "asyncio.Future[None]":
        """Await it until something has happened."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    async def until(self, done: Callable[[], object]) -> None:
        """Wait until this is true; it is when the next line runs."""
        while not done():
            await self.changed()

    def notify(self) -> None:
        """Something has happened: let everybody who waits look again."""
        waiters = self._waiters
        if waiters:
            self._waiters = []
            for waiter in waiters:
                if not waiter.done():  # it was cancelled
                    waiter.set_result(None)
