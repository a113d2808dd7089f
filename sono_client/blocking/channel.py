"""A channel that a blocking client is a member of."""

from typing import Any, Protocol

from sono_client.lossless import ChannelView, History, Hooks
from sono_core.arguments import require_plain
from sono_core.messaging.lossless import Position


class Words(Protocol):
    """What a channel asks its client to say."""

    def publish(
        self,
        channel: str,
        event: str,
        data: object = None,
        *,
        to_self: bool = True,
        volatile: bool = False,
        harmless: bool = False,
    ) -> Position | None: ...

    def present(self, channel: str, data: object) -> None: ...

    def presence(self, channel: str) -> dict[str, Any]: ...

    def history(
        self, channel: str, *, before: Position | None = None, limit: int | None = None
    ) -> History: ...

    def leave(self, channel: str) -> None: ...


class JoinedChannel(ChannelView):
    """A channel of a `SonoClient`; made by its `join`."""

    def __init__(self, name: str, client: Words) -> None:
        super().__init__(name, Hooks(require_plain), Hooks(require_plain), client.presence)
        self._client = client

    def publish(
        self,
        event: str,
        data: object = None,
        *,
        to_self: bool = True,
        volatile: bool = False,
        harmless: bool = False,
    ) -> Position | None:
        """Say something to all members; see `SonoClient.publish`."""
        return self._client.publish(
            self.name, event, data, to_self=to_self, volatile=volatile, harmless=harmless
        )

    def present(self, data: object) -> None:
        """Set the client's public data here; see `SonoClient.present`."""
        self._client.present(self.name, data)

    def history(self, *, before: Position | None = None, limit: int | None = None) -> History:
        """A page of what was said here; see `SonoClient.history`."""
        return self._client.history(self.name, before=before, limit=limit)

    def leave(self) -> None:
        """Be no member any more; see `SonoClient.leave`."""
        self._client.leave(self.name)
