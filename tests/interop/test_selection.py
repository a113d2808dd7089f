"""Which cases of Autobahn a run takes: all of them, dealt out in a way that can be repeated."""

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
    share,
    taken_whole,
)

SLOW = {f"{section}.{case}" for section in SLOW_SECTIONS for case in SLOW_CASES}


def test_every_peer_is_there_on_both_paths() -> None:
    assert {"server-native", "server-pure", "client-native", "client-pure"} <= set(COMBINATIONS)
    assert len(COMBINATIONS) == len(selection.PEERS) * 2


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_the_environment_names_the_combination_that_takes_all(combination: str) -> None:
    assert taken_whole({"SONO_CONFORMANCE_WHOLE": combination}) == combination


@pytest.mark.parametrize("environ", [{}, {"SONO_CONFORMANCE_WHOLE": ""}])
def test_without_a_name_none_does(environ: dict[str, str]) -> None:
    assert taken_whole(environ) is None


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'server'.*server-native"):
        taken_whole({"SONO_CONFORMANCE_WHOLE": "server"})


@pytest.mark.parametrize("seed", [0, 1, 0xFFFFFFFF])
def test_together_the_combinations_take_every_slow_case_once(seed: int) -> None:
    dealt = [case for case in taken(seed) if not case.endswith("*")]
    assert sorted(dealt) == sorted(SLOW)
    assert len(SLOW) == 90 + 126


def taken(seed: int) -> list[str]:
    return [case for combination in COMBINATIONS for case in share(seed, combination)]


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_each_combination_takes_cases_of_every_group(combination: str) -> None:
    for seed in range(20):
        cases = share(seed, combination)
        assert {int(case.partition(".")[0]) for case in cases} == set(selection.GROUPS)


def test_a_share_is_repeatable_and_differs_by_seed_and_combination() -> None:
    first = share(1, "server-native")
    assert first == share(1, "server-native")
    assert first != share(2, "server-native")
    assert first != share(1, "server-pure")


def test_slow_sections_have_a_process_each() -> None:
    quick, *slow = parts(ALL_CASES)
    assert {int(case.partition(".")[0]) for case in quick} == set(selection.QUICK_GROUPS)
    assert slow == [(f"{section}.*",) for section in SLOW_SECTIONS]


@pytest.mark.parametrize("cases", [share(1, "server-pure"), ("12.1.*",), ("1.*", "13.2.7")])
def test_parts_leave_no_case_out_and_need_no_empty_process(cases: tuple[str, ...]) -> None:
    assert sorted(case for part in parts(cases) for case in part) == sorted(cases)
    assert all(0 < len(part) <= selection.CASES_A_PROCESS for part in parts(cases))


def test_the_seed_is_the_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("git", shutil.which("git") is not None, "install it with: apt-get install git")
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)  # in a Git hook it would name another repository
    assert selection.commit_seed(tmp_path) == 0
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    assert selection.commit_seed(tmp_path) == 0
    (tmp_path / ".git" / "HEAD").write_text("0123abcd" * 5 + "\n")
    assert selection.commit_seed(tmp_path) == 0x0123ABCD
