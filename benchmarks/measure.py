"""Timing of functions against each other: in turns, so that a slow moment hits all alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

ROUNDS = 7
SECONDS = 0.1  # what one measurement takes, about


class Timing(NamedTuple):
    """Seconds a call, over the rounds."""

    median: float
    low: float
    high: float


def calls_in(function: Callable[[], object], seconds: float) -> int:
    """How many calls take about that time."""
    calls = 1
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            function()
        taken = time.perf_counter() - start
        if taken > seconds / 10:
            return max(1, round(calls * seconds / taken))
        calls *= 4


def interleaved(functions: Mapping[str, Callable[[], object]]) -> dict[str, Timing]:
    """Each function's timing: A B C, A B C, and so on."""
    counts = {name: calls_in(function, SECONDS) for name, function in functions.items()}
    rounds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(ROUNDS):
        for name, function in functions.items():
            calls = range(counts[name])
            start = time.perf_counter()
            for _ in calls:
                function()
            rounds[name].append((time.perf_counter() - start) / counts[name])
    return {
        name: Timing(statistics.median(times), min(times), max(times))
        for name, times in rounds.items()
    }
