"""Packets of the classic dialect at their worst: each costs its sender as much of its rate.

A call does what the server does with a packet for one member: it weighs, parses and writes it. If
one kind took much longer than the others, a client could keep the processor busy within its rate.
"""

from collections.abc import Callable, Mapping

from sono_core.limits import DEFAULT_LIMITS
from sono_core.messaging.classic import Message, packets

from .codec import Function

COST = 256 * 1024
"""Bytes of `byte_rate` that each of the packets costs."""
PLAIN = "a plain text"

_HEAD, _END = '{"protocol":"message","payload":{"message":', "}}"


def _listed(item: str, opening: str = "[", closing: str = "]") -> Callable[[int], str]:
    return lambda number: opening + ",".join([item] * number) + closing


def _numbered(item: str, opening: str, closing: str) -> Callable[[int], str]:
    return lambda number: opening + ",".join(map(item.format, range(number))) + closing


VALUES: Mapping[str, Callable[[int], str]] = {
    PLAIN: lambda number: '"' + "x" * number + '"',
    "characters of four bytes": lambda number: '"' + "\U0001f600" * number + '"',
    "escapes": lambda number: '"' + "\\n" * number + '"',
    "arrays": _listed("[]"),
    "objects": _listed("{}"),
    "small objects": _listed('{"a":1}'),
    "deep arrays": _listed("[" * 60 + "]" * 60),
    "floats": _listed("1e9"),
    "integers of 19 digits": _listed("1234567890123456789"),
    "short strings": _listed('"a"'),
    "keys": _numbered('"{:x}":1', "{", "}"),
    "brackets in a text": lambda number: '"' + "[" * number + '"',
    "spaces": lambda number: "[1" + " " * number + "]",
}
"""For each kind of packet: its value, with that many of what it consists of."""


def text_of(kind: str) -> str:
    """A packet of a kind that costs about COST."""

    def text(number: int) -> str:
        return _HEAD + VALUES[kind](number) + _END

    one, many = (packets.weigh(text(number), DEFAULT_LIMITS) for number in (1, 101))
    return text(1 + (COST - one) * 100 // (many - one))


def handling(kind: str) -> Function:
    """A call that does the work for one packet of a kind."""
    text = text_of(kind)

    def handle() -> None:
        packets.weigh(text, DEFAULT_LIMITS)
        packet = packets.decode(text, DEFAULT_LIMITS)
        assert isinstance(packet, Message)
        packets.relayed(packet.event, packet.payload.message, "x" * 16)

    return handle
