"""Any bytes, however cut: nothing is raised, one Close ends it, and C does the same as Python.

`python -m fuzz.run_corpus [--mutations N] [--seed S] [--verbose] [FILE ...]` holds every file of
`fuzz/corpus` to that, in both roles, with and without permessage-deflate, with the shipped limits
and with small ones; and N mutations of each file, in one setting and one way each. The same
arguments do the same.

An input that failed is written into build/fuzz. When the process dies, --verbose tells in which.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from random import Random
from typing import NamedTuple

from sono_core import Close, native_available

from .driving import PULLS, SETTINGS, Outcome, Setting, Way, faults, outcome, pure_path
from .make_corpus import CORPUS
from .mutations import mutated

FAILURES = Path("build/fuzz")
_MANY = 10  # failures after which it gives up

PATHS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "pure": pure_path,
    "native": nullcontext,
}
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


class Input(NamedTuple):
    """Bytes, and what is to do the same with them as the specification."""

    name: str
    data: bytes
    settings: Sequence[Setting]
    runs: Sequence[tuple[str, Way]]


class Run:
    """Counts what was done, and keeps what failed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.done: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.failures: list[str] = []

    def check(self, one: Input) -> None:
        """Hold an input to the invariant."""
        self.done["inputs"] += 1
        for setting in one.settings:
            if wrong := self._wrong(one, setting):
                FAILURES.mkdir(parents=True, exist_ok=True)
                written = FAILURES / one.name.replace("/", "-")
                written.write_bytes(one.data)
                self.failures.append(f"{written.resolve()}, {setting}:\n{wrong}")
                return

    def _wrong(self, one: Input, setting: Setting) -> str:
        """The first thing that is wrong, or nothing."""
        expected: Outcome | None = None
        for path, way in (SPECIFICATION, *one.runs):
            self.done["runs"] += 1
            pieces = way.pieces(one.data, Random(f"{self.seed} {one.name} {way.pull}"))
            try:
                with PATHS[path]():
                    found = outcome(setting, pieces, way.pull)
            except Exception:
                wrong = [traceback.format_exc()]
            else:
                expected = expected or self._counted(found)
                wrong = [*faults(found), *differences(expected, found)]
            if wrong:
                sizes = [len(piece) for piece in pieces]
                return f"{path}, {way}, pieces of {sizes}:\n{', '.join(wrong)}"
        return ""

    def _counted(self, found: Outcome) -> Outcome:
        self.done["events"] += len(found.events)
        for event in found.events:
            if isinstance(event, Close):
                self.ends["clean" if event.clean else str(int(event.code))] += 1
        return found


def differences(expected: Outcome, found: Outcome) -> list[str]:
    """In what an outcome differs from that of the pure path."""
    return [
        f"{name} {there!r}, not {wanted!r}"
        for name, wanted, there in zip(Outcome._fields, expected, found, strict=True)
        if wanted != there
    ]


def inputs(files: dict[str, bytes], mutations: int, seed: int) -> Iterator[Input]:
    """Every file in all settings and ways, and its mutations natively in one of each."""
    others = [data for data in files.values() if len(data) < 2000]
    for name, data in files.items():
        yield Input(name, data, SETTINGS, RUNS)
        # mostly as the role that the file is meant for: to the other it is an error at once
        meant = [setting for setting in SETTINGS if name.startswith(setting.role.value)]
        for number in range(mutations):
            source = Random(f"{seed} {name} {number}")
            settings = SETTINGS if number % 8 == 0 else meant or SETTINGS
            yield Input(
                f"{name}-{number}",
                mutated(data, others, source),
                [source.choice(settings)],
                [("native", source.choice(WAYS))],
            )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m fuzz.run_corpus", description=__doc__)
    result.add_argument("files", nargs="*", metavar="FILE", help="instead of the corpus")
    result.add_argument("--mutations", type=int, default=200, metavar="N", help="of each file, 200")
    result.add_argument("--seed", type=int, default=0, metavar="S", help="of mutations and cuts")
    result.add_argument("--verbose", action="store_true", help="name each input before it is run")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit status 1 if the invariant does not hold, 2 if nothing can be run."""
    options = parser().parse_args(arguments)
    if not native_available:
        print("fuzz: the native path is missing: there is nothing to compare", file=sys.stderr)
        return 2
    paths = [Path(file) for file in options.files] or sorted(CORPUS.glob("*/*.bin"))
    if not paths:
        print(f"fuzz: no files in {CORPUS}; make them with: make fuzz-corpus", file=sys.stderr)
        return 2
    files = {f"{path.parent.name}/{path.name}": path.read_bytes() for path in paths}
    started = time.monotonic()
    run = Run(options.seed)
    for one in inputs(files, options.mutations, options.seed):
        if options.verbose:
            print(one.name, flush=True)
        run.check(one)
        if len(run.failures) >= _MANY:
            break
    for failure in run.failures:
        print(f"\n{failure}", file=sys.stderr)
    done = ", ".join(f"{count} {what}" for what, count in run.done.items())
    ends = ", ".join(f"{count} {end}" for end, count in sorted(run.ends.items()))
    print(f"fuzz: {len(files)} files, {done} in {time.monotonic() - started:.1f} s; ends: {ends}")
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
