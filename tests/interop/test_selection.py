"""Which cases of Autobahn a run takes: varied, repeatable, and over time all of them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import require
from tests.interop import selection
from tests.interop.selection import (
    ALL_CASES,
    COMBINATIONS,
    SLOW_CASES,
    SLOW_SECTIONS,
    parts,
    sample,
    taken_whole,
)

SLOW = {f"{section}.{case}" for section in SLOW_SECTIONS for case in SLOW_CASES}


def test_every_peer_is_there_on_both_paths() -> None:
    assert {"server-native", "server-pure", "client-native", "client-pure"} <= set(COMBINATIONS)
    assert len(COMBINATIONS) == len(selection.PEERS) * 2


def test_each_combination_gets_its_turn() -> None:
    assert {taken_whole(seed, {}) for seed in range(len(COMBINATIONS))} == set(COMBINATIONS)


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_the_environment_names_the_combination(combination: str) -> None:
    environ = {"SONO_CONFORMANCE_WHOLE": combination}
    assert {taken_whole(seed, environ) for seed in range(10)} == {combination}


def test_an_empty_name_is_none() -> None:
    assert taken_whole(1, {"SONO_CONFORMANCE_WHOLE": ""}) == taken_whole(1, {})


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'server'.*server-native"):
        taken_whole(0, {"SONO_CONFORMANCE_WHOLE": "server"})


def test_a_sample_has_every_group_and_every_slow_section_once() -> None:
    cases = sample(1, "server-native")
    assert {int(case.partition(".")[0]) for case in cases} == set(selection.GROUPS)
    drawn = [case for case in cases if not case.endswith("*")]
    assert [case.rpartition(".")[0] for case in drawn] == list(SLOW_SECTIONS)


def test_a_sample_is_repeatable_and_differs_by_seed_and_combination() -> None:
    first = sample(1, "server-native")
    assert first == sample(1, "server-native")
    assert first != sample(2, "server-native")
    assert first != sample(1, "server-pure")


def test_slow_sections_have_a_process_each() -> None:
    quick, *slow = parts(ALL_CASES)
    assert {int(case.partition(".")[0]) for case in quick} == set(selection.QUICK_GROUPS)
    assert slow == [(f"{section}.*",) for section in SLOW_SECTIONS]


@pytest.mark.parametrize("cases", [sample(1, "server-pure"), ("12.1.*",), ("1.*", "13.2.7")])
def test_parts_leave_no_case_out_and_need_no_empty_process(cases: tuple[str, ...]) -> None:
    assert sorted(case for part in parts(cases) for case in part) == sorted(cases)
    assert all(parts(cases))


def test_in_time_samples_take_every_case() -> None:
    drawn = {case for seed in range(300) for case in sample(seed, "client-pure")}
    assert drawn >= SLOW
    assert len(SLOW) == 90 + 126


def test_the_seed_is_the_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("git", shutil.which("git") is not None, "install it with: apt-get install git")
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)  # in a Git hook it would name another repository
    assert selection.commit_seed(tmp_path) == 0
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    assert selection.commit_seed(tmp_path) == 0
    (tmp_path / ".git" / "HEAD").write_text("0123abcd" * 5 + "\n")
    assert selection.commit_seed(tmp_path) == 0x0123ABCD
