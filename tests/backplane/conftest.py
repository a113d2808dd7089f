"""The suite's fixture."""

from __future__ import annotations

import pytest

from tests.backplane.each_backplane import BACKPLANES, Rig


@pytest.fixture(params=BACKPLANES)
def rig(request: pytest.FixtureRequest) -> Rig:
    """Runs the test once on each backplane."""
    return BACKPLANES[request.param]()
