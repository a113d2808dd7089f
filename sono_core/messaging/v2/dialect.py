"""What the server says in `sono.v2`, as far as all clients of one codec get the same."""

import msgspec

from sono_core.messaging import Content, Publish
from sono_core.messaging.lossless import Position
from sono_core.messaging.lossless.packets import Event

from .codec import JSON, MSGPACK, Codec


class Speech(msgspec.Struct, frozen=True, eq=False):
    """How publications are written for the clients of one codec."""

    codec: Codec

    def event(self, publication: Publish, stream: str, at: Position | None) -> Content:
        """A publication, whose payload is `Data`, as these clients get it."""
        return self.codec.write(
            Event(
                stream=stream,
                at=at,
                event=publication.event,
                data=publication.payload,
                sender=publication.sender,
            )
        )


LOSSLESS = {codec.name: Speech(codec) for codec in (JSON, MSGPACK)}
"""By the subprotocol."""
