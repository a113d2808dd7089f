"""What a dialect is: how the clients of one subprotocol speak with the hub.

The hub, and what delivers its effects, know no more of a dialect than stands here.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from sono_core.limits import Limits

from .hub import Deliver, Effect, Hub, Publish

Content = str | bytes
"""What one WebSocket message carries."""


class Reply(msgspec.Struct, frozen=True):
    """Send `content` to the client whose packet this answers."""

    content: Content


class Dialect(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """How packets are read, what they mean and how events are written.

    All of it is pure. A packet is whatever `parse` makes; nobody else looks into it.
    """

    name: str
    """Unlike that of any other dialect."""
    parse: Callable[[Content, Limits], Any]
    """The packet in a message of a client. Raises MessagingError: it is refused."""
    said: Callable[[Any], tuple[str, object] | None]
    """The event and the payload that a packet has for others; None if it has none."""
    receive: Callable[[Hub, str, Any, Limits], list[Effect | Reply]]
    """What a client's packet does to the hub and causes.

    Raises KeyError: there is no such client. Raises MessagingError: it is refused; nothing was
    changed."""
    encode: Callable[[Publish | Deliver], Content]
    """An event as these clients get it; use `written`.

    Raises TypeError, LocalProtocolError: the payload cannot be written."""
    error: Callable[[str, str], Content]
    """What a client is told of a refusal, by its `code` and `text`."""

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
