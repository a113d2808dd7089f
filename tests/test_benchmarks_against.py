"""Comparing two checkouts: which figures belong to which, and what counts as slower."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import against
from benchmarks.measure import Reading


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with an environment."""
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return tmp_path


def figures(monkeypatch: pytest.MonkeyPatch, this: float, other: float) -> list[tuple[str, str]]:
    """Make measurements return these values; yields those that were taken."""
    taken = []

    def measure(checkout: Path, python: str, row: str, case: str, seconds: float) -> Reading:
        taken.append((row, case))
        return Reading(this if checkout == against.ROOT else other)

    monkeypatch.setattr(against, "measure", measure)
    monkeypatch.setattr(against, "python_of", lambda checkout: "python")
    return taken


def test_both_are_measured_in_turns(monkeypatch: pytest.MonkeyPatch, checkout: Path) -> None:
    taken = figures(monkeypatch, 90, 100)
    (one,) = against.compare(checkout, ["S2"], 3, 1.0)
    assert taken == [("S2", "echo")] * 6
    assert one.ratio is not None
    assert one.ratio.of_medians == pytest.approx(0.9)
    assert against.line(one) == "| S2 | echo | 90 | 100 | 0.900 (0.90 to 0.90) |"


@pytest.mark.parametrize(("this", "status"), [(96.0, 1), (97.5, 0), (110.0, 0)])
def test_slower_than_the_floor_fails(
    monkeypatch: pytest.MonkeyPatch, checkout: Path, this: float, status: int
) -> None:
    figures(monkeypatch, this, 100)
    assert against.main([str(checkout), "S2"]) == status


def test_less_is_better_where_the_unit_says_so(
    monkeypatch: pytest.MonkeyPatch, checkout: Path
) -> None:
    figures(monkeypatch, 110, 100)  # nanoseconds
    assert against.main([str(checkout), "K2"]) == 1


def test_a_measurement_that_fails_is_told(
    monkeypatch: pytest.MonkeyPatch, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> Reading:
        raise RuntimeError("a traceback\nno such row")

    figures(monkeypatch, 1, 1)
    monkeypatch.setattr(against, "measure", fail)
    assert against.main([str(checkout), "S2"]) == 1
    assert "| S2 | echo | | | failed: no such row |" in capsys.readouterr().out


def test_a_checkout_without_an_environment_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert against.main([str(tmp_path), "S2"]) == 2
    assert "has no .venv" in capsys.readouterr().err


def test_an_unknown_row_is_refused(checkout: Path) -> None:
    with pytest.raises(SystemExit):
        against.main([str(checkout), "Z9"])
