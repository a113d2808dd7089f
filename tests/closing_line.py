"""The last line of a run: what passed and on which path, what was left out, and why.

What failed is also appended to the file that SONO_TEST_FAILURES names, if any, for a command that
runs pytest several times and tells at its end what failed in any of them.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from sono_core import native_available

LEFT_TO_CHECK = ("autobahn", "browser", "slow", "once")
"""Markers of tests that `make test` may leave to `make check`."""

PATH = "native" if native_available else "pure Python"

OUTCOMES = ("passed", "failed", "error")

FAILURE_LINES = 40
"""Of one report that are appended at most, its last ones: those tell what went wrong."""

_SHORTER = (
    # The reason of a skip, and its short form when skips are counted.
    (re.compile(r"could not import '([^']+)'.*", re.DOTALL), r"need \1"),
    (re.compile(r"(.+?) is missing[;:].*", re.DOTALL), r"need \1"),
    (re.compile(r"needs? (.+)", re.DOTALL), r"need \1"),
)


def reason_of(skip: str) -> str:
    """The short form of a skip's reason: what the test needs, if the reason says so."""
    text = skip.removeprefix("Skipped: ")
    for pattern, shorter in _SHORTER:
        if pattern.fullmatch(text):
            return pattern.sub(shorter, text)
    return f"({text})"


def left_out(item: pytest.Item, expression: str) -> str:
    """The marker for which `-m` left a test out, or nothing if another reason did."""
    for marker in LEFT_TO_CHECK:
        if marker in item.keywords and re.search(rf"\bnot {marker}\b", expression):
            return marker
    return ""


def counted(number: int, what: str) -> str:
    """`3 tests`, `1 test`, `1,000 tests`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def closing_line(
    status: int, outcomes: Counter[str], skips: Iterable[str], left: Counter[str], seconds: float
) -> str:
    """Make the line.

    Args:
        status: pytest's exit status.
        outcomes: how many tests passed, failed or had an error, by these words.
        skips: the reason of each skipped test.
        left: how many tests were deselected, by marker; the marker "" stands for all others.
        seconds: that the run took.
    """
    circumstances = f"({PATH}, {settings().max_examples:,} examples each) in {seconds:.0f} s"
    also = f"{beside} and " if (beside := os.environ.get("SONO_TEST_BESIDE")) else ""
    parts = [f"{also}{counted(outcomes['passed'], 'test')} passed {circumstances}"]
    bad = {word: outcomes[word] for word in ("failed", "error") if outcomes[word]}
    if status:
        what = ", ".join(f"{number:,} {word}" for word, number in bad.items())
        parts.insert(0, f"FAILED: {what or pytest.ExitCode(status).name.lower().replace('_', ' ')}")
    omitted = [f"{left[m]:,} {m} (make check)" for m in LEFT_TO_CHECK if left[m]]
    omitted += [f"{left['']:,} not asked for"] if left[""] else []
    omitted += [
        f"{number:,} {reason if number > 1 else re.sub('^need ', 'needs ', reason)}"
        for reason, number in Counter(map(reason_of, skips)).most_common()
    ]
    parts.append(f"skipped: {', '.join(omitted) or 'nothing'}")
    return f"sono: {'; '.join(parts)}"


def failure(report: Any) -> str:
    """One report of a failed test, as SONO_TEST_FAILURES gets it."""
    said = report.longreprtext.splitlines()[-FAILURE_LINES:]
    return "\n".join([f"== {report.nodeid} ({PATH}, {report.when})", *said, ""])


class ClosingLine:
    """Prints the line after pytest's own output, also if xdist distributes the tests."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._started = time.monotonic()
        self._left: Counter[str] = Counter()

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        expression = self._config.option.markexpr
        self._left.update(left_out(item, expression) for item in items)
        if (output := getattr(self._config, "workeroutput", None)) is not None:
            output["left"] = dict(self._left)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker of xdist has ended; all of them deselect the same tests."""
        self._left = Counter(getattr(node, "workeroutput", {}).get("left", {})) or self._left

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, exitstatus: int) -> Generator[None]:
        yield
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        worker = hasattr(self._config, "workerinput")  # what it reports, the controller reports
        if reporter is None or worker or self._config.option.collectonly:
            return
        outcomes = Counter({word: len(reporter.stats.get(word, ())) for word in OUTCOMES})
        skips = [report.longrepr[2] for report in reporter.stats.get("skipped", ())]
        seconds = time.monotonic() - self._started
        if failures := os.environ.get("SONO_TEST_FAILURES"):
            bad = [report for word in OUTCOMES[1:] for report in reporter.stats.get(word, ())]
            with Path(failures).open("a", encoding="utf-8") as file:
                file.writelines(failure(report) for report in bad)
        reporter.write_line(closing_line(int(exitstatus), outcomes, skips, self._left, seconds))
