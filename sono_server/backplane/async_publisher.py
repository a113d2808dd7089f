"""Publishing from outside, on asyncio."""

import asyncio

from sono_core.messaging.lossless import History, Position

from .publisher import BasePublisher


class AsyncPublisher(BasePublisher):
    """The same for asyncio.

    Args:
        backplane, timeout, limits: as for `Publisher`.

    Raises:
        ImportError, TypeError, ValueError: as `Publisher`.
    """

    async def __aenter__(self) -> "AsyncPublisher":
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)  # which waits for a thread

    async def publish(
        self,
        channel: str,
        event: str,
        message: object,
        *,
        key: str | None = None,
        history: History | None = None,
    ) -> Position:
        """See `Publisher.publish`."""
        return await asyncio.wrap_future(self._begin(channel, event, message, history, key))

    async def emit(self, event: str, message: object, *, key: str | None = None) -> Position:
        """See `Publisher.emit`."""
        return await asyncio.wrap_future(self._begin(None, event, message, None, key))

    async def erase(self, identity: object) -> int:
        """See `Publisher.erase`."""
        return await asyncio.wrap_future(self._begin_erasing(identity))
