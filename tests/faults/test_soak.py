"""The soak's verdicts: what it must notice, and a short run of each kind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.soak.__main__ import main
from benchmarks.soak.churn import _judge, _Load
from benchmarks.soak.outcome import percentile, slope
from tests.servers import PATIENCE

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="reads /proc, as only Linux has it"
)


@pytest.fixture(autouse=True)
def _as_many_descriptors_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit belongs to the process, so other tests would inherit it."""
    monkeypatch.setattr("benchmarks.soak.__main__.more_descriptors", lambda: None)


REST = {"open": 0.0, "descriptors": 10.0, "threads": 2.0, "objects": 20_000.0, "resident": 3e7}


def failures(**after: float) -> list[str]:
    """The failures of a run that ends with numbers other than those that it began with."""
    load = _Load("ws://127.0.0.1/", 1)
    load.done["messages"] = 1
    samples = {name: [value] * 3 for name, value in REST.items() if name != "open"}
    return _judge(load, REST, {**REST, **after}, ([0.0, 1.0, 2.0], samples)).failures


def test_a_server_that_returns_to_where_it_was_passes() -> None:
    assert failures() == []
    assert failures(objects=20_050.0, resident=4e7) == []


@pytest.mark.parametrize(
    ("name", "value"), [("descriptors", 11), ("threads", 3), ("objects", 21_000), ("open", 1)]
)
def test_whatever_stays_behind_is_a_failure(name: str, value: float) -> None:
    [failure] = failures(**{name: value})
    assert name in failure or "left" in failure


@pytest.mark.parametrize(
    ("minutes", "grown", "fails"), [(30, 0.4, False), (30, 0.6, True), (9, 0.6, False)]
)
def test_memory_that_grows_is_a_failure_of_a_long_run(
    minutes: float, grown: float, fails: bool
) -> None:
    load = _Load("ws://127.0.0.1/", 1)
    load.done["messages"] = 1
    times = [minutes * 60 * n / 10 for n in range(11)]
    samples = {name: [REST[name]] * 11 for name in ("descriptors", "threads", "objects")}
    samples["resident"] = [3e7 + grown * (1 << 20) * n / 10 for n in range(11)]
    found = _judge(load, REST, REST, (times, samples)).failures
    assert [failure for failure in found if "memory grows" in failure] == found
    assert bool(found) is fails


def test_slope_is_by_the_hour() -> None:
    assert slope([0, 1, 2, 3], [5, 6, 7, 8]) == pytest.approx(3600)
    assert slope([0, 1800, 3600], [4, 4, 4]) == 0
    assert slope([0, 1], [0, 100]) == 0


def test_percentile() -> None:
    assert percentile([3, 1, 2], 0.99) == 3
    assert percentile(list(range(1000)), 0.99) == 990


def test_messages_and_their_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    assert main(["messages", "--messages", "600", "--json", str(file)]) == 0
    written = json.loads(file.read_text())
    assert written["failures"] == []
    assert written["figures"]["published"] >= 600
    assert written["figures"]["gap"] == 0
    assert "messages on selector" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("cc") is None, reason="the load generator needs a C compiler")
def test_a_flood_and_its_figures(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    main(["flood", "--clients", "50", "--json", str(file)])  # the speed is not tested here
    figures = json.loads(file.read_text())["figures"]
    assert (figures["members"], figures["packets"]) == (50, 2000)
    assert 0 < figures["longest wait in ms with"] < 1000 * PATIENCE


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["idle", "--clients", "100000000"], "ulimit"),
        (["churn", "--minutes", "-1"], "--minutes"),
        (["churn", "--clients", "1"], "--clients"),
        (["nothing"], "nothing"),
    ],
)
def test_what_cannot_be_run_is_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
