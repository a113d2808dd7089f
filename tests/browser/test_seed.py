"""The page of the original project: its client, unchanged but for the port."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Page

from tests.browser.conftest import ServerProcess

pytestmark = pytest.mark.browser

CLIENT = """\
import { SonoClient } from "/sono.js";
const sono = new SonoClient("ws://localhost:8080/ws");
sono.onconnection(() => sono.message("client connected"));
sono.on("message", (msg) => console.log("message received:", msg));   // msg is {message, from}
"""


@pytest.fixture(scope="module")
def seed() -> Iterator[ServerProcess]:
    server = ServerProcess("examples/seed.py", "--port", "0")
    yield server
    server.stop()


class Console:
    """What a page logs."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._messages: list[ConsoleMessage] = []
        page.on("console", self._hear)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "log":
            self._messages.append(message)

    def wait(self, count: int) -> list[list[Any]]:
        """The arguments of the first `count` calls of console.log."""
        while len(self._messages) < count:
            self._page.wait_for_event("console")
        return [[argument.json_value() for argument in m.args] for m in self._messages]


def open_literal_client(context: BrowserContext, seed: ServerProcess) -> Console:
    """A page of the seed's server whose only script is the client."""
    page = context.new_page()
    console = Console(page)
    page.goto(f"{seed.url}sono.js")  # shown as text, so it runs nothing by itself
    page.add_script_tag(type="module", content=CLIENT.replace("8080", str(seed.port)))
    return console


def test_the_client_as_written_hears_of_new_clients_and_of_itself(
    context: BrowserContext, seed: ServerProcess
) -> None:
    console = open_literal_client(context, seed)
    welcome, own = console.wait(2)
    assert welcome == ["message received:", {"message": "new client connected"}]
    label, message = own
    assert label == "message received:"
    assert message.keys() == {"message", "from"}
    assert message["message"] == "client connected"
    open_literal_client(context, seed)
    welcome_of_other, (_, message_of_other) = console.wait(4)[2:]
    assert welcome_of_other == welcome
    assert message_of_other["message"] == "client connected"
    assert message_of_other["from"] != message["from"]


def test_the_examples_own_page_does_the_same(context: BrowserContext, seed: ServerProcess) -> None:
    page = context.new_page()
    console = Console(page)
    page.goto(seed.url)
    logged = console.wait(2)
    assert [arguments[0] for arguments in logged] == ["message received:"] * 2
    assert [arguments[1]["message"] for arguments in logged] == [
        "new client connected",
        "client connected",
    ]
    assert page.title() == "Sono"
