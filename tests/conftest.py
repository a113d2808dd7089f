"""What all tests share: parts that a machine may lack, hypothesis's profiles, the closing line."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from tests.closing_line import ClosingLine
from tests.interop.conformance import autobahn_folder
from tests.processes import complaints

# Hundreds of tests collect garbage to see that nothing is left over. What stood there before the
# first of them, the modules and thousands of test items, is kept out of it: a collection then
# takes a millisecond and not a fifth of a second.
gc.disable()


# A shell ignores SIGINT in what it runs in the background, and programs inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    gc.enable()
    _first_property()
    gc.collect()
    gc.freeze()


@settings(max_examples=1, database=None)
@given(strategies.none())
def _first_property(_: None) -> None:
    """Runs before anything is frozen.

    The first property of a process registers hypothesis's own generator, and hypothesis asks the
    collector who refers to it. What refers to it, the thread's dictionary, must not be frozen by
    then, or hypothesis warns that the generator may be lost (on Python 3.14 and later).
    """


@pytest.fixture(scope="module", autouse=True)
def _kept() -> None:
    """Likewise for what the tests before have left: reports, caches, certificates."""
    gc.collect()
    gc.freeze()


ONCE = (
    "tests/browser_unit/",
    "tests/hostile/",
    "tests/faults/test_soak_returns.py",
    "tests/test_benchmark_servers.py",
    "tests/test_closing_line.py",
    "tests/test_load_generator.py",
    "tests/test_load_sono_v2.py",
)
"""Files whose tests are all marked `once`: they run other programs, or both paths by themselves."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(ONCE):
            item.add_marker(pytest.mark.once)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(ClosingLine(config))


class _Silence(logging.Filter):
    """Lets nothing through that a server's watchdog says, while it is `on`."""

    on = False

    def filter(self, record: logging.LogRecord) -> bool:
        return not self.on or complaints(f"{record.msg}\n") != ""


_silence = _Silence()
logging.getLogger("sono").addFilter(_silence)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    # On a busy machine it is right about any server, which is not what tests of the log ask.
    _silence.on = not item.get_closest_marker("watchdog")
    return (yield)


REQUIRED = {part.strip() for part in os.environ.get("SONO_TEST_REQUIRE", "").split(",")}


def require(part: str, available: bool, how: str) -> None:
    """Skips the test when `part` is not available, and says in `how` to get it.

    With the part in SONO_TEST_REQUIRE (a list with commas) the test fails instead.
    """
    if available:
        return
    if part in REQUIRED:
        pytest.fail(f"{part} is missing, and SONO_TEST_REQUIRE asks for it; {how}", pytrace=False)
    pytest.skip(f"{part} is missing; {how}")


@pytest.fixture(params=["selector", "asyncio", "uvloop"])
def each_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs the test once on each server."""
    kind: str = request.param
    if kind == "uvloop":
        pytest.importorskip("uvloop")
    monkeypatch.setattr("tests.servers.kind", kind)
    return kind


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium."""
    path = shutil.which("chromium")
    require("browser", path is not None, "install it with: apt-get install chromium libatomic1")
    assert path is not None
    return path


@pytest.fixture(scope="session")
def autobahn() -> Path:
    """The folder that holds run-server-cases and run-client-cases."""
    folder = autobahn_folder()
    require(
        "autobahn",
        folder is not None,
        "set SONO_AUTOBAHN to the folder that holds run-server-cases (docs/conformance.md)",
    )
    assert folder is not None
    return folder


# No deadline for one example: coverage and a busy machine make it fail without cause, and
# slowness has tests of its own. For the same reason no example is too slow to generate.
COMMON = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", COMMON, max_examples=25)
settings.register_profile("default", COMMON, max_examples=100)
settings.register_profile("ci", COMMON, max_examples=1000, print_blob=True, derandomize=False)
settings.load_profile(
    os.environ.get("SONO_HYPOTHESIS_PROFILE")
    or ("ci" if os.environ.get("CI", "").lower() in ("true", "1") else "default")
)
