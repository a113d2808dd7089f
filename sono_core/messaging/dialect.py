"""A dialect: how the clients of one subprotocol speak with the hub.

The hub, and the code that delivers its effects, know nothing else about a dialect.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from sono_core.limits import Limits

from .hub import Deliver, Effect, Hub, Publish

Content = str | bytes
"""The content of one WebSocket message."""


class Reply(msgspec.Struct, frozen=True):
    """Send `content` to the client whose packet this answers."""

    content: Content


class Dialect(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Reads packets, says what they mean, and writes events.

    All functions are pure. A packet is whatever `parse` returns; only the dialect looks into it.
    """

    name: str
    """Unique among dialects."""
    parse: Callable[[Content, Limits], Any]
    """The packet in a message of a client. Raises MessagingError: it is refused."""
    said: Callable[[Any], tuple[str, object] | None]
    """The event and the payload that a packet has for others; None if it has none."""
    receive: Callable[[Hub, str, Any, Limits], list[Effect | Reply]]
    """Apply a client's packet to the hub, and return what follows.

    Raises KeyError: there is no such client. Raises MessagingError: it is refused; nothing was
    changed."""
    encode: Callable[[Publish | Deliver], Content]
    """An event as these clients get it; use `written`.

    Raises TypeError, LocalProtocolError: the payload cannot be written."""
    error: Callable[[str, str], Content]
    """The message that tells a client of a refusal, from its `code` and `text`."""

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
