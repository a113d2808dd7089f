"""The last line of a run: on made-up figures, and after a run of pytest."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

from tests.closing_line import PATH, closing_line, reason_of

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("skip", "reason"),
    [
        ("Skipped: could not import 'uvloop': No module named 'uvloop'", "need uvloop"),
        ("Skipped: browser is missing; install it with: apt-get install chromium", "need browser"),
        ("Skipped: tornado is missing: pip install tornado", "need tornado"),
        ("Skipped: needs Python 3.12", "need Python 3.12"),
        ("Skipped: the machine has no IPv6 loopback", "(the machine has no IPv6 loopback)"),
    ],
)
def test_a_skip_is_told_by_what_it_needs(skip: str, reason: str) -> None:
    assert reason_of(skip) == reason


def line(status: int = 0, skips: tuple[str, ...] = (), **counts: int) -> str:
    return closing_line(status, Counter(counts), skips, Counter(), 141.7)


def test_what_passed_and_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONO_TEST_BESIDE", "")
    examples = f"{settings().max_examples:,} examples each"
    told = f"6,775 tests passed ({PATH}, {examples}) in 142 s; skipped: nothing"
    assert line(passed=6775) == f"sono: {told}"
    monkeypatch.setenv("SONO_TEST_BESIDE", "lint")
    assert line(passed=6775) == f"sono: lint and {told}"


def test_equal_reasons_are_counted() -> None:
    told = line(0, ("Skipped: needs a", "Skipped: b", "Skipped: needs a"), passed=1)
    assert told.endswith("; skipped: 2 need a, 1 (b)")
    assert line(0, ("Skipped: needs a",), passed=1).endswith("; skipped: 1 needs a")


def test_what_is_left_to_make_check_is_counted_by_marker() -> None:
    left = Counter({"slow": 2, "autobahn": 7, "": 1000})
    told = closing_line(0, Counter(passed=1), (), left, 1)
    assert told.endswith(
        "; skipped: 7 autobahn (make check), 2 slow (make check), 1,000 not asked for"
    )


def test_a_failure_comes_first() -> None:
    assert line(1, passed=5, failed=2, error=1).startswith("sono: FAILED: 2 failed, 1 error; ")
    assert line(2, passed=5).startswith("sono: FAILED: interrupted; ")


OF_ALL_KINDS = """
import pytest

def test_passes():
    pass

def test_fails():
    assert False

@pytest.mark.parametrize("number", range(2))
def test_skips(number):
    pytest.skip("needs luck")

@pytest.mark.slow
def test_slow():
    pass

@pytest.fixture
def broken():
    raise OSError

def test_has_an_error(broken):
    pass
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_it_comes_last_with_and_without_workers(workers: str, tmp_path: Path) -> None:
    (tmp_path / "test_made_up.py").write_text(OF_ALL_KINDS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", ROOT / "setup.cfg"]
    options = ["-p", "no:cacheprovider", "-n", workers, "-m", "not slow", tmp_path]
    failures = tmp_path / "failures.log"
    failures.write_text("what an earlier run left\n")
    ran = subprocess.run(
        [*command, *options],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SONO_TEST_BESIDE": "",
            "SONO_TEST_FAILURES": str(failures),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    *_, last = ran.stdout.splitlines()
    assert last.startswith(f"sono: FAILED: 1 failed, 1 error; 1 test passed ({PATH}, "), ran.stdout
    assert last.endswith("; skipped: 1 slow (make check), 2 need luck")
    assert ran.returncode == 1
    first, *told = failures.read_text().splitlines()
    assert first == "what an earlier run left"
    assert [line for line in told if line.startswith("== ")] == [
        f"== test_made_up.py::test_fails ({PATH}, call)",
        f"== test_made_up.py::test_has_an_error ({PATH}, setup)",
    ]
    assert "E       assert False" in told
