"""Walks the table of a session's phases cell by cell, and compares it with the documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sono_core import Accept
from sono_core.lifecycle.phases import TRANSITIONS, Phase, Step
from tests.fakes import Rig

ARCHITECTURE = Path(__file__).parents[3] / "docs" / "architecture.md"


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("phase", Phase)
def test_each_step_leads_where_the_table_says_or_cannot_be_taken(phase: Phase, step: Step) -> None:
    session = Rig().session
    session._phase = phase
    if step in TRANSITIONS[phase]:
        session._take(step)
        assert session.phase is TRANSITIONS[phase][step]
    else:
        with pytest.raises(KeyError):
            session._take(step)
        assert session.phase is phase


def test_every_phase_is_reached_and_only_the_last_leads_nowhere() -> None:
    reached = {Phase.OPENING}
    for _ in Phase:
        reached |= {to for phase in reached for to in TRANSITIONS[phase].values()}
    assert reached == set(Phase)
    assert [phase for phase in Phase if not TRANSITIONS[phase]] == [Phase.OVER]


def test_every_phase_but_the_last_may_lose_its_stream() -> None:
    for phase in Phase:
        assert TRANSITIONS[phase].get(Step.LOSE, Phase.OVER) is Phase.OVER


def test_a_session_walks_from_its_opening_to_its_end() -> None:
    rig = Rig(opened=False)
    assert rig.session.phase is Phase.OPENING
    rig.request()
    rig.session.accept(Accept(), rig.now)
    assert rig.session.phase is Phase.OPEN
    rig.session.close(1000, "", rig.now)
    rig.transport.write()
    assert rig.session.phase is Phase.CLOSING
    rig.seen()  # and the peer answers
    rig.receives(rig.peer.data_to_send())
    assert rig.session.phase is Phase.ENDING
    rig.ends()
    assert rig.session.phase is Phase.OVER


def test_an_aborted_session_is_condemned_until_the_next_tick() -> None:
    rig = Rig()
    rig.session.abort()
    assert rig.session.phase is Phase.CONDEMNED
    rig.session.tick(rig.now)
    assert rig.session.phase is Phase.OVER


def test_a_refused_request_ends_without_having_been_open() -> None:
    rig = Rig(opened=False)
    rig.request()
    rig.session.go_away(1001, "", rig.now)
    assert rig.session.phase is Phase.ENDING


def test_the_documents_print_this_table() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", text.partition("### Phases")[2], re.MULTILINE)
    printed = {
        phase: dict(re.findall(r"`(\w+)` → `(\w+)`", cells)) for phase, cells in rows[: len(Phase)]
    }
    assert printed == {
        phase.name: {step.name: to.name for step, to in steps.items()}
        for phase, steps in TRANSITIONS.items()
    }
