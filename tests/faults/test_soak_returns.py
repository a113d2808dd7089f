"""Clients of `sono.v2` that lose their connections again and again, and what judges them."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from benchmarks.soak.__main__ import main
from benchmarks.soak.returning import Client, Plan, Report
from benchmarks.soak.returns import SHORT, judge
from sono_core.messaging.lossless import Position
from sono_core.messaging.lossless.client import Done, Missed, Pending, Settled
from sono_core.messaging.lossless.packets import Event, Failure
from tests.backplane.brokers import require_redis
from tests.faults.victims import KINDS

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="reads /proc, as only Linux has it"
)

PLAN = Plan(
    ports=[1],
    path="/ws",
    first=0,
    clients=1,
    channels=["a", "b"],
    memberships=2,
    drops=0,
    stay=1.0,
    rate=1.0,
    settle=1.0,
)


@pytest.fixture(autouse=True)
def _as_many_descriptors_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit belongs to the process, so other tests would inherit it."""
    monkeypatch.setattr("benchmarks.soak.__main__.more_descriptors", lambda: None)


@pytest.mark.parametrize("kind", KINDS)
def test_those_that_come_back_lose_nothing(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = ["returns", "--clients=20", "--drops=3", "--minutes=0", "--rate=60"]
    status = main([*command, f"--kind={kind}", f"--json={file}"])
    written = json.loads(file.read_text())
    assert (status, written["failures"]) == (0, [])
    assert written["figures"]["drops"] == 60
    assert written["figures"]["heard"] > written["figures"]["published"] > 0


@pytest.mark.slow
def test_those_that_are_on_three_nodes_lose_nothing(tmp_path: Path) -> None:
    require_redis()
    file = tmp_path / "figures.json"
    command = ["returns", "--nodes=3", "--clients=30", "--drops=3", "--minutes=0", "--rate=60"]
    status = main([*command, f"--json={file}"])
    written = json.loads(file.read_text())
    assert (status, written["failures"]) == (0, [])
    assert written["figures"]["drops"] == 90
    assert written["figures"]["heard"] > written["figures"]["published"] > 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="the load generator needs a C compiler")
def test_all_of_a_storm_come_back(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    main(["storm", "--clients=100", f"--json={file}"])  # the speed is not tested here
    figures = json.loads(file.read_text())["figures"]
    assert figures["resumed with what they missed"] == figures["clients"] == 100
    assert figures["returns per second of the server's CPU"] > 0


@pytest.mark.parametrize("option", ["--drops=0", "--rate=0"])
def test_what_cannot_be_run_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["returns", option])
    assert ended.value.code == 2
    assert option.partition("=")[0] in capsys.readouterr().err


# -- what a client notices ------------------------------------------------------------------------


def seen(*told: Any) -> Report:
    """What a client reports that was told this."""
    report = Report()
    client = Client(PLAN, 0, report)
    for one in told:
        client._note(one)
    return report


def said(offset: int, message: str = "", epoch: str = "e") -> Event:
    at = Position(epoch, offset)
    return Event(stream="#a", event="said", data=message or str(offset), at=at)


def test_what_comes_in_order_is_right() -> None:
    report = seen(said(3), said(4), Missed("#a", Position("e", 6), 5), said(7))
    assert report.wrong == []
    assert report.heard == 3
    assert [gap[:3] for gap in report.told] == [("#a", Position("e", 6), 5)]


@pytest.mark.parametrize(
    "told",
    [
        (said(1), said(1)),
        (said(2), said(1)),
        (said(1), said(3)),
        (said(1), said(2, epoch="f")),
        (said(1), Missed("#a", Position("e", 4), 3)),
        (said(1), Missed("#a", Position("e", 4), 2), said(6)),
        (Event(stream="#a", event="said", data="1"),),
    ],
)
def test_what_is_doubled_or_missing_or_out_of_order_is_wrong(told: tuple[Any, ...]) -> None:
    assert len(seen(*told).wrong) == 1


def test_the_same_place_holds_the_same_for_all() -> None:
    report = Report()
    Client(PLAN, 0, report)._note(said(1, "0.1.1"))
    Client(PLAN, 1, report)._note(said(1, "1.1.1"))
    assert len(report.wrong) == 1


def test_what_is_not_published_is_counted_by_its_error() -> None:
    report = Report()
    client = Client(PLAN, 0, report)
    for outcome in (Failure("unknown", ""), Done(published=Position("e", 1))):
        client.publish()
        client._waiting.clear()
        pending = Pending()
        pending.outcome = outcome
        client._waiting[id(pending)] = "a", "message"
        client._note(Settled(pending))
    assert report.outcomes == {"unknown": 1}
    assert report.published == {"message": ("a", Position("e", 1))}
    client.open = True
    assert client.missing == []


def test_the_last_entry_must_arrive_but_may_be_overtaken_by_the_answer_that_tells_of_it() -> None:
    report = Report()
    client = Client(PLAN, 0, report)
    client.open = True
    client._note(said(1))
    client._compare("a", Done(data={"entries": [{"at": ["e", 2]}]}))
    assert client.missing == ["e:2 of #a, as it has e:1"]
    client._note(said(2))
    assert (client.missing, report.wrong) == ([], [])
    client._compare("a", Done(data={"entries": [{"at": ["f", 1]}]}))
    assert len(client.missing) == 1
    client._compare("b", Done(data={"entries": []}))
    assert len(report.wrong) == 1  # it never began there


def test_a_result_of_a_join_that_comes_late_does_not_move_a_client_back() -> None:
    report = Report()
    client = Client(PLAN, 0, report)
    client._note(said(5))
    client._join("a", Done(data={"at": ["e", 4]}))
    client._join("b", Done(data={"at": ["e", 4]}))
    client._note(said(6))
    assert (report.wrong, client.at["#b"]) == ([], Position("e", 4))


# -- what is noticed of all -----------------------------------------------------------------------


GOOD = Report(
    drops=2,
    resumed=2,
    published={"m.7000000": ("a", Position("e", 1))},
    entries={"#a": {"e:1": "m.7000000"}, f"#{SHORT}": {"e:4": "n.8000000"}},
    heard=2,
    told=[(f"#{SHORT}", Position("e", 2), 1, 8.5)],
)


def test_a_run_in_which_everything_arrives_passes() -> None:
    outcome = judge([GOOD, replace(GOOD, drops=1)], 3)
    assert outcome.failures == []
    assert outcome.figures["told to be missing, history of 2"] == 4


def test_what_nobody_heard_must_have_been_told() -> None:
    unheard = {**GOOD.published, "o.7000000": (SHORT, Position("e", 2))}
    assert judge([replace(GOOD, published=unheard)], 2).failures == []
    for place in (Position("e", 3), Position("another", 2)):
        unheard["o.7000000"] = SHORT, place
        [failure] = judge([replace(GOOD, published=unheard)], 2).failures
        assert "1 messages were heard by nobody" in failure


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"wrong": ["client 1: no"]}, "client 1: no"),
        ({"drops": 1}, "2 drops"),
        ({"published": {}}, "nothing was published"),
        ({"outcomes": {"unknown": 1}}, "unknown"),
        ({"anew": ["client 1"]}, "1 sessions were gone: client 1"),
        ({"unknown": {"#a": 1}}, "1 gaps of unknown extent"),
        ({"told": [("#a", Position("e", 1), 1, 9.0)]}, "inside history"),
        ({"told": [(f"#{SHORT}", Position("e", 3), 1, 9.0)]}, "inside history"),
        ({"told": [(f"#{SHORT}", Position("another", 2), 1, 9.0)]}, "inside history"),
        ({"told": [(f"#{SHORT}", Position("e", 2), 1, 7.5)]}, "inside history"),
        ({"entries": {"#a": {"e:1": "x.7000000"}}}, "not where its publisher"),
        ({"entries": {"#a": {"e:1": "m.7000000", "e:2": "m.7000000"}}}, "has 2 places"),
    ],
)
def test_every_broken_promise_is_a_failure(changes: dict[str, Any], what: str) -> None:
    [failure, *_] = judge([replace(GOOD, **changes)], 2).failures
    assert what in failure


def test_two_processes_must_have_heard_the_same() -> None:
    other = replace(GOOD, drops=0, entries={"#a": {"e:1": "x.7000000"}})
    assert "not the same for all" in judge([GOOD, other], 2).failures[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deaf", "killed"])
def test_a_fault_is_gone_through_and_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.soak import faults

    require_redis()
    # How soon it is noticed says nothing on a busy machine.
    calm = faults.FAULTS[name]._replace(
        lasts=2.0, happens=lambda scene: HAPPENS[name](scene), notices=None
    )
    monkeypatch.setitem(faults.FAULTS, name, calm)
    monkeypatch.setattr(faults, "_AFTER", 3.0)
    file = tmp_path / "figures.json"
    command = ["faults", f"--fault={name}", "--clients=20", "--rate=40", f"--json={file}"]
    status = main(command)
    written = json.loads(file.read_text())
    assert (status, written["failures"]) == (0, [])
    assert written["figures"][name]["heard"] > written["figures"][name]["published"] > 0


HAPPENS: dict[str, Any] = {
    "deaf": lambda scene: scene.server.command("CLIENT", "KILL", "TYPE", "pubsub"),
    "killed": lambda scene: scene.nodes[0].signal(signal.SIGKILL),
}
