"""The two engines that look for inputs which break a target's rule.

atheris follows the branches that an input reaches, but is not available for every Python;
mutations of the corpus are blind, and always available.
"""

from __future__ import annotations

import importlib.util
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from .make_corpus import CORPUS
from .mutations import Mutator
from .run_corpus import FAILURES
from .targets import Target

_GRACE = 60.0  # seconds that atheris may take beyond its time
_EXECUTIONS = re.compile(r"number_of_executed_units: +(\d+)")
_COUNTED = re.compile(r"^#(\d+)\t", re.MULTILINE)
_WRITTEN = re.compile(r"Test unit written to (.+)")
_CORPUS = re.compile(r" corp: (\d+)/")
_LIMITS = ("-timeout=20", "-rss_limit_mb=1024")  # seconds and MiB for one input


class Report(NamedTuple):
    """The result of a run."""

    executions: int
    seconds: float
    corpus: int
    """Inputs that differ in what they reach, or with which the run began."""
    findings: list[str]


def with_mutations(target: Target, seconds: float, found: Path) -> Report:
    """Run mutations of the corpus, and of earlier finds, until something is found."""
    files = [path.read_bytes() for path in inputs_of(target, found)]
    mutator = Mutator(files, target.words, target.longest)
    source = Random()
    started = time.monotonic()
    executions = 0
    findings: list[str] = []
    while not findings and time.monotonic() - started < seconds:
        data = mutator.mutated(source.choice(files), source) if executions else files[0]
        executions += 1
        try:
            target.run(data)
        except AssertionError as error:
            written = FAILURES / f"{target.name}-finding-{executions}"
            written.write_bytes(data)
            findings.append(f"{written}:\n{error}")
    return Report(executions, time.monotonic() - started, len(files), findings)


def inputs_of(target: Target, found: Path) -> list[Path]:
    """The files that a run begins with."""
    return sorted((CORPUS / target.name).glob("*.bin")) + sorted(found.iterdir())


def _dictionary(target: Target) -> list[str]:
    """The option with the target's words, if it has any."""
    if not target.words:  # libFuzzer rejects an empty file.
        return []
    path = FAILURES / f"{target.name}.dict"
    lines = ["".join(f"\\x{byte:02x}" for byte in word) for word in target.words]
    path.write_text("".join(f'"{line}"\n' for line in lines))
    return [f"-dict={path}"]


def with_atheris(target: Target, seconds: float, found: Path) -> Report:
    """Run atheris in its own process, which ends when it finds something."""
    command = [sys.executable, "-m", "fuzz.under_atheris", target.name]
    command += [str(found), str(CORPUS / target.name), *_dictionary(target)]
    command += [f"-max_total_time={math.ceil(seconds)}", f"-max_len={target.longest}"]
    command += [f"-artifact_prefix={FAILURES / target.name}-", "-print_final_stats=1", *_LIMITS]
    log = FAILURES / f"{target.name}.log"
    started = time.monotonic()
    with log.open("w") as output:
        try:
            status = subprocess.run(
                command, stdout=output, stderr=output, timeout=seconds + _GRACE, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            status = -1
    took = time.monotonic() - started
    said = log.read_text(errors="replace")
    executions = [int(count) for count in _EXECUTIONS.findall(said) or _COUNTED.findall(said)]
    corpus = [int(count) for count in _CORPUS.findall(said)]
    findings = [f"{_told(said)}\nexit status {status}, see {log}"] if status else []
    return Report(max(executions, default=0), took, max(corpus, default=0), findings)


def _told(said: str) -> str:
    """The exception in a log, or else its last lines; and the input that atheris wrote."""
    _, _, exception = said.partition("=== Uncaught Python exception: ===\n")
    told = exception.partition("\n==")[0] if exception else said[-2000:]
    return "\n".join([*_WRITTEN.findall(said), told.strip()])


Engine = Callable[[Target, float, Path], Report]
ENGINES: dict[str, Engine] = {"atheris": with_atheris, "mutations": with_mutations}


def best_engine() -> str:
    """atheris, if it is installed."""
    return "atheris" if importlib.util.find_spec("atheris") else "mutations"
