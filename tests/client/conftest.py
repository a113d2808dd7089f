"""Fixtures of the clients' tests."""

from __future__ import annotations

import gc
import threading
import time
import warnings
from collections.abc import Iterator

import pytest

from tests.async_peers import LOOPS, Loop, new_loop
from tests.client.blocking_peers import (
    Room,
    commanded,
    echo,
    serving,
    url_of,
)
from tests.client.each_client import CLIENTS, Client, used
from tests.descriptors import assert_none_stays_open, open_descriptors
from tests.servers import PATIENCE


@pytest.fixture(params=CLIENTS)
def each_client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """Each client; after the test there are as many descriptors and threads as before."""
    if request.param != "blocking":
        used(request.param)
    gc.collect()
    descriptors, threads = open_descriptors(), threading.active_count()
    yield CLIENTS[request.param]
    assert_none_stays_open(descriptors)
    given_up = time.monotonic() + PATIENCE  # a server in another thread may still end
    while (now := threading.active_count()) > threads:
        assert time.monotonic() < given_up, f"{now} threads run instead of {threads}"
        time.sleep(0.001)


@pytest.fixture(scope="module")
def quick_collection() -> Iterator[None]:
    """Excludes older objects from the garbage collections after each of these tests."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def nothing_stays_open(quick_collection: None) -> Iterator[None]:
    """No test leaves a descriptor open, nor a socket for the garbage collector to close."""
    before = open_descriptors()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(w.message) for w in caught if w.category is ResourceWarning] == []
    assert_none_stays_open(before)


@pytest.fixture
def echo_url() -> Iterator[str]:
    with serving(echo) as server:
        yield url_of(server)


@pytest.fixture
def commanded_url() -> Iterator[str]:
    with serving(commanded) as server:
        yield url_of(server)


@pytest.fixture
def room() -> Iterator[tuple[Room, str]]:
    room = Room()
    with serving(room.handle) as server:
        yield room, url_of(server)


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Iterator[Loop]:
    """A loop of each kind; after the test no descriptor is left open."""
    new_loop(request.param).close()  # the first loop opens descriptors that the process keeps
    before = open_descriptors()
    yield Loop(request.param)
    assert_none_stays_open(before)
