"""What a row of the benchmarks is made of: cases, each with the subjects that it compares.

A case opens what it needs, servers for example, for the length of a with statement, and gives one
function for each subject that takes one measurement. What is not there is named, not measured.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from .codec import Function
from .measure import Measure, Unit, timed


class Ready(NamedTuple):
    """A case that has been opened."""

    measures: Mapping[str, Measure]
    missing: Mapping[str, str]
    """Why a subject is not measured, by its name."""


@dataclass(frozen=True, kw_only=True)
class Case(ABC):
    """One workload and whom it is tried on.

    Args:
        name: unique within its row.
        subjects: ours first.
        saturates: the server's core must be busy for the figures to count.
    """

    name: str
    unit: Unit
    subjects: tuple[str, ...]
    saturates: bool = False

    @property
    def ours(self) -> str:
        """The subject that the others are compared with."""
        return self.subjects[0]

    @abstractmethod
    def open(self) -> AbstractContextManager[Ready]:
        """Make everything ready to be measured."""


class Row(NamedTuple):
    """A row of the table of targets: cases under one id."""

    id: str
    title: str
    cases: tuple[Case, ...]
    note: str = ""
    """How its figures are to be read, where that is not plain."""


@dataclass(frozen=True, kw_only=True)
class Timed(Case):
    """Functions that are called in this process.

    Args:
        functions: how to make the function of each subject, raising ImportError.
        parts: of how many equal things, which are what is counted, a call consists.
    """

    functions: Mapping[str, Callable[[], Function]]
    parts: int = 1

    @contextmanager
    def open(self) -> Iterator[Ready]:
        """Make the functions of what is installed."""
        measures, missing = {}, {}
        for subject in self.subjects:
            try:
                measures[subject] = timed(self.functions[subject](), self.parts)
            except ImportError as error:
                missing[subject] = str(error)
        yield Ready(measures, missing)
