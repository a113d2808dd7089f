"""Turns figures into verdicts: the target, the measurement, and whether it counts."""

import enum
from collections.abc import Mapping
from typing import NamedTuple

from .cases import Case
from .measure import Figures, Ratio, ratio
from .targets import Target

SATURATED = 0.95
"""The share of its core that a server must use for its figures to count."""


class Outcome(NamedTuple):
    """The result of a case."""

    figures: Mapping[str, Figures]
    missing: Mapping[str, str]


class Verdict(enum.Enum):
    """The verdict on one target."""

    PASSED = "passed"
    MISSED = "MISSED"
    INVALID = "INVALID"
    """A server's core was not saturated: other work of the machine, or the load, was the limit."""
    FAILED = "FAILED"
    """A server or the load failed, or answers were wrong."""
    NOT_MEASURED = "not measured"
    """A subject is not installed."""


class Judgement(NamedTuple):
    """A target and its result."""

    target: Target
    verdict: Verdict
    measured: Ratio | float | None = None
    """The ratio, or the figure that has an upper bound."""
    reason: str = ""


def judge(target: Target, case: Case, outcome: Outcome) -> Judgement:
    """Whether the target was met."""
    for subject in filter(None, (case.ours, target.peer)):
        if obstacle := _obstacle(subject, outcome):
            return Judgement(target, obstacle[0], reason=obstacle[1])
    ours = outcome.figures[case.ours]
    measured: Ratio | float
    if target.peer:
        measured = ratio(ours, outcome.figures[target.peer], case.unit, target.by_wall)
        met = measured.of_medians >= target.bound
    else:
        measured = ours.median
        met = measured <= target.bound
    if case.saturates:
        for subject in filter(None, (case.ours, target.peer)):
            if idle := idleness(outcome.figures[subject]):
                return Judgement(target, Verdict.INVALID, measured, f"{subject}: {idle}")
    return Judgement(target, Verdict.PASSED if met else Verdict.MISSED, measured)


def _obstacle(subject: str, outcome: Outcome) -> tuple[Verdict, str] | None:
    """Why a subject cannot be judged."""
    figures = outcome.figures.get(subject)
    if figures is None:
        return Verdict.NOT_MEASURED, outcome.missing.get(subject, f"{subject} is no subject")
    if figures.failure:
        return Verdict.FAILED, f"{subject}: {figures.failure}"
    if figures.errors:
        return Verdict.FAILED, f"{subject}: {figures.errors} errors"
    if not all(value > 0 for value in figures.values + figures.walls):
        return Verdict.FAILED, f"{subject}: nothing was measured"
    return None


def idleness(figures: Figures) -> str:
    """How the server's core fell short of saturation; empty if it was saturated."""
    busy = figures.busy or 0.0
    if busy >= SATURATED:
        return ""
    load = f", the load's {figures.load_busy:.0%}" if figures.load_busy is not None else ""
    return f"its core was {busy:.0%} busy{load}"


def missed(judgements: list[Judgement], strict: bool) -> list[Judgement]:
    """The targets that fail a check; `strict` also counts those that were not measured."""
    fine = {Verdict.PASSED} if strict else {Verdict.PASSED, Verdict.NOT_MEASURED}
    return [judgement for judgement in judgements if judgement.verdict not in fine]
