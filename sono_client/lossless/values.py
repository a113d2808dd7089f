"""What the clients tell the application of `sono.v2`. docs/protocol.md, second part."""

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from sono_core.messaging.classic import Incoming
from sono_core.messaging.lossless import Position, channel_of
from sono_core.quoting import Discreet

StateName = Literal["connecting", "open", "waiting", "closed"]


class About(Discreet, frozen=True):
    """Where an event came from."""

    event: str
    stream: str
    """`#` and the channel; `@` if it is for this client alone, `*` if it is for everybody."""
    at: Position | None
    """Its position in the stream; None if it is volatile."""
    sender: str | None
    """The id of the client that said it; None for the server."""

    @property
    def channel(self) -> str | None:
        """The channel; None if it was said in none."""
        return channel_of(self.stream)

    def shown(self) -> Iterable[tuple[str, object]]:
        """See `Discreet`."""
        yield from (("event", self.event), ("stream", self.stream), ("at", self.at))


class Received(Incoming, frozen=True):
    """An event of `sono.v2`, as an iteration gives it."""

    stream: str = ""
    """As of `About`."""
    at: Position | None = None
    """As of `About`."""


class Gap(Discreet, frozen=True):
    """Entries of a stream that cannot be had."""

    stream: str
    """As of `About`."""
    first: int | None
    """The offset of the first that is missing; None if it is not known how many there are."""
    at: Position
    """The position of the last that is missing."""

    @property
    def channel(self) -> str | None:
        """The channel; None if the stream is none's."""
        return channel_of(self.stream)

    def shown(self) -> Iterable[tuple[str, object]]:
        """See `Discreet`."""
        yield from (("stream", self.stream), ("first", self.first), ("at", self.at))


class ClientStatus(Discreet, frozen=True):
    """How a client stands with its server."""

    state: StateName
    """It comes back from "waiting" by itself, and from "closed" never."""
    retry_in: float | None = None
    """Seconds to the next attempt, while it waits."""

    def shown(self) -> Iterable[tuple[str, object]]:
        """See `Discreet`."""
        yield from (("state", self.state), ("retry_in", self.retry_in))


class ClientSession(Discreet, frozen=True):
    """A session that has begun, or goes on."""

    id: str
    """The client's public id."""
    resumed: bool
    """Whether it goes on. If not, what was lost with the former one is told as gaps, and presence
    data must be set again."""
    channel: str
    """The current channel."""

    def shown(self) -> Iterable[tuple[str, object]]:
        """See `Discreet`."""
        yield from (("id", self.id), ("resumed", self.resumed), ("channel", self.channel))


class HistoryEntry(Discreet, frozen=True, rename={"sender": "from"}):
    """What was said in a channel."""

    at: Position
    event: str
    data: Any
    sender: str | None = None
    """The id of the client that said it; None for the server."""

    def shown(self) -> Iterable[tuple[str, object]]:
        """See `Discreet`."""
        yield from (("at", self.at), ("event", self.event))


class History(Discreet, frozen=True):
    """A page of a channel's history. The one before it ends at `before=page.entries[0].at`."""

    entries: list[HistoryEntry]
    """The newest last."""
    more: bool
    """Whether there are older ones."""


class Members(msgspec.Struct, frozen=True):
    """The result of `sono.members`."""

    members: list[tuple[str, Any]]
    count: int


class Channels(msgspec.Struct, frozen=True):
    """The result of `sono.channels`."""

    channels: list[str]
    truncated: bool = False
