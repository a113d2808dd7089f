"""The suite's fixture."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.backplane.brokers import broker, clustered, guarded, require_redis
from tests.backplane.each_backplane import BACKPLANES, Rig

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Of a server that all tests of this process share, each under a prefix of its own."""
    require_redis()
    with broker() as one:
        yield one.url


@pytest.fixture(scope="session")
def sentinel_url() -> Iterator[str]:
    """Of three Sentinels, likewise."""
    require_redis()
    with guarded() as one:
        yield one.url


@pytest.fixture(scope="session")
def cluster_url() -> Iterator[str]:
    """Of a cluster of six nodes, likewise."""
    require_redis()
    with clustered() as one:
        yield one.url


SLOW = ("sentinel", "cluster")
ON_REDIS = ["redis", *(pytest.param(kind, marks=pytest.mark.slow) for kind in SLOW)]


@pytest.fixture(params=[*BACKPLANES, *ON_REDIS])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """Runs the test once on each backplane."""
    if request.param not in BACKPLANES:
        url = request.getfixturevalue(f"{request.param}_url")
        from tests.backplane.on_redis import OnRedis  # what needs redis-py

        one: Rig = OnRedis(url, f"test-{next(_numbers)}")
    else:
        one = BACKPLANES[request.param]()
    yield one
    one.close()
