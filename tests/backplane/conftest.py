"""The suite's fixture."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.backplane.brokers import broker, clustered, guarded, permitted, require_redis, tls
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
    """Of three Sentinels, likewise. All speak TLS, and their user may do just what it must."""
    require_redis()
    with tls() as secure, guarded(secure) as one:
        yield permitted(one.url, one.master, one.replica)


@pytest.fixture(scope="session")
def cluster_url() -> Iterator[str]:
    """Of a cluster of six nodes, likewise, with the same TLS and user."""
    require_redis()
    with tls() as secure, clustered(tls=secure) as one:
        yield permitted(one.url, *one.nodes)


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
