"""A dialect: how the clients of one subprotocol speak with the hub.

The hub, and the code that delivers its effects, know nothing else about a dialect.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from sono_core.limits import Limits
from sono_core.quoting import Discreet

from .hub import Deliver, Effect, Hub, Publish

Content = str | bytes
"""The content of one WebSocket message."""


def size_of(content: Content) -> int:
    """Bytes of a message's content on the wire, uncompressed."""
    if isinstance(content, bytes) or content.isascii():
        return len(content)
    return len(content.encode())


class Reply(Discreet, frozen=True):
    """Send `content` to the client whose packet this answers."""

    content: Content
    cost: int = 0
    """What it takes to make, in bytes of `byte_rate`, beside the bytes that it has."""


CHANNELS = "channels"
MEMBERS = "members"


def _never(packet: Any) -> bool:
    return False


def _nothing(packet: Any) -> None:
    return None


class Dialect(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Reads packets, says what they mean, and writes events.

    All functions are pure. A packet is whatever `parse` returns; only the dialect looks into it.
    """

    name: str
    """Unique among dialects."""
    weigh: Callable[[Content, Limits], int]
    """What a message costs to handle, in bytes of `byte_rate`: at least the bytes that it has.

    Asked first. Raises MessagingError: it is refused, and is not parsed."""
    parse: Callable[[Content, Limits], Any]
    """The packet in a message that was weighed. Raises MessagingError: it is refused."""
    enters: Callable[[Any], str | None]
    """The channel that a packet's sender wants to be a member of; None if it wants none."""
    said: Callable[[Any], tuple[str, object] | None]
    """The event and the payload that a packet has for others; None if it has none."""
    receive: Callable[[Hub, str, Any, Limits], list[Effect | Reply]]
    """Apply a client's packet to the hub, and return what follows. The payload of a `Publish` is
    `Data`, as streams keep it.

    Raises KeyError: there is no such client. Raises MessagingError: it is refused; nothing was
    changed."""
    encode: Callable[[Publish | Deliver], Content]
    """An event as these clients get it; use `written`. The payload is a value, or `Data`.

    Raises TypeError, LocalProtocolError: the payload cannot be written."""
    error: Callable[[str, str], Content]
    """The message that tells a client of a refusal, from its `code` and `text`."""
    publishes: Callable[[Any], bool] = _never
    """Whether what a packet says is for the sender's current channel."""
    lists: Callable[[Any], str | None] = _nothing
    """What a packet asks for the names of: `CHANNELS`, of which `Hub.hidden` are left out, or
    `MEMBERS` of the client's current channel, as `Hub.present` says; None: of neither."""

    def written(self, publication: Publish | Deliver) -> Content:
        """An event as these clients get it, encoded once however often it is asked for.

        Raises:
            TypeError, LocalProtocolError: the payload cannot be written.
        """
        kept = publication.__dict__
        content: Content | None = kept.get(self.name)
        if content is None:
            content = kept[self.name] = self.encode(publication)
        return content

    def event(self, publication: Publish | Deliver, stream: str, at: object) -> Content:
        """The same for clients who know streams; these know none."""
        return self.written(publication)
