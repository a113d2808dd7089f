"""A channel that an asyncio client is a member of."""

from typing import Any, Protocol

from sono_client.lossless import ChannelView, History, Hooks
from sono_core.arguments import require_callable
from sono_core.messaging.lossless import Position


class Words(Protocol):
    """What a channel asks its client to say."""

    async def publish(
        self,
        channel: str,
        event: str,
        data: object = None,
        *,
        to_self: bool = True,
        volatile: bool = False,
        harmless: bool = False,
    ) -> Position | None: ...

    async def present(self, channel: str, data: object) -> None: ...

    def presence(self, channel: str) -> dict[str, Any]: ...

    async def history(
        self, channel: str, *, before: Position | None = None, limit: int | None = None
    ) -> History: ...

    async def leave(self, channel: str) -> None: ...


class AsyncJoinedChannel(ChannelView):
    """A channel of an `AsyncSonoClient`; made by its `join`."""

    def __init__(self, name: str, client: Words) -> None:
        super().__init__(name, Hooks(require_callable), Hooks(require_callable), client.presence)
        self._client = client

    async def publish(
        self,
        event: str,
        data: object = None,
        *,
        to_self: bool = True,
        volatile: bool = False,
        harmless: bool = False,
    ) -> Position | None:
        """Say something to all members; see `AsyncSonoClient.publish`."""
        return await self._client.publish(
            self.name, event, data, to_self=to_self, volatile=volatile, harmless=harmless
        )

    async def present(self, data: object) -> None:
        """Set the client's public data here; see `AsyncSonoClient.present`."""
        await self._client.present(self.name, data)

    async def history(self, *, before: Position | None = None, limit: int | None = None) -> History:
        """A page of what was said here; see `AsyncSonoClient.history`."""
        return await self._client.history(self.name, before=before, limit=limit)

    async def leave(self) -> None:
        """Be no member any more; see `AsyncSonoClient.leave`."""
        await self._client.leave(self.name)
