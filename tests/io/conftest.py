"""Fixtures of the tests of connections without a loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sono_io import fast
from tests.conftest import require
from tests.io.wired import SecureWired, Wired


@pytest.fixture(autouse=True)
def built(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("native"):
        hint = "build it with a C compiler, and do not set SONO_PURE"
        require("native", fast.loop is not None, hint)


@pytest.fixture(params=[Wired, SecureWired], ids=["plain", "tls"])
def wire(request: pytest.FixtureRequest) -> Iterator[Callable[..., Wired]]:
    """Makes connections, and closes them."""
    made: list[Wired] = []

    def make(*arguments: Any, **options: Any) -> Wired:
        made.append(request.param(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
