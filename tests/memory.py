"""How much memory a call takes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import NamedTuple, TypeVar

T = TypeVar("T")

RUNS = 3


class Traced(NamedTuple):
    """Bytes."""

    kept: int
    """Still allocated while what was prepared, and what the call has returned, live."""
    peak: int
    """The most at once."""


def traced(call: Callable[[T], object], prepare: Callable[[], T]) -> Traced:
    """What a call allocates: the least of some runs, each with something newly prepared.

    tracemalloc counts all threads, and a process of pytest-xdist has one that receives which tests
    to run, thousands at once: what happens beside a call can only add to what it takes.
    """
    measured = []
    for _ in range(RUNS):
        prepared = prepare()
        tracemalloc.start()
        try:
            result = call(prepared)
            measured.append(tracemalloc.get_traced_memory())
        finally:
            tracemalloc.stop()
        del result, prepared
    return Traced(min(kept for kept, _ in measured), min(peak for _, peak in measured))
