"""Tens of thousands of messages through resets, closes, stalls and slices: none goes astray.

For a million, run `python -m benchmarks.soak messages`.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from sono_core import Limits
from sono_server import Client, Sono
from tests.faults.exchange import PLAN, exchange
from tests.faults.proxy import Plan
from tests.faults.victims import KINDS, victim
from tests.servers import running

GENEROUS = {"packet_rate": 1_000_000, "byte_rate": 1 << 30, "delivery_rate": 1 << 40}
"""Rates that throttle nobody: these clients send more than people do."""


@pytest.mark.parametrize("kind", KINDS)
def test_no_message_is_lost_without_a_close_doubled_reordered_or_misdirected(kind: str) -> None:
    plan = replace(PLAN, seed=3, cut=300_000, reset=300_000, stall=300_000, pause=0.02)
    with victim(kind, **GENEROUS) as server:
        outcome = exchange(server.address, 10_000, plan=plan)
    assert outcome.ok, (outcome.figures(), outcome.oracle.findings, outcome.refused)
    assert outcome.oracle.delivered > 15_000  # most of them
    assert {"cut", "reset", "stall"} <= set(outcome.faults)


@pytest.mark.parametrize("kind", KINDS)
def test_without_cuts_nothing_at_all_is_lost(kind: str) -> None:
    plan = replace(PLAN, slices=200, cut=0, reset=0, stall=20_000, pause=0.001, latency=0.0005)
    with victim(kind, **GENEROUS) as server:
        outcome = exchange(server.address, 500, plan=plan, rooms=2)
    assert outcome.ok, (outcome.figures(), outcome.oracle.findings, outcome.refused)
    assert outcome.oracle.excused == 0
    assert outcome.connections == 6


@pytest.mark.parametrize("defect", ["gap", "duplicate"])
def test_a_server_that_loses_or_doubles_one_message_is_found_out(defect: str) -> None:
    sono = Sono(open_channels=True, limits=Limits(packet_rate=1_000_000))
    count = itertools.count(1)

    @sono.on("message")
    def spoil(client: Client, message: object) -> bool:
        if next(count) != 300:
            return True
        if defect == "duplicate" and client.channel:
            client.channel.emit(message)
        return defect == "duplicate"

    with running(sono.connect) as server:
        outcome = exchange(server.address, 600, plan=Plan(), rooms=1)
    assert not outcome.ok
    # A doubled message may have been meant for one, or for all but its sender.
    assert {defect} <= set(outcome.oracle.found) <= {defect, "wrong recipient"}
