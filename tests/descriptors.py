"""The file descriptors of this process: no test leaves one open."""

from __future__ import annotations

import gc
import os
import time

from tests.servers import PATIENCE


def open_descriptors() -> int:
    """How many are open; 0 if the system does not tell."""
    return len(os.listdir("/dev/fd")) if os.path.isdir("/dev/fd") else 0


def assert_none_stays_open(before: int) -> None:
    """No more are open than before, as soon as other threads have closed theirs.

    Fewer may be: a thread of an earlier test, which counted before, may have ended since.
    """
    gc.collect()
    given_up = time.monotonic() + PATIENCE
    while (now := open_descriptors()) > before:
        assert time.monotonic() < given_up, f"{now} are open instead of {before}"
        time.sleep(0.001)
