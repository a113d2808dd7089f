"""Runs rows: opens their cases, measures in turns, judges, and keeps all raw figures."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from .cases import Case, Row
from .judge import Judgement, Outcome, judge
from .measure import in_turns
from .targets import targets_of


class Result(NamedTuple):
    """The result of one case."""

    case: Case
    outcome: Outcome
    judgements: list[Judgement]

    def as_data(self) -> dict[str, Any]:
        """The same, ready for JSON."""
        servers = {
            name: {
                "readings": [reading._asdict() for reading in figures.readings],
                "failure": figures.failure,
            }
            for name, figures in self.outcome.figures.items()
        }
        return {
            "case": self.case.name,
            "unit": self.case.unit.name,
            "less_is_better": self.case.unit.less_is_better,
            "ours": self.case.ours,
            "servers": servers,
            "missing": dict(self.outcome.missing),
            "targets": [
                {
                    **judgement.target._asdict(),
                    "verdict": judgement.verdict.value,
                    "measured": judgement.measured,
                    "reason": judgement.reason,
                }
                for judgement in self.judgements
            ],
        }


def run(row: Row, rounds: int, seconds: float) -> Iterator[Result]:
    """Measure a row, case by case."""
    for case in row.cases:
        with case.open() as ready:
            figures = in_turns(ready.measures, rounds, seconds)
        outcome = Outcome(figures, ready.missing)
        targets = targets_of(row.id, case.name)
        yield Result(case, outcome, [judge(target, case, outcome) for target in targets])
