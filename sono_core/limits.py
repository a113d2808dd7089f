"""Every tunable number, with its unit and the reason for its default.

No default is unlimited. Sizes are in bytes, times in seconds.
"""

import math
from typing import Annotated

import msgspec

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
MAX_UTF8 = 4
"""Bytes of a character in UTF-8 at most."""


def _about(text: str) -> msgspec.Meta:
    """Describe a field: its unit, its reason and what happens beyond it, for `sono limits`."""
    return msgspec.Meta(description=text)


def require_positive(name: str, value: object, kind: type) -> None:
    """Check that a value is a number above 0, and finite.

    Raises:
        ValueError: it is not; the text calls it `name`.
    """
    legal = isinstance(value, (int, kind)) and not isinstance(value, bool)
    if not legal or not 0 < value < math.inf:  # type: ignore[operator]
        raise ValueError(f"{name} must be a finite {kind.__name__} above 0, not {value!r}")


def _require_positive(settings: msgspec.Struct, kind: type) -> None:
    # Except as a default, None would mean unlimited, and so would infinity.
    for name, default in zip(settings.__struct_fields__, settings.__struct_defaults__, strict=True):
        value = getattr(settings, name)
        if value is None and default is None:
            continue
        require_positive(name, value, kind)


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
    max_held: Annotated[
        int,
        _about(
            "Bytes or characters of messages, and 64 for each, that are read ahead of a busy "
            "handler or a paused client, so that pings and a Close behind them are answered; above "
            "it nothing more is read."
        ),
    ] = 64 * KIB
    max_queue: Annotated[
        int | None,
        _about(
            "Bytes of memory in what waits to be written to a peer, 64 for each frame included, "
            "above which it is closed with 4008. None stands for the larger of 4 MiB and twice "
            "`max_message`, so that a few whole messages always fit."
        ),
    ] = None
    max_memory: Annotated[
        int | None,
        _about(
            "Bytes that a server holds for all its peers: unfinished messages, queues, requests, "
            "the state of TLS and deflate. Beyond it those that hold most are closed with 1013. "
            "None stands for 1 GiB, or a quarter of the machine's or the container's memory if "
            "that is less."
        ),
    ] = None
    max_turn_messages: Annotated[
        int,
        _about(
            "Messages of one connection handled in one turn of a loop: a fair share. Control "
            "frames count too, fragments of less than 1 KiB, and final blocks of compressed data: "
            "a turn may end in the middle of a message. It also ends with its time."
        ),
    ] = 1024
    max_turn_bytes: Annotated[
        int,
        _about("Bytes or characters of them, inflated, after which the turn ends too."),
    ] = 256 * KIB
    max_turn_deliveries: Annotated[
        int,
        _about(
            "Deliveries that the packets of all clients cause in one turn of a loop. When they are "
            "used up, packets that reach many wait for a later turn, in rotation; one packet may "
            "take more."
        ),
    ] = 16 * KIB
    max_turn_delivered: Annotated[
        int,
        _about("Bytes of all these deliveries, in the same way."),
    ] = 16 * MIB
    control_rate: Annotated[
        int,
        _about(
            "Control frames a second of one peer, on average; twice as many may come at once. "
            "Fragments of less than 1 KiB, final blocks of compressed data, and records of TLS "
            "without data count too. Peers that send more are throttled."
        ),
    ] = 1000

    packet_rate: Annotated[
        int,
        _about(
            "Packets a second of one client, on average; twice as many may come at once. Clients "
            "that send more are throttled. A game sends some 60."
        ),
    ] = 1000
    byte_rate: Annotated[
        int,
        _about(
            "Bytes of a client's packets a second, and of the listings that it asks for, in the "
            "same way. What is costly to parse counts for more: each comma and colon outside of "
            "strings as 16 bytes, each object and array as 64. Members of a channel must read as "
            "quickly as its clients send: each at most this."
        ),
    ] = MIB
    delivery_rate: Annotated[
        int,
        _about(
            "Bytes a second that a client's packets cause to be delivered to others, in the same "
            "way: each delivery counts its bytes, and 64 more. A game that sends 60 packets of "
            "400 bytes to 2,000 others causes 56 MB."
        ),
    ] = 64 * MIB
    max_channels: Annotated[
        int, _about("Channels of one hub, those of the application included.")
    ] = 100_000
    max_name: Annotated[int, _about("Characters of a channel's or an event's name.")] = 128
    max_depth: Annotated[int, _about("Levels of nesting in a packet's JSON.")] = 64
    max_containers: Annotated[
        int,
        _about("Objects and arrays in a packet's JSON. To make them is most of what it costs."),
    ] = 64 * KIB
    max_listing: Annotated[
        int,
        _about(
            "Bytes of the names in a listing, as a JSON array; what is beyond them is cut off, "
            "and the answer says so."
        ),
    ] = 64 * KIB
    max_histories: Annotated[
        int,
        _about(
            "Bytes of memory in the histories of all streams of a process. Beyond it the streams "
            "that were used least recently are cut first; what is lost with that is told."
        ),
    ] = 64 * MIB
    max_suspended: Annotated[
        int,
        _about(
            "Sessions of `sono.v2` without a connection. Beyond it anonymous ones that never "
            "joined a channel end first, then those that lost their connections first; likewise "
            "beyond the next two."
        ),
    ] = 10_000
    max_suspended_bytes: Annotated[
        int, _about("Bytes of memory in what was said to all these sessions alone.")
    ] = 64 * MIB
    max_suspended_of_address: Annotated[
        int, _about("Of these sessions, those whose connections came from one address.")
    ] = 100
    max_joined: Annotated[
        int,
        _about(
            "Channels of one client of `sono.v2` beside its current one. Beyond it a join results "
            "in `too-many-channels`."
        ),
    ] = 128
    max_requests: Annotated[
        int,
        _about(
            "Requests of one client of `sono.v2` that wait for the application, and of the server "
            "that wait for one client. Beyond it: `too-many-requests`."
        ),
    ] = 64
    max_members: Annotated[
        int,
        _about(
            "Members of a channel in a list of who is present; those that entered last are left "
            "out, and `count` tells how many there are."
        ),
    ] = 1000
    max_presence: Annotated[
        int, _about("Bytes of a member's public data. Beyond it: `invalid-packet`.")
    ] = 4 * KIB
    max_presence_bytes: Annotated[
        int,
        _about(
            "Bytes of memory in the public data of all members of all channels. Beyond it: "
            "`unavailable`."
        ),
    ] = 64 * MIB

    def __post_init__(self) -> None:
        _require_positive(self, int)

    @property
    def queue_limit(self) -> int:
        """`max_queue`, or what its None stands for, in bytes."""
        return max(4 * MIB, 2 * self.max_message) if self.max_queue is None else self.max_queue

    @property
    def memory_limit(self) -> int:
        """`max_memory`, or 1 GiB, in bytes; servers know whether the machine has less."""
        return GIB if self.max_memory is None else self.max_memory


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
    message: Annotated[
        float,
        _about(
            "From the first byte of a message to its last; each KiB of it that arrives adds a "
            "second, and pings add nothing. Then: 4009."
        ),
    ] = 60.0

    hello: Annotated[
        float,
        _about(
            "From the 101 to the `hello` of a client of `sono.v2`; nothing else extends it: 4010. "
            "And from there to the `welcome`, while the application decides: 1013."
        ),
    ] = 5.0
    session: Annotated[
        float,
        _about("For which a session of `sono.v2` waits for its client after it lost a connection."),
    ] = 60.0
    request: Annotated[
        float,
        _about(
            "For the answer to a request of a client of `sono.v2`, unless it says another time. "
            "Then it results in `timeout`."
        ),
    ] = 30.0
    grace: Annotated[
        float,
        _about(
            "For which others see a client of `sono.v2` that lost its connection as present. More "
            "than most clients take to come back."
        ),
    ] = 15.0
    beat: Annotated[
        float,
        _about(
            "Silence after which a client of `sono.v2` is sent a `beat`: browsers see no pings."
        ),
    ] = 25.0
    renew: Annotated[
        float,
        _about(
            "Before the end of an identity, when a client of `sono.v2` is asked for a fresh token; "
            "in its last quarter if that is later."
        ),
    ] = 60.0
    replay: Annotated[
        float,
        _about(
            "Between two looks whether a client of `sono.v2` that reads slowly has room for more "
            "of what it missed."
        ),
    ] = 0.02

    def __post_init__(self) -> None:
        _require_positive(self, float)


DEFAULT_LIMITS = Limits()
DEFAULT_TIMEOUTS = Timeouts()
