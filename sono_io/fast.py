"""The code that runs for every message: in C if `_loop` was built, otherwise from `reference`."""

import time
from typing import Any

from sono_core import Limits, Prepared
from sono_core.native import accelerator

from .reference import TURN_SECONDS, FastTransport, LoopContext, Sender


def _import_loop() -> Any:
    if accelerator is None:
        return None
    try:
        from . import _loop
    except ImportError:  # not built, or built for another version of the core
        return None
    return _loop


loop = _import_loop()
"""The module `_loop`, or None: the pure path."""

if loop:  # mypy does not want types to be assigned
    LoopContext = loop.LoopContext  # type: ignore[misc]
    FastTransport = loop.FastTransport  # type: ignore[misc]
    Sender = loop.Sender  # type: ignore[misc]

__all__ = ["FastTransport", "LoopContext", "Sender", "loop", "new_context"]


def new_context(buffer: memoryview, limits: Limits) -> LoopContext:
    """The context that the connections of a loop with these limits share."""
    return LoopContext(
        buffer=buffer,
        pause=limits.pause_reading_at,
        messages=limits.max_turn_messages,
        size=limits.max_turn_bytes,
        prepared=Prepared,
        time=time.monotonic,
        seconds=TURN_SECONDS,
    )
