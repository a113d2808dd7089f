"""The benchmarks' own logic on made-up figures, and one tiny row from end to end."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import benchmarks
from benchmarks import __main__ as command
from benchmarks import regression, results
from benchmarks.cases import Case, Ready, Row
from benchmarks.judge import Judgement, Outcome, Verdict, judge, missed
from benchmarks.machine import describe
from benchmarks.measure import Figures, Reading, in_turns, ratio, timed
from benchmarks.memory import peak, private, resident
from benchmarks.nodes import Shared
from benchmarks.one_redis import flooded, publication
from benchmarks.report import heading, lines, summary
from benchmarks.rows import FILES, row_named
from benchmarks.run import Result, run
from benchmarks.served import cpu_ticks, reading
from benchmarks.subjects import everybody, missing, obstacle, start
from benchmarks.targets import (
    BROKER,
    CEILING,
    PYTHON_SOCKETIO,
    SOCKET_IO,
    SONO_V2,
    TARGETS,
    WORKERS,
    Target,
    targets_of,
)
from benchmarks.units import CALL, DELIVERY_COST, MESSAGES, duration, number, size
from sono_core import native_available
from tests.backplane.brokers import require_redis

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, as only Linux has it")


@dataclass(frozen=True, kw_only=True)
class MadeUp(Case):
    """A case with given readings."""

    readings: dict[str, list[Reading]] = field(default_factory=dict)

    @contextmanager
    def open(self) -> Iterator[Ready]:
        def next_of(taken: Iterator[Reading]) -> Reading:
            return next(taken)

        there = {name: iter(taken) for name, taken in self.readings.items()}
        yield Ready(
            {name: lambda _, taken=taken: next_of(taken) for name, taken in there.items()},
            {name: "it is not installed" for name in self.subjects if name not in there},
        )


def case(**options: object) -> MadeUp:
    settings = {"name": "echo", "unit": MESSAGES, "subjects": ("sono", "peer"), "saturates": True}
    return MadeUp(**{**settings, **options})  # type: ignore[arg-type]


def busy(*values: float, busy: float = 1.0, errors: int = 0) -> Figures:
    """Figures of a server whose core was so busy; the wall clock is a tenth behind."""
    return Figures(tuple(Reading(value, value * 0.9, busy, 0.5, errors) for value in values))


TARGET = Target("S2", "echo", "peer", 1.15)


def verdict(
    ours: Figures, theirs: Figures, target: Target = TARGET, **options: object
) -> Judgement:
    return judge(target, case(**options), Outcome({"sono": ours, "peer": theirs}, {}))


# -- figures ------------------------------------------------------------------------------------


def test_the_middle_of_the_rounds_is_the_figure() -> None:
    figures = busy(5, 1, 2, 100, 3)
    assert figures.median == 3
    assert figures.wall == pytest.approx(2.7)
    assert figures.spread == 33


def test_a_ratio_is_of_the_medians_and_its_range_is_over_the_rounds() -> None:
    found = ratio(busy(10, 20, 30), busy(10, 5, 10), MESSAGES)
    assert found == (2, 1, 4)


def test_where_less_is_better_a_ratio_above_one_is_still_better() -> None:
    assert ratio(busy(10, 10, 10), busy(20, 30, 40), CALL) == (3, 2, 4)


def test_a_ratio_by_the_wall_clock_uses_the_other_figures() -> None:
    ours = Figures((Reading(100, wall=10),))
    theirs = Figures((Reading(10, wall=10),))
    assert ratio(ours, theirs, MESSAGES).of_medians == 10
    assert ratio(ours, theirs, MESSAGES, by_wall=True).of_medians == 1


def test_rounds_are_in_turns() -> None:
    calls = []

    def measuring(name: str) -> object:
        def measure(seconds: float) -> Reading:
            calls.append((name, seconds))
            return Reading(1)

        return measure

    in_turns({"a": measuring("a"), "b": measuring("b")}, 2, 0.5)  # type: ignore[dict-item]
    assert calls == [("a", 0.5), ("b", 0.5)] * 2


def test_one_that_fails_is_left_out_and_the_others_go_on() -> None:
    def fails(seconds: float) -> Reading:
        raise RuntimeError("it died")

    figures = in_turns({"a": fails, "b": lambda _: Reading(1)}, 3, 0.1)
    assert figures["a"] == Figures((), "it died")
    assert len(figures["b"].readings) == 3


def test_a_function_is_timed_for_each_of_its_parts() -> None:
    measured = timed(lambda: sum(range(1000)), parts=10)(0.02)
    assert 10 < measured.value < 1e6  # nanoseconds
    assert measured.wall is None


# -- verdicts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (busy(116, 115, 117), busy(100, 100, 100), Verdict.PASSED),
        (busy(115), busy(100), Verdict.PASSED),
        (busy(114), busy(100), Verdict.MISSED),
        (busy(200, busy=0.94), busy(100), Verdict.INVALID),
        (busy(200, busy=0.95), busy(100), Verdict.PASSED),
        (busy(200), busy(100, busy=0.5), Verdict.INVALID),
        (busy(50, busy=0.5), busy(100), Verdict.INVALID),
        (busy(200, errors=1), busy(100), Verdict.FAILED),
        (busy(200), busy(100, errors=1), Verdict.FAILED),
        (busy(200), Figures((), "it died"), Verdict.FAILED),
        (busy(0), busy(100), Verdict.FAILED),
        (busy(200), busy(0), Verdict.FAILED),
    ],
)
def test_verdicts(ours: Figures, theirs: Figures, expected: Verdict) -> None:
    assert verdict(ours, theirs).verdict is expected


def test_without_a_utilisation_nothing_that_needs_one_passes() -> None:
    unknown = Figures((Reading(200),))
    assert verdict(unknown, unknown).verdict is Verdict.INVALID
    assert verdict(unknown, unknown, Target("S2", "echo", "peer", 1), saturates=False).verdict is (
        Verdict.PASSED
    )


def test_what_is_not_installed_is_not_measured() -> None:
    found = judge(TARGET, case(), Outcome({"sono": busy(1)}, {"peer": "pip install peer"}))
    assert found.verdict is Verdict.NOT_MEASURED
    assert found.reason == "pip install peer"


def test_a_bound_is_for_ours_alone() -> None:
    bound = Target("M1", "plain", "", 4096)
    outcome = Outcome({"sono": Figures((Reading(4096),))}, {})
    assert judge(bound, case(saturates=False), outcome).verdict is Verdict.PASSED
    outcome = Outcome({"sono": Figures((Reading(4097),))}, {})
    assert judge(bound, case(saturates=False), outcome).verdict is Verdict.MISSED


def test_a_check_forgives_missing_peers_unless_it_is_strict() -> None:
    judgements = [Judgement(TARGET, kind) for kind in Verdict]
    assert {j.verdict for j in missed(judgements, strict=False)} == {
        Verdict.MISSED,
        Verdict.INVALID,
        Verdict.FAILED,
    }
    assert Verdict.NOT_MEASURED in {j.verdict for j in missed(judgements, strict=True)}


# -- rows and targets ---------------------------------------------------------------------------


def test_every_row_has_the_id_under_which_it_is_found() -> None:
    assert [row_named(name).id for name in FILES] == list(FILES)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: f"{t.row}-{t.case}-{t.peer}")
def test_every_target_is_about_something_that_is_measured(target: Target) -> None:
    cases = {case.name: case for case in row_named(target.row).cases}
    assert target.case in cases
    assert not target.peer or target.peer in cases[target.case].subjects[1:]


def test_names_of_cases_are_unique_in_their_row() -> None:
    for name in FILES:
        names = [case.name for case in row_named(name).cases]
        assert len(names) == len(set(names))


def test_a_row_knows_its_targets() -> None:
    assert [target.bound for target in targets_of("S2", "echo")] == [1.15, 0.85]
    assert targets_of("S2", "no such case") == []


# -- tables -------------------------------------------------------------------------------------


def made_up_row(**readings: list[Reading]) -> tuple[Row, list[Result]]:
    row = Row("S2", "echo", (case(subjects=("sono", "picows+uvloop", "other"), readings=readings),))
    return row, list(run(row, rounds=2, seconds=0.1))


def test_the_table_has_a_line_for_each_server() -> None:
    fast = [Reading(200_000, 190_000, 0.99, 0.5), Reading(210_000, 199_000, 0.99, 0.5)]
    slow = [Reading(100_000, 90_000, 0.99, 0.5), Reading(150_000, 99_000, 0.90, 0.5)]
    row, [result] = made_up_row(**{"sono": fast, "picows+uvloop": slow})
    assert next(heading(row)) == "## S2: echo"
    ours, theirs = lines(*result)
    assert ours == "| echo | **sono** | 205k | 200k – 210k | 194k | 99% |  |  |  |"
    assert "| 1.64 × (1.4 – 2) | ≥ 1.15 × |" in theirs
    assert "**INVALID** (picows+uvloop: its core was 94% busy, the load's 50%)" in theirs
    assert "noisy: rounds spread 40%" in theirs


def test_every_line_has_all_cells() -> None:
    slow = [Reading(1, 1, 1), Reading(1, 1, 1)]
    row, [result] = made_up_row(sono=slow, other=slow)
    table = [line for line in [*heading(row), *lines(*result)] if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert "not measured (it is not installed)" in table[3]


def test_a_server_that_failed_is_told_with_its_reason() -> None:
    _, [result] = made_up_row(**{"sono": [Reading(1, 1, 1)] * 2, "picows+uvloop": []})
    assert result.outcome.figures["picows+uvloop"].failure == "StopIteration"
    assert any("FAILED" in line and "StopIteration" in line for line in lines(*result))


def test_the_summary_counts_what_passed() -> None:
    judgements = [verdict(busy(2), busy(1)), verdict(busy(1), busy(1))]
    text = "\n".join(summary(judgements))
    assert text.startswith("1 of 2 targets passed.")
    assert "| S2 | echo | peer | ≥ 1.15 × | 1 × (1 – 1) | **MISSED** |" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (number(0), "0"),
        (number(999), "999"),
        (number(999.9), "1k"),
        (number(197_800), "198k"),
        (number(999_900), "1M"),
        (number(10_340_000), "10.3M"),
        (duration(64.26), "64.3 ns"),
        (duration(15_000), "15 µs"),
        (duration(2.5e6), "2.5 ms"),
        (size(512), "512 B"),
        (size(4096), "4 KiB"),
        (size(3 << 20), "3 MiB"),
    ],
)
def test_figures_are_written_with_three_digits(text: str, expected: str) -> None:
    assert text == expected


# -- results ------------------------------------------------------------------------------------


def test_a_whole_run_is_written(tmp_path: Path) -> None:
    row, of_row = made_up_row(
        **{"sono": [Reading(3, 3, 1)] * 2, "picows+uvloop": [Reading(1, 1, 1)] * 2}
    )
    results.write(tmp_path, {"processor": "abacus"}, [(row, of_row)])
    text = (tmp_path / "results.md").read_text("utf-8")
    assert "- processor: abacus" in text
    assert "2 targets" in text
    data = json.loads((tmp_path / "results.json").read_text("utf-8"))
    server = data["rows"][0]["cases"][0]["servers"]["sono"]
    assert [reading["value"] for reading in server["readings"]] == [3, 3]


def test_the_plot_is_drawn_of_what_there_is(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks.plot import bars, draw

    row, of_row = made_up_row(sono=[Reading(3), Reading(5)], other=[Reading(9), Reading(9)])
    data = results.as_data({}, [(row, of_row)])
    assert bars(data, "S2", "echo") == [("other", 9, 9, 9), ("sono", 4, 3, 5)]
    assert bars(data, "S3", "echo") == []
    draw(data, tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").read_text("utf-8").startswith("<?xml")


# -- the command --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["S99"], "'S99' is no row; there are K1, K2"),
        (["--rounds", "0"], "'0' is not a number of rounds"),
        (["--rounds", "many"], "'many' is not a number of rounds"),
        (["--seconds", "nan"], "'nan' is not a number of seconds"),
        (["--seconds", "0"], "'0' is not a number of seconds"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_mistakes_in_the_command(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


def judged(kind: Verdict, measured: float | None = 1.0) -> Judgement:
    return Judgement(TARGET, kind, measured)


@pytest.mark.parametrize(
    ("judgements", "strict", "status"),
    [
        ([judged(Verdict.PASSED)], False, 0),
        ([judged(Verdict.PASSED), judged(Verdict.MISSED)], False, 1),
        ([judged(Verdict.PASSED), judged(Verdict.INVALID)], False, 1),
        ([judged(Verdict.PASSED), judged(Verdict.FAILED, None)], False, 1),
        ([judged(Verdict.PASSED), judged(Verdict.NOT_MEASURED, None)], False, 0),
        ([judged(Verdict.PASSED), judged(Verdict.NOT_MEASURED, None)], True, 1),
        ([judged(Verdict.NOT_MEASURED, None)], False, 1),
        ([], False, 1),
    ],
)
def test_the_status_of_a_check(judgements: list[Judgement], strict: bool, status: int) -> None:
    assert command.check(judgements, strict) == status


def floor(least: float, other: str = "sono (pure)") -> regression.Floor:
    return regression.Floor("decode", other, least)


@pytest.mark.skipif(not native_available, reason="compares the extension")
@pytest.mark.parametrize(
    ("floors", "status", "text"),
    [
        ((floor(0.001),), 0, "ok"),
        pytest.param((floor(1e6),), 1, "UNDER", marks=pytest.mark.slow),
        ((floor(0.001), floor(1e6)), 1, "UNDER"),
    ],
)
def test_the_regression_check_compares_with_floors(
    floors: tuple[regression.Floor, ...],
    status: int,
    text: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert regression.main(floors) == status
    assert text in capsys.readouterr().out


def test_without_the_extension_the_regression_check_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.codec.accelerator", None)
    assert regression.main(regression.FLOORS[:1]) == 1
    assert "extension is not built" in capsys.readouterr().out


def test_ids_of_rows_may_be_written_small() -> None:
    assert command.parser().parse_args(["k1", "S2", "FANOUT_COST"]).rows == [
        "K1",
        "S2",
        "fanout_cost",
    ]


@pytest.fixture
def not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a checkout without built extensions."""
    monkeypatch.delenv("SONO_PURE", raising=False)
    monkeypatch.setattr("benchmarks.peers.requirements.native_available", False)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The rows that would be measured, without measuring."""
    rows: list[object] = []

    def measure(options: argparse.Namespace, *how: object) -> int:
        rows.extend(options.rows)
        return 0

    monkeypatch.setattr(command, "_measure", measure)
    return rows


@pytest.mark.usefixtures("not_built")
@pytest.mark.parametrize("arguments", [[], ["K3", "S2"], ["--regression"]])
def test_without_the_extensions_the_native_path_is_not_measured(
    arguments: list[str], measured: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments) == 2
    output, errors = capsys.readouterr()
    assert (output, measured) == ("", [])
    assert re.fullmatch("benchmarks: .* not built: make bench, or pip install -e .*\n", errors)


@pytest.mark.usefixtures("not_built")
def test_pure_python_is_measured_where_it_is_asked_for(
    measured: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command.main(["K3"]) == 0
    monkeypatch.setenv("SONO_PURE", "1")
    assert command.main(["S1"]) == 0
    assert measured == ["K3", "S1"]
    assert describe({})["Sono"].endswith(", as SONO_PURE asks")
    assert "SONO_PURE" in missing()["sono"]


@pytest.mark.parametrize("built", [True, False])
def test_a_checkout_that_is_not_built_does_not_hide_an_installation(
    built: bool, tmp_path: Path
) -> None:
    for root in ("checkout", "installed"):
        (tmp_path / root / "sono_core" / "native").mkdir(parents=True)
        (tmp_path / root / "sono_core" / "__init__.py").touch()
    (tmp_path / "checkout" / "benchmarks").mkdir()
    shutil.copy(benchmarks.__file__, tmp_path / "checkout" / "benchmarks")
    if built:
        (tmp_path / f"checkout/sono_core/native/_native{EXTENSION_SUFFIXES[0]}").touch()
    ran = subprocess.run(
        [sys.executable, "-c", "import benchmarks, sono_core; print(sono_core.__file__)"],
        cwd=tmp_path / "checkout",
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    used = Path(ran.stdout.strip()).relative_to(tmp_path).parts[0]
    assert used == ("checkout" if built else "installed"), ran


# -- what is measured on servers ----------------------------------------------------------------


def test_the_load_s_report_becomes_a_reading() -> None:
    report = {
        "messages": 1000,
        "seconds": 2.0,
        "server_cpu_seconds": 1.0,
        "cpu_seconds": 0.5,
        "errors": 3,
    }
    assert reading(report, MESSAGES) == (1000, 500, 0.5, 0.25, 3)
    assert reading(report, DELIVERY_COST) == (1e6, 2e6, 0.5, 0.25, 3)
    with pytest.raises(RuntimeError, match="0 messages"):
        reading({**report, "messages": 0}, MESSAGES)


@linux
def test_memory_and_cpu_time_are_read_of_processes() -> None:
    pids = [os.getpid()]
    assert 1 << 20 < private(pids) <= resident(pids) <= peak(pids)
    assert private(pids * 2) >= 2 * private(pids) * 0.9
    ticks = cpu_ticks(pids)
    ended = time.monotonic() + 5
    while cpu_ticks(pids) < ticks + 3:
        assert time.monotonic() < ended


def test_who_takes_part_begins_with_sono() -> None:
    for mode in ("echo", "fanout", "sono"):
        assert everybody(mode)[0] == "sono"
    assert CEILING in everybody("echo")
    assert CEILING not in everybody("sono")


# -- the whole ----------------------------------------------------------------------------------


def measuring(test: Callable[..., None]) -> Callable[..., None]:
    """Marks a test that puts load on servers."""
    for mark in (
        linux,
        pytest.mark.skipif(not native_available, reason="the row measures the extension"),
        pytest.mark.skipif(not shutil.which("cc"), reason="the load generator needs a C compiler"),
        pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two processor cores are needed"),
    ):
        test = mark(test)
    return test


@measuring
@pytest.mark.parametrize(
    ("row", "subjects"),
    [("B1", (SOCKET_IO, PYTHON_SOCKETIO)), ("B2", (SONO_V2, BROKER)), ("N1", (WORKERS[2],))],
)
def test_servers_that_share_a_broker_are_measured(
    row: str,
    subjects: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_redis()
    case = row_named(row).cases[1 if row == "N1" else 0]
    assert isinstance(case, Shared)
    few = (*case.command, "--connections=20")
    short = Row(row, "", (replace(case, subjects=subjects, command=few),))
    monkeypatch.setattr(command, "row_named", lambda name: short)
    assert command.main([row, "--rounds", "1", "--seconds", "0.1"]) == 0
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    cells = [[cell.strip(" *") for cell in line.split("|")] for line in table]
    figures = {subject: figure for _, name, subject, figure, *_ in cells if name == case.name}
    for subject in subjects:
        if not obstacle(subject):
            assert re.fullmatch(r"[\d.]+( ?[kMmµ]s?)?", figures[subject]), table


@measuring
def test_a_broker_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with row_named("B1").cases[0].open() as ready:
        assert ready.measures == {}
        assert ready.missing["sono v2"] == "apt-get install redis-server"


@measuring
def test_one_redis_is_flooded_with_what_a_publisher_sends() -> None:
    require_redis()
    with start(BROKER, "nodes") as broker:
        kind = publication(f"redis://127.0.0.1:{broker.port}")
        taken = flooded(broker, kind, 1, 0.2)
    assert 0 < taken.busy <= 1.1
    assert 1e3 < taken.cost < 1e7, taken  # nanoseconds


@measuring
def test_a_tiny_row_from_end_to_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["s1", "--rounds", "1", "--seconds", "0.1"]) == 0
    captured = capsys.readouterr()
    assert "## S1: echo 64 B, 1 connection, 1 in flight" in captured.out
    [ours] = [line for line in captured.out.splitlines() if "**sono**" in line]
    median = ours.split("|")[3].strip()
    assert re.fullmatch(r"[\d.]+[kM]", median)
    assert "FAILED" not in ours
    assert "Not written" in captured.out
