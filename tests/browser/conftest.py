"""Chromium's pages, and servers in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.processes import complaints
from tests.servers import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT = 60_000  # milliseconds for events that are sure to happen
LOST = "WebSocket connection to "  # so begin Chromium's words about one that was lost


class ServerProcess:
    """A server program, whose address is in the first line that it prints.

    Args:
        command: what follows the interpreter.
    """

    def __init__(self, *command: str) -> None:
        self._command = command
        self._start(*command)

    def _start(self, *command: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        line = self._process.stdout.readline()
        urls = [word for word in line.split() if word.startswith(("http://", "https://"))]
        if not urls:
            self._process.kill()
            pytest.fail(f"the server said {line!r}, then {self._process.communicate()[1]!r}")
        address = urlsplit(urls[0])
        self.port = address.port or 0
        self.url = f"{address.scheme}://localhost:{address.port}/"

    def kill(self) -> None:
        """End it without a word to anybody, and wait until its port is free."""
        self._process.kill()
        if self._process.returncode is None:
            self._process.communicate(timeout=PATIENCE)

    def start_again(self) -> None:
        """Start it once more, on the port that it had."""
        self._start(*self._command, "--port", str(self.port))

    def stop(self) -> None:
        """End it as a user would; it must not have printed any complaint."""
        self._process.terminate()
        try:
            _, errors = self._process.communicate(timeout=PATIENCE)
        finally:
            self._process.kill()
        assert (self._process.returncode, complaints(errors)) == (0, "")


@pytest.fixture(scope="session")
def demo() -> Iterator[ServerProcess]:
    """`sono serve`, shared by all tests that do not change it."""
    server = ServerProcess("-m", "sono_server", "serve", "--port", "0")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    # Not for the whole session: while Playwright runs, an event loop runs in the main thread, and
    # tests of asyncio could not run theirs.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


class Watch:
    """The complaints of a page: console errors and warnings, and policy violations."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.loses = False
        """Whether the test has connections lost; that is no complaint then."""

    def add(self, page: Page) -> None:
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def _hear(self, message: ConsoleMessage) -> None:
        icon = message.location["url"].endswith("/favicon.ico")  # requested by the browser itself
        expected = icon or (self.loses and message.text.startswith(LOST))
        if message.type in ("error", "warning") and not expected:
            self.complaints.append(message.text)


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Fails a test whose pages complain; a test that expects complaints removes them."""
    watch = Watch()
    yield watch
    assert watch.complaints == []


NewContext = Callable[..., BrowserContext]


@pytest.fixture
def new_context(browser: Browser, watch: Watch) -> Iterator[NewContext]:
    """Makes contexts whose pages are watched; takes Playwright's options."""
    contexts = []

    def make(**options: object) -> BrowserContext:
        context = browser.new_context(locale="en-GB", **options)  # type: ignore[arg-type]
        context.set_default_timeout(WAIT)
        context.on("page", watch.add)
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def context(new_context: NewContext) -> BrowserContext:
    return new_context()
