"""Where an entry stands in its stream. docs/protocol.md, section 2."""

from typing import Annotated

import msgspec

OWN = "@"
"""The stream of a client's own session."""
EVERYBODY = "*"
"""The stream of everybody."""
MAX_NUMBER = (1 << 53) - 1
"""The largest offset, and the largest number of a packet: JavaScript has no larger integers."""

_Epoch = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_Offset = Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)]


class Position(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A place in a stream: the entries up to `offset` are before it.

    On the wire it is `[epoch, offset]`, and never half of that.
    """

    epoch: _Epoch
    """One life of the stream."""
    offset: _Offset
    """The first entry has 1; 0 is before it."""


def stream_of(channel: str) -> str:
    """The name of a channel's stream."""
    return f"#{channel}"


def channel_of(stream: str) -> str | None:
    """The channel whose stream it is; None if it is no channel's."""
    return stream[1:] if stream.startswith("#") else None
