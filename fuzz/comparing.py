"""Frame streams: nothing is raised, one Close ends each, and C does the same as Python.

The pure path, fed in one piece, is the specification: the same bytes, fed in any other way, give
the same events, bytes and states.
"""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from random import Random

from sono_core import native_available

from .driving import PULLS, Outcome, Setting, Way, faults, outcome, pure_path

PATHS: dict[str, Callable[[], AbstractContextManager[None]]] = {"pure": pure_path}
if native_available:
    PATHS["native"] = nullcontext
WAYS = (
    Way("whole", "next"),
    Way("whole", "events"),
    Way("whole", "deliver"),
    Way("bytes", "events"),
    Way("bytes", "deliver"),
    *(Way("random", pull) for pull in PULLS),
)
SPECIFICATION = ("pure", WAYS[0])
RUNS = tuple(itertools.product(PATHS, WAYS))


def differences(expected: Outcome, found: Outcome) -> list[str]:
    """How an outcome differs from that of the pure path."""
    return [
        f"{name} {there!r}, not {wanted!r}"
        for name, wanted, there in zip(Outcome._fields, expected, found, strict=True)
        if wanted != there
    ]


def first_fault(data: bytes, setting: Setting, runs: Iterable[tuple[str, Way]], seed: str) -> str:
    """The first broken rule for these bytes, or nothing."""
    expected: Outcome | None = None
    for path, way in (SPECIFICATION, *runs):
        pieces = way.pieces(data, Random(f"{seed} {way.pull}"))
        try:
            with PATHS[path]():
                found = outcome(setting, pieces, way.pull)
        except Exception:
            wrong = [traceback.format_exc()]
        else:
            expected = expected or found
            wrong = [*faults(found), *differences(expected, found)]
        if wrong:
            sizes = [len(piece) for piece in pieces]
            return f"{setting}, {path}, {way}, pieces of {sizes}:\n{', '.join(wrong)}"
    return ""
