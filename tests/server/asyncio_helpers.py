"""What the tests of the server on asyncio share."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Awaitable, Callable


def run(kind: str, main: Awaitable[None]) -> None:
    """Run a coroutine on a loop of that kind; anything that it leaves open is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if kind == "uvloop":
            import uvloop

            uvloop.run(main)
        else:
            asyncio.run(main)  # type: ignore[arg-type]
        gc.collect()


def wait_for(done: Callable[[], bool]) -> None:
    """Wait until something has happened in the server's thread."""
    for _ in range(5000):
        if done():
            return
        threading.Event().wait(0.001)
    raise AssertionError("it never happened")
