"""What happens for every message: in C where `_loop` was built, else in `sono_core.carrier`."""

import time

from sono_core import Limits
from sono_core.carrier import Carrier, Sender, Turn, loop_in_c, turn_options

loop = loop_in_c(__package__)
"""The module `_loop`, or None: the pure path."""

if loop:  # the names stand for types, which mypy would have fixed
    Turn = loop.Turn  # type: ignore[misc]
    Carrier = loop.Carrier  # type: ignore[misc]
    Sender = loop.Sender  # type: ignore[misc]

__all__ = ["Carrier", "Sender", "Turn", "loop", "new_turn"]


def new_turn(buffer: memoryview, limits: Limits) -> Turn:
    """What the connections of a loop with these limits share."""
    return Turn(**turn_options(buffer, limits, time.monotonic))
