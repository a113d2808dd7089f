"""CI's check that no fast path is lost: K1 and K2, as ratios of paths in one process; and P1.

The floors lie well below what is measured, so that a busy machine does not fail them, but a path
that falls back to Python does. The check includes websockets only if it is installed.
"""

import sys
from typing import NamedTuple

from .codec import DECODERS, Function, masker
from .measure import Ratio, in_turns, ratio, timed
from .packets import PLAIN, VALUES, handling
from .report import line, ratio_text
from .targets import PURE
from .units import CALL

ROUNDS = 7
SECONDS = 0.04


class Floor(NamedTuple):
    """How many times as fast as another path the native one must be."""

    what: str
    other: str
    least: float


FLOORS = (
    Floor("mask 64 B", PURE, 3),
    Floor("mask 1 KiB", PURE, 8),
    Floor("mask 64 KiB", PURE, 16),
    Floor("decode", PURE, 10),
    Floor("mask 64 B", "websockets (C)", 0.8),
    Floor("mask 1 KiB", "websockets (C)", 0.8),
    Floor("mask 64 KiB", "websockets (C)", 0.7),
    Floor("decode", "websockets", 10),
    # Measured: a seventh. A packet that is walked in Python takes a hundred times what it costs.
    *(Floor(kind, PLAIN, 1 / 16) for kind in VALUES if kind != PLAIN),
)
_SIZES = {"mask 64 B": 64, "mask 1 KiB": 1024, "mask 64 KiB": 65536}


def _function(what: str, subject: str) -> Function:
    """The function to time; raises ImportError if the subject is missing."""
    if what in _SIZES:
        return masker(subject, _SIZES[what])
    if what in VALUES:
        return handling(PLAIN if subject == PLAIN else what)
    return DECODERS[subject]()


def compare(what: str, other: str) -> Ratio:
    """Measure the native path against another, in turns.

    Raises:
        ImportError: one of them is missing.
        RuntimeError: one of them failed.
    """
    figures = in_turns(
        {name: timed(_function(what, name)) for name in ("sono", other)}, ROUNDS, SECONDS
    )
    for name, of_one in figures.items():
        if of_one.failure:
            raise RuntimeError(f"{what}, {name}: {of_one.failure}")
    return ratio(figures["sono"], figures[other], CALL)


def main(floors: tuple[Floor, ...] = FLOORS) -> int:
    """Compare all; 1 if a ratio is below its floor or the native path is missing."""
    print(line(("what", "native path to", "ratio", "floor", "")))
    print(line(("---", "---", "---:", "---:", "---")))
    lost = 0
    for floor in floors:
        try:
            found = compare(floor.what, floor.other)
        except ImportError as error:
            ours = floor.other == PURE
            lost += ours
            verdict = f"{'**FAILED**' if ours else 'not measured'} ({error})"
            print(line((floor.what, floor.other, "-", f"{floor.least:g}", verdict)))
            continue
        under = found.of_medians < floor.least
        lost += under
        verdict = "**UNDER**" if under else "ok"
        print(
            line((floor.what, floor.other, ratio_text(found), f"{floor.least:g}", verdict)),
            flush=True,
        )
    if lost:
        print("benchmarks: a fast path is lost", file=sys.stderr)
    return 1 if lost else 0
