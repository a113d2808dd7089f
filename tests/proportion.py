"""Work that takes time in proportion to its input, and not to its square."""

from __future__ import annotations

import time
from collections.abc import Callable


def assert_linear(work: Callable[[int], Callable[[], object]], size: int) -> None:
    """16 times the input takes about 16 times as long, and not 256 times.

    `work` takes a size and returns what is to be timed. It is CPU time, and the least of three to
    ten measurements of each size, since a busy machine (whose caches are others') can only add to
    it. One would not do: a first call that is slow would let a square pass for a line. The bound is
    the geometric mean of the two: either has room for a factor of 4.
    """
    small, large = work(size), work(16 * size)
    few = many = float("inf")
    for number in range(10):
        few, many = min(few, _seconds(small)), min(many, _seconds(large))
        if number >= 2 and many < 64 * few:
            return
    raise AssertionError(f"{16 * size} takes {many:.6f} s, {size} takes {few:.6f} s")


def _seconds(call: Callable[[], object]) -> float:
    begun = time.thread_time()
    call()
    return time.thread_time() - begun
