"""The result of a run: figures and failures."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Outcome:
    """The result of one run."""

    figures: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def require(self, condition: bool, otherwise: str) -> None:
        """Note a failure unless the condition holds."""
        if not condition:
            self.failures.append(otherwise)


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """How much values grow in an hour, by least squares; times are in seconds.

    Returns 0 for fewer than three values, which tell nothing.
    """
    if len(times) < 3:
        return 0.0
    return 3600.0 * statistics.linear_regression(times, values).slope


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
