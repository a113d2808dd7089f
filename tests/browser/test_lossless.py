"""The client speaks sono.v2 in a real browser, with a server that the test plays."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Page, WebSocketRoute

from tests.browser.conftest import WAIT, NewContext, ServerProcess, Watch

pytestmark = pytest.mark.browser

SCRIPT = """\
import { SonoClient } from "/sono.js";
const sono = new SonoClient("/ws", { dialect: "v2", token: async () => "a token" });
window.said = [];
window.sono = sono;
sono.onstatus(({ state }) => said.push(state));
sono.ongap(({ stream, from, to }) => said.push(["gap", stream, from, to]));
const room = await sono.join("room", { presence: true });
room.on("chat", (text, { from, offset }) => said.push([text, from, offset]));
said.push(await room.publish("chat", "hi"));
"""


class Server:
    """Welcomes a page, makes it a member, and publishes what it says."""

    def __init__(self, page: Page) -> None:
        self.hellos: list[dict[str, Any]] = []
        self.offset = 0
        page.route_web_socket(re.compile("/ws$"), self._open)

    def _open(self, route: WebSocketRoute) -> None:
        self.socket = route
        route.on_message(lambda text: self._answer(json.loads(text)))

    def say(self, **packet: object) -> None:
        self.socket.send(json.dumps(packet))

    def event(self, data: object) -> None:
        self.offset += 1
        at = ["e", self.offset]
        self.say(type="event", stream="#room", at=at, event="chat", data=data, **{"from": "me"})

    def _answer(self, packet: dict[str, Any]) -> None:
        if packet["type"] == "hello":
            self.hellos.append(packet)
            streams = packet["streams"] or {"@": ["s", 0], "#Home": ["h", 0]}
            begun = [{"stream": name, "at": at, "recovered": True} for name, at in streams.items()]
            resumed = "key" in packet
            seq = 3 if resumed else 0
            welcome = {"id": "me", "key": f"key {len(self.hellos)}", "channel": "Home"}
            self.say(type="welcome", **welcome, resumed=resumed, seq=seq, streams=begun)
        elif packet["type"] == "join":
            data = {"stream": "#room", "at": ["e", 0], "recovered": False}
            self.say(type="result", stream="@", at=["s", 1], re=packet["seq"], data=data)
        elif packet["type"] == "publish":
            self.event(packet["data"])
            published = ["e", self.offset]
            self.say(type="result", stream="@", at=["s", 2], re=packet["seq"], published=published)


def test_a_page_comes_back_and_misses_nothing(
    new_context: NewContext, demo: ServerProcess, watch: Watch
) -> None:
    page = new_context(bypass_csp=True).new_page()
    page.goto(f"{demo.url}sono.js")  # shown as text, so it runs nothing by itself
    server = Server(page)
    page.add_script_tag(type="module", content=SCRIPT)
    page.wait_for_function("window.said?.length === 4", timeout=WAIT)
    assert page.evaluate("said") == ["connecting", "open", ["hi", "me", 1], ["e", 1]]
    server.socket.close(code=1012)
    page.wait_for_function("said.at(-1) === 'open' && said.length === 7", timeout=WAIT)
    server.event("after")
    page.wait_for_function("said.length === 8", timeout=WAIT)
    assert page.evaluate("said.slice(4)") == ["waiting", "connecting", "open", ["after", "me", 2]]
    first, second = server.hellos
    assert first == {"type": "hello", "token": "a token", "streams": {}, "joined": []}
    assert second["key"] == "key 1"
    assert second["streams"] == {"@": ["s", 2], "#Home": ["h", 0], "#room": ["e", 1]}
    assert second["joined"] == ["room"]
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0
    assert watch.complaints == []
