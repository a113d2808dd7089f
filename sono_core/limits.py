"""Every tunable number, with its unit and the reason for its default.

No default is unlimited. Sizes are in bytes, times in seconds.
"""

import math

import msgspec

KIB = 1024
MIB = 1024 * KIB


def _require_positive(settings: msgspec.Struct, kind: type) -> None:
    # A None that is no default would mean unlimited, and so would infinity.
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
        ValueError: a limit is no int above 0.
    """

    max_message: int = MIB
    """Bytes of one message, inflated. As in `websockets`; beyond it: 1009."""
    max_frame: int = MIB
    """Bytes of one frame's payload, checked against the header alone; beyond it: 1009."""
    max_fragments: int = 1024
    """Frames of one message, the empty ones too. Bounds bookkeeping; beyond it: 1008."""

    max_head: int = 16 * KIB
    """Bytes of a request's or response's head, in all. As nginx; beyond it: 431."""
    max_head_line: int = 8 * KIB
    """Bytes of one line of a head, its CRLF included. As nginx; beyond it: 414 or 431."""
    max_headers: int = 64
    """Header fields of one head. Beyond it: 431."""
    max_early_data: int = 64 * KIB
    """Bytes that may follow a request before it is answered. Beyond it: 400."""
    max_refusal_body: int = 64 * KIB
    """Bytes that a client keeps of the body of a refusal; what follows is cut off."""

    pause_reading_at: int = 64 * KIB
    """Bytes waiting to be written to a peer above which nothing more is read from it."""
    max_queue: int | None = None
    """Bytes waiting to be written to a peer above which it is closed with 4008.

    None stands for the larger of 4 MiB and twice `max_message`, so that a few whole messages
    always fit."""
    max_turn_messages: int = 1024
    """Messages of one connection handled in one turn of a loop: a fair share."""
    max_turn_bytes: int = 256 * KIB
    """Bytes or characters of them, inflated, after which the turn ends too."""
    max_turn_deliveries: int = 64 * KIB
    """Deliveries to others that a client's packets cause, after which its turn ends too."""

    packet_rate: int = 1000
    """Packets a second of one client, on average; twice as many may come at once.

    Who sends more is read from more slowly. A game sends some 60."""
    byte_rate: int = 4 * MIB
    """Bytes or characters of a client's packets a second, in the same way."""
    max_channels: int = 100_000
    """Channels of one hub, those of the application included."""
    max_name: int = 128
    """Characters of a channel's or an event's name."""
    max_depth: int = 64
    """Levels of nesting in a packet's JSON."""

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

    handshake: float = 5.0
    """From the accepted connection to the answered request; no byte extends it (slowloris)."""
    ping_interval: float = 20.0
    """Silence after which a ping is sent. Proxies cut silent connections at 60 s."""
    pong: float = 20.0
    """From that ping to the next byte of the peer; then the connection is given up: 1006."""
    close: float = 5.0
    """For the peer's half of a close, in the protocol and then in TCP."""
    write_stall: float = 20.0
    """In which not one byte could be written although some wait; then: 4008."""

    def __post_init__(self) -> None:
        _require_positive(self, float)


DEFAULT_LIMITS = Limits()
DEFAULT_TIMEOUTS = Timeouts()
