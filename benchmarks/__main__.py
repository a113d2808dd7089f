"""`python -m benchmarks`: run them, print ratios; with --check exit 1 if a target is missed."""

import argparse
import sys

from . import codec


def main() -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 if a target is missed")
    arguments = parser.parse_args()
    try:
        import websockets  # noqa: F401
    except ImportError:
        print("benchmarks: websockets is missing: pip install '.[bench]'", file=sys.stderr)
        return 2
    print("| target | what | ours | peer | theirs | ratio | wanted |")
    print("|---|---|---:|---|---:|---:|---:|")
    missed = []
    for row in codec.rows():
        ours, theirs = (f"{timing.median * 1e6:.2f} us" for timing in (row.ours, row.theirs))
        print(
            f"| {row.target} | {row.what} | {ours} | {row.peer} | {theirs}"
            f" | {row.ratio:.2f} | {row.at_least:.2f} |",
            flush=True,
        )
        if row.ratio < row.at_least:
            missed.append(f"{row.target} ({row.what})")
    if missed:
        print(f"\nmissed: {', '.join(missed)}")
    return 1 if missed and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
