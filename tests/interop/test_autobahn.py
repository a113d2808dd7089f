"""The Autobahn|Testsuite in both roles: every case is OK or INFORMATIONAL.

Without the slow ones of 12.* and 13.*; conformance.QUICK_CASES tells which these are.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop import conformance

pytestmark = [pytest.mark.autobahn, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("role", conformance.ROLES)
def test_every_case_is_ok_or_informational(role: str, autobahn: Path) -> None:
    report = conformance.run(role)
    if not report.passed:
        pytest.fail(report.output, pytrace=False)
    assert set(report.results.values()) <= {"OK", "INFORMATIONAL"}
    assert set(report.groups()) == set(conformance.GROUPS)
