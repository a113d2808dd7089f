"""What a row of the benchmarks consists of: cases, each with the subjects that it compares.

A case is a context manager: it starts what it needs, such as servers, and yields one function
for each subject, which takes one measurement. Missing subjects are named instead of measured.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from .codec import Function
from .measure import Measure, Unit, timed


class Ready(NamedTuple):
    """An open case."""

    measures: Mapping[str, Measure]
    missing: Mapping[str, str]
    """Why a subject is not measured, by its name."""


@dataclass(frozen=True, kw_only=True)
class Case(ABC):
    """One workload and the subjects to try it on.

    Args:
        name: unique within its row.
        subjects: ours first.
        saturates: the figures count only if the server's core was busy.
    """

    name: str
    unit: Unit
    subjects: tuple[str, ...]
    saturates: bool = False

    @property
    def ours(self) -> str:
        """The subject to compare the others with."""
        return self.subjects[0]

    @abstractmethod
    def open(self) -> AbstractContextManager[Ready]:
        """Get everything ready to measure."""


class Row(NamedTuple):
    """A row of the table of targets: cases under one id."""

    id: str
    title: str
    cases: tuple[Case, ...]
    note: str = ""
    """How to read its figures, if that is not plain."""


@dataclass(frozen=True, kw_only=True)
class Timed(Case):
    """Functions to call in this process.

    Args:
        functions: how to make the function of each subject, raising ImportError.
        parts: how many equal parts a call has; parts are what the figures count.
    """

    functions: Mapping[str, Callable[[], Function]]
    parts: int = 1

    @contextmanager
    def open(self) -> Iterator[Ready]:
        """Make the functions of the installed subjects."""
        measures, missing = {}, {}
        for subject in self.subjects:
            try:
                measures[subject] = timed(self.functions[subject](), self.parts)
            except ImportError as error:
                missing[subject] = str(error)
        yield Ready(measures, missing)
