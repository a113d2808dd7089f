"""Compare this checkout with another, turn by turn: has a change made anything slower?

    python -m benchmarks.against FOLDER [ROW...]

FOLDER is another checkout of Sono with its own environment in `.venv`, as `make test` makes it.
A fresh process of each checkout takes each measurement, with that checkout's own benchmarks, so
the two may differ in layout. A ratio above 1 means that this one is better.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from .measure import Figures, Ratio, Reading, Unit, in_turns, ratio
from .rows import FILES, row_named

ROOT = Path(__file__).parents[1]
ROWS = ("K1", "K2", "K3", "S1", "S2", "S3", "S4", "F1", "F2", "M1", "A1", "C1")
"""Compared by default."""
FLOOR = 0.97
"""The ratio below which a change counts as slower."""
_TIMEOUT = 120.0  # seconds for one measurement, including the start of its server

_WORKER = """
import dataclasses, json, sys
from benchmarks.rows import row_named

row, name, seconds = sys.argv[1:]
(case,) = (case for case in row_named(row).cases if case.name == name)
case = dataclasses.replace(case, subjects=(case.ours,))
with case.open() as ready:
    if case.ours in ready.missing:
        sys.exit(ready.missing[case.ours])
    print(json.dumps(ready.measures[case.ours](float(seconds))))
"""


class Compared(NamedTuple):
    """One case on both sides."""

    row: str
    case: str
    ours: Figures
    theirs: Figures
    ratio: Ratio | None
    unit: Unit


def python_of(checkout: Path) -> str:
    """The interpreter of a checkout's own environment.

    Raises:
        FileNotFoundError: there is none; the text says how to make it.
    """
    python = checkout / ".venv" / "bin" / "python"
    if not python.exists():
        raise FileNotFoundError(f"{checkout} has no .venv; make it with: make -C {checkout} test")
    return str(python)


def measure(checkout: Path, python: str, row: str, case: str, seconds: float) -> Reading:
    """Take one measurement of a checkout.

    Raises:
        RuntimeError: it failed; the text is what its process printed.
    """
    result = subprocess.run(
        [python, "-c", _WORKER, row, case, str(seconds)],
        cwd=checkout,
        check=False,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
    )
    if result.returncode:
        raise RuntimeError(result.stderr.strip() or f"exit status {result.returncode}")
    return Reading(*json.loads(result.stdout.splitlines()[-1]))


def compare(
    other: Path, rows: Sequence[str], rounds: int, seconds: float, this: Path = ROOT
) -> Iterator[Compared]:
    """Measure each case of the rows on both sides, in turns.

    Args:
        other: the other checkout.
        rows: ids of rows.
        rounds: measurements of each.
        seconds: for each measurement.
        this: the checkout to compare with it.

    Raises:
        FileNotFoundError: a checkout has no environment.
    """
    sides = {"this": (this, python_of(this)), "other": (other, python_of(other))}
    for row in rows:
        for case in row_named(row).cases:
            measures = {
                side: partial(measure, checkout, python, row, case.name)
                for side, (checkout, python) in sides.items()
            }
            found = in_turns(measures, rounds, seconds)
            ours, theirs = found["this"], found["other"]
            both = ours.readings and theirs.readings
            result = ratio(ours, theirs, case.unit) if both else None
            yield Compared(row, case.name, ours, theirs, result, case.unit)


def line(one: Compared) -> str:
    """A row of the table, in Markdown."""
    if one.ratio is None:
        why = (one.ours.failure or one.theirs.failure).splitlines()[-1]
        return f"| {one.row} | {one.case} | | | failed: {why} |"
    mine, others = one.unit.text(one.ours.median), one.unit.text(one.theirs.median)
    low, high = one.ratio.low, one.ratio.high
    return (
        f"| {one.row} | {one.case} | {mine} | {others}"
        f" | {one.ratio.of_medians:.3f} ({low:.2f} to {high:.2f}) |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a ratio is below the floor or a case failed, 2 if nothing can run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, help="the other checkout")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"default: {' '.join(ROWS)}")
    parser.add_argument(
        "--rounds", type=int, default=5, help="measurements of each case (default: 5)"
    )
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="for each measurement (default: 1)"
    )
    options = parser.parse_args(arguments)
    if unknown := [row for row in options.rows if row not in FILES]:
        parser.error(f"{unknown[0]} is no row; there are {', '.join(FILES)}")
    print("| row | case | this | other | this / other |\n|---|---|---|---|---|", flush=True)
    slower = False
    try:
        other = options.folder.resolve()
        for one in compare(other, options.rows or ROWS, options.rounds, options.seconds):
            print(line(one), flush=True)
            slower |= one.ratio is None or one.ratio.of_medians < FLOOR
    except FileNotFoundError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
