"""Every tunable number, with its unit and the reason for its default.

No default is unlimited. Sizes are in bytes, times in seconds.
"""

import math
from typing import Annotated

import msgspec

KIB = 1024
MIB = 1024 * KIB
MAX_UTF8 = 4
"""Bytes of a character in UTF-8 at most."""


def _about(text: str) -> msgspec.Meta:
    """Describe a field: its unit, its reason and what happens beyond it, for `sono limits`."""
    return msgspec.Meta(description=text)


def _require_positive(settings: msgspec.Struct, kind: type) -> None:
    # Except as a default, None would mean unlimited, and so would infinity.
    for name, default in zip(settings.__struct_fields__, settings.__struct_defaults__, strict=True):
        value = getattr(settings, name)
        if value is None and default is None:
            continue
        legal = isinstance(value, (int, kind)) and not isinstance(value, bool)
        if not legal or not 0 < value < math.inf:
            raise ValueError(f"{name} must be a finite {kind.__name__} above 0, not {value!r}")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much of each resource one peer may use.

    Raises:
        ValueError: a limit is not an int above 0.
    """

    max_message: Annotated[
        int,
        _about("Bytes of one message, inflated. As in `websockets`; beyond it: 1009."),
    ] = MIB
    max_frame: Annotated[
        int,
        _about("Bytes of one frame's payload, checked against the header alone; beyond it: 1009."),
    ] = MIB
    max_fragments: Annotated[
        int,
        _about("Frames of one message, the empty ones too. Bounds bookkeeping; beyond it: 1008."),
    ] = 1024

    max_head: Annotated[
        int,
        _about("Bytes of a request's or response's head, in all. As nginx; beyond it: 431."),
    ] = 16 * KIB
    max_head_line: Annotated[
        int,
        _about("Bytes of one line of a head, its CRLF included. As nginx; beyond it: 414 or 431."),
    ] = 8 * KIB
    max_headers: Annotated[int, _about("Header fields of one head. Beyond it: 431.")] = 64
    max_early_data: Annotated[
        int,
        _about("Bytes that may follow a request before it is answered. Beyond it: 400."),
    ] = 64 * KIB
    max_refusal_body: Annotated[
        int,
        _about("Bytes that a client keeps of the body of a refusal; what follows is cut off."),
    ] = 64 * KIB

    pause_reading_at: Annotated[
        int,
        _about("Bytes waiting to be written to a peer above which nothing more is read from it."),
    ] = 64 * KIB
    max_queue: Annotated[
        int | None,
        _about(
            "Bytes waiting to be written to a peer above which it is closed with 4008. None stands "
            "for the larger of 4 MiB and twice `max_message`, so that a few whole messages always "
            "fit."
        ),
    ] = None
    max_turn_messages: Annotated[
        int,
        _about("Messages of one connection handled in one turn of a loop: a fair share."),
    ] = 1024
    max_turn_bytes: Annotated[
        int,
        _about("Bytes or characters of them, inflated, after which the turn ends too."),
    ] = 256 * KIB
    max_turn_deliveries: Annotated[
        int,
        _about(
            "Deliveries to others that a client's packets cause, after which its turn ends too."
        ),
    ] = 64 * KIB

    packet_rate: Annotated[
        int,
        _about(
            "Packets a second of one client, on average; twice as many may come at once. Clients "
            "that send more are throttled. A game sends some 60."
        ),
    ] = 1000
    byte_rate: Annotated[
        int,
        _about("Bytes or characters of a client's packets a second, in the same way."),
    ] = 4 * MIB
    max_channels: Annotated[
        int, _about("Channels of one hub, those of the application included.")
    ] = 100_000
    max_name: Annotated[int, _about("Characters of a channel's or an event's name.")] = 128
    max_depth: Annotated[int, _about("Levels of nesting in a packet's JSON.")] = 64

    def __post_init__(self) -> None:
        _require_positive(self, int)

    @property
    def queue_limit(self) -> int:
        """`max_queue`, or what its None stands for, in bytes."""
        return max(4 * MIB, 2 * self.max_message) if self.max_queue is None else self.max_queue


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long a peer may take, in seconds.

    Raises:
        ValueError: a time is not finite, or not above 0.
    """

    handshake: Annotated[
        float,
        _about(
            "From the accepted connection to the answered request; no byte extends it (slowloris)."
        ),
    ] = 5.0
    ping_interval: Annotated[
        float,
        _about("Silence after which a ping is sent. Proxies cut silent connections at 60 s."),
    ] = 20.0
    pong: Annotated[
        float,
        _about(
            "From that ping to the next byte of the peer; then the connection is given up: 1006."
        ),
    ] = 20.0
    close: Annotated[
        float, _about("For the peer's half of a close, in the protocol and then in TCP.")
    ] = 5.0
    write_stall: Annotated[
        float,
        _about("In which not one byte could be written although some wait; then: 4008."),
    ] = 20.0

    def __post_init__(self) -> None:
        _require_positive(self, float)


DEFAULT_LIMITS = Limits()
DEFAULT_TIMEOUTS = Timeouts()
