"""`benchmarks.instructions`: what it counts, and how it fails. valgrind itself is not run here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks import instructions
from benchmarks.instructions import ROWS, Row, of_one


def test_the_start_and_the_handshakes_are_left_out() -> None:
    row = Row("R", ("echo",), "x", members=4, messages=(10, 30))
    assert of_one(lambda messages: 1_000_000 + messages * 4 * 250, row) == 250


def checkout(folder: Path) -> Path:
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return folder


@pytest.mark.parametrize(
    ("slowed", "status", "ratio"), [(1.0, 0, "1.000"), (0.9, 0, "0.900"), (1.1, 1, "1.100")]
)
def test_a_ratio_below_the_floor_is_the_exit_status(
    slowed: float,
    status: int,
    ratio: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = checkout(tmp_path / "other")
    this = checkout(tmp_path / "this")

    def executed(where: Path, python: str, row: Row, messages: int) -> int:
        return round(1000 * messages * (slowed if where == this else 1))

    monkeypatch.setattr(instructions, "ROOT", this)
    monkeypatch.setattr(instructions, "executed", executed)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    assert instructions.main([str(other), "S1"]) == status
    *_, line = capsys.readouterr().out.splitlines()
    assert line.startswith("| S1 |")
    assert line.endswith(f"| {1 / float(ratio):.3f} |")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["X9"], f"X9 is no row; there are {', '.join(row.name for row in ROWS)}"),
        ([], "has no .venv"),
    ],
)
def test_what_cannot_run_is_said(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name)
    with pytest.raises(SystemExit, match="2"):
        instructions.main([str(tmp_path), *arguments])
    assert words in capsys.readouterr().err


def test_without_valgrind_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match="2"):
        instructions.main(["."])
    assert "valgrind is missing" in capsys.readouterr().err
