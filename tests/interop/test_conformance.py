"""What becomes of the suite's verdicts."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.interop import conformance

Verdicts = dict[str, tuple[str, str]]
"""For each case, how its connection was closed, and the last entry of its log."""

GOOD, LATE, WRONG = ("OK", "RF"), ("UNCLEAN", "KLE"), ("UNCLEAN", "RF")


def suite(monkeypatch: pytest.MonkeyPatch, *runs: Verdicts) -> list[str]:
    """A suite that says this in one run after the other; returns the cases that each was given."""
    asked: list[str] = []
    left = list(runs)

    def call(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
        options = dict(str(part).split("=", 1) for part in command if "=" in str(part))
        asked.append(options["--cases"])
        out, verdicts = Path(options["--out"]), left.pop(0)
        index = {}
        for case, (closing, last) in verdicts.items():
            index[case] = {"behavior": "OK", "behaviorClose": closing}
            log = out / f"sono_case_{case.replace('.', '_')}.json"
            log.write_text(json.dumps({"wirelog": [["TO"], [last]]}))
        (out / "index.json").write_text(json.dumps({"sono": index}))
        (out / "wstest.log").write_text("Autobahn Testsuite Version 1")
        failed = any(closing != "OK" for closing, _ in verdicts.values())
        return subprocess.CompletedProcess([], int(failed), stdout="", stderr="")

    monkeypatch.setattr(conformance, "call", call)
    return asked


def run() -> conformance.Report:
    return conformance.run_part("client", "suite", ["1.*", "2.*"], 10, [])


def test_what_the_suite_has_cut_off_is_taken_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = suite(monkeypatch, {"1.1": GOOD, "2.1": LATE, "2.2": LATE}, {"2.1": GOOD, "2.2": GOOD})
    report = run()
    assert report.passed
    assert report.results == {"1.1": "OK", "2.1": "OK", "2.2": "OK"}
    assert asked == ["1.*,2.*", "2.1,2.2"]


def test_but_not_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    suite(monkeypatch, {"1.1": GOOD, "2.1": LATE}, {"2.1": LATE})
    report = run()
    assert not report.passed
    assert report.results == {"1.1": "OK", "2.1": "UNCLEAN"}


def test_nor_beside_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = suite(monkeypatch, {"1.1": WRONG, "2.1": LATE})
    assert not run().passed
    assert len(asked) == 1
