"""Hold the corpus, and mutations of it, to the rules of the fuzz targets.

`python -m fuzz.run_corpus [--target T ...] [--mutations N] [--seconds S] [--seed S] [--verbose]
[FILE ...]`. Frame streams run in both roles, with and without permessage-deflate, with the
default limits and with small ones, in C and in Python, cut and queried in all ways: see
`comparing`. Other inputs run as `targets` says. Each mutation of a frame stream runs in C, with
one setting and in one way. The same arguments without --seconds do the same.

Inputs that fail are written to build/fuzz. If the process dies, --verbose shows in which input.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from sono_core import native_available

from .comparing import PATHS, RUNS, WAYS, first_fault
from .driving import SETTINGS
from .make_corpus import CORPUS, ROLES
from .mutations import Mutator
from .targets import TARGETS, Target

FAILURES = Path("build/fuzz")
_MANY = 10  # failures after which it gives up
_MUTATIONS = 200  # of each file, without a limit in time
_FASTEST = list(PATHS)[-1]
_SPLICED = 2000  # bytes of the largest file that lends parts to others


class Input(NamedTuple):
    """Bytes, and where they come from."""

    name: str
    data: bytes
    number: int = 0
    """0 for a file, and from 1 on for its mutations."""


def inputs(
    target: Target, files: Mapping[str, bytes], mutations: int | None, seed: int
) -> Iterator[Input]:
    """Every file, then mutations of each in turn: that many, or without end."""
    for name, data in files.items():
        yield Input(name, data)
    others = [data for data in files.values() if len(data) < _SPLICED]
    mutator = Mutator(others, target.words, target.longest)
    for number in itertools.count(1) if mutations is None else range(1, 1 + mutations):
        for name, data in files.items():
            name = f"{name}-{number}"
            yield Input(name, mutator.mutated(data, Random(f"{seed} {name}")), number)


def frames_fault(role: str, one: Input, seed: int) -> str:
    """The rule that a frame stream breaks, which is meant for that role, or nothing."""
    if not one.number:
        return next(filter(None, (first_fault(one.data, x, RUNS, one.name) for x in SETTINGS)), "")
    source = Random(f"{seed} {one.name} setting")
    # Mostly in the role that the file is meant for: in the other it fails at once.
    meant = [setting for setting in SETTINGS if setting.role.value == role]
    setting = source.choice(SETTINGS if one.number % 8 == 0 else meant)
    return first_fault(one.data, setting, [(_FASTEST, source.choice(WAYS))], f"{seed} {one.name}")


def fault(target: Target, one: Input, seed: int) -> str:
    """The rule that an input breaks, or nothing."""
    if target.name in ROLES:
        return frames_fault(target.name, one, seed)
    try:
        target.run(one.data)
    except AssertionError as error:
        return f"{error}"
    return ""


def failures(
    target: Target, files: Mapping[str, bytes], options: argparse.Namespace
) -> tuple[int, list[str]]:
    """How many inputs were run, and which failed; the failed ones are written to files."""
    ends = float("inf")
    done = 0
    wrong: list[str] = []
    for one in inputs(target, files, options.mutations, options.seed):
        if done == len(files) and options.seconds:
            ends = time.monotonic() + options.seconds
        if len(wrong) >= _MANY or time.monotonic() >= ends:
            break
        if options.verbose:
            print(one.name, flush=True)
        done += 1
        if found := fault(target, one, options.seed):
            FAILURES.mkdir(parents=True, exist_ok=True)
            written = FAILURES / one.name.replace("/", "-")
            written.write_bytes(one.data)
            wrong.append(f"{target.name}: {written.resolve()}:\n{found}")
    return done, wrong


def chosen(options: argparse.Namespace) -> dict[str, dict[str, bytes]]:
    """The files of each target, by name. A file's folder names its target, unless it is given."""
    folders = [CORPUS / target for target in options.target or TARGETS]
    paths = options.files or [path for each in folders for path in sorted(each.glob("*.bin"))]
    given = options.target[0] if options.files and options.target else None
    found: dict[str, dict[str, bytes]] = {}
    for path in paths:
        target = given or path.parent.name
        found.setdefault(target, {})[f"{target}/{path.name}"] = path.read_bytes()
    return found


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m fuzz.run_corpus", description=__doc__)
    add = result.add_argument
    add("files", nargs="*", type=Path, metavar="FILE", help="inputs to run instead of the corpus")
    add(
        "--target",
        action="append",
        choices=TARGETS,
        help="target of the files; without files, a target to run",
    )
    add(
        "--mutations", type=int, metavar="N", help=f"mutations of each file (default: {_MUTATIONS})"
    )
    add("--seconds", type=float, metavar="S", help="time for all mutations, instead of N")
    add("--seed", type=int, default=0, metavar="S", help="seed of mutations and cuts")
    add("--verbose", action="store_true", help="name each input before it is run")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit status 1 if a rule does not hold, 2 if nothing can be run."""
    options = parser().parse_args(arguments)
    files = chosen(options)
    if unknown := set(files) - set(TARGETS):
        print(f"fuzz: no target {', '.join(sorted(unknown))}; say --target", file=sys.stderr)
        return 2
    if not files:
        print(f"fuzz: no files in {CORPUS}; make them with: make fuzz-corpus", file=sys.stderr)
        return 2
    if not native_available and set(files) & set(ROLES):
        print("fuzz: the native path is missing: there is nothing to compare", file=sys.stderr)
        return 2
    if options.seconds:
        options.seconds /= len(files)
        options.mutations = None
    elif options.mutations is None:
        options.mutations = _MUTATIONS
    wrong = []
    for name, target in TARGETS.items():
        if name in files:
            started = time.monotonic()
            done, found = failures(target, files[name], options)
            took = time.monotonic() - started
            print(f"fuzz: {name}: {len(files[name])} files, {done} inputs in {took:.1f} s")
            wrong += found
    for failure in wrong:
        print(f"\n{failure}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
