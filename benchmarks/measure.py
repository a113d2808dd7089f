"""Takes and summarizes measurements: rounds in turns, medians, ranges and ratios.

Everything is measured in turns, A B C A B C, so that a slow moment of the machine hits all alike.
Only ratios within one run are compared.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

NOISY = 0.15
"""A figure is called noisy from this spread of rounds on, as a share of their median."""
WARM_UP = 0.2
"""Uncounted seconds before each measurement."""


class Reading(NamedTuple):
    """One measurement of one subject."""

    value: float
    """In the unit of the case."""
    wall: float | None = None
    """The same by wall-clock time; None where `value` is that."""
    busy: float | None = None
    """The share of the time in which the server's core worked for it."""
    load_busy: float | None = None
    """The same for the load generator's core."""
    errors: int = 0
    """Replies that were wrong or missing."""


Measure = Callable[[float], Reading]
"""Takes the seconds that the measurement should last."""


class Unit(NamedTuple):
    """What a figure counts, and whether more or less is better."""

    name: str
    text: Callable[[float], str]
    less_is_better: bool = False


class Figures(NamedTuple):
    """A subject's readings, one for each round; or why there are none."""

    readings: tuple[Reading, ...]
    failure: str = ""

    @property
    def values(self) -> list[float]:
        """In the unit of the case."""
        return [reading.value for reading in self.readings]

    @property
    def walls(self) -> list[float]:
        """By wall-clock time; the plain values for cases that measure nothing else."""
        return [r.value if r.wall is None else r.wall for r in self.readings]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def wall(self) -> float | None:
        """The middle value by wall-clock time, if the case has another clock."""
        return None if self.readings[0].wall is None else statistics.median(self.walls)

    @property
    def spread(self) -> float:
        """The distance from the lowest to the highest value, as a share of the middle one."""
        values = self.values
        return (max(values) - min(values)) / self.median if self.median else 0.0

    @property
    def busy(self) -> float | None:
        """How busy the server's core was in the middle round."""
        return _median_of([reading.busy for reading in self.readings])

    @property
    def load_busy(self) -> float | None:
        """How busy the load generator's core was in the middle round."""
        return _median_of([reading.load_busy for reading in self.readings])

    @property
    def errors(self) -> int:
        """Of all rounds."""
        return sum(reading.errors for reading in self.readings)


def _median_of(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


class Ratio(NamedTuple):
    """How many times as good ours is; above 1 is better, whatever the unit."""

    of_medians: float
    low: float
    high: float


def ratio(ours: Figures, theirs: Figures, unit: Unit, by_wall: bool = False) -> Ratio:
    """Ours to theirs: of the medians, and the range over the rounds.

    Raises:
        ZeroDivisionError: a figure is 0.
    """
    mine, others = (side.walls if by_wall else side.values for side in (ours, theirs))
    if unit.less_is_better:
        mine, others = others, mine
    rounds = [one / other for one, other in zip(mine, others, strict=False)]
    return Ratio(statistics.median(mine) / statistics.median(others), min(rounds), max(rounds))


def in_turns(measures: Mapping[str, Measure], rounds: int, seconds: float) -> dict[str, Figures]:
    """Measure all of them, round by round. A subject that fails is left out from then on."""
    readings: dict[str, list[Reading]] = {name: [] for name in measures}
    failures: dict[str, str] = {}
    for _ in range(rounds):
        for name, measure in measures.items():
            if name in failures:
                continue
            try:
                readings[name].append(measure(seconds))
            except Exception as error:  # A peer failed; the others' figures are still worth having.
                failures[name] = str(error).strip() or type(error).__name__
    return {
        name: Figures((), failures[name]) if name in failures else Figures(tuple(taken))
        for name, taken in readings.items()
    }


def timed(function: Callable[[], object], parts: int = 1) -> Measure:
    """The nanoseconds that a call takes, or one of the `parts` that it consists of.

    This thread's CPU time is measured, so that other processes on the machine do not count.
    """

    def measure(seconds: float) -> Reading:
        calls = _calls_in(function, seconds)
        turns = range(calls)
        start = time.thread_time_ns()
        for _ in turns:
            function()
        return Reading((time.thread_time_ns() - start) / calls / parts)

    return measure


def _calls_in(function: Callable[[], object], seconds: float) -> int:
    """How many calls take about that time; finding out serves as the warm-up."""
    calls = 1
    while True:
        start = time.thread_time()
        for _ in range(calls):
            function()
        taken = time.thread_time() - start
        if taken > seconds / 10:
            return max(1, round(calls * seconds / taken))
        calls *= 4
