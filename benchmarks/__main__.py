"""Measure Sono and its peers side by side, and compare the ratios with the targets.

Without its extensions only rows of pure Python run (K3), unless SONO_PURE=1 asks for the rest.
"""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from sono_core.native import pure_wanted

from .cases import Row
from .judge import Judgement, missed
from .machine import describe
from .peers.requirements import native_obstacle
from .report import circumstances, heading, lines, summary, verdict_text
from .rows import FILES, row_named
from .run import Result, run
from .targets import PURE

RESULTS = Path(__file__).parent / "results"
FEWEST_ROUNDS = 5
"""Fewer are good to see that all works, not to publish."""
QUICK = (2, 0.3)
_STATUS = """
exit status: 0; 1 if a check failed; 2 if the command was wrong or cannot run here.
With --check a target fails if it was missed, or could not be judged because a server's core was
not saturated, a server failed or answers were wrong; and the check as a whole fails if no target
was judged. A peer that is not installed is named, and its targets count as not measured, which
fails with --strict only.
"""


def _ids(text: str) -> str:
    known = {name.lower(): name for name in FILES}
    try:
        return known[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no row; there are {', '.join(FILES)}"
        ) from None


def _rounds(text: str) -> int:
    with contextlib.suppress(ValueError):
        if 1 <= int(text) <= 1000:
            return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of rounds (1 to 1000)")


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0.05 <= float(text) <= 600:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds (0.05 to 600)")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("rows", nargs="*", type=_ids, metavar="ROW", help="which to run; all of them by default")
    add("--check", action="store_true", help="exit 1 if a target was missed or not judged")
    add("--strict", action="store_true", help="check, and let missing peers fail too")
    add("--rounds", type=_rounds, metavar="N", help=f"measurements of each, {FEWEST_ROUNDS}")
    add("--seconds", type=_seconds, metavar="S", help="what a measurement takes, 1")
    add("--quick", action="store_true", help="two short rounds, to see that all works")
    add("--no-write", action="store_true", help="do not write benchmarks/results")
    add("--regression", action="store_true", help="only K1 and K2, against low floors: for CI")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    options = parser().parse_args(arguments)
    if not pure_wanted() and (why := native_obstacle()) and not _pure_on_purpose(options):
        print(f"benchmarks: {why}", file=sys.stderr)
        return 2
    if options.regression:
        from .regression import main as regression

        return regression()
    rounds, seconds = QUICK if options.quick else (FEWEST_ROUNDS, 1.0)
    rounds, seconds = options.rounds or rounds, options.seconds or seconds
    try:
        return _measure(options, rounds, seconds)
    except OSError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2


def _pure_on_purpose(options: argparse.Namespace) -> bool:
    """Whether nothing is to be measured on the native path."""
    rows = map(row_named, options.rows or FILES)
    return not options.regression and all(case.ours == PURE for row in rows for case in row.cases)


def _measure(options: argparse.Namespace, rounds: int, seconds: float) -> int:
    from . import results
    from .subjects import missing, versions

    for name, how in missing().items():
        print(f"benchmarks: {name} is missing: {how}", file=sys.stderr)
    machine = {
        **describe(versions()),
        "rounds": f"{rounds} of {seconds:g} s each, in turns",
    }
    print("\n".join(circumstances(machine)), flush=True)
    measured = [(row, _show(row, rounds, seconds)) for row in map(row_named, options.rows or FILES)]
    judgements = [j for _, of_row in measured for result in of_row for j in result.judgements]
    print("\n## Targets\n\n" + "\n".join(summary(judgements)))
    whole = not (options.rows or options.quick or rounds < FEWEST_ROUNDS)
    if whole and not options.no_write:
        results.write(RESULTS, machine, measured)
    elif not options.no_write:
        print("\nNot written: only a whole run of at least five rounds is.")
    if options.check or options.strict:
        return check(judgements, options.strict)
    return 0


def _show(row: Row, rounds: int, seconds: float) -> list[Result]:
    """Run a row and print its figures as they come."""
    print("\n" + "\n".join(heading(row)), flush=True)
    of_row = []
    for result in run(row, rounds, seconds):
        print("\n".join(lines(*result)), flush=True)
        of_row.append(result)
    return of_row


def check(judgements: list[Judgement], strict: bool) -> int:
    """The exit status; what failed on standard error."""
    failed = missed(judgements, strict)
    for judgement in failed:
        target = judgement.target
        print(
            f"benchmarks: {target.row}, {target.case}"
            f"{' to ' + target.peer if target.peer else ''}: {verdict_text(judgement)}",
            file=sys.stderr,
        )
    if all(judgement.measured is None for judgement in judgements):
        print("benchmarks: no target was judged", file=sys.stderr)
        return 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
