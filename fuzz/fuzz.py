"""Look for inputs that break the rules: `python -m fuzz.fuzz TARGET ... [--seconds N]`, or --all.

Each target runs for N seconds, or until it has found something. Finds are written to build/fuzz,
as are inputs that lead further into the code: the next run begins with those. To run an input
again: `python -m fuzz.run_corpus --target TARGET --mutations 0 FILE`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .engines import ENGINES, best_engine
from .run_corpus import FAILURES
from .targets import TARGETS


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m fuzz.fuzz", description=__doc__)
    add = result.add_argument
    add("targets", nargs="*", metavar="TARGET", help=f"any of {', '.join(TARGETS)}")
    add("--all", action="store_true", help="run each target in turn")
    add(
        "--seconds",
        type=float,
        default=60.0,
        metavar="N",
        help="time for each target (default: 60)",
    )
    add(
        "--corpus",
        type=Path,
        metavar="DIR",
        help="folder for inputs that lead further; default: in build/fuzz",
    )
    add("--engine", choices=ENGINES, default=best_engine(), help="default: %(default)s")
    return result


def run(name: str, options: argparse.Namespace) -> bool:
    """Run one target and print the result; returns whether nothing was found."""
    found = options.corpus or FAILURES / "corpus" / name
    found.mkdir(parents=True, exist_ok=True)
    FAILURES.mkdir(parents=True, exist_ok=True)
    report = ENGINES[options.engine](TARGETS[name], options.seconds, found)
    rate = report.executions / max(report.seconds, 1e-9)
    print(
        f"fuzz: {name}: {report.executions} executions in {report.seconds:.1f} s, {rate:.0f}/s; "
        f"corpus of {report.corpus}; {len(report.findings)} findings ({options.engine})",
        flush=True,
    )
    for finding in report.findings:
        print(f"\n{name}: {finding}\n", file=sys.stderr, flush=True)
    return not report.findings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit status 1 if something was found."""
    command = parser()
    options = command.parse_args(arguments)
    names = list(TARGETS) if options.all else options.targets
    if unknown := [name for name in names if name not in TARGETS]:
        command.error(f"no target {', '.join(unknown)}")
    if not names:
        command.error("name a target, or say --all")
    clean = [run(name, options) for name in names]
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main())
