"""What a client keeps at most, for the application and against the server."""

from typing import Annotated

import msgspec

from sono_core.limits import MIB, require_positive


def _about(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


class ClientLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much a client of `sono.v2` keeps. Sizes are in bytes, times in seconds.

    Raises:
        ValueError: one is no finite number above 0.
    """

    max_packets: Annotated[
        int,
        _about("Numbered packets without a result; beyond it calls raise OutboxFull."),
    ] = 1000
    max_bytes: Annotated[
        int,
        _about(
            "Bytes of those that the server has not accepted yet, and of those that may be sent "
            "again; beyond it calls raise OutboxFull."
        ),
    ] = MIB
    max_age: Annotated[
        float,
        _about(
            "From the call to the result; then a packet is given up: `not-sent`, or `unknown` if "
            "it was written. Requests have time-outs of their own."
        ),
    ] = 300.0
    max_requests: Annotated[
        int,
        _about("Own requests without a result; beyond it calls raise OutboxFull."),
    ] = 64
    request_timeout: Annotated[
        float,
        _about(
            "From the call of a request to its result, if the call gives no other time; and from a "
            "`read` to its first entry: then the connection is to be cut off."
        ),
    ] = 30.0
    max_asked: Annotated[
        int,
        _about(
            "The server's requests without a reply; beyond it they are answered with "
            "`too-many-requests`. One that is older than `max_age` is forgotten."
        ),
    ] = 64
    max_streams: Annotated[
        int,
        _about("Streams that are followed, one for each channel; the server adds no more to them."),
    ] = 256
    max_members: Annotated[
        int,
        _about("Members of one channel whose presence is kept; others are told and not kept."),
    ] = 65_536
    max_held: Annotated[
        int,
        _about("Changes of presence that wait for a snapshot; beyond it another one is asked for."),
    ] = 64

    def __post_init__(self) -> None:
        defaults = self.__struct_defaults__
        for name, default in zip(self.__struct_fields__, defaults, strict=True):
            require_positive(name, getattr(self, name), type(default))


DEFAULT_CLIENT_LIMITS = ClientLimits()
