"""Writes the figures of a whole run: results.md, results.json with every reading, and a plot."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from .cases import Row
from .report import circumstances, heading, lines, summary
from .run import Result

Measured = Sequence[tuple[Row, Sequence[Result]]]

_HOW = """\
Servers and load each have a processor core of their own. Servers take turns, and what is compared
is how much each does in a second of its own CPU time; the clock on the wall stands beside it.
Ratios of one run count, absolute figures belong to this machine and day. "Sono to it" is how many
times as good Sono is: the ratio of the medians, and in brackets the range over the rounds. A row
whose server did not saturate its core is not counted as passed.

Made by `python -m benchmarks`; `results.json` has every single reading."""


def markdown(machine: Mapping[str, str], measured: Measured) -> str:
    """The text of results.md."""
    judgements = [j for _, results in measured for result in results for j in result.judgements]
    parts = ["# Benchmarks", "", _HOW, "", "![The main rows as bars](benchmarks.svg)", ""]
    parts += [*circumstances(machine), "", "## Targets", "", *summary(judgements)]
    for row, results in measured:
        parts += ["", *heading(row)]
        for result in results:
            parts += lines(*result)
    return "\n".join(parts) + "\n"


def as_data(machine: Mapping[str, str], measured: Measured) -> dict[str, object]:
    """The content of results.json."""
    rows = [
        {"row": row.id, "title": row.title, "cases": [result.as_data() for result in results]}
        for row, results in measured
    ]
    return {"machine": dict(machine), "rows": rows}


def write(folder: Path, machine: Mapping[str, str], measured: Measured) -> None:
    """Write all three files; without matplotlib only the first two."""
    folder.mkdir(exist_ok=True)
    (folder / "results.md").write_text(markdown(machine, measured), "utf-8")
    data = as_data(machine, measured)
    (folder / "results.json").write_text(json.dumps(data, indent=1) + "\n", "utf-8")
    print(f"\nwritten: {folder}")
    try:
        from .plot import draw
    except ImportError:
        print("no plot: matplotlib is missing: pip install '.[bench]'")
        return
    draw(data, folder / "benchmarks.svg")
