"""The fuzzing commands: how they report what they find, in text, files and exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from fuzz import fuzz, run_corpus
from fuzz.engines import ENGINES, Report, best_engine, with_mutations
from fuzz.mutations import Mutator
from fuzz.run_corpus import FAILURES, Input, inputs
from fuzz.targets import TARGETS, Target
from sono_core import native_available
from tests.conftest import require

ROOT = Path(__file__).parent.parent
WORDS = (b"word", b"term")


def _check(data: bytes) -> None:
    """A rule that mutations of any file soon break."""
    assert b"word" not in data, "planted"


def _never(data: bytes) -> None:
    """A rule that holds."""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS, "asgi", Target("asgi", _check, WORDS))


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS, "asgi", Target("asgi", _never, WORDS))


def mutations(seed: int) -> list[bytes]:
    mutator = Mutator([b"other" * 9], WORDS, 100)
    return [mutator.mutated(b"data" * 9, Random(f"{seed} {number}")) for number in range(200)]


def test_mutations_follow_from_the_source_alone() -> None:
    assert mutations(1) == mutations(1) != mutations(2)


def test_mutations_differ_use_words_and_stay_within_their_length() -> None:
    found = mutations(0)
    assert len(set(found)) > 150
    assert any(b"word" in data for data in found)
    assert any(b"other" in data for data in found)
    assert max(map(len, found)) <= 100


def test_what_is_empty_can_be_mutated() -> None:
    mutator = Mutator([], WORDS, 100)
    assert any(mutator.mutated(b"", Random(number)) for number in range(50))


# -- run_corpus -----------------------------------------------------------------------------------


def test_every_file_comes_first_then_so_many_mutations_of_each() -> None:
    files = {"asgi/a": b"aaaa", "asgi/b": b"bbbb"}
    found = list(inputs(TARGETS["asgi"], files, 2, 0))
    assert found[:2] == [Input("asgi/a", b"aaaa"), Input("asgi/b", b"bbbb")]
    assert [one.name for one in found[2:]] == ["asgi/a-1", "asgi/b-1", "asgi/a-2", "asgi/b-2"]


@pytest.mark.usefixtures("planted")
def test_the_corpus_command_tells_and_writes_what_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_corpus.main(["--target", "asgi", "--mutations", "50"]) == 1
    said = capsys.readouterr()
    assert "fuzz: asgi: 12 files" in said.out
    written = sorted(FAILURES.iterdir())
    assert written
    for path in written:
        assert b"word" in path.read_bytes()
        assert f"asgi: {path.resolve()}:\nplanted" in said.err


@pytest.mark.usefixtures("planted")
def test_the_corpus_command_runs_a_file_again() -> None:
    Path("good").write_bytes(b"")
    Path("bad").write_bytes(b"a word")
    command = ["--target", "asgi", "--mutations", "0"]
    assert run_corpus.main([*command, "good"]) == 0
    assert run_corpus.main([*command, "good", "bad"]) == 1


@pytest.mark.usefixtures("clean")
def test_the_corpus_command_ends_in_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_corpus.main(["--target", "asgi", "--seconds", "0.2"]) == 0
    inputs_run = int(capsys.readouterr().out.split(", ")[1].split()[0])
    assert inputs_run > 12


@pytest.mark.usefixtures("clean")
def test_the_corpus_command_runs_the_targets_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_corpus.main(["--target", "asgi", "--target", "packets", "--mutations", "0"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[1] for line in said] == [" packets", " asgi"]


@pytest.mark.usefixtures("clean")
def test_the_corpus_command_names_inputs_before_it_runs_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_corpus.main(["--target", "asgi", "--mutations", "0", "--verbose"]) == 0
    assert "asgi/messages.bin\n" in capsys.readouterr().out


def test_the_corpus_command_needs_a_target_for_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("lone").write_bytes(b"")
    assert run_corpus.main(["lone"]) == 2
    assert "--target" in capsys.readouterr().err


def test_frame_streams_need_the_native_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_corpus, "native_available", False)
    assert run_corpus.main(["--target", "server", "--mutations", "0"]) == 2


@pytest.mark.native
@pytest.mark.parametrize("role", ["server", "client"])
def test_frame_streams_are_mutated_too(role: str, capsys: pytest.CaptureFixture[str]) -> None:
    require("native", native_available, "build it with a C compiler, and do not set SONO_PURE")
    file = str(ROOT / "fuzz" / "corpus" / role / "fragments.bin")
    assert run_corpus.main(["--mutations", "20", file]) == 0
    assert f"fuzz: {role}: 1 files, 21 inputs" in capsys.readouterr().out


# -- fuzz -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("planted")
def test_mutations_find_what_is_planted() -> None:
    found = FAILURES / "corpus"
    found.mkdir(parents=True)
    report = with_mutations(TARGETS["asgi"], 10.0, found)
    assert len(report.findings) == 1
    (written,) = FAILURES.glob("asgi-finding-*")
    assert b"word" in written.read_bytes()
    assert report.corpus == 12


@pytest.mark.usefixtures("clean")
def test_the_fuzz_command_counts_what_it_ran(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["asgi", "--seconds", "0.1", "--engine", "mutations"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("fuzz: asgi: ")
    assert "0 findings (mutations)" in said
    assert int(said.split()[2]) > 1


@pytest.mark.usefixtures("planted")
def test_a_finding_is_told_and_is_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["asgi", "--seconds", "10", "--engine", "mutations"]) == 1
    said = capsys.readouterr()
    assert "1 findings" in said.out
    assert "planted" in said.err


def test_all_targets_run_although_one_finds_something(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def engine(target: Target, seconds: float, found: Path) -> Report:
        return Report(1, seconds, 0, ["found"] if target.name == "request" else [])

    monkeypatch.setitem(ENGINES, "mutations", engine)
    assert fuzz.main(["--all", "--engine", "mutations"]) == 1
    assert [line.split(":")[1].strip() for line in capsys.readouterr().out.splitlines()] == [
        *TARGETS
    ]


@pytest.mark.parametrize("arguments", [[], ["other"]])
def test_the_fuzz_command_needs_a_target(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        fuzz.main(arguments)


def run_atheris(folder: Path, more: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, in which Python first runs sitecustomize."""
    (folder / "sitecustomize.py").write_text(more)
    path = os.pathsep.join((str(folder), str(ROOT)))
    command = [sys.executable, "-m", "fuzz.fuzz", "asgi", "--seconds", "1", "--engine", "atheris"]
    return subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_atheris_runs_a_target(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    assert best_engine() == "atheris"
    done = run_atheris(tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[2]) > 100
    assert list((FAILURES / "corpus" / "asgi").iterdir())


def test_what_atheris_finds_is_told_and_written(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    done = run_atheris(
        tmp_path,
        "import fuzz.targets as targets\n"
        "def check(data):\n"
        "    assert len(data) < 20, 'planted'\n"
        "targets.TARGETS['asgi'] = targets.Target('asgi', check)\n",
    )
    assert done.returncode == 1
    assert "AssertionError: planted" in done.stderr
    (written,) = FAILURES.glob("asgi-crash-*")
    assert str(written) in done.stderr
    assert len(written.read_bytes()) >= 20
