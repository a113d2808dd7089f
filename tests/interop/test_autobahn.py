"""The Autobahn|Testsuite in both roles: every case is OK or INFORMATIONAL.

The combinations of peer and path take its slow cases in turns; selection.py explains how these are
dealt out, and how to choose.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop import conformance
from tests.interop.selection import (
    ALL_CASES,
    GROUPS,
    PEERS,
    TOTAL,
    commit_seed,
    share,
    taken_whole,
)

# Seconds: the whole suite takes 10 minutes on two processors that are not busy.
LIMIT = 1800

pytestmark = [pytest.mark.autobahn, pytest.mark.slow, pytest.mark.timeout(LIMIT + 60)]


# Framing, control frames, fragments, the closing handshake, and messages of up to 16 MiB: what
# bytes that come in other pieces could break. It takes some seconds.
SAMPLE = ("1.*", "2.*", "3.*", "4.*", "5.*", "7.*", "9.1.*", "9.2.*", "10.*")


@pytest.mark.native  # where TLS is on the fast path
@pytest.mark.parametrize("peer", PEERS)
def test_over_tls_a_sample_passes(peer: str, autobahn: Path) -> None:
    report = conformance.run(peer, cases=SAMPLE, timeout=LIMIT, tls=True)
    if not report.passed:
        pytest.fail(report.output, pytrace=False)
    assert set(report.results.values()) <= {"OK", "INFORMATIONAL"}
    assert len(report.results) == 114


@pytest.mark.parametrize("peer", PEERS)
def test_every_case_is_ok_or_informational(
    peer: str, autobahn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    combination = f"{peer}-{conformance.PATH}"
    seed = commit_seed()
    cases = ALL_CASES if combination == taken_whole() else share(seed, combination)
    with capsys.disabled():
        print(
            f"\nAutobahn, {combination}: {'all cases' if cases == ALL_CASES else f'share {seed}'}"
        )
    report = conformance.run(peer, cases=cases, timeout=LIMIT)
    if not report.passed:
        pytest.fail(report.output, pytrace=False)
    assert set(report.results.values()) <= {"OK", "INFORMATIONAL"}
    assert set(report.groups()) == set(GROUPS)
    if cases == ALL_CASES:
        assert len(report.results) == TOTAL
    else:
        assert {case for case in cases if not case.endswith("*")} <= set(report.results)
